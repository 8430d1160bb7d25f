# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of a program went: operation by operation, and by what they were spent on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from respin.cli.bench.layers import predict
from respin.firmware_model.cycle_model import CycleModel
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.made import Made
from respin.firmware_model.placement import Placement
from respin.golden.network import INPUT, Convolution, Edge, FanInEdge, Gradient, Loss
from respin.rtl.sequencer.descriptor import Opcode
from respin.sim.compiled import Ending
from respin.sim.tables import READ_CYCLES, table_for

PARTS = {
    "whole": "jobs, were the network in the store as a whole (predicted)",
    "tiles": "more for jobs of tiles: rows made twice, starts and ends (predicted)",
    "rewrites": "rows that updates rewrote, and what the prediction left out",
    "beside": "less cycles in which two jobs ran, which both count",
    "transfers": "LOAD, STORE and TABLE that waited to begin",
    "biases": "BIASES",
    "waits": "waits of jobs for transfers, and for their descriptors",
    "first_pass": "first pass over the program",
}
"""What cycles are spent on; the parts add up to all of a program's."""


@dataclass(slots=True, kw_only=True)
class Figures:
    """What an operation took, over all its jobs; cycles by :data:`PARTS`."""

    stage: str
    jobs: int = 0
    macs: int = 0
    parts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    @property
    def cycles(self) -> int:
        """All of them."""
        return sum(self.parts.values())


class Account:
    """Adds up the cycles of a program's descriptors as they end.

    Parameters
    ----------
    placement:
        The network and where its parts lie.
    descriptors:
        The program.
    made:
        What each of its jobs makes, by the descriptor's number; what copies within the store makes nothing.
    training:
        Whether it is a training step.
    cycle:
        When the program began, or will begin.
    """

    def __init__(
        self,
        placement: Placement,
        descriptors: list[Descriptor],
        made: Mapping[int, Made],
        *,
        training: bool,
        cycle: int,
    ) -> None:
        config, network = placement.config, placement.network
        self._place, self._descriptors, self._made, self._began = placement, descriptors, made, cycle
        self._model = CycleModel(config, read_cycles=int(table_for(config, seed=1)[READ_CYCLES]))
        whole = predict(config, network, placement.whole(INPUT).shape, training=training)
        self._whole = {row["case"]: row["cycles"] for row in whole}
        self._endings: list[Ending] = []

    def add(self, ending: Ending) -> None:
        """Take the end of a descriptor."""
        self._endings.append(ending)

    def figures(self) -> dict[str, Figures]:
        """Return what each operation took, by its name, in their order. Cycles in which no job ran count with the next
        job, and so do copies."""
        figures: dict[str, Figures] = {}
        unspent = dict.fromkeys(PARTS, 0)
        covered = self._began  # up to here cycles are accounted for
        others = [ending for ending in self._endings if not ending.ran]
        # A job begins before descriptors end that were begun after it.
        for ending in sorted((ending for ending in self._endings if ending.ran), key=_start):
            while others and others[0].cycle <= max(_start(ending), covered):
                covered = self._between(others.pop(0), covered, unspent, figures)
            start, copied = _start(ending), self._made.get(ending.index) is None
            unspent["waits"] += max(start - covered, 0)
            unspent["beside"] -= max(min(covered, ending.cycle) - start, 0)
            covered = max(covered, ending.cycle)
            if copied:
                unspent["tiles"] += ending.job_cycles
                continue
            self._ran(self._made[ending.index], ending, figures)
            _spend(unspent, figures[self._made[ending.index].operation.name])
        for ending in others:
            covered = self._between(ending, covered, unspent, figures)
        if figures:
            _spend(unspent, figures[next(reversed(figures))])
        return figures

    def _between(self, ending: Ending, covered: int, unspent: dict[str, int], figures: dict[str, Figures]) -> int:
        """A descriptor that ends while no job runs; a job that was skipped waited in vain."""
        descriptor, made = self._descriptors[ending.index], self._made.get(ending.index)
        if made is not None and made.operation.name not in figures:
            figures[made.operation.name] = Figures(stage=_stage(made))
        part = "waits" if made is not None else "biases" if descriptor.opcode is Opcode.BIASES else "transfers"
        unspent["first_pass" if ending.index == 0 else part] += max(ending.cycle - covered, 0)
        return max(covered, ending.cycle)

    def _ran(self, made: Made, ending: Ending, figures: dict[str, Figures]) -> None:
        operation = made.operation
        taken = figures.setdefault(operation.name, Figures(stage=_stage(made)))
        if taken.jobs == 0:
            taken.parts["whole"] = self._whole.get(operation.name, 0)
            taken.parts["tiles"] -= taken.parts["whole"]
        predicted = self._model.cycles(made.job)
        taken.jobs += 1
        taken.parts["tiles"] += predicted
        taken.parts["rewrites"] += ending.job_cycles - predicted
        if made.ends:
            taken.macs = self._macs(made)

    def operations(self) -> list[dict[str, Any]]:
        """Return a row for each operation: its cycles, and which share of the peak its multiply-accumulates make."""
        peak = self._place.config.peak_macs_per_cycle
        return [
            {
                "operation": name,
                "stage": taken.stage,
                "jobs": taken.jobs,
                "cycles": taken.cycles,
                **taken.parts,
                "macs": taken.macs or None,
                "utilisation": taken.macs / (peak * taken.cycles) if taken.macs and taken.cycles > 0 else None,
            }
            for name, taken in self.figures().items()
        ]

    def parts(self, cycles: int) -> list[dict[str, Any]]:
        """Return a row for each of :data:`PARTS`, of a program that took ``cycles``; what is left is its end."""
        figures = self.figures()
        sums = {part: sum(taken.parts[part] for taken in figures.values()) for part in PARTS}
        sums["waits"] += cycles - sum(sums.values())
        return [
            {"part": part, "cycles": sums[part], "share": sums[part] / cycles, "what": what}
            for part, what in PARTS.items()
        ]

    def _macs(self, made: Made) -> int:
        """Multiply-accumulates of an operation over the batch, without padding of any kind."""
        item, network = made.operation.item, self._place.network
        name = item.layer if isinstance(item, Gradient) else item.through if isinstance(item, Edge) else item.name
        layer = network.layer(name) if name is not None and not isinstance(item, Loss | FanInEdge) else None
        if not isinstance(layer, Convolution):
            return 0
        n, _, oh, ow = self._place.whole(layer.name).shape
        return n * oh * ow * layer.weight.numel()


def _start(ending: Ending) -> int:
    """The cycle in which a job began."""
    return ending.cycle - ending.job_cycles


def _spend(unspent: dict[str, int], taken: Figures) -> None:
    for part, cycles in unspent.items():
        taken.parts[part] += cycles
        unspent[part] = 0


def _stage(made: Made) -> str:
    match made.operation.item:
        case Edge() | FanInEdge():
            return "error"
        case Gradient():
            return "gradient"
        case Loss():
            return "loss"
    return "forward"
