# SPDX-License-Identifier: Apache-2.0
"""Variations of the INT8 Rep-Net, each with one rule changed: what docs/arithmetic.md is measured against.

None of them is built in hardware. A variation is a method like any other, so the same protocol compares it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from respin.golden.backbones import Backbone
from respin.golden.builder import HEAD, Rules
from respin.golden.data import Task
from respin.golden.learn.methods import IntegerMethod, Method, Plan, falling
from respin.golden.network import Convolution, Edge, FanInEdge, IntegerNetwork
from respin.golden.ops import DelayedScale, EdgeResult, GradientStatistics, StepScale, ternary_update
from respin.golden.ops.update import PROBABILITY_BITS, SHIFT_MAX
from respin.golden.trainer import EdgeRecord, Step, TrainingState, UpdateRecord

MOMENTUM_SHIFT = 3
"""A gradient's average keeps 7/8 of itself from one step to the next."""
FRACTION = 8
"""Bits of a mean gradient below 1."""
MANTISSA_BITS = 8
"""Of a mean gradient that is kept."""
HEAD_DEVIATION = 0.5
"""Of a head that starts random: its weights' standard deviation, in 1 / sqrt(features)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestErrors(IntegerMethod):
    """Errors round to nearest; only the logits' do not."""

    def network(self, backbone: Backbone, task: Task, plan: Plan) -> IntegerNetwork:
        """Make the network with its edges so."""
        network = IntegerMethod.network(self, backbone, task, plan)
        return replace(network, edges=tuple(replace(edge, stochastic=False) for edge in network.edges))


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomHead(IntegerMethod):
    """The head starts random instead of at 0."""

    def network(self, backbone: Backbone, task: Task, plan: Plan) -> IntegerNetwork:
        """Make the network with its head so."""
        network = IntegerMethod.network(self, backbone, task, plan)
        head = network.convolution(HEAD)
        unit = self.rules.unit("head", head.weight.shape[1])
        start = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(plan.seed))
        units = start * HEAD_DEVIATION / head.weight.shape[1] ** 0.5 / unit
        random = replace(head, weight=torch.round(units).clamp(-127, 127).to(torch.int8))
        return replace(network, layers=tuple(random if layer is head else layer for layer in network.layers))


