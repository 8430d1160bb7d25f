# SPDX-License-Identifier: Apache-2.0
"""When buffers lie in the store as a whole: between chains that touch them, the shortest times first."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A time in which a buffer lies in the store as a whole.

    Parameters
    ----------
    begin, end:
        The first chain that touches it there, and the last one.
    base:
        Its first word.
    """

    begin: int
    end: int
    base: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A buffer of ``words`` words, and the chains that touch it; whether the first of them makes it."""

    name: Hashable
    words: int
    chains: Sequence[int]
    made: bool


Workspace = Callable[[int, frozenset[Hashable]], int]
"""Words that a chain needs besides the buffers that it finds in the store."""


class Residency:
    """Places stays from the store's first word on; what is above them at a time is workspace.

    A buffer stays from one chain that touches it to the next one if there is room beside the workspaces of all chains
    from then to then. The shortest stays are placed first, so that what the next chain reads needs no way out and back,
    and of these the smallest. Stays that meet are one. What has to be brought in first gets its place a chain earlier.

    Parameters
    ----------
    words:
        Of the store.
    chains:
        How many there are.
    workspace:
        What each needs.
    """

    def __init__(self, words: int, chains: int, workspace: Workspace) -> None:
        self._words, self._workspace = words, workspace
        self._taken: list[dict[Hashable, tuple[int, int]]] = [{} for _ in range(chains)]
        self._found: list[frozenset[Hashable]] = [frozenset() for _ in range(chains)]
        self.stays: dict[Any, list[Stay]] = {}
        """Of each buffer, in order."""

    def place(self, buffers: Sequence[Touched]) -> None:
        """Choose the stays of all buffers."""
        gaps = [(end - begin, buffer.words, number, begin, end)
                for number, buffer in enumerate(buffers)
                for begin, end in pairwise(buffer.chains)]  # fmt: skip
        for _, _, number, begin, end in sorted(gaps):
            self._hold(buffers[number], begin, end)

    def found(self, chain: int) -> frozenset[Hashable]:
        """Return the buffers that a chain touches where they stay."""
        return self._found[chain]

    def top(self, chain: int) -> int:
        """Return the first word above all that stays while a chain runs."""
        return max((end for _, end in self._taken[chain].values()), default=0)

    def _hold(self, buffer: Touched, begin: int, end: int) -> None:
        """Keep a buffer from chain ``begin`` to chain ``end``, if there is room."""
        stays = self.stays.setdefault(buffer.name, [])
        meeting = [stay for stay in stays if begin in (stay.begin, stay.end) or end in (stay.begin, stay.end)]
        comes_in = (begin, buffer.made) != (buffer.chains[0], True) and all(stay.end != begin for stay in meeting)
        chains = range(max(begin - comes_in, 0), end + 1)
        bases = {stay.base for stay in meeting} or {self._lowest(buffer, chains)}
        if len(bases) > 1:
            return
        (base,) = bases
        taken = (base, base + buffer.words)
        for chain in chains:
            found = self._found[chain] | ({buffer.name} if chain in (begin, end) else frozenset())
            if max(self.top(chain), taken[1]) + self._workspace(chain, found) > self._words:
                return
            if any(_meet(taken, other) for name, other in self._taken[chain].items() if name != buffer.name):
                return
        for chain in chains:
            self._taken[chain][buffer.name] = taken
        for chain in (begin, end):
            self._found[chain] |= {buffer.name}
        first, last = min([begin, *(s.begin for s in meeting)]), max([end, *(s.end for s in meeting)])
        kept = [stay for stay in stays if stay not in meeting]
        self.stays[buffer.name] = sorted([*kept, Stay(begin=first, end=last, base=base)], key=lambda stay: stay.begin)

    def _lowest(self, buffer: Touched, chains: range) -> int:
        """The lowest word from which on there is room for a buffer while all of ``chains`` run."""
        others = sorted(
            {taken for chain in chains for name, taken in self._taken[chain].items() if name != buffer.name}
        )
        base = 0
        for first, end in others:
            if base + buffer.words <= first:
                break
            base = max(base, end)
        return base


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
