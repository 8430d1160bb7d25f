# SPDX-License-Identifier: Apache-2.0
"""Channels brought to like ranges, so that one scale serves a whole tensor: the same function in other numbers.

A channel divided by a factor where it is made is multiplied by it in the weights that read it (Nagel et al., *Data-Free
Quantization Through Weight Equalization and Bias Correction*, ICCV 2019). A depthwise layer has a weight scale for each
channel, and so has the average pool's requantisation: there it is free. Elsewhere it moves range from the activations
into the columns of the next layer's weights, so the factor is a power below 1 of the range.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from respin.golden.backbones.description import Backbone, BackboneLayer, Block

SMALLEST_FACTOR = 2.0**-6
"""A channel is enlarged by no more than 64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strength:
    """Powers of a channel's range that its factor is: before a depthwise layer or pool, after one, between blocks."""

    free: float = 1.0
    hidden: float = 0.5
    between: float = 0.5


def channel_factor(ranges: Sequence[Tensor], power: float) -> Tensor:
    """Return factors (C,), at most 1, from the ranges of tensors that must share them."""
    largest = torch.stack(list(ranges)).amax(0)
    share = largest / largest.max().clamp_min(1e-12)
    return torch.where(share > 0, share, 1.0).clamp_min(SMALLEST_FACTOR).pow(power)


def _scaled(layer: BackboneLayer, *, inputs: Tensor | None, outputs: Tensor) -> BackboneLayer:
    """Return the layer for inputs divided by ``inputs``, with outputs divided by ``outputs``."""
    weight = layer.weight
    if inputs is not None:
        columns = inputs[:, None] if layer.groups > 1 else inputs[None, :]
        weight = weight * columns[:, :, None, None]
    return replace(
        layer,
        weight=weight / outputs[:, None, None, None],
        bias=layer.bias / outputs,
        limit=None if layer.upper is None else layer.upper / outputs,
    )


def equalise(
    backbone: Backbone, ranges: Mapping[str, Tensor], strength: Strength
) -> tuple[Backbone, dict[str, Tensor]]:
    """Return the same backbone with like channels, and the ranges of its tensors.

    Parameters
    ----------
    backbone:
        Its layers are dense or depthwise, and each block's output is read by dense layers only.
    ranges:
        Largest magnitude of each channel, by the names of layers and ``block.sum`` of residual ones.
    strength:
        How far.
    """
    factors = _factors(backbone, ranges, strength)
    stem = _scaled(backbone.stem, inputs=None, outputs=factors[backbone.stem.name])
    x = factors[backbone.stem.name]
    blocks = []
    for block in backbone.blocks:
        layers = []
        for layer in block.layers:
            layers.append(_scaled(layer, inputs=x, outputs=factors[layer.name]))
            x = factors[layer.name]
        blocks.append(replace(block, layers=tuple(layers)))
    last = _scaled(backbone.last, inputs=x, outputs=factors[backbone.last.name])
    changed = replace(backbone, stem=stem, blocks=tuple(blocks), last=last)
    made = factors | {f"{block.name}.sum": factors[block.layers[-1].name] for block in backbone.blocks}
    return changed, {name: values / made[name] for name, values in ranges.items()}


def _factors(backbone: Backbone, ranges: Mapping[str, Tensor], strength: Strength) -> dict[str, Tensor]:
    factors: dict[str, Tensor] = {}
    flow = [backbone.stem, *(layer for block in backbone.blocks for layer in block.layers), backbone.last]
    ends = {block.layers[-1].name for block in backbone.blocks}
    for layer, reader in zip(flow, [*flow[1:], None], strict=True):
        if layer.name not in ends:
            free = reader is None or reader.groups > 1
            factors[layer.name] = channel_factor([ranges[layer.name]], strength.free if free else strength.hidden)
    for chain in _chains(backbone.blocks):
        names = [block.layers[-1].name for block in chain]
        sums = [f"{block.name}.sum" for block in chain if block.residual]
        shared = channel_factor([ranges[name] for name in (*names, *sums)], strength.between)
        factors |= dict.fromkeys(names, shared)
    return factors


def _chains(blocks: Sequence[Block]) -> list[list[Block]]:
    """Return runs of blocks whose outputs are added to each other: they share their factors."""
    chains: list[list[Block]] = []
    for block in blocks:
        if block.residual and chains:
            chains[-1].append(block)
        else:
            chains.append([block])
    return chains
