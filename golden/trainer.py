# SPDX-License-Identifier: Apache-2.0
"""Training with the integer rules only, every tensor of a step kept by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.network import (
    Activations,
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    IntegerNetwork,
    Merge,
    Parameters,
    Upsample,
    layer_weight,
    sources,
)
from respin.golden.ops import (
    DelayedScale,
    EdgeResult,
    FanInOperand,
    GradientStatistics,
    StepScale,
    bias_gradient,
    conv2d_error,
    conv2d_weight_gradient,
    error_edge,
    fan_in,
    fan_in_reference,
    pool_error,
    softmax_cross_entropy,
    ternary_update,
    upsample_error,
)
from respin.golden.random import RandomSource


def trained_tensors(layer: Convolution) -> tuple[str, ...]:
    """Names of what learns of a layer: ``layer.weight``, ``layer.bias``."""
    if layer.trained is None:
        return ()
    return (f"{layer.name}.bias",) if layer.trained.tensor is None else (f"{layer.name}.weight", f"{layer.name}.bias")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class TrainingState:
    """Everything that a step reads and leaves changed: a task's trained state.

    Parameters
    ----------
    step, seed:
        Counter and key of the random numbers.
    parameters:
        Of the trained layers, by name.
    scales:
        The delayed scale of every edge, by name.
    step_scales:
        The largest gradient of every trained tensor, by ``layer.weight`` and ``layer.bias``.
    """

    step: int
    seed: int
    parameters: Mapping[str, Parameters]
    scales: Mapping[str, DelayedScale]
    step_scales: Mapping[str, StepScale]

    @classmethod
    def initial(
        cls,
        network: IntegerNetwork,
        seed: int,
        *,
        scale: DelayedScale | None = None,
        step_scale: StepScale | None = None,
    ) -> "TrainingState":
        """The state before the first step; every edge starts with ``scale``, every tensor with ``step_scale``."""
        names = [name for layer in network.trained for name in trained_tensors(layer)]
        return cls(
            step=0,
            seed=seed,
            parameters=network.initial_parameters(),
            scales={edge.name: scale or DelayedScale() for edge in network.edges},
            step_scales={name: step_scale or StepScale() for name in names},
        )


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class EdgeRecord:
    """What passed an edge in a step: the result, the shift and the scale it was made with, the scale it leaves."""

    result: EdgeResult
    shift: int
    before: DelayedScale
    after: DelayedScale


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class UpdateRecord:
    """What happened to a trained tensor in a step.

    Parameters
    ----------
    gradient, statistics:
        G (int32) and what was measured of it.
    before, after:
        The step scale it was applied with, the one it leaves.
    move:
        u, int8 in -1..1.
    value:
        The tensor afterwards, int8.
    """

    gradient: Tensor
    statistics: GradientStatistics
    before: StepScale
    after: StepScale
    move: Tensor
    value: Tensor


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class StepRecord:
    """One training step.

    Parameters
    ----------
    activations:
        Every forward tensor and mask.
    errors:
        Every error tensor by name, int8: the loss's (N, classes, 1, 1), then those of the edges that ran.
    edges:
        Of the edges that ran, by name, in order. An edge runs if the scales of all it starts from are valid.
    updates:
        By ``layer.weight`` and ``layer.bias``, of the layers whose error's scale is valid.
    log2_rate:
        Binary logarithm of the learning rate in force.
    before, after:
        The state.
    cross_entropy, correct:
        For reports: mean loss in nats (float) and images classified right, before the update.
    """

    activations: Activations
    errors: dict[str, Tensor]
    edges: dict[str, EdgeRecord]
    updates: dict[str, UpdateRecord]
    log2_rate: int
    before: TrainingState
    after: TrainingState
    cross_entropy: float
    correct: int

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the step by name: activations, ``.mask``, errors, ``.gradient``, ``.move`` and new values."""
        named = dict(self.activations.tensors)
        named |= {f"{name}.mask": mask for name, mask in self.activations.masks.items()}
        named |= self.errors
        for name, update in self.updates.items():
            named |= {f"{name}.gradient": update.gradient, f"{name}.move": update.move, name: update.value}
        return named


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Step:
    """The parts of one step and what they share. Variations of the rules override a part."""

    network: IntegerNetwork
    state: TrainingState
    activations: Activations
    random: RandomSource
    log2_rate: int

    def loss_error(self, labels: Tensor) -> Tensor:
        """The loss's error at the logits, (N, classes, 1, 1)."""
        loss = self.network.loss
        logits = self.activations.tensors[loss.logits].flatten(1)
        draws = self.random.field(loss.tensor, logits.shape) if loss.stochastic else None
        return softmax_cross_entropy(logits, labels, loss.parameters, draws)[:, :, None, None]

    def run_edges(self, loss_error: Tensor) -> dict[str, EdgeRecord]:
        """Run the edges all of whose sources have valid scales. An edge whose own is not valid only measures."""
        usable = {self.network.loss.name: EdgeResult(error=loss_error, largest=0, saturated=0, exponent=0)}
        records = {}
        for edge in self.network.edges:
            if any(source not in usable for source in sources(edge)):
                continue
            scale = self.state.scales[edge.name]
            incoming = [usable[source] for source in sources(edge)]
            mask = None if edge.mask is None else self.activations.masks[edge.mask]
            if isinstance(edge, Edge):
                record = self.run_edge(edge, incoming[0], scale, mask)
            else:
                record = self.run_fan_in(edge, incoming, scale, mask)
            records[edge.name] = record
            if scale.valid:
                usable[edge.name] = record.result
        return records

    def run_edge(self, edge: Edge, source: EdgeResult, scale: DelayedScale, mask: Tensor | None) -> EdgeRecord:
        """Pass errors over an edge with the shift that ``scale`` gives."""
        sums = source.error if edge.through is None else self._transpose(edge.through, source.error)
        shift = scale.at(source.exponent)
        result = error_edge(
            sums,
            edge.mult,
            shift=shift,
            mask=mask,
            random=self._draws(edge, sums),
            exponent=source.exponent,
            fraction=edge.fraction,
        )
        after = scale.after(result.largest, source.exponent)
        return EdgeRecord(result=result, shift=shift, before=scale, after=after)

    def run_fan_in(
        self, edge: FanInEdge, incoming: list[EdgeResult], scale: DelayedScale, mask: Tensor | None
    ) -> EdgeRecord:
        """Add errors where edges meet."""
        operands = [
            FanInOperand(error=source.error, exponent=source.exponent, mult=mult)
            for source, (_, mult) in zip(incoming, edge.operands, strict=True)
        ]
        reference = fan_in_reference(operands)
        shift = scale.at(reference)
        random = self._draws(edge, operands[0].error)
        result = fan_in(operands, shift=shift, mask=mask, random=random, fraction=edge.fraction)
        after = scale.after(result.largest, reference)
        return EdgeRecord(result=result, shift=shift, before=scale, after=after)

    def _draws(self, edge: Edge | FanInEdge, like: Tensor) -> Tensor | None:
        return self.random.field(edge.tensor, like.shape) if edge.stochastic else None

    def _transpose(self, name: str, error: Tensor) -> Tensor:
        """Carry errors at a layer's sums back to its input."""
        layer = self.network.layer(name)
        if isinstance(layer, Merge):
            raise ValueError(f"errors pass the merge {name} by its edges' multipliers, not through it")
        _, _, height, width = self.activations.tensors[layer.x].shape
        match layer:
            case AveragePool():
                return pool_error(error, layer.kernel, size=(height, width))
            case Upsample():
                return upsample_error(error, size=(height, width))
            case Convolution():
                return conv2d_error(
                    error,
                    layer_weight(layer, self.state.parameters),
                    size=(height, width),
                    stride=layer.stride,
                    padding=layer.padding,
                    groups=layer.groups,
                )

    def update(self, layer: Convolution, error: Tensor, exponent: int) -> dict[str, UpdateRecord]:
        """Update a trained layer's weights and bias from the errors at its sums, and those errors' exponent."""
        if layer.trained is None:
            raise ValueError(f"{layer.name} is not trained")
        learned = self.state.parameters[layer.name]
        bias = f"{layer.name}.bias"
        trained = layer.trained
        log2_rate = trained.log2_rate(self.log2_rate)
        bias_moves = self.update_tensor(
            bias, trained.bias_tensor, learned.bias, bias_gradient(error), log2_rate=log2_rate, exponent=exponent
        )
        if trained.tensor is None:
            return {bias: bias_moves}
        weight_gradient = conv2d_weight_gradient(
            self.activations.tensors[layer.x],
            error,
            kernel=(layer.weight.shape[2], layer.weight.shape[3]),
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
        )
        weight = f"{layer.name}.weight"
        weight_moves = self.update_tensor(
            weight, trained.tensor, learned.weight, weight_gradient, log2_rate=log2_rate, exponent=exponent
        )
        return {weight: weight_moves, bias: bias_moves}

    def update_tensor(
        self, name: str, tensor: int, value: Tensor, gradient: Tensor, *, log2_rate: int, exponent: int
    ) -> UpdateRecord:
        """Update one trained tensor, whose gradient is in units of 2^exponent."""
        scale = self.state.step_scales[name]
        statistics = GradientStatistics.of(gradient)
        moved, move = value, torch.zeros_like(value)
        if scale.valid:
            draws = self.random.field(tensor, value.shape)
            moved, move = ternary_update(value, gradient, scale.shift(log2_rate, exponent), draws)
        after = scale.after(statistics, exponent)
        return UpdateRecord(gradient=gradient, statistics=statistics, before=scale, after=after, move=move, value=moved)


