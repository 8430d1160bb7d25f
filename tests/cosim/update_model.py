# SPDX-License-Identifier: Apache-2.0
"""A trained layer for the bench of the update unit: its jobs, the engine's sums for them, its images, its training."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from respin.firmware_model.layout import dense_weights, vector_rows, weight_rows
from respin.golden.ops.update import GradientStatistics, StepScale, ternary_update
from respin.golden.random import RandomSource
from respin.rtl.config import BLOCK, AcceleratorConfig

INT32 = (-(2**31), 2**31)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A convolution: outputs, inputs, groups, taps in a column and in a row."""

    outputs: int
    inputs: int
    groups: int = 1
    kh: int = 1
    kw: int = 1
    bias: bool = True
    transposed: bool = True

    @property
    def weights(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.inputs // self.groups, self.kh, self.kw)


@dataclass(frozen=True)
class Unit:
    """What a gradient is worth in a step: the layer's learning rate, and the exponent of the gradient's unit."""

    log2_rate: int
    exponent: int = 0


@dataclass(kw_only=True)
class Tensor:
    """A trained tensor: its id, its weights and the scale of its steps."""

    id: int
    weights: torch.Tensor
    scale: StepScale = field(default_factory=StepScale)
    statistics: GradientStatistics | None = None
    moved: torch.Tensor | None = None

    def train(self, gradient: torch.Tensor, source: RandomSource, *, unit: Unit, apply: bool) -> None:
        """One step of the golden model; ``moved`` keeps the ternary steps."""
        self.statistics = GradientStatistics.of(gradient)
        self.moved = torch.zeros_like(self.weights)
        if apply and self.scale.valid:
            shift = self.scale.shift(min(0, unit.log2_rate), unit.exponent)
            drawn = source.field(self.id, gradient.shape)
            self.weights, self.moved = ternary_update(self.weights, gradient, shift, drawn)

    def settle(self, unit: Unit) -> None:
        self.scale = self.scale.after(self.statistics, unit.exponent)


@dataclass(frozen=True)
class Tile:
    """One job: outputs from ``o0``, window steps ``first .. first + steps - 1``, and the bias."""

    o0: int
    first: int
    steps: int
    bias: bool


class Layer:
    """A trained layer on an accelerator of ``config``; its images lie in rows from ``base`` on."""

    def __init__(
        self, config: AcceleratorConfig, shape: Shape, rng: np.random.Generator, *, ids: tuple[int, int]
    ) -> None:
        self.config, self.shape = config, shape
        corners = rng.choice([-127, 127], shape.weights)
        weights = np.where(rng.random(shape.weights) < 0.3, corners, rng.integers(-127, 128, shape.weights))
        self.weight = Tensor(id=ids[0], weights=torch.from_numpy(weights.astype(np.int8)))
        self.bias = Tensor(id=ids[1], weights=torch.from_numpy(rng.integers(-127, 128, shape.outputs).astype(np.int8)))
        images = [len(rows) for rows in self._images()]
        self.base = int(rng.integers(0, 1000))
        self.transposed_base = self.base + images[0]
        self.bias_base = self.transposed_base + images[1]
        self.rows = sum(images)

    def _images(self) -> list[np.ndarray]:
        return self.place(self.weight.weights, self.bias.weights)

    def place(self, weights: torch.Tensor, bias: torch.Tensor) -> list[np.ndarray]:
        """Rows of the weight image, the transposed image and the bias image for values of the two tensors."""
        dense = dense_weights(weights.numpy(), self.shape.groups)
        errors = dense.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        slices = self.config.slices
        return [weight_rows(dense, slices), weight_rows(errors, slices), vector_rows(bias.numpy())]

    def memory(self) -> dict[int, list[int]]:
        """Rows by address, as the golden weights say."""
        return {self.base + i: row.tolist() for i, row in enumerate(np.concatenate(self._images()))}

    def moved_rows(self) -> set[int]:
        """Addresses of the rows that the last golden step moves."""
        forward, transposed, bias = self.place(self.weight.moved, self.bias.moved)
        if not self.shape.transposed:
            transposed = np.zeros_like(transposed)
        moved = np.concatenate([forward, transposed, bias if self.shape.bias else np.zeros_like(bias)]).any(1)
        return {self.base + int(i) for i in np.flatnonzero(moved)}

    def tiles(self, steps_per_job: int) -> Iterator[Tile]:
        """The jobs of one training step, in the firmware's order."""
        total = -(-self.shape.inputs // BLOCK) * self.shape.kh * self.shape.kw
        for o0 in range(0, self.shape.outputs, self.config.slices):
            for first in range(0, total, steps_per_job):
                steps = min(steps_per_job, total - first)
                yield Tile(o0, first, steps, self.shape.bias and first + steps == total)

    def job(self, tile: Tile, *, apply: bool) -> dict[str, int]:
        """The update job of a tile, from the definitions in :class:`respin.rtl.jobs.UpdateJob`."""
        shape, slices, taps = self.shape, self.config.slices, self.shape.kh * self.shape.kw
        group_out, group_in = shape.outputs // shape.groups, shape.inputs // shape.groups
        block, tap = divmod(tile.first, taps)
        k0 = block * BLOCK
        blocks_in, blocks_out = -(-shape.inputs // BLOCK), -(-shape.outputs // BLOCK)
        stride = blocks_out * taps * slices
        return {
            "base": self.base + (tile.o0 // slices * blocks_in * taps + tile.first) * slices,
            "transposed": int(shape.transposed),
            "transposed_base": self.transposed_base
            + k0 // slices * stride
            + (tile.o0 // BLOCK * taps + taps - 1 - tap) * slices,
            "transposed_stride": stride,
            "bias": int(tile.bias),
            "bias_base": self.bias_base + tile.o0 // BLOCK,
            "steps": tile.steps,
            "taps": taps,
            "tap0": tap,
            "o0": tile.o0,
            "outputs": shape.outputs,
            "index": (tile.o0 - tile.o0 // group_out) * group_in * taps + k0 * taps,
            "index_stride": group_in * taps,
            "group_out": group_out,
            "o_group": tile.o0 // group_out,
            "o_offset": tile.o0 % group_out,
            "group_in": group_in,
            "k_group": k0 // group_in,
            "k_offset": k0 % group_in,
            "tensor": self.weight.id,
            "bias_tensor": self.bias.id,
            "apply": int(apply),
            "bias_apply": int(apply),
        }

    def results(
        self, tile: Tile, gradient: torch.Tensor, bias: torch.Tensor, rng: np.random.Generator
    ) -> list[list[list[int]]]:
        """What the engine delivers for a tile; sums that are no gradient are noise, which must be ignored."""
        shape, slices, taps = self.shape, self.config.slices, self.shape.kh * self.shape.kw
        items = tile.steps * BLOCK + tile.bias
        groups = -(-items // self.config.pixels)
        sums = rng.integers(*INT32, (groups * self.config.pixels, slices))
        group_out, group_in = shape.outputs // shape.groups, shape.inputs // shape.groups
        flat = gradient.numpy().reshape(shape.outputs, group_in, taps)
        outputs = range(tile.o0, min(tile.o0 + slices, shape.outputs))
        for step in range(tile.steps):
            block, tap = divmod(tile.first + step, taps)
            for o in outputs:
                start = o // group_out * group_in
                for k in range(max(start, block * BLOCK), min(start + group_in, (block + 1) * BLOCK)):
                    sums[step * BLOCK + k % BLOCK, o - tile.o0] = flat[o, k - start, tap]
        if tile.bias:
            sums[items - 1, : len(outputs)] = bias.numpy()[tile.o0 : tile.o0 + slices]
        return sums.reshape(groups, self.config.pixels, slices).tolist()
