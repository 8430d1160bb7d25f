# SPDX-License-Identifier: Apache-2.0
"""From a float backbone to an integer network that learns: quantised layers, Rep-Net modules, a head, backward edges.

A block's layers are called as in the backbone. Beside block ``b`` stand ``b.rep.pool``, ``b.rep.first``, ``b.rep.last``
and ``b.rep.up``; whatever is added to the block's output is added in ``b.sum``. The head reads ``features`` and makes
``logits``.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from respin.golden.backbones import Backbone, BackboneLayer, Block
from respin.golden.backbones.equalise import Strength, equalise
from respin.golden.backward import backward
from respin.golden.float_network import RUN_AT_ONCE, SMALLEST_DEVIATION, FloatNetwork
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    MergeInput,
    Trained,
    Upsample,
    initial_parameters,
    needs_error,
    run_layers,
)
from respin.golden.ops import (
    LossParameters,
    avg_pool,
    conv2d,
    prove_bias_gradient,
    prove_convolution,
    prove_error,
    prove_trained_convolution,
    prove_weight_gradient,
)
from respin.golden.quantise import INT8_MAX, UINT8_MAX, common_multipliers, quantise_layer, requantiser
from respin.golden.repnet import SMALLEST_POOLED_MAP, RepModule, weight_unit

LOSS = "error.logits"
FEATURES = "features"
HEAD = "logits"
RATE_UNIT = 1 / 128
"""The weight that a learning rate is a share of: a rate of 2^μ moves a weight by ``2^μ / 128`` on average."""
MERGE_SHIFT = 15
"""Largest shift of a merge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What an integer network is built by; docs/arithmetic.md gives the reasons.

    Parameters
    ----------
    modules:
        Whether Rep-Net modules stand beside the backbone.
    biases:
        Whether the backbone's biases learn.
    equalise:
        How far channels are brought to like ranges before they are quantised; None leaves them.
    linear_room, merge_room, hidden_room:
        Head room of linear layers' and of merges' scales over what calibration saw, and of the output of a module's
        first convolution over what its first weights make.
    feature_range:
        Standard deviations that the head's int8 input reaches.
    feature_gain:
        What one standard deviation of a feature is worth to the head.
    logit_unit:
        A unit of a logit, nats.
    smoothing:
        Label smoothing.
    bias_share:
        What a full bias is worth, as a share of its layer's output range.
    fine:
        Powers of two by which units of weights are smaller than :func:`respin.golden.repnet.weight_unit`: of modules'
        first convolutions, of their last ones, of the head.
    """

    modules: bool = True
    biases: bool = False
    equalise: Strength | None = field(default_factory=Strength)
    linear_room: float = 2.0
    merge_room: float = 2.5
    hidden_room: float = 2.5
    feature_range: float = 12.0
    feature_gain: float = 1.0
    logit_unit: float = 1 / 8
    smoothing: float = 0.1
    bias_share: float = 1 / 32
    fine: tuple[int, int, int] = (0, 1, 1)

    def unit(self, part: Literal["first", "last", "head"], fan_in: int) -> float:
        """Return what a unit of a trained layer's weights is worth."""
        fine = dict(zip(("first", "last", "head"), self.fine, strict=True))[part]
        return math.ldexp(weight_unit(fan_in), -fine)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Format:
    """What a tensor's integers are worth."""

    scale: float
    signed: bool

    @property
    def low(self) -> int:
        return -128 if self.signed else 0

    @property
    def high(self) -> int:
        return INT8_MAX if self.signed else UINT8_MAX


