# SPDX-License-Identifier: Apache-2.0
"""Norms into the convolutions before them, activations into the nodes before them: the same function in fewer nodes."""

from dataclasses import replace

from torch import Tensor

from respin.firmware_model.frontend.float_graph import (
    FloatAffine,
    FloatConvolution,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatResize,
    FloatSum,
)


def _is_activation(node: FloatNode) -> bool:
    return isinstance(node, FloatSum) and len(node.operands) == 1


def affine_convolution(affine: FloatAffine) -> FloatConvolution:
    """Return the depthwise convolution of one tap that equals ``affine``."""
    channels = affine.scale.shape[0]
    weight = affine.scale.reshape(channels, 1, 1, 1)
    return FloatConvolution(name=affine.name, x=affine.x, weight=weight, bias=affine.shift, groups=channels)


def _scaled(node: FloatConvolution, scale: Tensor, shift: Tensor) -> FloatConvolution:
    # As golden folds the norms of its own backbones, bit for bit.
    return replace(node, weight=node.weight * scale[:, None, None, None], bias=node.bias * scale + shift)


def fuse(graph: FloatGraph) -> FloatGraph:
    """Return ``graph`` of convolutions, sums, pools and resizes alone.

    A norm after a convolution that nothing else reads becomes its weights and bias, any other a depthwise convolution
    of one tap. An activation after a convolution, sum or pool that nothing else reads becomes its clamp; any other
    stays a sum of one tensor. What is joined keeps the name of its first node.
    """
    nodes: dict[str, FloatNode] = {}
    # What a tensor of the graph is called in the result.
    names: dict[str, str] = {}
    for node in graph.nodes:
        node = _renamed(node, names)
        before = nodes.get(node.reads[0])
        alone = before is not None and graph.readers[_original(names, before.name)] == 1
        joined: FloatNode | None = None
        if alone and isinstance(node, FloatAffine) and isinstance(before, FloatConvolution) and before.clamp.open:
            joined = _scaled(before, node.scale, node.shift)
        elif alone and _is_activation(node) and isinstance(before, FloatConvolution | FloatSum | FloatPool):
            assert isinstance(node, FloatSum)
            joined = replace(before, clamp=before.clamp.then(node.clamp))
        if joined is None:
            joined = affine_convolution(node) if isinstance(node, FloatAffine) else node
        else:
            names[node.name] = joined.name
        nodes[joined.name] = joined
    return FloatGraph(
        name=graph.name,
        input_shape=graph.input_shape,
        nodes=tuple(nodes.values()),
        output=names.get(graph.output, graph.output),
    )


def _original(names: dict[str, str], name: str) -> str:
    """Return the last tensor of the graph that ``name`` stands for: the one whose readers count."""
    joined = [tensor for tensor, made in names.items() if made == name]
    return joined[-1] if joined else name


def _renamed(node: FloatNode, names: dict[str, str]) -> FloatNode:
    match node:
        case FloatSum():
            return replace(node, operands=tuple(names.get(name, name) for name in node.operands))
        case FloatConvolution() | FloatAffine() | FloatPool() | FloatResize():
            return replace(node, x=names.get(node.x, node.x))
