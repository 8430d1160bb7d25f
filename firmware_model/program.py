# SPDX-License-Identifier: Apache-2.0
"""The jobs of a network's layers, edges and gradients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
)
from respin.golden.ops.errors import FAN_IN_BITS, MAX_ALIGN
from respin.golden.ops.update import shifted_rate


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
class EdgeState:
    """What the host knows of an error tensor of this step: its exponent, and whether it is not all zero."""

    exponent: int
    alive: bool


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

    def edge(self, edge: Edge | FanInEdge, states: Mapping[str, EdgeState], measured: Mapping[str, int]) -> EdgePass:
        """A backward edge.

        Parameters
        ----------
        states:
            The errors of this step that it may start from.
        measured:
            For each edge with a valid scale, the exponent of the errors that came in when it was measured.
        """
        if isinstance(edge, Edge):
            incoming, fraction = states[edge.error].exponent, edge.fraction
        else:
            exponents = {name: states[name].exponent for name, _ in edge.operands}
            alive = [exponent for name, exponent in exponents.items() if states[name].alive]
            incoming, fraction = max(alive or exponents.values()), edge.fraction + FAN_IN_BITS
        rebase = measured.get(edge.name, incoming) - incoming
        task = (
            self._single_edge(edge, rebase) if isinstance(edge, Edge) else self._fan_in(edge, states, incoming, rebase)
        )
        return EdgePass(task=task, incoming=incoming, fraction=fraction)

    def gradient(self, gradient: Gradient, rate: int) -> Task:
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
            rate=shifted_rate(rate, layer.trained.rate_shift),
            groups=layer.groups,
        )
        x, error = place.tensor(layer.x), place.tensor(gradient.error)
        made = tuple(self._build.gradient(x, error, geometry=geometry(layer), images=images))
        return Task(name=f"{layer.name} gradient", stage="gradient", jobs=made, macs=self._macs(layer))

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

    def _round(self, edge: Edge | FanInEdge, mult: int | torch.Tensor, rebase: int) -> RoundError:
        """How an edge's sums become errors; a multiplier for each channel comes from the table."""
        per_channel = isinstance(mult, torch.Tensor)
        return RoundError(
            tensor=edge.tensor,
            table=self._place.table(f"{edge.name}/{edge.error}") if per_channel and isinstance(edge, Edge) else None,
            mult=1 if isinstance(mult, torch.Tensor) else mult,
            mask=None if edge.mask is None else self._place.mask(edge.mask),
            stochastic=edge.stochastic,
            rebase=rebase,
        )

    def _single_edge(self, edge: Edge, rebase: int) -> Task:
        place, build = self._place, self._build
        error, out = place.tensor(edge.error), place.tensor(edge.name)
        finish = self._round(edge, edge.mult, rebase)
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

    def _fan_in(self, edge: FanInEdge, states: Mapping[str, EdgeState], reference: int, rebase: int) -> Task:
        """Where errors meet; ``reference`` decides how far each operand is shifted, and which are left out."""
        operands = []
        for name, mult in edge.operands:
            distance = reference - states[name].exponent
            if distance < 0:
                continue  # only an all-zero tensor has a larger exponent than the reference
            per_channel = isinstance(mult, torch.Tensor)
            operands.append(
                Source(
                    tensor=self._place.tensor(name),
                    mult=1 if isinstance(mult, torch.Tensor) else mult,
                    table=self._place.table(f"{edge.name}/{name}") if per_channel else None,
                    align=min(distance, MAX_ALIGN),
                )
            )
        out = self._place.tensor(edge.name)
        job = self._build.gather(out, operands, finish=self._round(edge, 1, rebase), wide=True)
        return Task(name=edge.name, stage="other", jobs=(job,))
