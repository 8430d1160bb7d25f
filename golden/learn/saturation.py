# SPDX-License-Identifier: Apache-2.0
"""How much of a network's tensors lies at its clamp's limit over the last epoch of a training.

Scales are fixed when a network is built, with head room over what calibration saw. What trains may outgrow it; this
says how far it did.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from respin.golden.network import AveragePool, Convolution, IntegerNetwork, Layer, Merge, needs_error
from respin.golden.trainer import StepRecord

KINDS = {
    "sum": "merges",
    "rep.first": "modules' first convolutions",
    "rep.last": "modules' last convolutions",
    "features": "features",
    "logits": "logits",
}
"""Kinds of tensors that are watched, by the end of their names, as :mod:`respin.golden.builder` gives them."""


def kind_of(name: str) -> str | None:
    """Return the key in :data:`KINDS` of the tensor ``name``, None if it is not watched."""
    return next((ending for ending in KINDS if f".{name}".endswith(f".{ending}")), None)


class LearningSaturation:
    """Counts elements at a limit; of a tensor that a ReLU makes only the upper limit counts.

    What is before everything that learns is the same in every epoch and counted as it is computed, once for each image;
    the rest in the steps of the last epoch.

    Parameters
    ----------
    network:
        What is watched.
    first_step:
        Where the last epoch begins.
    """

    def __init__(self, network: IntegerNetwork, *, first_step: int) -> None:
        self._first_step = first_step
        learning = needs_error(network.layers)
        watched = [layer for layer in network.layers if kind_of(layer.name) is not None]
        self._learning = {layer.name: _limits(layer) for layer in watched if layer.name in learning}
        self._frozen = {layer.name: _limits(layer) for layer in watched if layer.name not in learning}
        self._at_limit: dict[str, int] = {}
        self._elements: dict[str, int] = {}

    def count(self, record: StepRecord) -> None:
        """Count a step, if it is of the last epoch."""
        if record.before.step >= self._first_step:
            self._count(self._learning, record.activations.tensors)

    def count_frozen(self, tensors: Mapping[str, Tensor]) -> None:
        """Count what :meth:`IntegerNetwork.prepare` computed of some images."""
        self._count(self._frozen, tensors)

    def _count(self, limits: Mapping[str, tuple[Tensor, ...]], tensors: Mapping[str, Tensor]) -> None:
        for name, of_tensor in limits.items():
            x = tensors[name]
            at_limit = sum(int(torch.count_nonzero(x == limit)) for limit in of_tensor)
            self._at_limit[name] = self._at_limit.get(name, 0) + at_limit
            self._elements[name] = self._elements.get(name, 0) + x.numel()

    def figures(self) -> dict[str, float]:
        """Return the share of each tensor's elements that lay at a limit."""
        return {name: self._at_limit[name] / count for name, count in self._elements.items()}


def _limits(layer: Layer) -> tuple[Tensor, ...]:
    """The values at which a tensor has been cut off, each a number or one for each channel."""
    match layer:
        case Merge():
            return torch.tensor(layer.lo), torch.tensor(layer.hi)
        case Convolution() | AveragePool():
            table = layer.table
            sides = (table.lo, table.hi) if table.signed else (table.hi,)
            return tuple(_of_channels(side) for side in sides)
    raise ValueError(f"{layer.name} cuts nothing off")


def _of_channels(limits: Tensor) -> Tensor:
    """One number if it is the same in all channels: that compares fastest."""
    return limits[0] if bool((limits == limits[0]).all()) else limits[:, None, None]