def train_step(
    network: IntegerNetwork,
    state: TrainingState,
    x: Tensor | Mapping[str, Tensor],
    labels: Tensor,
    *,
    log2_rate: int,
    make_step: Callable[..., Step] = Step,
) -> StepRecord:
    """Run one step on a batch: forward, loss, errors, gradients, updates.

    Parameters
    ----------
    network, state:
        What is trained, and where it stands.
    x:
        The batch (N, C, H, W), int8 or uint8, or what :meth:`IntegerNetwork.prepare` made of it.
    labels:
        (N,), int64.
    log2_rate:
        Binary logarithm of the network's learning rate. A gradient as large as its tensor's largest mean so far moves a
        weight, on average, by that share of a unit.
    make_step:
        Makes the step; another one than :class:`Step` computes by other rules than the hardware's.
    """
    activations = network.forward(x, state.parameters)
    random = RandomSource(seed=state.seed, step=state.step)
    step = make_step(network=network, state=state, activations=activations, random=random, log2_rate=log2_rate)
    loss_error = step.loss_error(labels)
    edges = step.run_edges(loss_error)
    errors = {network.loss.name: loss_error}
    errors |= {name: record.result.error for name, record in edges.items()}
    updates: dict[str, UpdateRecord] = {}
    for gradient in network.gradients:
        if gradient.error == network.loss.name or (gradient.error in edges and edges[gradient.error].before.valid):
            exponent = edges[gradient.error].result.exponent if gradient.error in edges else 0
            updates |= step.update(network.convolution(gradient.layer), errors[gradient.error], exponent)
    logits = activations.tensors[network.loss.logits].flatten(1).to(torch.float64)
    return StepRecord(
        activations=activations,
        errors=errors,
        edges=edges,
        updates=updates,
        log2_rate=log2_rate,
        before=state,
        after=_next_state(state, edges, updates),
        cross_entropy=float(functional.cross_entropy(logits * network.loss.parameters.logit_scale, labels)),
        correct=int((logits.argmax(1) == labels).sum()),
    )


