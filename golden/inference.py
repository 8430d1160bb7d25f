# SPDX-License-Identifier: Apache-2.0
"""A frozen network of integer layers: what a user's network becomes, and the reference of what a program of it gives.

The layers are those of :mod:`respin.golden.network`. A tensor may have a zero point here: it is folded into biases, the
padding and the zero points of merges, so that the layers themselves need to know nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.network import (
    INPUT,
    Activations,
    Convolution,
    Layer,
    convolution_called,
    layer_called,
    reads,
    run_layers,
)
from respin.golden.ops import Padding, conv2d
from respin.golden.ops.checks import require_int, require_tensor

Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorFormat:
    """What a tensor's integers are worth: ``scale * (q - zero_point)``, int8 if ``signed``, else uint8."""

    scale: float
    zero_point: int = 0
    signed: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale must be positive and finite, not {self.scale!r}")
        require_int("zero_point", self.zero_point, self.low, self.high)

    @property
    def low(self) -> int:
        """Least integer."""
        return -128 if self.signed else 0

    @property
    def high(self) -> int:
        """Greatest integer."""
        return 127 if self.signed else 255

    def to_integer(self, x: Tensor) -> Tensor:
        """Return float ``x`` as integers; halves go to the even one, as in ONNX's QuantizeLinear."""
        levels = (torch.round(x / self.scale) + self.zero_point).clamp(self.low, self.high)
        return levels.to(torch.int8 if self.signed else torch.uint8)

    def to_float(self, q: Tensor) -> Tensor:
        """Return what integers ``q`` are worth, float64."""
        return (q.to(torch.float64) - self.zero_point) * self.scale


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class RawSums:
    """A convolution whose int32 sums, plus ``bias`` (O,), are the network's output: nothing requantises them.

    ``scale`` (O,) float64 is what a unit of a sum is worth; None where the model gives it none.
    """

    name: str
    x: str
    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: Padding = 0
    groups: int = 1
    pad_value: int = 0
    scale: Tensor | None = None

    def run(self, x: Tensor) -> Tensor:
        """Return the sums (N, O, H, W), int32, of the tensor that it reads."""
        sums = conv2d(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            zero_point=self.pad_value,
        )
        return (sums.to(torch.int64) + self.bias[:, None, None]).to(torch.int32)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class InferenceNetwork:
    """Integer layers in order of execution.

    Parameters
    ----------
    name:
        What the network is called.
    input_shape:
        (C, H, W) of an image.
    layers:
        In order of execution.
    formats:
        What the integers of the input are worth, and those of every layer of which the model says it.
    output:
        The tensor that the network is for: a layer's, or that of ``sums``.
    sums:
        A last convolution whose int32 sums are the output.

    Raises
    ------
    ValueError
        If a layer reads what none before it makes, a name is made twice, or nothing makes the output.
    """

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    formats: Mapping[str, TensorFormat]
    output: str
    sums: RawSums | None = None

    def __post_init__(self) -> None:
        made = {INPUT}
        steps = [(layer.name, reads(layer)) for layer in self.layers]
        if self.sums is not None:
            steps.append((self.sums.name, (self.sums.x,)))
        for step, sources in steps:
            for name in sources:
                if name not in made:
                    raise ValueError(f"{step} reads {name}, which no layer before it makes")
            if step in made:
                raise ValueError(f"{step} is made twice")
            made.add(step)
        if self.output not in made or self.output == INPUT:
            raise ValueError(f"the output is {self.output}, which no layer makes")
        if self.sums is not None and self.output != self.sums.name:
            raise ValueError(f"the output must be the raw sums {self.sums.name}, not {self.output}")
        if INPUT not in self.formats:
            raise ValueError("formats must have the input's")
        for name in self.formats:
            if name not in made:
                raise ValueError(f"the format of {name} belongs to no tensor")

    def forward(self, x: Tensor) -> Activations:
        """Run the layers on ``x`` (N, C, H, W), int8 or uint8; returns every 8-bit tensor."""
        require_tensor("x", x, (torch.int8, torch.uint8), 4)
        return run_layers(self.layers, {INPUT: x}, {}, masks=False)

    def run(self, x: Tensor) -> Tensor:
        """Return the output (N, C, H, W) of ``x``: int8, uint8, or int32 where it is raw sums."""
        tensors = self.forward(x).tensors
        return tensors[self.output] if self.sums is None else self.sums.run(tensors[self.sums.x])

    def run_real(self, x: Tensor) -> Tensor:
        """Return what the output of the float input ``x`` (N, C, H, W) is worth, float64."""
        result = self.run(self.formats[INPUT].to_integer(x))
        if self.sums is None:
            return self.formats[self.output].to_float(result)
        if self.sums.scale is None:
            raise ValueError(f"the raw sums {self.sums.name} are worth nothing that the model says")
        return result.to(torch.float64) * self.sums.scale[:, None, None]

    # What it shares with a network that learns: nothing of it does.

    @property
    def input_dtype(self) -> torch.dtype:
        """What its input holds: ``torch.int8`` or ``torch.uint8``."""
        return torch.int8 if self.signed_input else torch.uint8

    @property
    def loss(self) -> None:
        """None."""

    @property
    def edges(self) -> tuple[()]:
        """None."""
        return ()

    @property
    def gradients(self) -> tuple[()]:
        """None."""
        return ()

    @property
    def trained(self) -> tuple[()]:
        """No layer learns."""
        return ()

    def layer(self, name: str) -> Layer:
        """Return the layer called ``name``."""
        return layer_called(self.layers, name)

    def convolution(self, name: str) -> Convolution:
        """Return the convolution called ``name``."""
        return convolution_called(self.layers, name)

    @property
    def signed_input(self) -> bool:
        """Whether the input is int8; else it is uint8."""
        return self.formats[INPUT].signed

    def shapes(self) -> dict[str, Shape]:
        """Return (C, H, W) of every tensor, the input and the output included, from a run on zeros."""
        tensors = self.forward(torch.zeros((1, *self.input_shape), dtype=self.input_dtype)).tensors
        if self.sums is not None:
            tensors[self.sums.name] = self.sums.run(tensors[self.sums.x])
        return {name: (x.shape[1], x.shape[2], x.shape[3]) for name, x in tensors.items()}
