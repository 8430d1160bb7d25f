# SPDX-License-Identifier: Apache-2.0
"""The order of a program's descriptors: what jobs need comes in while the jobs before them run, and jobs of the two
slots of a machine that has them stand side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from respin.firmware_model.cycle_model import CycleModel
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import Span, Step, slot_of, stands_alone
from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.sequencer.descriptor import Opcode

_AHEAD = 12
"""Stages that what comes in may overtake."""
_WINDOW = 12
"""Stages that are looked at for the next one to begin."""
_ROW_CYCLES = 27
"""About how many cycles a row of a transfer takes besides those of its words."""
_NEAR = 2
"""Stages whose jobs may be under way, one in each slot, when a transfer begins."""
_AT_ONCE = 5
"""Transfers that are begun before one stage's jobs at most: more would wait for room in the machine's queue."""


@dataclass(slots=True)
class Stage:
    """Jobs, what has to come in before them, and what goes out after them."""

    loads: list[Step] = field(default_factory=list)
    jobs: list[Step] = field(default_factory=list)
    stores: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class _Planned:
    """A stage with what of it decides when it may run: the slot of its jobs and their cycles, whether nothing runs
    beside it, all that it touches, and what comes in for it with the cycles that this takes."""

    stage: Stage
    slot: int | None
    alone: bool
    cycles: int
    whole: Step
    coming: Step
    coming_cycles: int

    @classmethod
    def of(cls, stage: Stage, config: AcceleratorConfig, model: CycleModel) -> "_Planned":
        jobs = [step.descriptor for step in stage.jobs]
        slots = [slot for job in jobs if (slot := slot_of(job)) is not None]
        return cls(
            stage=stage,
            slot=slots[0] if slots else None,
            alone=_alone(stage.jobs),
            cycles=sum(model.cycles({**job.body, "kind": job.kind}) for job in jobs if slot_of(job) is not None),
            whole=_together([*stage.loads, *stage.jobs, *stage.stores]),
            coming=_together(stage.loads),
            coming_cycles=sum(_cycles_to_come(step.descriptor, config) for step in stage.loads),
        )


def _together(steps: Sequence[Step]) -> Step:
    """What some steps touch, as one."""
    reads: dict[Span, None] = dict.fromkeys(span for step in steps for span in step.reads)
    writes: dict[Span, None] = dict.fromkeys(span for step in steps for span in step.writes)
    return Step(descriptor=Descriptor(opcode=Opcode.BARRIER), reads=tuple(reads), writes=tuple(writes))


def _cycles_to_come(transfer: Descriptor, config: AcceleratorConfig) -> int:
    """About how many cycles a LOAD or TABLE takes."""
    body, word = transfer.body, BLOCK * PLANES // config.axi_bits
    if transfer.opcode is Opcode.LOAD:
        return int(body["rows"] * (_ROW_CYCLES + word * body["words"]))
    return int(_ROW_CYCLES + word * body["count"] // 2)


def side_by_side(stages: Sequence[Stage], config: AcceleratorConfig) -> list[Stage]:
    """Return stages in an order in which jobs of both slots run beside each other.

    Each time the one comes next that could begin first, of those that disturb none that would come later instead; of
    two that could begin at once the dense one, as the machine fetches a descriptor while a job waits for its slot. What
    goes out leaves after the next job of its slot has begun, so that nothing waits for the end of the one before.
    """
    model = CycleModel(config, read_cycles=1)
    waiting = [_Planned.of(stage, config, model) for stage in stages]
    ordered: list[_Planned] = []
    ends: list[tuple[int, _Planned]] = []  # of what may be under way
    issued, free = 0, [0, 0]
    while waiting:
        best: tuple[tuple[int, int, int], _Planned] | None = None
        for at, candidate in enumerate(waiting[:_WINDOW]):
            if candidate.alone and at:
                break
            if any(candidate.whole.disturbs(before.whole) for before in waiting[:at]):
                continue
            own = free if candidate.alone else [] if candidate.slot is None else [free[candidate.slot]]
            start = max([issued, *own, *(end for end, other in ends if candidate.whole.disturbs(other.whole))])
            free_for = [end for end, other in ends if candidate.coming.disturbs(other.whole)]
            start = max([start, *(end + candidate.coming_cycles for end in free_for)])
            key = (start, candidate.slot or 0, at)
            if best is None or key < best[0]:
                best = (key, candidate)
            if candidate.alone:
                break
        assert best is not None
        (issued, _, at), chosen = best
        waiting.pop(at)
        ordered.append(chosen)
        if chosen.alone:
            free = [issued + chosen.cycles] * len(free)
        elif chosen.slot is not None:
            free[chosen.slot] = issued + chosen.cycles
        ends = [*ends[1 - _WINDOW :], (issued + chosen.cycles, chosen)]
    return list(_later_out(ordered))


def _later_out(ordered: Sequence[_Planned]) -> Iterator[Stage]:
    """Yield the stages, with what goes out moved behind the next job of the slot that made it, or as far as it may."""
    held: list[tuple[int | None, list[Step]]] = []
    made: list[Stage] = []
    for planned in ordered:
        for _, stores in held:
            if planned.alone or any(planned.whole.disturbs(store) for store in stores):
                made[-1].stores.extend(stores)
                stores.clear()
        stage = Stage(loads=planned.stage.loads, jobs=planned.stage.jobs)
        made.append(stage)
        for slot, stores in held:
            if slot == planned.slot:
                stage.stores.extend(stores)
                stores.clear()
        held = [(slot, stores) for slot, stores in held if stores]
        held.append((planned.slot, list(planned.stage.stores)))
    for _, stores in held:
        made[-1].stores.extend(stores)
    yield from made


def pipelined(stages: Sequence[Stage], *, two_slots: bool = False) -> Iterator[Step]:
    """Yield the descriptors of all stages: jobs in their order, what goes out right after them, and what comes in as
    early as it disturbs nothing that it overtakes, nor, with two job slots, what may be under way then."""
    early: list[list[Step]] = [[] for _ in stages]
    for number, stage in enumerate(stages):
        for load in stage.loads:
            early[_earliest(stages, early, number, load, _NEAR if two_slots else 0)].append(load)
    for loads, stage in zip(early, stages, strict=True):
        # BIASES wait until all before them has come in, so they go first.
        biases = list(takewhile(lambda step: step.descriptor.opcode is Opcode.BIASES, stage.jobs))
        yield from (*biases, *loads, *stage.jobs[len(biases) :], *stage.stores)


def _earliest(stages: Sequence[Stage], early: Sequence[Sequence[Step]], number: int, load: Step, near: int) -> int:
    """The stage before whose jobs a transfer for stage ``number`` is begun.

    One that needs what goes out first leaves a stage in between: the machine would wait for the one before it began
    with the other otherwise.
    """
    at = best = number
    while at > max(number - _AHEAD, 0):
        at -= 1
        overtaken = (*stages[at].jobs, *stages[at].stores)
        just_out = [*(stages[at - 1].stores if at else ())]
        just_out += _under_way(stages, at, near)
        if any(load.disturbs(step) for step in overtaken):
            break
        if len(early[at]) < _AT_ONCE and not any(load.disturbs(step) for step in just_out):
            best = at
    return best


def _under_way(stages: Sequence[Stage], at: int, near: int) -> list[Step]:
    """Jobs of the ``near`` stages before ``stages[at]`` that may not have ended when its own job begins: those since
    the last one that nothing runs beside, and none if its own is such a one."""
    if _alone(stages[at].jobs):
        return []
    before = [stage.jobs for stage in reversed(stages[max(at - near, 0) : at])]
    return [step for jobs in takewhile(lambda jobs: not _alone(jobs), before) for step in jobs]


def _alone(jobs: Sequence[Step]) -> bool:
    return any(stands_alone(step.descriptor) for step in jobs)
