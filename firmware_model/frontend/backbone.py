# SPDX-License-Identifier: Apache-2.0
"""From a float graph to a backbone that Rep-Net modules and a new head can stand beside, and back.

A backbone is a line of convolutions, some runs of which their input is added to: the stem, blocks, the last layer,
whose map is averaged. A dense layer of the averages is the old classifier: a new head takes its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from respin.firmware_model.frontend.float_graph import (
    LINEAR,
    Clamp,
    FloatConvolution,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatSum,
)
from respin.firmware_model.frontend.refusal import refused
from respin.golden.backbones.description import (
    RELU6_LIMIT,
    Activation,
    Backbone,
    BackboneLayer,
    Block,
    InputFormat,
)
from respin.golden.backbones.recipe import NO_MODULES, Attachment, Recipe, RecipeError
from respin.golden.builder import FEATURES, HEAD, LOSS
from respin.golden.network import INPUT

TAKEN = (FEATURES, HEAD, LOSS)
"""Names that the head's tensors have."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Layers ``first`` to ``last`` of the line; ``sum`` is the node that adds their input, if one does."""

    first: int
    last: int
    sum: str | None = None


def to_backbone(graph: FloatGraph, input_format: InputFormat, recipe: Recipe = NO_MODULES) -> Backbone:
    """Return ``graph`` as a backbone.

    A recipe's block is a submodule's name (all layers whose names begin with it), a layer's, or the names of its first
    and last layer. Between the blocks that are added to their input, and those that the recipe names, whatever follows
    each other is one block.

    Parameters
    ----------
    graph:
        Fused, as :func:`respin.firmware_model.frontend.torch_import.import_module` returns it.
    input_format:
        How a pixel becomes its input.
    recipe:
        Which modules stand beside it.

    Raises
    ------
    RefusedError
        Naming a node for which a backbone has no place.
    RecipeError
        If a block of the recipe is none.
    """
    body = _without_classifier(graph)
    line, residual = _line(body)
    if len(line) < 2:
        raise refused(line[0].name, "a backbone of one convolution", "a stem, blocks, and a last one")
    layers = [_layer(node) for node in line]
    keys = [layer.name.replace(".", "_") for layer in layers]
    for at, layer in enumerate(layers):
        if layer.name in TAKEN or keys[at] in keys[:at]:
            others = f"names of their own, other than {', '.join(TAKEN)}"
            raise refused(layer.name, f"a layer called {layer.name}", others)
    spans = [_span(attachment, layers) for attachment in recipe.attachments]
    runs = _runs(layers, residual, spans, [str(attachment) for attachment in recipe.attachments])
    named = {
        span: attachment.block
        for span, attachment in zip(spans, recipe.attachments, strict=True)
        if isinstance(attachment.block, str)
    }
    return Backbone(
        name=graph.name,
        licence="the user's own",
        stem=layers[0],
        blocks=tuple(_block(run, layers, named.get(_Run(run.first, run.last))) for run in runs),
        last=layers[-1],
        input=input_format,
        recipe=recipe,
    )


def _without_classifier(graph: FloatGraph) -> Sequence[FloatNode]:
    """The nodes up to the last map: without a dense layer of averages and without the average."""
    nodes = list(graph.nodes)
    if nodes[-1].name != graph.output:
        raise refused(nodes[-1].name, "a node that the output does not need", "a line of layers")
    pools = {node.name for node in nodes if isinstance(node, FloatPool) and graph.shapes[node.name][1:] == (1, 1)}
    last = nodes[-1]
    if isinstance(last, FloatConvolution):
        if last.x in pools:
            nodes.pop()
        elif graph.shapes[last.name][1:] == (1, 1) != graph.shapes[last.x][1:]:
            raise refused(last.name, "a dense layer of a map", "one of the map's averages")
    if nodes[-1].name in pools:
        pool = nodes.pop()
        if not pool.clamp.open:
            raise refused(pool.name, "an activation of the averages", "averages alone")
    return nodes


def _line(nodes: Sequence[FloatNode]) -> tuple[list[FloatConvolution], list[_Run]]:
    """The convolutions one after the other, and the runs that their input is added to."""
    line: list[FloatConvolution] = []
    residual: list[_Run] = []
    x = INPUT
    # For each tensor that a later sum may add: how many convolutions come before it.
    starts: dict[str, int] = {}
    for node in nodes:
        match node:
            case FloatConvolution() if node.x == x:
                _check(node)
                line.append(node)
            case FloatSum(operands=(a, b)) if x in (a, b) and (b if x == a else a) in starts:
                start = starts[b if x == a else a]
                if not node.clamp.open:
                    raise refused(node.name, "an activation of a sum", "activations of convolutions")
                if residual and start <= residual[-1].last:
                    raise refused(node.name, "sums within each other", "sums of a block's input and its own layers")
                residual.append(_Run(first=start, last=len(line) - 1, sum=node.name))
            case _:
                kind = {FloatSum: "a sum or activation", FloatPool: "a pool"}.get(type(node), "a layer")
                raise refused(
                    node.name,
                    f"{kind} that is no part of a backbone",
                    "a line of convolutions with their activations, sums with a block's input, an average at the end",
                )
        x = node.name
        starts[x] = len(line)
    if not line or (residual and residual[-1].last == len(line) - 1):
        raise refused(nodes[-1].name if nodes else INPUT, "a last layer that is no convolution", "a convolution")
    return line, residual


