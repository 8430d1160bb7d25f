# SPDX-License-Identifier: Apache-2.0
"""The backward edges of a network, from what its layers read and which of them learn.

An error tensor is called ``error.`` and the name of the layer at whose sums it is (at a merge: at its result). Edges
into a convolution or a pool carry that layer's output ratio, and its mask where there is one. An upsample has no error
of its own: the edge into the layer before it passes through. Where several consumers meet, each that is no merge first
makes a tensor of its own, ``error.layer.consumer``.

Every edge rounds stochastically: most errors of a batch are small beside its largest, and rounded to nearest they would
be lost on the way down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.network import (
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    Layer,
    Merge,
    Upsample,
    learns,
    needs_error,
    reads,
)
from respin.golden.ops.errors import Multiplier
from respin.golden.quantise import common_multipliers

NewTensor = Callable[[str], int]
"""Returns the id of a new tensor that draws random numbers or has a scale."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Arrival:
    """Errors that come to a tensor from one consumer: the layer they pass through, and what they are worth."""

    error: str
    through: str | None
    ratio: float


class _Edges:
    """Collects the edges, from the loss down."""

    def __init__(self, layers: Sequence[Layer], loss: str, logits: str, new_tensor: NewTensor) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.consumers: dict[str, list[Layer]] = {}
        for layer in layers:
            for name in reads(layer):
                self.consumers.setdefault(name, []).append(layer)
        self.needed = needs_error(layers)
        self.loss, self.logits = loss, logits
        self.new_tensor = new_tensor
        self.edges: list[Edge | FanInEdge] = []

    def error_of(self, name: str) -> str:
        return self.loss if name == self.logits else f"error.{name}"

    def arrivals(self, name: str) -> list[_Arrival]:
        """What comes to the tensor ``name`` from its consumers that have errors."""
        found = []
        for consumer in self.consumers.get(name, ()):
            if consumer.name not in self.needed:
                continue
            if isinstance(consumer, Merge):
                found += [
                    _Arrival(error=self.error_of(consumer.name), through=None, ratio=operand.mult / 2**consumer.shift)
                    for operand in consumer.operands
                    if operand.x == name
                ]
            elif isinstance(consumer, Upsample):
                (above,) = self.arrivals(consumer.name)
                if above.through is not None:
                    raise ValueError(f"{consumer.name} must be read by merges only")
                found.append(_Arrival(error=above.error, through=consumer.name, ratio=above.ratio))
            else:
                found.append(_Arrival(error=self.error_of(consumer.name), through=consumer.name, ratio=1.0))
        return found

    def add(self, layer: Layer) -> None:
        """Make the error of ``layer``."""
        arrivals = self.arrivals(layer.name)
        if not arrivals:
            raise ValueError(f"no error comes to {layer.name}: nothing that reads it leads to the loss")
        name = self.error_of(layer.name)
        own = layer.table.ratio if isinstance(layer, Convolution | AveragePool) else None
        mask = layer.name if isinstance(layer, Convolution) and layer.keeps_mask else None
        if len(arrivals) == 1:
            (arrival,) = arrivals
            (mult,), fraction = _multipliers(own, [arrival.ratio])
            self.edges.append(
                Edge(
                    name=name,
                    tensor=self.new_tensor(name),
                    error=arrival.error,
                    through=arrival.through,
                    mult=mult,
                    fraction=fraction,
                    mask=mask,
                    stochastic=True,
                )
            )
            return
        errors = [self._through(layer.name, arrival) for arrival in arrivals]
        mults, fraction = _multipliers(own, [arrival.ratio for arrival in arrivals])
        self.edges.append(
            FanInEdge(
                name=name,
                tensor=self.new_tensor(name),
                operands=tuple(zip(errors, mults, strict=True)),
                fraction=fraction,
                mask=mask,
                stochastic=True,
            )
        )

    def _through(self, name: str, arrival: _Arrival) -> str:
        """Make the tensor of errors that pass a consumer before others are added; a merge passes them as they are."""
        if arrival.through is None:
            return arrival.error
        partial = f"error.{name}.{arrival.through}"
        self.edges.append(
            Edge(
                name=partial,
                tensor=self.new_tensor(partial),
                error=arrival.error,
                through=arrival.through,
                stochastic=True,
            )
        )
        return partial


def _multipliers(own: Tensor | None, ratios: Sequence[float]) -> tuple[list[Multiplier], int]:
    """Multipliers with one fraction for each of ``ratios`` times the layer's own ratio, per channel where that is."""
    columns = [(torch.ones(1, dtype=torch.float64) if own is None else own) * ratio for ratio in ratios]
    mult, fraction = common_multipliers(torch.cat(columns))
    parts = torch.split(mult, [len(column) for column in columns])
    return [int(part[0]) if bool((part == part[0]).all()) else part for part in parts], fraction


def backward(
    layers: Sequence[Layer], *, loss: str, logits: str, new_tensor: NewTensor
) -> tuple[tuple[Edge | FanInEdge, ...], tuple[Gradient, ...]]:
    """Return the edges, from the loss down, and the gradients of the layers that learn.

    Parameters
    ----------
    layers:
        In order of execution.
    loss, logits:
        The loss's error tensor, and the layer at whose sums it is.
    new_tensor:
        Gives ids to the edges.

    Raises
    ------
    ValueError
        If a layer learns whose output does not lead to the loss.
    """
    collected = _Edges(layers, loss, logits, new_tensor)
    gradients = []
    for layer in reversed(layers):
        if layer.name not in collected.needed or isinstance(layer, Upsample):
            continue
        if layer.name != logits:
            collected.add(layer)
        if learns(layer):
            gradients.append(Gradient(layer=layer.name, error=collected.error_of(layer.name)))
    return tuple(collected.edges), tuple(gradients)