def channel_ranges(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    """Return the largest magnitude (C,) of every tensor's channels in the float backbone over uint8 ``images``."""
    ranges: dict[str, Tensor] = {}

    def watch(name: str, y: Tensor) -> None:
        largest = y.abs().amax((0, 2, 3))
        ranges[name] = torch.maximum(ranges[name], largest) if name in ranges else largest

    network = FloatNetwork(backbone, 1)
    with torch.no_grad():
        for part in torch.split(images, RUN_AT_ONCE):
            network.maps(backbone.input.to_float(part), watch)
    return ranges


class _Builder:
    """Makes the layers one after the other and runs them on the calibration images as it goes."""

    def __init__(
        self,
        backbone: Backbone,
        images: Tensor,
        rules: Rules,
        seed: int,
        ranges: dict[str, Tensor],
        feature_units: Tensor,
    ) -> None:
        self.backbone = backbone
        self.rules = rules
        self.ranges = ranges
        self.feature_units = feature_units
        self.generator = torch.Generator().manual_seed(seed)
        self.layers: list[Layer] = []
        self.formats = {INPUT: _Format(scale=backbone.input.scale, signed=backbone.input.signed)}
        self.tensors = {INPUT: backbone.input.to_integer(images)}
        self.pixels: dict[str, int] = {}
        self.ids: dict[str, int] = {}

    def new_tensor(self, name: str) -> int:
        """Give an id to a tensor that draws random numbers or has a scale."""
        self.ids[name] = len(self.ids) + 1
        return self.ids[name]

    def add(self, layer: Layer, form: _Format) -> str:
        """Append a layer and run it; returns its name."""
        self.layers.append(layer)
        self.formats[layer.name] = form
        parameters = initial_parameters([layer])
        parts = []
        reads = {operand.x for operand in layer.operands} if isinstance(layer, Merge) else {layer.x}
        for start in range(0, self.tensors[INPUT].shape[0], RUN_AT_ONCE):
            given = {name: self.tensors[name][start : start + RUN_AT_ONCE] for name in reads}
            parts.append(run_layers([layer], given, parameters, masks=False).tensors[layer.name])
        self.tensors[layer.name] = torch.cat(parts)
        self.pixels[layer.name] = parts[0].shape[2] * parts[0].shape[3]
        return layer.name

    def keep(self, *names: str) -> None:
        """Forget all calibration tensors but these and the input."""
        self.tensors = {name: self.tensors[name] for name in (INPUT, *names)}

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of a tensor."""
        _, _, height, width = self.tensors[name].shape
        return height, width

    def frozen(self, layer: BackboneLayer, x: str) -> str:
        """Quantise a layer of the backbone."""
        signed = layer.activation == "linear"
        room = self.rules.linear_room if signed else 1.0
        largest, upper = room * self.ranges[layer.name], layer.upper
        if upper is not None:
            largest = torch.minimum(largest, upper)
        # A layer that is 0 in every image may have any scale.
        reach = float(largest.max()) or 1.0
        form = _Format(scale=reach / (INT8_MAX if signed else UINT8_MAX), signed=signed)
        limit = None
        if upper is not None:
            limit = torch.round(upper / form.scale).clamp(max=UINT8_MAX).to(torch.int64)
        source = self.formats[x]
        levels, sum_scale, whole = quantise_layer(
            layer.weight, layer.bias, source.scale, low=source.low, high=source.high
        )
        ratio = sum_scale / form.scale
        trained = None
        if self.rules.biases:
            full = form.high * self.rules.bias_share / float(ratio.median())
            bias_shift = max(0, round(math.log2(full / INT8_MAX)))
            trained = Trained(bias_tensor=self.new_tensor(f"{layer.name}.bias"), bias_shift=bias_shift)
            for reach in (INT8_MAX << bias_shift, -INT8_MAX << bias_shift):
                prove_convolution(levels, low=source.low, high=source.high, bias=whole + reach)
        return self.add(
            Convolution(
                name=layer.name,
                x=x,
                weight=levels,
                table=requantiser(ratio, bias=whole, signed=signed, limit=limit),
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                trained=trained,
            ),
            form,
        )

    def trained(
        self, name: str, x: str, weight: Tensor, form: _Format, *, unit: float, gain: float = 1.0, groups: int = 1
    ) -> str:
        """Add a trained layer whose input is worth ``gain`` times its scale."""
        outputs, fan_in, kernel, _ = weight.shape
        source = self.formats[x]
        ratio = source.scale * gain * unit / form.scale
        bias_shift = max(0, round(math.log2(form.high * self.rules.bias_share / ratio / INT8_MAX)))
        prove_trained_convolution(fan_in * kernel**2, magnitude=max(-source.low, source.high), bias_shift=bias_shift)
        layer = Convolution(
            name=name,
            x=x,
            weight=weight,
            table=requantiser(torch.full((outputs,), ratio, dtype=torch.float64), signed=form.signed),
            padding=kernel // 2,
            groups=groups,
            trained=Trained(
                tensor=self.new_tensor(f"{name}.weight"),
                bias_tensor=self.new_tensor(f"{name}.bias"),
                bias_shift=bias_shift,
                # So that the same rate moves the weights of every layer alike, whatever a unit of them is worth.
                rate_shift=round(math.log2(RATE_UNIT / unit)),
            ),
        )
        return self.add(layer, form)

    def merge(self, name: str, operands: list[str], scale: float) -> str:
        """Add tensors into one of ``scale``."""
        ratios = torch.tensor([self.formats[x].scale / scale for x in operands], dtype=torch.float64)
        mult, shift = common_multipliers(ratios, limit=MERGE_SHIFT)
        inputs = tuple(MergeInput(x=x, mult=int(m)) for x, m in zip(operands, mult, strict=True))
        return self.add(
            Merge(name=name, operands=inputs, shift=shift, lo=-128, hi=INT8_MAX), _Format(scale=scale, signed=True)
        )

    def rep_module(self, block: str, module: RepModule, x: str, size: tuple[int, int], scale: float) -> str:
        """Add a Rep-Net module: its first convolution starts random, its last at 0; it makes the merge's scale."""
        name = f"{block}.rep"
        if min(self.size(x)) > SMALLEST_POOLED_MAP:
            form = self.formats[x]
            table = requantiser(
                torch.full((module.inputs,), 1 / module.pool**2, dtype=torch.float64), signed=form.signed
            )
            x = self.add(AveragePool(name=f"{name}.pool", x=x, kernel=(module.pool,) * 2, table=table), form)
        shape = (module.hidden, module.inputs // module.groups, module.kernel, module.kernel)
        fan_in = shape[1] * module.kernel**2
        unit = self.rules.unit("first", fan_in)
        start = torch.randn(shape, generator=self.generator) * math.sqrt(2 / fan_in)
        weight = torch.round(start / unit).clamp(-INT8_MAX, INT8_MAX).to(torch.int8)
        sums = conv2d(self.tensors[x], weight, padding=module.kernel // 2, groups=module.groups)
        hidden = _Format(
            scale=self.rules.hidden_room * float(sums.max()) * unit * self.formats[x].scale / UINT8_MAX, signed=False
        )
        x = self.trained(f"{name}.first", x, weight, hidden, unit=unit, groups=module.groups)
        zeros = torch.zeros((module.outputs, module.hidden, 1, 1), dtype=torch.int8)
        form = _Format(scale=scale, signed=True)
        x = self.trained(f"{name}.last", x, zeros, form, unit=self.rules.unit("last", module.hidden))
        if self.size(x) == size:
            return x
        return self.add(Upsample(name=f"{name}.up", x=x, size=size), form)

    def block(self, block: Block, x: str, module: RepModule | None, module_input: str) -> str:
        """Add a block and what stands beside it; returns its output."""
        y = x
        for layer in block.layers:
            y = self.frozen(layer, y)
        if not block.residual and module is None:
            return y
        largest = self.ranges[f"{block.name}.sum" if block.residual else y]
        scale = self.rules.merge_room * float(largest.max()) / INT8_MAX
        operands = [y, x] if block.residual else [y]
        if module is not None:
            operands.append(self.rep_module(block.name, module, module_input, self.size(y), scale))
        return self.merge(f"{block.name}.sum", operands, scale)

    def head(self, x: str, classes: int) -> None:
        """Add the averaged feature, standardised by its pool's requantisation, and the head, which starts at 0."""
        rules = self.rules
        sums = avg_pool(self.tensors[x], self.size(x)).flatten(1).to(torch.float64)
        # Rare features are told by how the backbone's own channels vary, not as equalising made them.
        own = sums.std(0) * self.feature_units
        # At least one unit of the sum: on small maps most features may be 0 in every image.
        deviation = torch.maximum(own, own.median() * SMALLEST_DEVIATION).div(self.feature_units).clamp_min(1.0)
        features = _Format(scale=rules.feature_range / INT8_MAX, signed=True)
        table = requantiser(
            1 / (deviation * features.scale), bias=-torch.round(sums.mean(0)).to(torch.int64), signed=True
        )
        pooled = self.add(AveragePool(name=FEATURES, x=x, kernel=self.size(x), table=table), features)
        count = self.backbone.features
        zeros = torch.zeros((classes, count, 1, 1), dtype=torch.int8)
        logits = _Format(scale=rules.logit_unit, signed=True)
        self.trained(HEAD, pooled, zeros, logits, unit=rules.unit("head", count), gain=rules.feature_gain)


def _keep_masks(layers: list[Layer]) -> list[Layer]:
    """Let every ReLU that errors pass keep its mask."""
    needed = needs_error(layers)
    return [
        replace(layer, keeps_mask=True)
        if isinstance(layer, Convolution) and layer.name in needed and not layer.table.signed
        else layer
        for layer in layers
    ]


def build_network(
    backbone: Backbone,
    images: Tensor,
    classes: int,
    *,
    seed: int,
    batch: int,
    rules: Rules | None = None,
    range_images: Tensor | None = None,
) -> IntegerNetwork:
    """Quantise ``backbone`` and put beside it what learns.

    Parameters
    ----------
    backbone:
        Its float layers.
    images:
        Training images of the task (N, C, H, W), uint8: they set the scales of the modules and the features' means and
        deviations.
    classes:
        Of the head.
    seed:
        Of the modules' first weights.
    batch:
        The largest batch that is to be trained with.
    rules:
        How; the defaults are those of docs/arithmetic.md.
    range_images:
        Images that set the scales of the frozen layers; by default ``images``.

    Raises
    ------
    ValueError
        If a sum of some layer could overflow 32 bits; it says which bound breaks.
    """
    rules = rules or Rules()
    if images.shape[0] < 2:
        raise ValueError(f"images must be at least 2, so that features have a deviation, not {images.shape[0]!r}")
    ranges = channel_ranges(backbone, images if range_images is None else range_images)
    features = ranges[backbone.last.name]
    if rules.equalise is not None:
        backbone, ranges = equalise(backbone, ranges, rules.equalise)
    # What a unit of each feature was before: 1 and less where equalising made the channel larger.
    feature_units = (features / ranges[backbone.last.name].clamp_min(1e-12)).to(torch.float64)
    feature_units = torch.where(features > 0, feature_units, 1.0)
    builder = _Builder(backbone, images, rules, seed, ranges, feature_units)
    modules = {}
    if rules.modules:
        modules = dict(zip(backbone.beside, backbone.rep_modules, strict=True))
    x = builder.frozen(backbone.stem, INPUT)
    for position, block in enumerate(backbone.blocks):
        from_image = backbone.recipe.reads_image and position in modules and position == backbone.beside[0]
        y = builder.block(block, x, modules.get(position), INPUT if from_image else x)
        builder.keep(y)
        x = y
    builder.head(builder.frozen(backbone.last, x), classes)
    layers = _keep_masks(builder.layers)
    _prove_backward(layers, builder.pixels, batch)
    loss = Loss(
        name=LOSS,
        logits=HEAD,
        tensor=builder.new_tensor(LOSS),
        parameters=LossParameters.of(rules.logit_unit, classes, rules.smoothing),
    )
    edges, gradients = backward(layers, loss=LOSS, logits=HEAD, new_tensor=builder.new_tensor)
    return IntegerNetwork(
        layers=tuple(layers),
        loss=loss,
        edges=edges,
        gradients=gradients,
        input_dtype=torch.int8 if backbone.input.signed else torch.uint8,
    )


def _prove_backward(layers: list[Layer], pixels: dict[str, int], batch: int) -> None:
    """Prove that no sum of an error or a gradient overflows."""
    for layer in layers:
        if isinstance(layer, Convolution):
            prove_error(layer.weight[:, 0].numel() // layer.groups)
            if layer.trained is not None:
                prove = prove_bias_gradient if layer.trained.tensor is None else prove_weight_gradient
                prove(batch, pixels[layer.name])