@dataclass(frozen=True, kw_only=True, slots=True)
class OneRateInUnits(IntegerMethod):
    """A rate means the same number of units of a weight in every layer, whatever a unit is worth there."""

    def network(self, backbone: Backbone, task: Task, plan: Plan) -> IntegerNetwork:
        """Make the network with its layers so."""
        network = IntegerMethod.network(self, backbone, task, plan)
        layers = (
            replace(layer, trained=replace(layer.trained, rate_shift=0))
            if isinstance(layer, Convolution) and layer.trained is not None
            else layer
            for layer in network.layers
        )
        return replace(network, layers=tuple(layers))


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomierScale(DelayedScale):
    """A scale that leaves ``spare`` more bits than the last step's largest error needed; may be negative."""

    spare: int = 0

    def after(self, largest: int, exponent: int = 0) -> DelayedScale:
        """Return the next step's scale."""
        if largest == 0:
            return self
        shift = max(0, largest.bit_length() - 7 + self.spare)
        return replace(self, shift=shift, valid=True, exponent=exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomierErrors(IntegerMethod):
    """Errors with ``spare`` more bits of room; less cuts the largest of them off."""

    spare: int

    def start(self, network: IntegerNetwork, plan: Plan) -> TrainingState:
        """Start with scales that do so."""
        return TrainingState.initial(network, plan.seed, scale=RoomierScale(spare=self.spare))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ImmediateStep(Step):
    """Every edge is passed twice: once to measure its largest error, then with the shift that this needs."""

    def run_edge(self, edge: Edge, source: EdgeResult, scale: DelayedScale, mask: Tensor | None) -> EdgeRecord:
        """Pass an edge."""
        measured = Step.run_edge(self, edge, source, scale, mask)
        return Step.run_edge(self, edge, source, measured.after, mask)

    def run_fan_in(
        self, edge: FanInEdge, incoming: list[EdgeResult], scale: DelayedScale, mask: Tensor | None
    ) -> EdgeRecord:
        """Add errors where edges meet."""
        measured = Step.run_fan_in(self, edge, incoming, scale, mask)
        return Step.run_fan_in(self, edge, incoming, measured.after, mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImmediateErrors(IntegerMethod):
    """Errors are scaled by their own largest, not by the last step's."""

    def make_step(self) -> Callable[..., Step]:
        """Make such steps."""
        return ImmediateStep


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestStepScale(StepScale):
    """Steps scaled by the largest entry of a gradient instead of the mean one."""

    def after(self, statistics: GradientStatistics, exponent: int) -> StepScale:
        """Return the next step's scale."""
        return StepScale.after(self, replace(statistics, total=statistics.largest, count=1), exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class LastStepScale(StepScale):
    """Steps scaled by the last gradient, not by the largest so far: they stay as large as the rate says."""

    def after(self, statistics: GradientStatistics, exponent: int) -> StepScale:
        """Return the next step's scale."""
        return StepScale.after(replace(self, valid=False), statistics, exponent) if statistics.count else self


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherSteps(IntegerMethod):
    """Steps scaled by another rule than the mean's."""

    scale: StepScale

    def start(self, network: IntegerNetwork, plan: Plan) -> TrainingState:
        """Start with scales that do so."""
        return TrainingState.initial(network, plan.seed, step_scale=self.scale)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class MomentumStep(Step):
    """The head's steps follow an average of its gradients, which the array would have to hold in 32 bits."""

    averages: dict[str, Tensor] = field(default_factory=dict)

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, log2_rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        if name.startswith(f"{HEAD}."):
            average = self.averages.get(name, torch.zeros_like(gradient))
            self.averages[name] = gradient = average - (average >> MOMENTUM_SHIFT) + gradient
        return Step.update_tensor(self, name, tensor, value, gradient, log2_rate=log2_rate, exponent=exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMomentum(IntegerMethod):
    """Momentum for the head. Its averages are in no checkpoint."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share averages."""
        return partial(MomentumStep, averages={})


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ChannelStep(Step):
    """Steps scaled by the largest gradient of their own output channel, not of the tensor."""

    scales: dict[str, list[StepScale]] = field(default_factory=dict)

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, log2_rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        record = Step.update_tensor(self, name, tensor, value, gradient, log2_rate=log2_rate, exponent=exponent)
        if value.dim() == 1:
            return record
        scales = self.scales.get(name, [StepScale()] * len(value))
        self.scales[name] = [
            scale.after(GradientStatistics.of(channel), exponent)
            for scale, channel in zip(scales, gradient, strict=True)
        ]
        draws = self.random.field(tensor, value.shape)
        channels = [
            ternary_update(weights, slopes, scale.shift(log2_rate, exponent), drawn)
            if scale.valid
            else (weights, torch.zeros_like(weights))
            for scale, weights, slopes, drawn in zip(scales, value, gradient, draws, strict=True)
        ]
        moved, move = (torch.stack(part) for part in zip(*channels, strict=True))
        return replace(record, value=moved, move=move)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelSteps(IntegerMethod):
    """Step scales for each output channel of a tensor of weights."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share scales."""
        return partial(ChannelStep, scales={})


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FineStep(Step):
    """Steps scaled by the largest mean gradient itself, not by its binary order.

    A mean is kept as (place, mantissa), ``mantissa * 2^place`` with 8 bits of mantissa, so that the larger one is the
    larger pair.
    """

    means: dict[str, tuple[int, int]] = field(default_factory=dict)

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, log2_rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        record = Step.update_tensor(self, name, tensor, value, gradient, log2_rate=log2_rate, exponent=exponent)
        mean = self.means.get(name)
        statistics = record.statistics
        if statistics.count:
            exact = max((statistics.total << FRACTION) // statistics.count, statistics.largest)
            over = exact.bit_length() - MANTISSA_BITS
            measured = (over - FRACTION + exponent, exact >> over if over >= 0 else exact << -over)
            self.means[name] = max(measured, mean or measured)
        if mean is None:
            return record
        place, mantissa = mean
        # 8 bits more than a probability has, for a mean may be as little as 2^-8 of its place.
        share = gradient.to(torch.int64).abs() * ((1 << PROBABILITY_BITS + FRACTION) // mantissa)
        shift = min(max(place + FRACTION - exponent - log2_rate, 0), SHIFT_MAX)
        draws = self.random.field(tensor, value.shape)
        move = ((draws < (share >> shift).clamp(max=(1 << PROBABILITY_BITS) - 1)) * gradient.sign()).to(torch.int8)
        moved = (value.to(torch.int16) - move).clamp(-127, 127).to(torch.int8)
        return replace(record, value=moved, move=move)


@dataclass(frozen=True, kw_only=True, slots=True)
class FineSteps(IntegerMethod):
    """Steps by the mean itself. The means are in no checkpoint."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share means."""
        return partial(FineStep, means={})


SETTINGS = falling(-1.0)


def _of(kind: type[IntegerMethod], name: str, title: str, **values: object) -> IntegerMethod:
    return kind(
        **{"name": name, "title": title, "arithmetic": "int8", "trains": "modules", "settings": SETTINGS, **values}  # type: ignore[arg-type]
    )


VARIATIONS: dict[str, Method] = {
    method.name: method
    for method in (
        _of(NearestErrors, "nearest", "errors rounded to nearest"),
        _of(ImmediateErrors, "immediate", "errors scaled by their own largest"),
        _of(RoomierErrors, "spare-bit", "a spare bit in error scales", spare=1),
        _of(RoomierErrors, "bit-less", "a bit less in error scales", spare=-1),
        _of(RoomierErrors, "two-bits-less", "two bits less in error scales", spare=-2),
        _of(OtherSteps, "largest", "steps by the largest entry of a gradient", scale=LargestStepScale(),
            settings=falling(0.0, fall=4.0)),
        _of(OtherSteps, "full-steps", "steps that do not fade, μ from -2", scale=LastStepScale(),
            settings=falling(-2.0, fall=8.0)),
        _of(ChannelSteps, "channel-steps", "steps by the largest gradient of a channel"),
        _of(FineSteps, "fine-steps", "steps by the mean gradient itself, not by its order"),
        _of(HeadMomentum, "momentum", "momentum 7/8 for the head"),
        _of(RandomHead, "random-head", "a head that starts random"),
        _of(OneRateInUnits, "unit-rates", "one rate in units of weights, μ from -2", settings=falling(-2.0)),
        _of(IntegerMethod, "fall-4", "μ falls by 4", settings=falling(-1.0, fall=4.0)),
        _of(IntegerMethod, "fall-8", "μ falls by 8", settings=falling(-1.0, fall=8.0)),
        _of(IntegerMethod, "not-smoothed", "labels not smoothed", rules=Rules(smoothing=0.0)),
        _of(IntegerMethod, "less-room", "head room x1.3, x1.3, x1.5",
            rules=Rules(linear_room=1.3, merge_room=1.3, hidden_room=1.5)),
        _of(IntegerMethod, "more-room", "head room x3, x4, x4",
            rules=Rules(linear_room=3.0, merge_room=4.0, hidden_room=4.0)),
        _of(IntegerMethod, "coarse-units", "units of weights as the fan-in says", rules=Rules(fine=(0, 0, 0))),
        _of(IntegerMethod, "fine-units", "units of weights a quarter of those", rules=Rules(fine=(1, 2, 2))),
        _of(IntegerMethod, "not-equalised", "channels as the backbone has them", rules=Rules(equalise=None)),
    )
}  # fmt: skip
"""By name."""
