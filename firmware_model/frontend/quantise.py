# SPDX-License-Identifier: Apache-2.0
"""From a float graph to integer layers: int8 weights per channel, activations per tensor, every sum proven."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from respin.firmware_model.frontend.equalise import equalise_graph
from respin.firmware_model.frontend.float_graph import (
    Clamp,
    FloatAffine,
    FloatConvolution,
    FloatGraph,
    FloatNode,
    FloatPool,
    FloatResize,
    FloatSum,
)
from respin.firmware_model.frontend.refusal import bounds_of, refused
from respin.golden.backbones.equalise import Strength
from respin.golden.float_network import RUN_AT_ONCE
from respin.golden.inference import InferenceNetwork, TensorFormat
from respin.golden.network import INPUT, AveragePool, Convolution, Layer, Merge, MergeInput, Upsample, run_layers
from respin.golden.ops import conv2d
from respin.golden.ops.requantise import MAX_SHIFT
from respin.golden.quantise import common_multipliers, quantise_layer, quantise_weight, requantiser

MAX_OPERANDS = 4
"""Tensors that a merge adds."""
SQUARE_ROOT = Strength(free=0.5, hidden=0.5, between=0.5)
"""Half of a channel's range goes into its weights, everywhere: of frozen networks more classes stay than with more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantisationRules:
    """How a frozen network is quantised.

    Parameters
    ----------
    equalise:
        How far channels are brought to like ranges before they are quantised; None leaves them.
    correct:
        Whether each channel's bias takes back what rounding moved the mean of its sums by on the calibration images
        (Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV 2019).
    room:
        Head room of every scale over what calibration saw; a clamp's end is never passed.
    """

    equalise: Strength | None = SQUARE_ROOT
    correct: bool = True
    room: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.room < math.inf:
            raise ValueError(f"room must be at least 1, not {self.room!r}")


def quantise(
    graph: FloatGraph,
    images: Tensor,
    *,
    rules: QuantisationRules | None = None,
    input_format: TensorFormat | None = None,
) -> InferenceNetwork:
    """Quantise ``graph``.

    Parameters
    ----------
    graph:
        Fused, as :func:`respin.firmware_model.frontend.torch_import.import_module` returns it.
    images:
        Inputs as the module takes them (N, C, H, W), float: the ranges of every tensor come from them.
    rules:
        How.
    input_format:
        What the input's integers are worth; what reaches the largest of ``images`` unless given.

    Raises
    ------
    ValueError
        If ``images`` do not fit the graph or are not finite.
    RefusedError
        Naming a node whose sums could overflow, or that has no integer form.
    """
    rules = rules or QuantisationRules()
    if not images.is_floating_point() or images.dim() != 4 or tuple(images.shape[1:]) != graph.input_shape:
        raise ValueError(
            f"images must be float (N, {', '.join(map(str, graph.input_shape))}), "
            f"not {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)!r}"
        )
    if not images.shape[0] or not bool(torch.isfinite(images).all()):
        raise ValueError("images must be at least one, of finite numbers")
    if input_format is not None and input_format.zero_point:
        raise ValueError(f"the input's zero point must be 0, not {input_format.zero_point!r}")
    seen = observe(graph, images)
    if input_format is None:
        signed = bool((images < 0).any())
        input_format = TensorFormat(scale=_scale(float(images.abs().max()), signed=signed), signed=signed)
    if rules.equalise is not None:
        graph, factors = equalise_graph(graph, seen.ranges, rules.equalise)
        seen = seen.divided(factors)
    return _Quantiser(graph, seen, rules, input_format, images).network()


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Observed:
    """What calibration saw of every tensor's channels (C,), float64: the input's and each node's.

    ``ranges`` are largest magnitudes, ``means`` those of a node's values before its clamp.
    """

    ranges: Mapping[str, Tensor]
    means: Mapping[str, Tensor]

    def divided(self, factors: Mapping[str, Tensor]) -> "Observed":
        """Return what would have been seen with each channel divided by its factor."""
        return Observed(
            ranges={name: values / factors[name] for name, values in self.ranges.items()},
            means={name: values / factors[name] for name, values in self.means.items()},
        )


def observe(graph: FloatGraph, images: Tensor) -> Observed:
    """Run ``graph`` on float ``images``, some at a time."""
    ranges: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}

    def watch(name: str, before: Tensor, after: Tensor) -> None:
        largest = after.abs().amax((0, 2, 3)).to(torch.float64)
        ranges[name] = torch.maximum(ranges[name], largest) if name in ranges else largest
        mean = before.to(torch.float64).mean((2, 3)).sum(0) / images.shape[0]
        means[name] = means[name] + mean if name in means else mean

    with torch.no_grad():
        for part in torch.split(images, RUN_AT_ONCE):
            watch(INPUT, part, part)
            graph.run(part, watch)
    for name, values in ranges.items():
        if not bool(torch.isfinite(values).all()):
            raise refused(name, "values that are not finite on the calibration images", "finite ones")
    return Observed(ranges=ranges, means=means)


def _scale(reach: float, *, signed: bool) -> float:
    """Return the scale of a tensor that reaches ``reach``; one that is 0 in every image may have any."""
    return (reach or 1.0) / (127 if signed else 255)


