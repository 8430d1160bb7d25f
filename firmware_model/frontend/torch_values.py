# SPDX-License-Identifier: Apache-2.0
"""What a value of a traced PyTorch program is while it is read, and a call of an operator with such values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx import Node

from respin.firmware_model.frontend.float_graph import FloatNode
from respin.firmware_model.frontend.refusal import refused
from respin.golden.backbones.description import Sides
from respin.golden.inference import Shape

FOUR = 4
"""Dimensions of a map's tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """A tensor of the module: the graph's tensor, padding that waits for its convolution, and whether it is (N, C)."""

    name: str
    shape: Shape
    pad: Sides = (0, 0, 0, 0)
    flat: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """Its dimensions but for the batch."""
        channels, height, width = self.shape
        return (channels * height * width,) if self.flat else self.shape


class Refused:
    """What a refused node makes: whatever reads it is not refused again."""


Value = Map | Refused | Tensor | int | float | bool | str | None | list[Any] | tuple[Any, ...]


def _contains(value: Any, kind: type) -> bool:
    if isinstance(value, list | tuple):
        return any(_contains(item, kind) for item in value)
    if isinstance(value, dict):
        return any(_contains(item, kind) for item in value.values())
    return isinstance(value, kind)


def has_map(value: Any) -> bool:
    """Whether a tensor of the graph is in ``value``, however deep."""
    return _contains(value, Map)


def has_refused(value: Any) -> bool:
    """Whether what a refused node makes is in ``value``, however deep."""
    return _contains(value, Refused)


class Made(Protocol):
    """The float graph as far as it is made."""

    nodes: list[FloatNode]

    def new_name(self, label: str, node: Node) -> str:
        """Return a name that no tensor has."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A node with its arguments, and how it becomes nodes of the graph."""

    graph: Made
    node: Node
    label: str
    arguments: dict[str, Any]

    def map(self, argument: str, *, padded: bool = False) -> Map:
        """Return an argument that must depend on the image."""
        value = self.arguments[argument]
        if not isinstance(value, Map):
            raise refused(self.label, f"a constant {argument}", "one that depends on the image")
        if any(value.pad) and not padded:
            raise refused(
                self.label, "a pad before something that is no convolution", "pads that convolutions alone read"
            )
        return value

    def constant(self, argument: str) -> Tensor | None:
        """Return an argument that must be a constant tensor or None."""
        value = self.arguments[argument]
        if isinstance(value, Map):
            raise refused(self.label, f"a {argument} that depends on the image", f"a constant {argument}")
        if value is not None and not isinstance(value, Tensor):
            raise refused(self.label, f"a {argument} of type {type(value).__name__}", "tensors")
        if value is not None and not value.is_floating_point():
            raise refused(self.label, f"a {argument} of {str(value.dtype).removeprefix('torch.')}", "floating point")
        if value is not None and not bool(torch.isfinite(value).all()):
            raise refused(self.label, f"a {argument} that is not finite", "finite numbers")
        return value

    def weight(self) -> Tensor:
        """Return the constant weight."""
        value = self.constant("weight")
        if value is None:
            raise refused(self.label, "no weight", "a constant weight")
        return value

    def new_name(self) -> str:
        """Return a name for what the node makes."""
        return self.graph.new_name(self.label, self.node)

    def add(self, node: FloatNode, *, flat: bool, inputs: Sequence[Map]) -> Map:
        """Append a node; returns what it makes."""
        shape = node.shape(*(x.shape for x in inputs))
        self.graph.nodes.append(node)
        return Map(name=node.name, shape=shape, flat=flat)


def pair(call: Call, what: str, value: Any) -> tuple[int, int]:
    """Return a size of one or two numbers as (height, width)."""
    sides = [value] if isinstance(value, int) else list(value)
    if any(not isinstance(side, int) for side in sides):
        raise refused(call.label, f"a {what} that depends on the image", f"a constant {what}")
    return (sides[0], sides[0]) if len(sides) == 1 else (sides[0], sides[1])
