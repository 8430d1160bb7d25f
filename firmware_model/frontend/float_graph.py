# SPDX-License-Identifier: Apache-2.0
"""A network in float as a few kinds of nodes: what a module is brought to before it is quantised.

A node's name is the name of the tensor that it makes; the network's input is called as in
:mod:`respin.golden.network`. Tensors are maps (N, C, H, W); a vector is a map of one pixel.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from respin.firmware_model.frontend.refusal import bounds_of
from respin.golden.backbones.description import Sides
from respin.golden.inference import Shape
from respin.golden.network import INPUT
from respin.golden.ops import output_size

Watch = Callable[[str, Tensor, Tensor], None]
"""Shown a tensor's name, its values before the clamp and after it."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Clamp:
    """An activation: the identity between ``low`` and ``high``, each (C,) or one number; infinities leave a side open.

    ReLU is 0 and infinity, ReLU6 is 0 and 6.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def between(cls, low: float, high: float) -> "Clamp":
        """The same clamp for every channel."""
        return cls(low=torch.tensor(low, dtype=torch.float64), high=torch.tensor(high, dtype=torch.float64))

    @property
    def uniform(self) -> bool:
        """Whether every channel has the same."""
        return self.low.numel() == 1 and self.high.numel() == 1

    @property
    def open(self) -> bool:
        """Whether it changes nothing."""
        return bool((self.low == -torch.inf).all() and (self.high == torch.inf).all())

    def then(self, after: "Clamp") -> "Clamp":
        """Return the clamp that equals this one followed by ``after``."""
        low = torch.maximum(self.low, after.low)
        return Clamp(
            low=torch.minimum(low, after.high), high=torch.maximum(torch.minimum(self.high, after.high), after.low)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Clamp ``x`` (N, C, H, W)."""
        if self.open:
            return x
        low, high = (side.to(x.dtype).reshape(-1, 1, 1) for side in (self.low, self.high))
        return x.maximum(low).minimum(high)


