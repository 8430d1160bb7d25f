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
        What each of its jobs makes, by the descriptor's number.
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
        self._place, self._descriptors, self._made, self._cycle = placement, descriptors, made, cycle
        self._model = CycleModel(config, read_cycles=int(table_for(config, seed=1)[READ_CYCLES]))
        whole = predict(config, network, placement.whole(INPUT).shape, training=training)
        self._whole = {row["case"]: row["cycles"] for row in whole}
        self._unspent = dict.fromkeys(PARTS, 0)
        self.figures: dict[str, Figures] = {}
        """By the operations' names, in their order."""

    def add(self, ending: Ending) -> None:
        """Take the time of a descriptor; that of a transfer counts with the job after it."""
        spent, self._cycle = ending.cycle - self._cycle, ending.cycle
        made = self._made.get(ending.index)
        if ending.index == 0:
            self._unspent["first_pass"] = spent
        elif made is None:
            biases = self._descriptors[ending.index].opcode is Opcode.BIASES
            self._unspent["biases" if biases else "transfers"] += spent
        else:
            self._unspent["waits"] += spent - ending.job_cycles
        if made is None:
            return
        operation = made.operation
        figures = self.figures.get(operation.name)
        if figures is None:
            figures = self.figures[operation.name] = Figures(stage=_stage(made))
            if ending.ran:
                figures.parts["whole"] = self._whole.get(operation.name, 0)
                figures.parts["tiles"] -= figures.parts["whole"]
        if ending.ran:
            predicted = self._model.cycles(made.job)
            figures.jobs += 1
            figures.parts["tiles"] += predicted
            figures.parts["rewrites"] += ending.job_cycles - predicted
            if made.ends:
                figures.macs = self._macs(made)
        for part, cycles in self._unspent.items():
            figures.parts[part] += cycles
        self._unspent = dict.fromkeys(PARTS, 0)

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
                "utilisation": taken.macs / (peak * taken.cycles) if taken.macs else None,
            }
            for name, taken in self.figures.items()
        ]

    def parts(self, cycles: int) -> list[dict[str, Any]]:
        """Return a row for each of :data:`PARTS`, of a program that took ``cycles``; what is left is its end."""
        sums = {part: sum(taken.parts[part] for taken in self.figures.values()) for part in PARTS}
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


def _stage(made: Made) -> str:
    match made.operation.item:
        case Edge() | FanInEdge():
            return "error"
        case Gradient():
            return "gradient"
        case Loss():
            return "loss"
    return "forward"
