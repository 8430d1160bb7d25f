# SPDX-License-Identifier: Apache-2.0
"""Channels of a graph brought to like ranges: what :mod:`respin.golden.backbones.equalise` does, for any graph.

Tensors that are added, pooled or resized share their channels' factors; the input, the output and whatever a clamp cuts
for all channels alike keep 1.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from respin.firmware_model.frontend.float_graph import (
    Clamp,
    FloatConvolution,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatResize,
    FloatSum,
)
from respin.golden.backbones.equalise import Strength, channel_factor
from respin.golden.network import INPUT


def equalise_graph(
    graph: FloatGraph, ranges: Mapping[str, Tensor], strength: Strength
) -> tuple[FloatGraph, dict[str, Tensor]]:
    """Return the same function with like channels, and what each tensor's channels (C,) are divided by.

    Parameters
    ----------
    graph:
        Fused: without norms of their own.
    ranges:
        Largest magnitude (C,) of each channel, by the names of tensors, the input's too.
    strength:
        How far: before depthwise layers, between others, and where tensors are added.
    """
    factors = _factors(graph, ranges, strength)
    nodes: list[FloatNode] = []
    for node in graph.nodes:
        if isinstance(node, FloatConvolution):
            nodes.append(_scaled(node, factors[node.x], factors[node.name]))
        else:
            nodes.append(node)
    changed = FloatGraph(name=graph.name, input_shape=graph.input_shape, nodes=tuple(nodes), output=graph.output)
    return changed, factors


def _scaled(node: FloatConvolution, inputs: Tensor, outputs: Tensor) -> FloatConvolution:
    # Input channel i of output o is i of o's group.
    columns = inputs.reshape(node.groups, -1).repeat_interleave(node.weight.shape[0] // node.groups, 0)
    return replace(
        node,
        weight=node.weight * columns[:, :, None, None] / outputs[:, None, None, None],
        bias=node.bias / outputs,
        clamp=node.clamp if node.clamp.open else Clamp(low=node.clamp.low / outputs, high=node.clamp.high / outputs),
    )


def _factors(graph: FloatGraph, ranges: Mapping[str, Tensor], strength: Strength) -> dict[str, Tensor]:
    group = _groups(graph)
    members: dict[str, list[str]] = {}
    for name, first in group.items():
        members.setdefault(first, []).append(name)
    fixed = {group[INPUT], group[graph.output]}
    added: set[str] = set()
    dense: set[str] = set()
    for node in graph.nodes:
        match node:
            case FloatSum() | FloatPool():
                if len(node.reads) > 1:
                    added.add(group[node.name])
                if not _scales(node.clamp):
                    fixed.add(group[node.name])
            case FloatConvolution():
                if node.groups == 1 or node.weight.shape[1] > 1:
                    dense.add(group[node.x])
            case _:
                pass
    factors: dict[str, Tensor] = {}
    for first, names in members.items():
        if first in fixed:
            shared = torch.ones_like(ranges[first])
        else:
            power = strength.between if first in added else strength.hidden if first in dense else strength.free
            shared = channel_factor([ranges[name] for name in names], power)
        factors |= dict.fromkeys(names, shared)
    return factors


def _scales(clamp: Clamp) -> bool:
    """Whether a clamp is the same for a tensor in other units: one of 0 and infinities is."""
    sides = torch.stack([clamp.low, clamp.high])
    return bool(((sides == 0) | torch.isinf(sides)).all())


def _groups(graph: FloatGraph) -> dict[str, str]:
    """Return for each tensor the first of those whose factors it shares."""
    group = {INPUT: INPUT}
    for node in graph.nodes:
        group[node.name] = node.name
        if isinstance(node, FloatSum | FloatPool | FloatResize):
            firsts = {group[name] for name in (*node.reads, node.name)}
            # The first in order of execution, so that it does not hang on the order of a set.
            kept = next(name for name in group if name in firsts)
            group = {name: kept if first in firsts else first for name, first in group.items()}
    return group
