# SPDX-License-Identifier: Apache-2.0
"""The order of a program's descriptors: what jobs need comes in while the jobs before them run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from respin.firmware_model.fences import Step
from respin.rtl.sequencer.descriptor import Opcode

_AHEAD = 12
"""Stages that what comes in may overtake."""
_AT_ONCE = 5
"""Transfers that are begun before one stage's jobs at most: more would wait for room in the machine's queue."""


@dataclass(slots=True)
class Stage:
    """Jobs, what has to come in before them, and what goes out after them."""

    loads: list[Step] = field(default_factory=list)
    jobs: list[Step] = field(default_factory=list)
    stores: list[Step] = field(default_factory=list)


def pipelined(stages: Sequence[Stage]) -> Iterator[Step]:
    """Yield the descriptors of all stages: jobs in their order, what goes out right after them, and what comes in as
    early as it disturbs nothing that it overtakes."""
    early: list[list[Step]] = [[] for _ in stages]
    for number, stage in enumerate(stages):
        for load in stage.loads:
            early[_earliest(stages, early, number, load)].append(load)
    for loads, stage in zip(early, stages, strict=True):
        # BIASES wait until all before them has come in, so they go first.
        biases = list(takewhile(lambda step: step.descriptor.opcode is Opcode.BIASES, stage.jobs))
        yield from (*biases, *loads, *stage.jobs[len(biases) :], *stage.stores)


def _earliest(stages: Sequence[Stage], early: Sequence[Sequence[Step]], number: int, load: Step) -> int:
    """The stage before whose jobs a transfer for stage ``number`` is begun.

    One that needs what goes out first leaves a stage in between: the machine would wait for the one before it began
    with the other otherwise.
    """
    at = best = number
    while at > max(number - _AHEAD, 0):
        at -= 1
        overtaken = (*stages[at].jobs, *stages[at].stores)
        just_out = stages[at - 1].stores if at else ()
        if any(load.disturbs(step) for step in overtaken):
            break
        if len(early[at]) < _AT_ONCE and not any(load.disturbs(step) for step in just_out):
            best = at
    return best
