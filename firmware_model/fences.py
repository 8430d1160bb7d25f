# SPDX-License-Identifier: Apache-2.0
"""Where a program has to wait for what goes on beside the descriptors after it: LOAD, TABLE and STORE, and jobs."""

from dataclasses import dataclass, field, replace
from enum import Enum

from respin.firmware_model.descriptors import Descriptor
from respin.rtl.job_control import LIGHT_PASSES
from respin.rtl.jobs import Pass
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.transfer_queue import MOST_PENDING


class Space(Enum):
    """A memory."""

    STORE = "store"
    EXTERNAL = "external"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Span:
    """Words, or entries of the table, ``first`` .. ``end - 1`` of a memory; with a pitch the first ``words`` of every
    ``pitch`` of these."""

    space: Space
    first: int
    end: int
    words: int = 0
    pitch: int = 0

    @classmethod
    def of_rows(cls, space: Space, first: int, *, words: int, pitch: int, rows: int) -> "Span":
        """``rows`` times ``words`` words, ``pitch`` from one to the next."""
        return cls(space, first, first + (rows - 1) * pitch + words, *((words, pitch) if rows > 1 else ()))

    def meets(self, other: "Span") -> bool:
        """Whether they share a word; where pitches differ, what lies between rows counts."""
        if self.space is not other.space or self.first >= other.end or other.first >= self.end:
            return False
        if not self.pitch or self.pitch != other.pitch:
            return True
        apart = (other.first - self.first) % self.pitch
        return apart < self.words or self.pitch - apart < other.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A descriptor, with what it reads and writes; of a job also its ``number`` among those that were made."""

    descriptor: Descriptor
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    number: int | None = None

    def disturbs(self, other: "Step") -> bool:
        """Whether the two may not go on side by side."""
        pairs = ((self.writes, other.writes), (self.writes, other.reads), (self.reads, other.writes))
        return any(a.meets(b) for first, second in pairs for a in first for b in second)


SLOTS = (0, 1)
"""The job slots: dense, light."""


def slot_of(descriptor: Descriptor) -> int | None:
    """Return the slot that a job takes where there are two; None for other opcodes."""
    if descriptor.opcode is not Opcode.JOB:
        return None
    return int(descriptor.kind in LIGHT_PASSES)


def stands_alone(descriptor: Descriptor) -> bool:
    """Whether nothing runs beside a descriptor: only transfers and jobs of no edge join others."""
    if descriptor.opcode is Opcode.JOB:
        return "edge" in descriptor.flags or descriptor.kind not in (Pass.CONVOLUTION, *LIGHT_PASSES)
    return descriptor.opcode not in (Opcode.LOAD, Opcode.TABLE, Opcode.STORE)


@dataclass(slots=True)
class Fences:
    """Makes descriptors of a program wait where it is needed, and for what is needed only.

    With two job slots the job begun last in each may be under way: a descriptor waits for it if it disturbs it, or
    stands alone.

    What comes in, by LOAD and TABLE, comes in order, and so does what goes out by STORE: a descriptor waits until all
    of a kind but the last ones have ended. BIASES and ROWS themselves wait until all has come in.
    """

    two_slots: bool
    _coming: list[Step] = field(default_factory=list)
    _going: list[Step] = field(default_factory=list)
    _jobs: list[Step | None] = field(default_factory=lambda: [None for _ in SLOTS])

    def follow(self, step: Step) -> Descriptor:
        """Return the next descriptor of the program."""
        return self._after_transfers(self._after_jobs(step) if self.two_slots else step)

    def _after_jobs(self, step: Step) -> Step:
        descriptor = step.descriptor
        own, beside = slot_of(descriptor), 0
        for slot in SLOTS:
            job = self._jobs[slot]
            if slot == own or job is None:
                continue
            if stands_alone(descriptor) or step.disturbs(job):
                self._jobs[slot] = None
            else:
                beside |= 1 << slot
        if own is not None:
            self._jobs[own] = None if stands_alone(descriptor) else step
        return replace(step, descriptor=replace(descriptor, beside=beside))

    def _after_transfers(self, step: Step) -> Descriptor:
        descriptor, opcode = step.descriptor, step.descriptor.opcode
        comes, goes = opcode in (Opcode.LOAD, Opcode.TABLE), opcode is Opcode.STORE
        if opcode in (Opcode.BIASES, Opcode.ROWS):
            self._coming.clear()
        loads = MOST_PENDING if comes else _not_disturbed(step, self._coming)
        stores = MOST_PENDING if goes else _not_disturbed(step, self._going)
        if min(loads, stores) < MOST_PENDING:
            descriptor = descriptor.waiting(loads=loads, stores=stores)
            self._coming = self._coming[max(len(self._coming) - loads, 0) :]
            self._going = self._going[max(len(self._going) - stores, 0) :]
        if comes:
            self._coming = [*self._coming, step][-MOST_PENDING:]
        if goes:
            self._going = [*self._going, step][-MOST_PENDING:]
        return descriptor


def _not_disturbed(step: Step, pending: list[Step]) -> int:
    """How many of the last transfers of ``pending`` may go on beside a step: all but the last that it disturbs, and
    those before."""
    return next((count for count, other in enumerate(reversed(pending)) if step.disturbs(other)), MOST_PENDING)
