# SPDX-License-Identifier: Apache-2.0
"""Holds every tensor of a step in the hardware against golden's."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from respin.cli.demo.mirror import MismatchError
from respin.firmware_model.program import Task
from respin.firmware_model.training import Session
from respin.golden.network import Activations
from respin.golden.trainer import StepRecord


class TensorCheck:
    """Compares what each task left in the store, in the report and in MRAM; counts what it compared.

    Parameters
    ----------
    session:
        The network in the hardware.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.tensors = 0
        self.elements = 0

    def compare(self, name: str, got: NDArray[np.generic], want: torch.Tensor) -> None:
        """Raise MismatchError at the first differing element, naming it."""
        expected = want.numpy()
        if got.shape != expected.shape:
            raise MismatchError(f"{name}: hardware has shape {got.shape}, golden {expected.shape}")
        differs = np.argwhere(got.astype(np.int64) != expected.astype(np.int64))
        if len(differs):
            where = tuple(int(i) for i in differs[0])
            raise MismatchError(
                f"{name}: {len(differs)} of {got.size} elements differ, first at {where}: "
                f"hardware {got[where]}, golden {expected[where]}"
            )
        self.tensors += 1
        self.elements += got.size

    async def forward(self, task: Task, activations: Activations) -> None:
        """A layer's activations, and its mask where errors will need it."""
        driver, place = self._session.driver, self._session.placement
        self.compare(task.name, await driver.read_tensor(place.tensor(task.name)), activations.tensors[task.name])
        mask = place.mask(task.name)
        if mask is not None:
            got = await driver.read_mask(place.tensor(task.name), mask)
            self.compare(f"{task.name}.mask", got, activations.masks[task.name])

    async def training(self, task: Task, reports: Sequence[Mapping[str, int]], record: StepRecord) -> None:
        """Whatever a task of a training step made."""
        if task.name in record.activations.tensors:
            await self.forward(task, record.activations)
        elif task.stage == "gradient":
            await self._update(task.name.removesuffix(" gradient"), reports, record)
        else:
            driver, place = self._session.driver, self._session.placement
            self.compare(task.name, await driver.read_tensor(place.tensor(task.name)), record.errors[task.name])
            if task.name in record.edges:
                self._scale(task.name, reports, record)

    def _scale(self, name: str, reports: Sequence[Mapping[str, int]], record: StepRecord) -> None:
        """The delayed scale in force, and the magnitude that the next one follows from."""
        edge = record.edges[name]
        bits = max(report["magnitude"].bit_length() for report in reports)
        shift, cut = reports[0]["shift"], sum(report["above"] + report["below"] for report in reports)
        got = (bits, shift, bool(reports[0]["shift_valid"]), cut)
        want = (edge.result.largest.bit_length(), edge.shift, edge.before.valid, edge.result.saturated)
        if got != want:
            raise MismatchError(f"{name}: hardware has (bits of A, shift, valid, saturated) {got}, golden {want}")

    async def _update(self, layer: str, reports: Sequence[Mapping[str, int]], record: StepRecord) -> None:
        """What a layer has learned, and how many of its weights and biases moved."""
        weight, bias = record.updates[f"{layer}.weight"], record.updates[f"{layer}.bias"]
        learned = await self._session.parameters(layer)
        self.compare(f"{layer}.weight", learned.weight.numpy(), weight.value)
        self.compare(f"{layer}.bias", learned.bias.numpy(), bias.value)
        moves = sum(report["moves"] for report in reports)
        want = int(torch.count_nonzero(weight.move)) + int(torch.count_nonzero(bias.move))
        if moves != want:
            raise MismatchError(f"{layer}: {moves} steps in hardware, {want} in golden")
