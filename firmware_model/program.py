# SPDX-License-Identifier: Apache-2.0
"""The jobs of a network's layers, edges and gradients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from respin.firmware_model import jobs
from respin.firmware_model.jobs import Fields, Finish, JobBuilder, Randomness, Requantise, RoundError, Source
from respin.firmware_model.placement import Placement, geometry, is_depthwise
from respin.golden.network import (
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    Layer,
    Merge,
    Upsample,
    sources,
)
from respin.golden.ops.errors import FAN_IN_BITS, MAX_ALIGN
from respin.golden.ops.update import shifted_rate

MAX_REBASE = 127
"""A job's rebase has 8 bits; past them the shift is at its limit in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Some jobs of a program that belong together.

    Parameters
    ----------
    name:
        What they compute: a layer, an edge, or the gradient of a layer.
    stage:
        ``forward``, ``error``, ``gradient`` or ``other``.
    jobs:
        Fields of each :class:`respin.rtl.jobs.Job`.
    macs:
        Multiply-accumulates of the operator, padding of any kind left out; 0 where the engine does not work.
    """

    name: str
    stage: str
    jobs: tuple[Fields, ...]
    macs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """What is known of an error tensor of this step: its exponent, and whether it is not all zero."""

    exponent: int
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePass:
    """One run of a backward edge: its jobs, and what the exponents of this step make of it.

    Parameters
    ----------
    task:
        The jobs.
    incoming:
        Exponent of the errors that come in, the largest where several meet.
    fraction:
        What the multipliers, and the widening where errors meet, take off the outgoing exponent.
    """

    task: Task
    incoming: int
    fraction: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePlan:
    """A backward edge, as it is in every step.

    Parameters
    ----------
    task:
        Its jobs, without what follows from exponents.
    sources:
        The error tensors that it starts from.
    fraction:
        What the multipliers, and the widening where errors meet, take off the outgoing exponent.
    fan_in:
        Whether errors meet: operand ``j`` of its one job is source ``j``.
    """

    task: Task
    sources: tuple[str, ...]
    fraction: int
    fan_in: bool

    def at(self, states: Mapping[str, EdgeState], measured: Mapping[str, int]) -> EdgePass:
        """Return the edge for a step, as the sequencer would run it.

        Parameters
        ----------
        states:
            The errors of this step that it may start from.
        measured:
            For each edge with a valid scale, the exponent of the errors that came in when it was measured.
        """
        exponents = [states[name].exponent for name in self.sources]
        alive = [states[name].exponent for name in self.sources if states[name].alive]
        incoming = max(alive or exponents)
        rebase = min(max(measured.get(self.task.name, incoming) - incoming, -MAX_REBASE - 1), MAX_REBASE)
        jobs = tuple(job | {"rebase": rebase} for job in self.task.jobs)
        if self.fan_in:
            (job,) = jobs
            # An operand whose exponent is above the others' is all zero: its alignment is of no account.
            aligned = [
                operand | {"align": min(max(incoming - exponent, 0), MAX_ALIGN)}
                for operand, exponent in zip(job["gather"]["sources"], exponents, strict=False)
            ]
            unused = job["gather"]["sources"][len(aligned) :]
            jobs = (job | {"gather": job["gather"] | {"sources": aligned + unused}},)
        return EdgePass(task=replace(self.task, jobs=jobs), incoming=incoming, fraction=self.fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientPlan:
    """The weight gradient of a layer and the update that follows from it, as they are in every step.

    Parameters
    ----------
    task:
        Their jobs, without the learning rate.
    error:
        The error tensor that they start from.
    rate_shift:
        The layer's learning rate is the network's times 2 to the power of this.
    """

    task: Task
    error: str
    rate_shift: int

    def at(self, rate: int) -> Task:
        """Return the jobs for a step with the network's learning rate ``rate``."""
        own = shifted_rate(rate, self.rate_shift)
        return replace(self.task, jobs=tuple(job | {"rate": own} for job in self.task.jobs))


