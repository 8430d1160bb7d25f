# SPDX-License-Identifier: Apache-2.0
"""Where things go: store words by the span in which they are needed, rows and table entries in order."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from respin.firmware_model.layout import blocks
from respin.rtl.config import BLOCK, ROW_WEIGHTS, AcceleratorConfig


class CapacityError(ValueError):
    """A network does not fit the configuration."""


@dataclass(slots=True)
class BufferPlan:
    """Places buffers so that those needed at the same time never overlap.

    A buffer is needed from the operation that first touches it to the one that does so last.
    """

    _words: dict[Hashable, int] = field(default_factory=dict)
    _times: dict[Hashable, list[int]] = field(default_factory=dict)

    @property
    def buffers(self) -> list[Hashable]:
        """All of them, in the order in which they were first touched."""
        return list(self._words)

    def touch(self, name: Hashable, words: int, time: int) -> None:
        """Say that operation number ``time`` reads or writes buffer ``name`` of ``words`` words."""
        self._words[name] = words
        self._times[name] = sorted({*self._times.get(name, ()), time})

    def words(self, name: Hashable) -> int:
        """Return the words of a buffer."""
        return self._words[name]

    def times(self, name: Hashable) -> list[int]:
        """Return the numbers of the operations that touch a buffer, in order."""
        return self._times[name]

    def place(self, names: Iterable[Hashable] | None = None) -> dict[Any, int]:
        """Return the first word of each buffer, or of those named: the largest are placed first, each at the lowest
        address that is free for all of its span."""
        placed: dict[Hashable, int] = {}
        chosen = self._words if names is None else names
        for name in sorted(chosen, key=lambda name: (-self._words[name], str(name))):
            placed[name] = self._lowest(name, placed)
        return placed

    def end(self, placed: Mapping[Any, int]) -> int:
        """Return the words that placed buffers take in all."""
        return max((base + self._words[name] for name, base in placed.items()), default=0)

    def _lowest(self, name: Hashable, placed: Mapping[Hashable, int]) -> int:
        base = 0
        for other in sorted(self._neighbours(name, placed), key=placed.__getitem__):
            if base + self._words[name] <= placed[other]:
                break
            base = max(base, placed[other] + self._words[other])
        return base

    def _neighbours(self, name: Hashable, placed: Mapping[Hashable, int]) -> list[Hashable]:
        first, last = self._times[name][0], self._times[name][-1]
        return [
            other for other in placed if self._times[other][0] <= last and first <= self._times[other][-1]
        ]


@dataclass(slots=True)
class RowPlan:
    """Hands out MRAM rows one image after the other, in address order.

    Parameters
    ----------
    config:
        ``banks * mram_rows`` bounds the plan.
    """

    config: AcceleratorConfig
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    """First row and number of rows of each image by its name."""
    end: int = 0
    """The row after the last one."""
    headers: list[int] = field(default_factory=list)
    """Rows left free before images, for headers of slots."""

    @property
    def used(self) -> int:
        """Rows of all images."""
        return sum(rows for _, rows in self.images.values())

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First row and number of rows of each stretch of images without a gap."""
        starts = [header + 1 for header in self.headers] or [0]
        ends = [*self.headers[1:], self.end]
        return [(start, end - start) for start, end in zip(starts, ends, strict=True) if end > start]

    def leave_header(self, row: int) -> None:
        """Go on behind ``row``, which is a slot's header."""
        self.headers.append(row)
        self.end = row + 1

    def add(self, name: str, rows: int) -> int:
        """Reserve ``rows`` rows; returns the first.

        Raises
        ------
        CapacityError
            If the banks hold fewer.
        """
        base = self.end
        if base + rows > self.config.usable_rows:
            raise CapacityError(
                f"the images need more than {self.config.usable_rows} MRAM rows ({name} ends at {base + rows}): "
                "raise banks or mram_rows"
            )
        self.images[name] = (base, rows)
        self.end += rows
        return base

    def add_vector(self, name: str, channels: int) -> int:
        """Reserve the rows of a vector of int8."""
        return self.add(name, -(-channels // ROW_WEIGHTS))


@dataclass(slots=True)
class TablePlan:
    """Hands out entries for per-channel constants, in whole blocks of 32."""

    used: int = 0

    def add(self, channels: int) -> int:
        """Reserve entries for ``channels`` channels; returns the first."""
        base = self.used
        self.used += blocks(channels) * BLOCK
        return base
