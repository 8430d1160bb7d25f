# SPDX-License-Identifier: Apache-2.0
"""A second look at a whole program: nothing that may go on side by side touches the same words.

What a descriptor touches is found from its fields, not taken from those who made it, and what may be under way from its
flags, as the machine reads them (docs/sequencer.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import SLOTS, Step, slot_of, stands_alone
from respin.firmware_model.touched import touched
from respin.rtl.config import AcceleratorConfig
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.transfer_queue import MOST_PENDING

_AFTER_WHAT_COMES = (
    Opcode.BIASES, Opcode.ROWS, Opcode.SAVE, Opcode.RESTORE, Opcode.BARRIER, Opcode.COMMIT, Opcode.END,
)  # fmt: skip
"""They begin when LOAD and TABLE have ended."""


class HazardError(ValueError):
    """Two descriptors that may go on side by side disturb each other."""


@dataclass(slots=True)
class _UnderWay:
    """Numbers of the descriptors that may not have ended."""

    coming: list[int] = field(default_factory=list)
    going: list[int] = field(default_factory=list)
    jobs: list[int | None] = field(default_factory=lambda: [None for _ in SLOTS])

    def before(self, descriptor: Descriptor, *, two_slots: bool) -> None:
        """Leave out what has ended when a descriptor begins."""
        own = slot_of(descriptor)
        for slot in SLOTS:
            if not two_slots or slot == own or not descriptor.beside >> slot & 1:
                self.jobs[slot] = None
        if "wait" in descriptor.flags:
            self.coming = _last(self.coming, descriptor.loads)
            self.going = _last(self.going, descriptor.stores)
        if descriptor.opcode in _AFTER_WHAT_COMES:
            self.coming = []
        if descriptor.opcode in (Opcode.BARRIER, Opcode.END):
            self.going = []
        # A transfer waits for those of its own unit, in their order.
        if descriptor.opcode in (Opcode.LOAD, Opcode.TABLE):
            self.coming = _last(self.coming, MOST_PENDING - 1)
        if descriptor.opcode is Opcode.STORE:
            self.going = _last(self.going, MOST_PENDING - 1)

    def beside(self, descriptor: Descriptor) -> list[int]:
        """What may be under way while a descriptor runs."""
        jobs = [job for job in self.jobs if job is not None]
        coming = [] if descriptor.opcode in (Opcode.LOAD, Opcode.TABLE) else self.coming
        going = [] if descriptor.opcode is Opcode.STORE else self.going
        return [*coming, *going, *jobs]

    def begun(self, number: int, descriptor: Descriptor) -> None:
        """Take a descriptor in."""
        own = slot_of(descriptor)
        if descriptor.opcode in (Opcode.LOAD, Opcode.TABLE):
            self.coming.append(number)
        elif descriptor.opcode is Opcode.STORE:
            self.going.append(number)
        elif own is not None and not stands_alone(descriptor):
            self.jobs[own] = number


def _last(numbers: list[int], count: int) -> list[int]:
    return numbers[max(len(numbers) - count, 0) :]


def refuse_hazards(descriptors: Sequence[Descriptor], config: AcceleratorConfig) -> None:
    """Refuse a program in which a descriptor reads or writes what another one, still under way then, writes, or writes
    what it reads.

    Raises
    ------
    HazardError
        Naming the first two, and what to do.
    """
    under_way = _UnderWay()
    steps: list[Step] = []
    for number, descriptor in enumerate(descriptors):
        step = touched(descriptor, config)
        under_way.before(descriptor, two_slots=config.job_slots == 2)
        for other in under_way.beside(descriptor):
            if step.disturbs(steps[other]):
                raise HazardError(
                    f"descriptor {number} ({descriptor.opcode.name}) touches what {other} "
                    f"({steps[other].descriptor.opcode.name}), which may be under way, writes or reads: it must wait "
                    "for it (wait, loads and stores of a transfer, beside of a job)"
                )
        under_way.begun(number, descriptor)
        steps.append(step)
