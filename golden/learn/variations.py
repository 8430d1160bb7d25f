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
from respin.golden.ops.update import PROBABILITY_MAX, SHIFT_MAX
from respin.golden.trainer import EdgeRecord, Step, TrainingState, UpdateRecord

MOMENTUM_SHIFT = 3
"""A gradient's average keeps 7/8 of itself from one step to the next."""
FRACTION = 8
"""Bits of a mean gradient below 1."""
MANTISSA_BITS = 8
"""Of a mean gradient that is kept, and of a step's factor."""
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
    """Steps scaled by the largest gradient instead of the mean one."""

    def after(self, statistics: GradientStatistics, rate: int) -> StepScale:
        """Return the next step's scale."""
        return StepScale.after(self, replace(statistics, total=statistics.largest, count=1), rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeStepScale(StepScale):
    """Steps that grow as fast as gradients fall."""

    def grown(self) -> StepScale:
        """Return the largest scale there is: no bound."""
        return replace(self, multiplier=255, shift=0)


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
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        if name.startswith(f"{HEAD}."):
            average = self.averages.get(name, torch.zeros_like(gradient))
            self.averages[name] = gradient = average - (average >> MOMENTUM_SHIFT) + gradient
        return Step.update_tensor(self, name, tensor, value, gradient, rate=rate, exponent=exponent)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMomentum(IntegerMethod):
    """Momentum for the head. Its averages are in no checkpoint."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share averages."""
        return partial(MomentumStep, averages={})


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ChannelStep(Step):
    """Steps scaled by the mean gradient of their own output channel in the last step, not by the tensor's."""

    means: dict[str, Tensor] = field(default_factory=dict)

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        record = Step.update_tensor(self, name, tensor, value, gradient, rate=rate, exponent=exponent)
        if value.dim() == 1:
            return record
        magnitude = gradient.to(torch.int64).abs().flatten(1)
        mean = (magnitude.sum(1) << FRACTION) // torch.count_nonzero(magnitude, 1).clamp_min(1)
        before = self.means.get(name)
        # A channel that was all zero keeps what there is; steps grow by a sixteenth at most, as the tensor's do.
        last = mean if before is None else torch.where(mean > 0, mean.maximum(before - (before >> 4)), before)
        self.means[name] = last
        if before is None:
            return replace(record, value=value, move=torch.zeros_like(value))
        share = magnitude * (rate << FRACTION) // before.clamp_min(1)[:, None]
        draws = self.random.field(tensor, value.shape).flatten(1)
        moves = (draws < share.clamp(max=PROBABILITY_MAX)) & (before > 0)[:, None]
        move = (moves * gradient.flatten(1).sign()).to(torch.int8).reshape(value.shape)
        moved = (value.to(torch.int16) - move).clamp(-127, 127).to(torch.int8)
        return replace(record, value=moved, move=move)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelSteps(IntegerMethod):
    """Step scales for each output channel of a tensor of weights."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share means."""
        return partial(ChannelStep, means={})


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FadingStep(Step):
    """Steps scaled by the largest mean gradient that the tensor has had, exponents counted in.

    So they fade as gradients do, where the rules bring them back to full size. A mean is kept as (place, mantissa),
    ``mantissa * 2^place`` with 8 bits of mantissa, so that the larger one is the larger pair.
    """

    means: dict[str, tuple[int, int]] = field(default_factory=dict)

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor."""
        statistics = GradientStatistics.of(gradient)
        scale = self.scale(self.means.get(name), rate, exponent)
        moved, move = ternary_update(value, gradient, scale, self.random.field(tensor, value.shape))
        if mean := statistics.mean:
            over = mean.bit_length() - MANTISSA_BITS
            measured = (over + exponent, mean >> over if over >= 0 else mean << -over)
            self.means[name] = max(measured, self.means.get(name, measured))
        return UpdateRecord(gradient=gradient, statistics=statistics, before=scale, after=scale, move=move, value=moved)

    @staticmethod
    def scale(mean: tuple[int, int] | None, rate: int, exponent: int) -> StepScale:
        """The factor ``rate / mean`` for a gradient in units of 2 to the power of ``exponent``."""
        if mean is None:
            return StepScale()
        place, mantissa = mean
        quotient = (rate << 16) // mantissa
        over = quotient.bit_length() - MANTISSA_BITS
        shift = 16 - over + place - exponent
        return StepScale(multiplier=quotient >> over, shift=min(max(shift, 0), SHIFT_MAX), valid=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class FadingSteps(IntegerMethod):
    """Steps that fade as gradients do. Their means are in no checkpoint."""

    def make_step(self) -> Callable[..., Step]:
        """Make steps that share means."""
        return partial(FadingStep, means={})


SETTINGS = falling(-2.0)


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
        _of(OtherSteps, "largest-0", "steps by the largest gradient, μ from 0", scale=LargestStepScale(),
            settings=falling(0.0)),
        _of(OtherSteps, "largest-1", "steps by the largest gradient, μ from -1", scale=LargestStepScale(),
            settings=falling(-1.0)),
        _of(ChannelSteps, "channel-steps", "steps by the mean gradient of a channel"),
        _of(OtherSteps, "free-steps", "step scales that grow at once", scale=FreeStepScale()),
        _of(FadingSteps, "fading-steps", "steps fade as gradients do, μ from -1", settings=falling(-1.0, fall=6.0)),
        _of(FadingSteps, "fading-steps-0", "steps fade as gradients do, μ from 0", settings=falling(0.0, fall=6.0)),
        _of(HeadMomentum, "momentum", "momentum 7/8 for the head"),
        _of(RandomHead, "random-head", "a head that starts random"),
        _of(OneRateInUnits, "unit-rates", "one rate in units of weights, μ from -3", settings=falling(-3.0)),
        _of(IntegerMethod, "fall-2", "μ falls by 2", settings=falling(-5.0, fall=2.0)),
        _of(IntegerMethod, "fall-4", "μ falls by 4", settings=falling(-4.0, fall=4.0)),
        _of(IntegerMethod, "fall-6", "μ falls by 6", settings=falling(-3.0, fall=6.0)),
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