def _check(node: FloatConvolution) -> None:
    inputs = node.weight.shape[1] * node.groups
    depthwise = node.groups == inputs == node.weight.shape[0]
    if node.groups > 1 and not depthwise:
        raise refused(node.name, f"a convolution of {node.groups} groups", "1 group, or depthwise")


def _layer(node: FloatConvolution) -> BackboneLayer:
    activation, limit = _activation(node)
    return BackboneLayer(
        name=node.name,
        weight=node.weight.to(torch.float32),
        bias=node.bias.to(torch.float32),
        stride=node.stride,
        padding=node.padding,
        groups=node.groups,
        activation=activation,
        limit=limit,
    )


def _activation(node: FloatConvolution) -> tuple[Activation, torch.Tensor | None]:
    """The activation, and where it cuts each channel if that is not at 6."""
    clamp = node.clamp
    if clamp.open:
        return "linear", None
    if bool((clamp.low == 0).all()):
        if bool((clamp.high == torch.inf).all()):
            return "relu", None
        if clamp.uniform:
            high = float(clamp.high)
            return "relu6", None if high == RELU6_LIMIT else torch.full((node.weight.shape[0],), high)
    ends = f"a clamp between {float(clamp.low.min())!r} and {float(clamp.high.max())!r}"
    raise refused(node.name, ends, "ReLU, or between 0 and a limit")


def _span(attachment: Attachment, layers: Sequence[BackboneLayer]) -> _Run:
    """The layers that a block of a recipe names."""
    names, block = [layer.name for layer in layers], attachment.block
    if isinstance(block, tuple):
        for name in block:
            if name not in names:
                raise RecipeError(f"{name} is no layer of the backbone; respin inspect lists them")
        first, last = (names.index(name) for name in block)
    else:
        found = [at for at, name in enumerate(names) if name == block or name.startswith(f"{block}.")]
        if not found:
            raise RecipeError(f"{block} is no layer of the backbone, nor a module of some; respin inspect lists them")
        first, last = found[0], found[-1]
    if not 0 < first <= last < len(layers) - 1:
        raise RecipeError(f"{attachment} must lie between the backbone's first layer and its last, in their order")
    return _Run(first=first, last=last)


def _runs(
    layers: Sequence[BackboneLayer], residual: Sequence[_Run], spans: Sequence[_Run], labels: Sequence[str]
) -> list[_Run]:
    """Blocks between stem and last layer: those that are added to their input, those that are named, what is left."""
    cuts = {1, len(layers) - 1}
    for run in (*residual, *spans):
        cuts |= {run.first, run.last + 1}
    bounds = sorted(cuts)
    sums = {(run.first, run.last): run.sum for run in residual}
    runs = [_Run(a, b - 1, sums.get((a, b - 1))) for a, b in pairwise(bounds)]
    whole = {(run.first, run.last) for run in runs}
    for label, span in zip(labels, spans, strict=True):
        cut = [run for run in residual if run.first <= span.last and span.first <= run.last]
        if (span.first, span.last) not in whole or any((run.first, run.last) not in whole for run in cut):
            own = " and ".join(f"{layers[run.first].name} to {layers[run.last].name}" for run in cut)
            raise RecipeError(f"{label} must be a whole block, or lie between blocks: there is {own or 'another one'}")
    return runs


def _block(run: _Run, layers: Sequence[BackboneLayer], name: str | None) -> Block:
    own = layers[run.first : run.last + 1]
    return Block(name=name or _name(run, layers), layers=tuple(own), residual=run.sum is not None)


def _name(run: _Run, layers: Sequence[BackboneLayer]) -> str:
    """The module that holds a run's layers and no others; else the first layer's name."""
    names = [layer.name for layer in layers]
    first, last = names[run.first].split("."), names[run.last].split(".")
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    module = ".".join(first[:shared])
    held = [at for at, name in enumerate(names) if name == module or name.startswith(f"{module}.")]
    return module if held == list(range(run.first, run.last + 1)) else names[run.first]


def to_graph(backbone: Backbone, size: tuple[int, int]) -> FloatGraph:
    """Return a backbone as a graph for images of ``size``: its averaged features, or its classifier's logits."""
    nodes: list[FloatNode] = []

    def add(layer: BackboneLayer, x: str) -> str:
        clamp = {"linear": LINEAR, "relu": Clamp.between(0.0, torch.inf)}.get(layer.activation)
        if layer.upper is not None:
            clamp = Clamp(low=torch.zeros_like(layer.upper), high=layer.upper)
        assert clamp is not None
        nodes.append(
            FloatConvolution(
                name=layer.name,
                x=x,
                weight=layer.weight,
                bias=layer.bias,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                clamp=clamp,
            )
        )
        return layer.name

    x = add(backbone.stem, INPUT)
    for block in backbone.blocks:
        y = x
        for layer in block.layers:
            y = add(layer, y)
        if block.residual:
            nodes.append(FloatSum(name=f"{block.name}.sum", operands=(y, x)))
            y = nodes[-1].name
        x = y
    x = add(backbone.last, x)
    height, width = size
    for layer in backbone.layers:
        height, width = layer.output_size((height, width))
    nodes.append(FloatPool(name=FEATURES, x=x, kernel=(height, width)))
    if backbone.classifier is not None:
        weight, bias = backbone.classifier.weight[:, :, None, None], backbone.classifier.bias
        nodes.append(FloatConvolution(name=HEAD, x=FEATURES, weight=weight, bias=bias))
    shape = (backbone.stem.inputs, *size)
    return FloatGraph(name=backbone.name, input_shape=shape, nodes=tuple(nodes), output=nodes[-1].name)