def _next_state(
    state: TrainingState, edges: Mapping[str, EdgeRecord], updates: Mapping[str, UpdateRecord]
) -> TrainingState:
    parameters = {
        name: Parameters(
            weight=updates[f"{name}.weight"].value if f"{name}.weight" in updates else learned.weight,
            bias=updates[f"{name}.bias"].value if f"{name}.bias" in updates else learned.bias,
        )
        for name, learned in state.parameters.items()
    }
    return replace(
        state,
        step=state.step + 1,
        parameters=parameters,
        scales={**state.scales, **{name: record.after for name, record in edges.items()}},
        step_scales={**state.step_scales, **{name: record.after for name, record in updates.items()}},
    )


def settle(
    network: IntegerNetwork, batches: Iterable[tuple[Tensor, Tensor]], *, seed: int, log2_rate: Callable[[int], int]
) -> TrainingState:
    """Return where a training stands after a step on each of ``batches`` (input, labels), with every scale known.

    It begins with valid scales of shift 0, under which errors saturate and nothing vanishes: every edge runs at once
    and measures, and some steps later each shift fits what comes. From :meth:`TrainingState.initial` scales become
    known an edge a step, from the loss down. ``log2_rate`` is asked with the step's number.
    """
    state = TrainingState.initial(network, seed, scale=DelayedScale(valid=True))
    for number, (x, labels) in enumerate(batches):
        state = train_step(network, state, x, labels, log2_rate=log2_rate(number)).after
    return state
