# SPDX-License-Identifier: Apache-2.0
"""Inference and training steps on an accelerator, as firmware would run them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from respin.firmware_model.driver import Driver
from respin.firmware_model.job_parts import Randomness
from respin.firmware_model.layout import IntArray, pack_words, require_input
from respin.firmware_model.placement import Placement
from respin.firmware_model.program import EdgeState, Program, Task
from respin.golden.network import INPUT, Parameters, sources
from respin.rtl.config import BLOCK

Report = Mapping[str, int]
Observer = Callable[[Task, Sequence[Report]], Awaitable[None]]
"""Called after each task, while its tensors still lie in the store."""


async def ignore(task: Task, reports: Sequence[Report]) -> None:
    """Observe nothing."""


def label_words(labels: Sequence[int]) -> list[int]:
    """Store words of labels: lane 0 holds the low byte, lane 1 the high byte."""
    lanes = torch.zeros(len(labels), BLOCK, dtype=torch.int64)
    values = torch.as_tensor(labels, dtype=torch.int64)
    lanes[:, 0], lanes[:, 1] = values & 0xFF, values >> 8
    return pack_words(lanes.numpy())


@dataclass(slots=True)
class Session:
    """A network on an accelerator: its weights in MRAM, its state on the host.

    Parameters
    ----------
    driver:
        The accelerator.
    placement:
        The network and where its parts lie.
    seed:
        Key of the random numbers.
    step:
        Training steps taken so far.

    Raises
    ------
    CapacityError
        If store and table do not hold the whole network at once.
    """

    driver: Driver
    placement: Placement
    seed: int = 0
    step: int = 0
    _measured: dict[str, int] = field(default_factory=dict)
    """The exponent that each edge's errors came in with when its scale was measured."""

    def __post_init__(self) -> None:
        self.placement.require_resident()

    async def provision(
        self, parameters: Mapping[str, Parameters], progress: Callable[[int], None] = lambda rows: None
    ) -> None:
        """Write every image and the table. ``progress`` is told the rows written so far."""
        done = 0
        for base, rows in self.placement.frozen_rows(parameters):
            await self.driver.write_rows(base, rows)
            done += len(rows)
            progress(done)
        for index, entries in self.placement.constants().items():
            await self.driver.write_table(index, entries)
        for name, learned in parameters.items():
            await self._load_biases(name, learned.bias)

    async def infer(self, x: IntArray, observe: Observer = ignore) -> IntArray:
        """Run the network forward on a batch (N, C, H, W), int8 or uint8 as it takes it; returns the logits
        (N, classes)."""
        tensor = self.placement.whole(INPUT)
        require_input(x, tensor.shape, signed=tensor.signed)
        coming = set(self.placement.inputs)
        for task in self._program().forward():
            # Not before: until a layer reads them, other tensors may lie where they do.
            for name in coming.intersection(task.reads):
                await self.driver.write_tensor(self.placement.tensor(name), self.placement.input(name, x))
            coming.difference_update(task.reads)
            await self._run(task, observe)
        logits = self.placement.tensor(self.placement.network.output)
        return (await self.driver.read_tensor(logits))[:, :, 0, 0]

    async def train(self, x: IntArray, labels: Sequence[int], *, log2_rate: int, observe: Observer = ignore) -> None:
        """Take one training step on a batch.

        An edge runs if all it starts from have valid scales, a gradient if its errors have: so scales settle from the
        loss down, a step each, and nothing moves before its scale is valid.
        """
        place, network = self.placement, self.placement.network
        program = self._program()
        await self.infer(x, observe)
        # Not before: until the loss reads them, other tensors may lie where they do.
        await self.driver.write_words(place.labels, label_words(labels))
        (report,) = await self._run(program.loss(), observe)
        usable = {place.loss.name: EdgeState(exponent=0, alive=bool(report["alive"]))}
        for edge in network.edges:
            if any(source not in usable for source in sources(edge)):
                continue
            run = program.edge(edge).at(usable, self._measured)
            reports = await self._run(run.task, observe)
            if reports[0]["shift_valid"]:
                exponent = run.incoming + reports[0]["shift"] - run.fraction
                usable[edge.name] = EdgeState(exponent=exponent, alive=any(report["alive"] for report in reports))
            if any(report["magnitude"] for report in reports):
                self._measured[edge.name] = run.incoming
        for gradient in network.gradients:
            if gradient.error in usable:
                await self._run(program.gradient(gradient).at(log2_rate, usable), observe)
                await self._load_biases(gradient.layer, await self._biases(gradient.layer))
        self.step += 1

    async def parameters(self, name: str) -> Parameters:
        """Read what trained layer ``name`` has learned out of MRAM."""
        rows = await self.driver.read_rows(*self.placement.rows.images[name])
        return Parameters(weight=self.placement.learned_weight(name, rows), bias=await self._biases(name))

    async def _biases(self, name: str) -> Tensor:
        rows = await self.driver.read_rows(*self.placement.rows.images[f"{name} bias"])
        return self.placement.learned_bias(name, rows)

    def _program(self) -> Program:
        return Program(self.placement, Randomness(seed=self.seed, step=self.step))

    async def _load_biases(self, name: str, bias: Tensor) -> None:
        """Put a trained layer's biases into the table, where its quantiser adds them."""
        await self.driver.write_table(self.placement.table(name), self.placement.trained_entries(name, bias))

    async def _run(self, task: Task, observe: Observer) -> list[Report]:
        reports = [await self.driver.run(job) for job in task.jobs]
        await observe(task, reports)
        return reports
