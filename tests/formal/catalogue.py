# SPDX-License-Identifier: Apache-2.0
"""What a proof is: the claim, how it is shown, and how a broken copy is made for which it must fail."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from engine import Harness
from mutation import broken


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A fault put into the design: in ``module`` (below ``respin.rtl``), ``after`` stands where ``before`` did.

    Where ``build`` is given the harness that it makes is broken instead.
    """

    module: str = ""
    before: str = ""
    after: str = ""
    build: Callable[[], Harness] | None = None

    def applied(self) -> AbstractContextManager[None]:
        """The design is broken within this context."""
        return nullcontext() if self.build else broken(self.module, self.before, self.after)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One claim.

    ``name`` is ``part: property``. With ``cycles`` it holds of all runs up to so many cycles; ``complete``
    says why that is all there is, where it is. Without, it holds at all times; ``by_itself`` from a cycle to the next
    without an invariant that would have to be found. ``seconds`` limits the model checker.
    ``quick`` ones belong to the default tests.
    """

    name: str
    claim: str
    build: Callable[[], Harness]
    breaks: tuple[Break, ...]
    cycles: int | None = None
    complete: str = ""
    by_itself: bool = False
    seconds: int = 60
    quick: bool = False

    @property
    def method(self) -> str:
        """How it is shown."""
        if self.cycles is None:
            return "induction"
        return self.complete or f"bounded, {self.cycles} cycles"
