# SPDX-License-Identifier: Apache-2.0
r"""The demonstration's integer network: the digits backbone frozen as INT8, a Rep-Net module and a head that train.

::

    input -> stem -> depthwise -> pointwise --(+)-> reduce -> residual -(+)-> expand -> features -> logits
               \                               |         \_______________/
                rep_pool -> rep_first -> rep_last -> rep_up

Sums in brackets are the merges ``joined`` and ``merged``. Errors pass back from the logits to ``rep_first``.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from respin.golden.digits import CLASSES, FEATURES, LEVELS, REP_MODULE, SIDE, STEP, Backbone, pack_windows, to_unit
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    MergeInput,
    Trained,
    Upsample,
    initial_parameters,
    run_layers,
)
from respin.golden.ops import (
    LossParameters,
    avg_pool,
    conv2d,
    prove_convolution,
    prove_error,
    prove_trained_convolution,
    prove_weight_gradient,
)
from respin.golden.quantise import (
    INT8_MAX,
    UINT8_MAX,
    common_multipliers,
    fold_norm,
    quantise_weight,
    requantiser,
)
from respin.golden.repnet import weight_unit
from respin.golden.schedule import Schedule

BATCH = 16
SCHEDULE = Schedule(steps=80, first=-1.0, last=-4.0)
"""Chosen on a part of the training images. Dozens of steps do here what thousands do elsewhere, so they are larger."""
INPUT_SCALE = 1 / (LEVELS * STEP)
MERGE_ROOM = 1.3
"""Head room of a merge's scale over what calibration saw."""
HIDDEN_ROOM = 1.5
"""Head room of the Rep-Net module's first convolution."""
FEATURE_UNIT = 4 / INT8_MAX
"""A unit of the head's input, in standard deviations: int8 reaches four of them."""
FEATURE_GAIN = 8.0
"""What one standard deviation of a feature is worth to the head."""
LOGIT_UNIT = 1 / 16
"""A unit of a logit in nats."""

TENSORS = {
    name: index
    for index, name in enumerate(
        (
            "rep_first.weight", "rep_first.bias", "rep_last.weight", "rep_last.bias", "logits.weight", "logits.bias",
            "error.logits", "error.features", "error.expand", "error.merged", "error.residual", "error.reduced",
            "error.reduce", "error.joined", "error.rep_last", "error.rep_first",
        ),
        start=1,
    )
}  # fmt: skip
"""Tensor ids of everything that draws random numbers or has a scale."""


def _calibrate(backbone: Backbone, images: Tensor) -> dict[str, float]:
    """Return the largest magnitude of each float tensor of the backbone."""
    largest: dict[str, float] = {}

    def watch(name: str) -> None:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # Only what passes the ReLU has to be held, where there is one.
            linear = name in ("pointwise", "residual")
            largest[name] = float(output.abs().max() if linear else output.max())

        hooks.append(backbone.norms[name].register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name in backbone.norms:
        watch(name)
    hooks.append(
        backbone.expand.register_forward_pre_hook(
            lambda _module, inputs: largest.update(merged=float(inputs[0].abs().max()))
        )
    )
    backbone(to_unit(images))
    for handle in hooks:
        handle.remove()
    return largest


def _frozen(
    backbone: Backbone, name: str, x: str, *, x_scale: float, y_scale: float, signed: bool, keeps_mask: bool = False
) -> Convolution:
    """Quantise one convolution of the backbone and its norm."""
    convolution = getattr(backbone, name)
    norm = backbone.norms[name]
    if not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"the norm of {name} must be a BatchNorm2d, not {type(norm).__name__}")
    weight, bias = fold_norm(convolution, norm)
    levels, weight_scale = quantise_weight(weight)
    sum_scale = weight_scale * x_scale
    whole = torch.round(bias.to(torch.float64) / sum_scale).to(torch.int64)
    prove_convolution(levels, low=-128, high=UINT8_MAX, bias=whole)
    padding = convolution.padding[0]
    if name == "stem":
        # The host packs the stem's windows, so that it is a 1 x 1 convolution over them.
        levels, padding = levels.flatten(1)[:, :, None, None], 0
    return Convolution(
        name=name,
        x=x,
        weight=levels,
        table=requantiser(sum_scale / y_scale, bias=whole, signed=signed),
        stride=convolution.stride[0],
        padding=padding,
        groups=convolution.groups,
        keeps_mask=keeps_mask,
    )


def _merge(name: str, scale: float, operands: Mapping[str, float]) -> Merge:
    """Merge tensors of the given scales into one of ``scale``."""
    ratios = torch.tensor([operand / scale for operand in operands.values()], dtype=torch.float64)
    mult, shift = common_multipliers(ratios, limit=15)
    inputs = tuple(MergeInput(x=x, mult=int(m)) for x, m in zip(operands, mult, strict=True))
    return Merge(name=name, operands=inputs, shift=shift, lo=-128, hi=INT8_MAX)