class Program:
    """Makes the jobs of a placed network.

    Parameters
    ----------
    placement:
        The network and where its parts lie.
    randomness:
        Seed and step of the random numbers.
    """

    def __init__(self, placement: Placement, randomness: Randomness) -> None:
        self._place = placement
        self._network = placement.network
        self._build = JobBuilder(placement.config, randomness)

    def forward(self) -> Iterator[Task]:
        """One task for each layer, in order."""
        for layer in self._network.layers:
            yield self._layer(layer)

    def loss(self) -> Task:
        """The loss and its error."""
        loss = self._network.loss
        place = self._place
        job = self._build.loss(
            place.tensor(loss.logits),
            place.tensor(loss.name),
            place.labels,
            tensor=loss.tensor,
            alpha=loss.parameters.alpha,
            on=loss.parameters.on,
            off=loss.parameters.off,
            stochastic=loss.stochastic,
        )
        return Task(name=loss.name, stage="other", jobs=(job,))

    def edge(self, edge: Edge | FanInEdge) -> EdgePlan:
        """A backward edge."""
        fan_in = isinstance(edge, FanInEdge)
        return EdgePlan(
            task=self._fan_in(edge) if isinstance(edge, FanInEdge) else self._single_edge(edge),
            sources=tuple(sources(edge)),
            fraction=edge.fraction + (FAN_IN_BITS if fan_in else 0),
            fan_in=fan_in,
        )

    def gradient(self, gradient: Gradient) -> GradientPlan:
        """The weight gradient of a layer and the update that follows from it."""
        place = self._place
        layer = self._network.convolution(gradient.layer)
        if layer.trained is None or layer.trained.tensor is None:
            raise ValueError(f"{layer.name} must learn its weights: a job for a bias alone is not built yet")
        transposed = place.transposed_images(layer.name)
        images = jobs.TrainedImages(
            base=place.image(layer.name),
            transposed=transposed[0] if transposed else None,
            bias=place.bias_image(layer.name),
            tensor=layer.trained.tensor,
            bias_tensor=layer.trained.bias_tensor,
            groups=layer.groups,
        )
        x, error = place.tensor(layer.x), place.tensor(gradient.error)
        made = tuple(self._build.gradient(x, error, geometry=geometry(layer), images=images))
        task = Task(name=f"{layer.name} gradient", stage="gradient", jobs=made, macs=self._macs(layer))
        return GradientPlan(task=task, error=gradient.error, rate_shift=layer.trained.rate_shift)

    def _macs(self, layer: Convolution) -> int:
        """Multiply-accumulates of any of a convolution's three passes over the batch."""
        n, _, oh, ow = self._place.tensor(layer.name).shape
        return n * oh * ow * layer.weight.numel()

    def _layer(self, layer: Layer) -> Task:
        place, build = self._place, self._build
        out = place.tensor(layer.name)
        macs = 0
        match layer:
            case Convolution():
                finish = Requantise(table=place.table(layer.name), mask=place.mask(layer.name))
                x = place.tensor(layer.x)
                run = build.depthwise if is_depthwise(layer) else build.convolution
                job = run(
                    x,
                    out,
                    rows=place.image(layer.name),
                    geometry=geometry(layer),
                    finish=finish,
                    pad=layer.pad_value,
                )
                macs = self._macs(layer)
            case AveragePool():
                finish = Requantise(table=place.table(layer.name))
                job = build.average_pool(place.tensor(layer.x), out, layer.kernel, finish=finish)
            case Upsample():
                lo, hi = (-128, 127) if out.signed else (0, 255)
                job = build.gather(out, jobs.upsample(place.tensor(layer.x), out), finish=Requantise(lo=lo, hi=hi))
            case Merge():
                operands = [
                    Source(tensor=place.tensor(operand.x), mult=operand.mult, zero=operand.zero_point)
                    for operand in layer.operands
                ]
                job = build.gather(out, operands, finish=Requantise(shift=layer.shift, lo=layer.lo, hi=layer.hi))
        return Task(name=layer.name, stage="forward" if macs else "other", jobs=(job,), macs=macs)

    def _round(self, edge: Edge | FanInEdge, mult: int | torch.Tensor) -> RoundError:
        """How an edge's sums become errors; a multiplier for each channel comes from the table."""
        per_channel = isinstance(mult, torch.Tensor)
        return RoundError(
            tensor=edge.tensor,
            table=self._place.table(f"{edge.name}/{edge.error}") if per_channel and isinstance(edge, Edge) else None,
            mult=1 if isinstance(mult, torch.Tensor) else mult,
            mask=None if edge.mask is None else self._place.mask(edge.mask),
            stochastic=edge.stochastic,
        )

    def _single_edge(self, edge: Edge) -> Task:
        place, build = self._place, self._build
        error, out = place.tensor(edge.error), place.tensor(edge.name)
        finish = self._round(edge, edge.mult)
        layer = None if edge.through is None else self._network.layer(edge.through)
        match layer:
            case Convolution():
                made = tuple(self._convolution_error(layer, edge, finish))
                return Task(name=edge.name, stage="error", jobs=made, macs=self._macs(layer))
            case AveragePool():
                operands = jobs.pool_error(error, layer.kernel)
            case Upsample():
                operands = jobs.upsample_error(error, out)
            case _:
                operands = [Source(tensor=error)]
        return Task(name=edge.name, stage="other", jobs=(build.gather(out, operands, finish=finish),))

    def _convolution_error(self, layer: Convolution, edge: Edge, finish: Finish) -> Iterator[Fields]:
        place, build = self._place, self._build
        error, out = place.tensor(edge.error), place.tensor(edge.name)
        rows, shape = place.transposed_images(layer.name), geometry(layer)
        if not is_depthwise(layer):
            yield from build.convolution_error(error, out, rows=rows, geometry=shape, finish=finish)
            return
        if shape.stride != 1:
            raise ValueError(f"errors pass a depthwise convolution of stride 1 only; {layer.name} has {shape.stride}")
        back = jobs.Geometry(
            kh=shape.kh, kw=shape.kw, pad_y=shape.kh - 1 - shape.pad_y, pad_x=shape.kw - 1 - shape.pad_x
        )
        yield build.depthwise(error, out, rows=rows[0], geometry=back, finish=finish)

    def _fan_in(self, edge: FanInEdge) -> Task:
        """Where errors meet."""
        operands = []
        for name, mult in edge.operands:
            per_channel = isinstance(mult, torch.Tensor)
            operands.append(
                Source(
                    tensor=self._place.tensor(name),
                    mult=1 if isinstance(mult, torch.Tensor) else mult,
                    table=self._place.table(f"{edge.name}/{name}") if per_channel else None,
                )
            )
        out = self._place.tensor(edge.name)
        job = self._build.gather(out, operands, finish=self._round(edge, 1), wide=True)
        return Task(name=edge.name, stage="other", jobs=(job,))