LINEAR = Clamp.between(-torch.inf, torch.inf)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FloatConvolution:
    """A convolution and its activation; a linear layer is one whose kernel is the whole map.

    ``weight`` is (O, I / groups, kh, kw), ``bias`` (O,).
    """

    name: str
    x: str
    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: Sides = (0, 0, 0, 0)
    groups: int = 1
    clamp: Clamp = LINEAR

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensor that it reads."""
        return (self.x,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (C, H, W) of what it makes."""
        (channels, height, width), (kh, kw) = inputs[0], self.weight.shape[2:]
        if self.weight.shape[1] * self.groups != channels:
            raise ValueError(f"it must read {self.weight.shape[1] * self.groups} channels, not {channels}")
        return self.weight.shape[0], *output_size((height, width), (kh, kw), self.stride, self.padding)

    def linear(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of float inputs before its clamp."""
        top, bottom, left, right = self.padding
        x, around = inputs[0], (top, left)
        if (top, left) != (bottom, right):
            x, around = functional.pad(x, (left, right, top, bottom)), (0, 0)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return functional.conv2d(x, weight, bias, stride=self.stride, padding=around, groups=self.groups)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FloatAffine:
    """``x * scale + shift``, per channel (C,): a norm on its own."""

    name: str
    x: str
    scale: Tensor
    shift: Tensor

    @property
    def clamp(self) -> Clamp:
        """It has none."""
        return LINEAR

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensor that it reads."""
        return (self.x,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (C, H, W) of what it makes."""
        if self.scale.shape[0] != inputs[0][0]:
            raise ValueError(f"it must read {self.scale.shape[0]} channels, not {inputs[0][0]}")
        return inputs[0]

    def linear(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of float inputs before its clamp."""
        scale, shift = (side.to(inputs[0].dtype).reshape(-1, 1, 1) for side in (self.scale, self.shift))
        return inputs[0] * scale + shift


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FloatSum:
    """The sum of one to four tensors of one shape and its activation; of one it is an activation on its own."""

    name: str
    operands: tuple[str, ...]
    clamp: Clamp = LINEAR

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors that it reads."""
        return self.operands

    def shape(self, *inputs: Shape) -> Shape:
        """Return (C, H, W) of what it makes."""
        if len(set(inputs)) > 1:
            raise ValueError(f"its operands must have one shape, not {' and '.join(str(shape) for shape in inputs)}")
        return inputs[0]

    def linear(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of float inputs before its clamp."""
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FloatPool:
    """Averages over windows of ``kernel``, side by side, and their activation."""

    name: str
    x: str
    kernel: tuple[int, int]
    clamp: Clamp = LINEAR

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensor that it reads."""
        return (self.x,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (C, H, W) of what it makes."""
        channels, height, width = inputs[0]
        if self.kernel[0] > height or self.kernel[1] > width:
            raise ValueError(f"its window must be at most the map {height, width!r}, not {self.kernel!r}")
        return channels, height // self.kernel[0], width // self.kernel[1]

    def linear(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of float inputs before its clamp."""
        return functional.avg_pool2d(inputs[0], self.kernel)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FloatResize:
    """The nearest element: ``floor(i * in / out)``."""

    name: str
    x: str
    size: tuple[int, int]

    @property
    def clamp(self) -> Clamp:
        """It has none."""
        return LINEAR

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensor that it reads."""
        return (self.x,)

    def shape(self, *inputs: Shape) -> Shape:
        """Return (C, H, W) of what it makes."""
        return inputs[0][0], *self.size

    def linear(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of float inputs before its clamp."""
        x = inputs[0]
        rows, columns = (
            torch.arange(out) * size // out for out, size in zip(self.size, (x.shape[2], x.shape[3]), strict=True)
        )
        return x.index_select(2, rows).index_select(3, columns)


FloatNode = FloatConvolution | FloatAffine | FloatSum | FloatPool | FloatResize


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatGraph:
    """Nodes in order of execution.

    Parameters
    ----------
    name:
        What the network is called.
    input_shape:
        (C, H, W) of an image.
    nodes:
        Each reads the input or what a node before it makes.
    output:
        The tensor that the network is for.

    Raises
    ------
    RefusedError
        Naming a node whose shapes do not fit.
    """

    name: str
    input_shape: Shape
    nodes: tuple[FloatNode, ...]
    output: str

    def __post_init__(self) -> None:
        made = {INPUT}
        for node in self.nodes:
            missing = set(node.reads) - made
            if missing or node.name in made:
                raise ValueError(f"{node.name} is made twice, or reads {sorted(missing)!r}, which nothing makes")
            made.add(node.name)
        if self.output not in made:
            raise ValueError(f"the output is {self.output}, which no node makes")
        _ = self.shapes

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """(C, H, W) of every tensor."""
        shapes = {INPUT: self.input_shape}
        for node in self.nodes:
            with bounds_of(node.name):
                shapes[node.name] = node.shape(*(shapes[name] for name in node.reads))
        return shapes

    @cached_property
    def readers(self) -> Counter[str]:
        """How often each tensor is read; the output once more."""
        return Counter([name for node in self.nodes for name in node.reads] + [self.output])

    def run(self, x: Tensor, watch: Watch | None = None) -> Tensor:
        """Return the output (N, C, H, W) for float input ``x``; ``watch`` is shown every tensor."""
        return run_nodes(self.nodes, x, self.output, watch)


def run_nodes(nodes: Sequence[FloatNode], x: Tensor, output: str, watch: Watch | None = None) -> Tensor:
    """Run ``nodes`` in order on the input ``x``; tensors that nothing reads any more are let go."""
    last = {name: number for number, node in enumerate(nodes) for name in node.reads}
    tensors = {INPUT: x}
    for number, node in enumerate(nodes):
        before = node.linear(*(tensors[name] for name in node.reads))
        y = node.clamp(before)
        if watch is not None:
            watch(node.name, before, y)
        tensors[node.name] = y
        for name in [name for name in tensors if last.get(name, number) <= number and name not in (output, node.name)]:
            del tensors[name]
    return tensors[output]