def _trained(
    name: str, x: str, weight: Tensor, *, ratio: float, unit: float, signed: bool, groups: int = 1
) -> Convolution:
    """Make a trained layer. A full bias is worth half of the output's range."""
    outputs, fan_in, kernel, _ = weight.shape
    half_range = (INT8_MAX if signed else UINT8_MAX) / ratio / 2
    bias_shift = max(0, round(math.log2(half_range / INT8_MAX)))
    prove_trained_convolution(fan_in * kernel**2, magnitude=UINT8_MAX, bias_shift=bias_shift)
    trained = Trained(
        tensor=TENSORS[f"{name}.weight"], bias_tensor=TENSORS[f"{name}.bias"], bias_shift=bias_shift, unit=unit
    )
    return Convolution(
        name=name,
        x=x,
        weight=weight,
        table=requantiser(torch.full((outputs,), ratio, dtype=torch.float64), signed=signed),
        padding=kernel // 2,
        groups=groups,
        keeps_mask=not signed,
        trained=trained,
    )


def _rep_layers(stem: Convolution, images: Tensor, *, stem_scale: float, joined_scale: float, seed: int) -> list[Layer]:
    """The Rep-Net module: its first convolution starts random, its last at 0, and it adds at the merge's own scale."""
    module = REP_MODULE
    pool = AveragePool(
        name="rep_pool",
        x="stem",
        kernel=(module.pool, module.pool),
        table=requantiser(torch.full((module.inputs,), 1 / module.pool**2, dtype=torch.float64), signed=False),
    )
    shape = (module.hidden, module.inputs // module.groups, module.kernel, module.kernel)
    fan_in = shape[1] * module.kernel**2
    unit = weight_unit(fan_in)
    start = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * math.sqrt(2 / fan_in)
    weight = torch.round(start / unit).clamp(-INT8_MAX, INT8_MAX).to(torch.int8)
    pooled = run_layers([stem, pool], images, {}).tensors["rep_pool"]
    sums = conv2d(pooled, weight, padding=module.kernel // 2, groups=module.groups)
    ratio = UINT8_MAX / (HIDDEN_ROOM * float(sums.max()))
    first = _trained("rep_first", "rep_pool", weight, ratio=ratio, unit=unit, signed=False, groups=module.groups)
    last_unit = weight_unit(module.hidden)
    last_ratio = stem_scale * unit / ratio * last_unit / joined_scale
    zeros = torch.zeros((module.outputs, module.hidden, 1, 1), dtype=torch.int8)
    last = _trained("rep_last", "rep_first", zeros, ratio=last_ratio, unit=last_unit, signed=True)
    return [pool, first, last, Upsample(name="rep_up", x="rep_last", size=(SIDE, SIDE))]


def _head_layers(layers: list[Layer], images: Tensor) -> list[Layer]:
    """Average pool with standardised features, then the head, which starts at 0."""
    maps = run_layers(layers, images, initial_parameters(layers)).tensors["expand"]
    height, width = maps.shape[2:]
    sums = avg_pool(maps, (height, width)).flatten(1).to(torch.float64)
    deviation = sums.std(0)
    # A channel that hardly moves is not blown up to full range: its noise would drown the others.
    deviation = deviation.clamp_min(float(deviation.median()) / 8)
    pool = AveragePool(
        name="features",
        x="expand",
        kernel=(height, width),
        table=requantiser(1 / (deviation * FEATURE_UNIT), bias=-torch.round(sums.mean(0)).to(torch.int64), signed=True),
    )
    unit = weight_unit(FEATURES)
    zeros = torch.zeros((CLASSES, FEATURES, 1, 1), dtype=torch.int8)
    ratio = FEATURE_GAIN * FEATURE_UNIT * unit / LOGIT_UNIT
    return [pool, _trained("logits", "features", zeros, ratio=ratio, unit=unit, signed=True)]


def _common(*ratios: Tensor) -> tuple[list[Tensor], int]:
    """Multipliers of several columns with one fraction."""
    mult, fraction = common_multipliers(torch.cat(ratios))
    return list(torch.split(mult, [len(ratio) for ratio in ratios])), fraction


def _merge_ratio(merge: Merge, x: str) -> float:
    """What an error at a merge is worth at its operand ``x``."""
    (mult,) = [operand.mult for operand in merge.operands if operand.x == x]
    return mult / (1 << merge.shift)


def _edges(layers: Mapping[str, Layer]) -> tuple[Edge | FanInEdge, ...]:
    """The backward edges from the logits down to ``rep_first``."""
    tables = {name: layer.table for name, layer in layers.items() if isinstance(layer, Convolution | AveragePool)}
    ratios = {name: table.ratio for name, table in tables.items()}
    joined, merged = layers["joined"], layers["merged"]
    if not (isinstance(joined, Merge) and isinstance(merged, Merge)):
        raise TypeError("joined and merged must be merges")
    edges: list[Edge | FanInEdge] = []

    def edge(name: str, error: str, ratio: Tensor | None = None, **options: Any) -> None:
        mult: Tensor | int = 1
        fraction = 0
        if ratio is not None:
            (mult,), fraction = _common(ratio)
        if isinstance(mult, Tensor) and len(mult) == 1:
            mult = int(mult)
        edges.append(Edge(name=name, tensor=TENSORS[name], error=error, mult=mult, fraction=fraction, **options))

    edge("error.features", "error.logits", ratios["features"], through="logits")
    edge("error.expand", "error.features", ratios["expand"], through="features", mask="expand")
    edge("error.merged", "error.expand", through="expand")
    edge("error.residual", "error.merged", ratios["residual"] * _merge_ratio(merged, "residual"))
    edge("error.reduced", "error.residual", through="residual")
    (skip, branch), fraction = _common(ratios["reduce"] * _merge_ratio(merged, "reduce"), ratios["reduce"])
    edges.append(
        FanInEdge(
            name="error.reduce",
            tensor=TENSORS["error.reduce"],
            operands=(("error.merged", skip), ("error.reduced", branch)),
            fraction=fraction,
            mask="reduce",
        )
    )
    edge("error.joined", "error.reduce", through="reduce")
    last = ratios["rep_last"][:1] * _merge_ratio(joined, "rep_up")
    edge("error.rep_last", "error.joined", last, through="rep_up", stochastic=True)
    first = ratios["rep_first"][:1]
    edge("error.rep_first", "error.rep_last", first, through="rep_last", mask="rep_first", stochastic=True)
    return tuple(edges)


def _prove_backward(layers: Mapping[str, Layer]) -> None:
    """Prove that no sum of an error or a gradient overflows."""
    for name in ("logits", "expand", "residual", "reduce", "rep_last"):
        layer = layers[name]
        if isinstance(layer, Convolution):
            prove_error(layer.weight[:, 0].numel() // layer.groups)
    prove_weight_gradient(BATCH, (SIDE // REP_MODULE.pool) ** 2)


def build_network(backbone: Backbone, calibration: Tensor, task_images: Tensor, *, seed: int) -> IntegerNetwork:
    """Quantise ``backbone`` and put a Rep-Net module and a head beside it.

    Parameters
    ----------
    backbone:
        Pretrained, in evaluation mode.
    calibration:
        Images (N, 1, 8, 8), uint8, of the classes it knows: they set the scales of the frozen layers.
    task_images:
        Training images of the new classes, uint8: they set the scale of the module's first convolution and the means
        and deviations of the features.
    seed:
        Of the first convolution's weights.
    """
    largest = _calibrate(backbone, calibration)
    scale = {name: largest[name] / UINT8_MAX for name in ("stem", "depthwise", "reduce", "expand")}
    scale |= {name: largest[name] / INT8_MAX for name in ("pointwise", "residual")}
    scale |= {"joined": MERGE_ROOM * scale["pointwise"], "merged": MERGE_ROOM * largest["merged"] / INT8_MAX}
    images = pack_windows(task_images)

    def frozen(name: str, x: str, x_scale: float, *, signed: bool = False, keeps_mask: bool = False) -> Convolution:
        return _frozen(backbone, name, x, x_scale=x_scale, y_scale=scale[name], signed=signed, keeps_mask=keeps_mask)

    stem = frozen("stem", INPUT, INPUT_SCALE)
    layers: list[Layer] = [
        stem,
        frozen("depthwise", "stem", scale["stem"]),
        frozen("pointwise", "depthwise", scale["depthwise"], signed=True),
    ]
    layers += _rep_layers(stem, images, stem_scale=scale["stem"], joined_scale=scale["joined"], seed=seed)
    layers += [
        _merge("joined", scale["joined"], {"pointwise": scale["pointwise"], "rep_up": scale["joined"]}),
        frozen("reduce", "joined", scale["joined"], keeps_mask=True),
        frozen("residual", "reduce", scale["reduce"], signed=True),
        _merge("merged", scale["merged"], {"residual": scale["residual"], "reduce": scale["reduce"]}),
        frozen("expand", "merged", scale["merged"], keeps_mask=True),
    ]
    layers += _head_layers(layers, images)
    by_name = {layer.name: layer for layer in layers}
    _prove_backward(by_name)
    loss = Loss(
        name="error.logits",
        logits="logits",
        tensor=TENSORS["error.logits"],
        parameters=LossParameters.of(LOGIT_UNIT, CLASSES),
    )
    gradients = tuple(Gradient(layer=name, error=f"error.{name}") for name in ("logits", "rep_last", "rep_first"))
    return IntegerNetwork(layers=tuple(layers), loss=loss, edges=_edges(by_name), gradients=gradients)


def head_only(network: IntegerNetwork) -> IntegerNetwork:
    """Return the same network with the head as the only layer that learns."""
    head = tuple(gradient for gradient in network.gradients if gradient.layer == network.loss.logits)
    return replace(network, edges=(), gradients=head)