class _Quantiser:
    """Makes the layers one after the other; runs them on the calibration images where biases are corrected."""

    def __init__(
        self,
        graph: FloatGraph,
        seen: Observed,
        rules: QuantisationRules,
        input_format: TensorFormat,
        images: Tensor,
    ) -> None:
        self.graph = graph
        self.seen = seen
        self.rules = rules
        self.formats = {INPUT: input_format}
        self.tensors = {INPUT: input_format.to_integer(images)} if rules.correct else {}

    def network(self) -> InferenceNetwork:
        """Return the network."""
        layers = []
        last = {name: number for number, node in enumerate(self.graph.nodes) for name in node.reads}
        for number, node in enumerate(self.graph.nodes):
            with bounds_of(node.name):
                layer = self._layer(node)
                layers.append(layer)
                if self.rules.correct:
                    self.tensors[node.name] = self._run(layer, node.reads)
            self.tensors = {name: x for name, x in self.tensors.items() if last.get(name, -1) > number}
        return InferenceNetwork(
            name=self.graph.name,
            input_shape=self.graph.input_shape,
            layers=tuple(layers),
            formats=self.formats,
            output=self.graph.output,
        )

    def _run(self, layer: Layer, reads: tuple[str, ...]) -> Tensor:
        parts = []
        for start in range(0, self.tensors[reads[0]].shape[0], RUN_AT_ONCE):
            given = {name: self.tensors[name][start : start + RUN_AT_ONCE] for name in reads}
            parts.append(run_layers([layer], given, {}, masks=False).tensors[layer.name])
        return torch.cat(parts)

    def _layer(self, node: FloatNode) -> Layer:
        match node:
            case FloatConvolution():
                return self._convolution(node)
            case FloatSum():
                return self._sum(node)
            case FloatPool():
                return self._pool(node)
            case FloatResize():
                self.formats[node.name] = self.formats[node.x]
                return Upsample(name=node.name, x=node.x, size=node.size)
            case FloatAffine():
                raise ValueError("a norm must be fused before it is quantised")

    def _format(self, node: FloatConvolution | FloatSum | FloatPool, *, signed: bool) -> TensorFormat:
        """The scale that reaches what calibration saw, but no further than the clamp."""
        signed = signed and bool((node.clamp.low < 0).any())
        seen = self.rules.room * self.seen.ranges[node.name]
        bound = torch.maximum(node.clamp.low.abs(), node.clamp.high.abs())
        form = TensorFormat(scale=_scale(float(torch.minimum(seen, bound).max()), signed=signed), signed=signed)
        if signed and not bool((_ends(node.clamp, form)[0] < 0).any()):
            # What is left below 0 is less than half a unit: the layer's clamp makes it unsigned.
            form = replace(form, signed=False)
        self.formats[node.name] = form
        return form

    def _convolution(self, node: FloatConvolution) -> Convolution:
        source, form = self.formats[node.x], self._format(node, signed=True)
        levels, sum_scale, bias = quantise_layer(
            node.weight, self._bias(node), source.scale, low=source.low, high=source.high
        )
        lo, hi = _ends(node.clamp, form)
        return Convolution(
            name=node.name,
            x=node.x,
            weight=levels,
            table=requantiser(sum_scale / form.scale, bias=bias, signed=form.signed, limit=hi, least=lo),
            stride=node.stride,
            padding=node.padding,
            groups=node.groups,
        )

    def _bias(self, node: FloatConvolution) -> Tensor:
        """Return the bias with which the mean of each channel's sums is the float ones'."""
        if not self.rules.correct:
            return node.bias
        source = self.formats[node.x]
        levels, weight_scale = quantise_weight(node.weight, node.bias, source.scale)
        x = self.tensors[node.x]
        total = torch.zeros(levels.shape[0], dtype=torch.float64)
        for part in torch.split(x, RUN_AT_ONCE):
            sums = conv2d(part, levels, stride=node.stride, padding=node.padding, groups=node.groups)
            total += sums.to(torch.float64).mean((2, 3)).sum(0)
        return self.seen.means[node.name] - total / x.shape[0] * weight_scale * source.scale

    def _sum(self, node: FloatSum) -> Merge:
        if len(node.operands) > MAX_OPERANDS:
            raise ValueError(f"a sum must have at most {MAX_OPERANDS} operands, not {len(node.operands)}")
        sources = [self.formats[name] for name in node.operands]
        form = self._format(node, signed=any(source.signed for source in sources))
        ratios = torch.tensor([source.scale / form.scale for source in sources], dtype=torch.float64)
        mult, shift = common_multipliers(ratios, limit=MAX_SHIFT)
        if shift < 1:
            raise ValueError(
                f"a sum's operand must be at most 32767 times its output's scale, not {float(ratios.max())}"
            )
        lo, hi = _ends(node.clamp, form)
        operands = tuple(MergeInput(x=name, mult=int(m)) for name, m in zip(node.operands, mult, strict=True))
        return Merge(name=node.name, operands=operands, shift=shift, lo=int(lo), hi=int(hi))

    def _pool(self, node: FloatPool) -> AveragePool:
        source = self.formats[node.x]
        form = self._format(node, signed=source.signed)
        count = node.kernel[0] * node.kernel[1]
        channels = self.graph.shapes[node.name][0]
        ratio = torch.full((channels,), source.scale / form.scale / count, dtype=torch.float64)
        lo, hi = _ends(node.clamp, form)
        table = requantiser(ratio, signed=form.signed, limit=hi, least=lo)
        return AveragePool(name=node.name, x=node.x, kernel=node.kernel, table=table)


def _ends(clamp: Clamp, form: TensorFormat) -> tuple[Tensor, Tensor]:
    """Return the clamp's ends in units of ``form``, int64: (C,), or of one number where every channel has the same."""
    low, high = (
        torch.round(side.to(torch.float64) / form.scale).clamp(form.low, form.high).to(torch.int64)
        for side in (clamp.low, clamp.high)
    )
    return low, high
