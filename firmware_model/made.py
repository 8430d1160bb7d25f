# SPDX-License-Identifier: Apache-2.0
"""What the jobs of a program make: for those who look into the store while it runs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from respin.firmware_model.compiler import TRAIN
from respin.firmware_model.emitter import Addresses, Emitter
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.job_parts import Fields, Randomness
from respin.firmware_model.operations import LABELS, Operation
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import Program, Setting
from respin.rtl.sequencer.descriptor import Opcode

_APART = 1 << 40
"""Bytes from one area to the next: more than there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a job makes.

    Parameters
    ----------
    operation:
        The layer, the loss, the edge or the gradient.
    job:
        Its fields.
    setting:
        Which part of its result, and where that lies.
    part_ends, ends:
        Whether the part, and the whole of the operation, is complete with this job.
    """

    operation: Operation
    job: Fields
    setting: Setting
    part_ends: bool
    ends: bool


class _Recorder(Program):
    """A program that notes the jobs that it is asked for."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement, Randomness())
        self.noted: list[Made] = []

    def jobs(self, operation: Operation, setting: Setting) -> Iterator[Fields]:
        jobs = list(super().jobs(operation, setting))
        self.noted += [
            Made(operation=operation, job=job, setting=setting, part_ends=number == len(jobs) - 1, ends=False)
            for number, job in enumerate(jobs)
        ]
        return iter(jobs)


def made_by(image: ProgramImage, placement: Placement, program: str) -> dict[int, Made]:
    """Return what each JOB of a program makes, by the descriptor's number; jobs that copy are left out.

    Parameters
    ----------
    image:
        What a compiler made of ``placement``.
    placement:
        The network and where its parts lie.
    program:
        ``infer`` or ``train``.

    Raises
    ------
    ValueError
        If the image is of another placement.
    """
    network = placement.network
    loss = placement.loss
    ids = {loss.name: loss.tensor} | {edge.name: edge.tensor for edge in network.edges}
    # Jobs stand in the order in which those of the image do if areas lie apart, wherever that is.
    areas = {name: (number + 2) * _APART for number, name in enumerate((*placement.inputs, LABELS, loss.logits))}
    recorder = _Recorder(placement)
    schedule = placement.schedule if program == TRAIN else placement.inference
    emitter = Emitter(placement, schedule, recorder, Addresses(areas=areas, spilled=0, table=_APART), ids)
    list(emitter.descriptors())
    found = image.descriptors(program)
    jobs = [number for number, descriptor in enumerate(found) if descriptor.opcode is Opcode.JOB]
    if len(jobs) != len(emitter.order):
        raise ValueError(
            f"the image must be of this placement: {program} has {len(jobs)} jobs, not {len(emitter.order)}"
        )
    noted = {at: recorder.noted[number] for at, number in zip(jobs, emitter.order, strict=True) if number is not None}
    last = {id(job.operation): at for at, job in noted.items()}
    return {at: replace(job, ends=last[id(job.operation)] == at) for at, job in noted.items()}
