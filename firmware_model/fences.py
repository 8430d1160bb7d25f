# SPDX-License-Identifier: Apache-2.0
"""Where a program has to wait for LOAD and STORE, which go on beside the descriptors after them."""

from dataclasses import dataclass, field
from enum import Enum

from respin.firmware_model.descriptors import Descriptor
from respin.rtl.sequencer.descriptor import Opcode


class Space(Enum):
    """A memory."""

    STORE = "store"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Span:
    """Words ``first`` .. ``end - 1`` of a memory."""

    space: Space
    first: int
    end: int

    def meets(self, other: "Span") -> bool:
        """Whether they share a word."""
        return self.space is other.space and self.first < other.end and other.first < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A descriptor, with what it reads and writes."""

    descriptor: Descriptor
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()

    def disturbs(self, other: "Step") -> bool:
        """Whether the two may not go on side by side."""
        pairs = ((self.writes, other.writes), (self.writes, other.reads), (self.reads, other.writes))
        return any(a.meets(b) for first, second in pairs for a in first for b in second)


@dataclass(slots=True)
class Fences:
    """Adds the flag ``wait`` to descriptors of a program where it is needed.

    One LOAD, and one STORE, are under way at most: the next one begins when the one before it has ended, as do TABLE,
    BIASES and ROWS, which come through the same unit as a LOAD.
    """

    _under_way: dict[Opcode, Step] = field(default_factory=dict)

    def pass_(self, step: Step) -> Descriptor:
        """Return the next descriptor of the program."""
        descriptor = step.descriptor
        unit = Opcode.STORE if descriptor.opcode is Opcode.STORE else Opcode.LOAD
        if descriptor.opcode is not Opcode.JOB:
            self._under_way.pop(unit, None)
        if any(step.disturbs(other) for other in self._under_way.values()):
            descriptor = descriptor.waiting()
            self._under_way.clear()
        if descriptor.opcode in (Opcode.LOAD, Opcode.STORE):
            self._under_way[unit] = step
        return descriptor
