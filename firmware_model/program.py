# SPDX-License-Identifier: Apache-2.0
"""The jobs of a network's layers, edges and gradients."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from respin.firmware_model.job_parts import (
    SUM_BYTES,
    Fields,
    Part,
    Randomness,
    Requantise,
    RoundError,
    Source,
    StoreSums,
    TrainedImages,
)
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor, mask_words
from respin.firmware_model.operations import LABELS, Operation, geometry, runs_depthwise, table_name
from respin.firmware_model.placement import Placement
from respin.golden.inference import RawSums
from respin.golden.network import (
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    Layer,
    Loss,
    Merge,
    Upsample,
    sources,
)
from respin.golden.ops.errors import FAN_IN_BITS, MAX_ALIGN

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
    reads:
        The tensors that they read.
    macs:
        Multiply-accumulates of the operator, padding of any kind left out; 0 where the engine does not work.
    """

    name: str
    stage: str
    jobs: tuple[Fields, ...]
    reads: tuple[str, ...]
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
        Their jobs, without learning rate and exponent.
    error:
        The error tensor that they start from.
    rate_shift:
        The layer's learning rate is the network's times 2 to the power of this.
    """

    task: Task
    error: str
    rate_shift: int

    def at(self, log2_rate: int, states: Mapping[str, EdgeState]) -> Task:
        """Return the jobs for a step with the network's learning rate, as the sequencer would run them.

        Parameters
        ----------
        log2_rate:
            Binary logarithm of the rate.
        states:
            The errors of this step.
        """
        step = {"log2_rate": log2_rate + self.rate_shift, "exponent": states[self.error].exponent}
        return replace(self.task, jobs=tuple(job | step for job in self.task.jobs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where what an operation touches lies while it makes a part of its result.

    Parameters
    ----------
    part:
        Which part.
    out:
        The part of the result, all channels of it; of a gradient its errors.
    operands:
        The rows of each operand that the part needs, by name, and the first of these rows in its map.
    mask:
        Store word of the mask's part, and the words from one channel block of it to the next.
    tables:
        First entry, for the part's first channel, of what the operation takes for each channel, by name.
    blocks:
        Of a gradient the channel blocks of its activations that it follows from, the first one and how many; all unless
        given.
    """

    part: Part
    out: StoreTensor
    operands: Mapping[str, tuple[StoreTensor, int]]
    mask: tuple[int, int] | None = None
    tables: Mapping[str, int] = field(default_factory=dict)
    blocks: tuple[int, int] | None = None


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

    # Of a network that lies in store and table as a whole.

    def forward(self) -> Iterator[Task]:
        """One task for each layer, in order."""
        for operation in self._place.operations:
            if operation.forward:
                yield self._task(operation)

    def loss(self) -> Task:
        """The loss and its error."""
        return self._task(self._operation(self._place.loss))

    def edge(self, edge: Edge | FanInEdge) -> EdgePlan:
        """A backward edge."""
        return EdgePlan(
            task=self._task(self._operation(edge)),
            sources=tuple(sources(edge)),
            fraction=edge_fraction(edge),
            fan_in=isinstance(edge, FanInEdge),
        )

    def gradient(self, gradient: Gradient) -> GradientPlan:
        """The weight gradient of a layer and the update that follows from it."""
        trained = self._network.convolution(gradient.layer).trained
        assert trained is not None
        task = self._task(self._operation(gradient))
        return GradientPlan(task=task, error=gradient.error, rate_shift=trained.rate_shift)

    def _operation(self, item: Loss | Edge | FanInEdge | Gradient) -> Operation:
        return next(operation for operation in self._place.operations if operation.item is item)

    def _task(self, operation: Operation) -> Task:
        place = self._place
        out = place.tensor(operation.over)
        mask = None if operation.mask is None else place.mask(operation.mask)
        setting = Setting(
            part=Part(shape=out.shape),
            out=out,
            operands={operand.name: (place.tensor(operand.name), 0) for operand in operation.operands},
            mask=None if mask is None else (mask, mask_words(out)),
            tables={name: place.table(name) for name in operation.tables},
        )
        item = operation.item
        stage, layer = "other", None
        match item:
            case Convolution() | RawSums():
                stage, layer = "forward", item
            case Gradient():
                stage, layer = "gradient", self._network.convolution(item.layer)
            case Edge() if item.through is not None:
                through = self._network.layer(item.through)
                if isinstance(through, Convolution):
                    stage, layer = "error", through
        macs = 0 if layer is None else self._macs(layer)
        return Task(
            name=operation.name,
            stage=stage,
            jobs=tuple(self.jobs(operation, setting)),
            reads=tuple(operand.name for operand in operation.operands),
            macs=macs,
        )

    def _macs(self, layer: Convolution | RawSums) -> int:
        """Multiply-accumulates of any of a convolution's three passes over the batch."""
        _, _, oh, ow = self._place.whole(layer.name).shape
        n = self._place.batch
        return n * oh * ow * layer.weight.numel()

    # Of any part of it.

    def jobs(self, operation: Operation, setting: Setting) -> Iterator[Fields]:
        """Yield the jobs that make a part of an operation's result."""
        match operation.item:
            case Loss() as loss:
                yield self._loss(loss, setting)
            case Gradient() as gradient:
                yield from self._gradient(gradient, setting)
            case Edge() | FanInEdge() as edge:
                yield from self._edge(operation, edge, setting)
            case RawSums() as sums:
                yield self._sums(sums, setting)
            case layer:
                yield self._layer(operation, layer, setting)

    def _loss(self, loss: Loss, setting: Setting) -> Fields:
        return self._build.loss(
            setting.operands[loss.logits][0],
            setting.out,
            setting.operands[LABELS][0].base,
            tensor=loss.tensor,
            alpha=loss.parameters.alpha,
            on=loss.parameters.on,
            off=loss.parameters.off,
            stochastic=loss.stochastic,
        )

    def _gradient(self, gradient: Gradient, setting: Setting) -> Iterator[Fields]:
        place = self._place
        layer = self._network.convolution(gradient.layer)
        if layer.trained is None or layer.trained.tensor is None:
            raise ValueError(f"{layer.name} must learn its weights: a job for a bias alone is not built yet")
        transposed = place.transposed_images(layer.name)
        if layer.stride > 1 and transposed:
            raise ValueError(f"{layer.name} must have stride 1 to learn, not {layer.stride}: errors pass it")
        images = TrainedImages(
            base=place.image(layer.name),
            transposed=transposed[0] if transposed else None,
            bias=place.bias_image(layer.name),
            tensor=layer.trained.tensor,
            bias_tensor=layer.trained.bias_tensor,
            groups=layer.groups,
        )
        x, _ = setting.operands[place.packing.source(layer)]
        geometry = place.packing.geometry(layer)
        return self._build.gradient(x, setting.out, geometry=geometry, images=images, part=setting.blocks)

    def _sums(self, sums: RawSums, setting: Setting) -> Fields:
        n, c, h, w = setting.part.shape
        shape = (n // SUM_BYTES, c, h, w)
        run = self._build.depthwise if runs_depthwise(sums) else self._build.convolution
        return run(
            setting.operands[self._place.packing.source(sums)][0],
            StoreTensor(setting.out.base, shape, signed=False, stride=setting.out.block_stride),
            rows=self._place.image(sums.name),
            geometry=self._place.packing.geometry(sums),
            finish=StoreSums(),
            pad=sums.pad_value,
            part=Part(shape=shape, channels=setting.part.channels),
        )

    def _layer(self, operation: Operation, layer: Layer, setting: Setting) -> Fields:
        mask, mask_stride = setting.mask or (None, None)
        match layer:
            case Convolution():
                x, row = setting.operands[self._place.packing.source(layer)]
                shape = self._place.packing.geometry(layer)
                run = self._build.depthwise if runs_depthwise(layer) else self._build.convolution
                return run(
                    x,
                    setting.out,
                    rows=self._place.image(layer.name),
                    geometry=replace(shape, pad_y=shape.pad_y - setting.part.row * shape.stride + row),
                    finish=Requantise(table=setting.tables[layer.name], mask=mask, mask_stride=mask_stride),
                    pad=layer.pad_value,
                    part=setting.part,
                )
            case AveragePool():
                finish = Requantise(table=setting.tables[layer.name])
                operands = self._gathered(operation, setting)
            case Upsample():
                lo, hi = (-128, 127) if setting.out.signed else (0, 255)
                finish = Requantise(lo=lo, hi=hi)
                operands = self._gathered(operation, setting)
            case Merge():
                finish = Requantise(shift=layer.shift, lo=layer.lo, hi=layer.hi)
                operands = [
                    replace(source, mult=operand.mult, zero=operand.zero_point)
                    for source, operand in zip(self._gathered(operation, setting), layer.operands, strict=True)
                ]
        return self._build.gather(setting.out, operands, finish=finish, part=setting.part)

    @staticmethod
    def _gathered(operation: Operation, setting: Setting) -> list[Source]:
        """The operands of a gathered sum, with the maps of their rows moved to where the parts begin."""
        found = []
        for operand in operation.operands:
            tensor, row = setting.operands[operand.name]
            num, den, add, span = operand.y
            moved = (num, den, setting.part.row * num + add - row * den, span)
            found.append(Source(tensor=tensor, y=moved, x=operand.x))
        return found

    def _edge(self, operation: Operation, edge: Edge | FanInEdge, setting: Setting) -> Iterator[Fields]:
        mask, mask_stride = setting.mask or (None, None)
        finish = RoundError(tensor=edge.tensor, mask=mask, mask_stride=mask_stride, stochastic=edge.stochastic)
        if isinstance(edge, FanInEdge):
            operands = [
                replace(source, table=setting.tables.get(table_name(edge.name, name)), mult=_same(mult))
                for source, (name, mult) in zip(self._gathered(operation, setting), edge.operands, strict=True)
            ]
            yield self._build.gather(setting.out, operands, finish=finish, wide=True, part=setting.part)
            return
        table = setting.tables.get(table_name(edge.name, edge.error))
        finish = replace(finish, table=table, mult=_same(edge.mult))
        layer = None if edge.through is None else self._network.layer(edge.through)
        if not isinstance(layer, Convolution):
            yield self._build.gather(
                setting.out, self._gathered(operation, setting), finish=finish, part=setting.part
            )
            return
        error, row = setting.operands[edge.error]
        yield from self._build.convolution_error(
            error,
            setting.out,
            rows=self._place.transposed_images(layer.name),
            geometry=geometry(layer),
            finish=finish,
            depthwise=runs_depthwise(layer),
            part=setting.part,
            dy_row=row,
        )


def edge_fraction(edge: Edge | FanInEdge) -> int:
    """What an edge's multipliers, and the widening where errors meet, take off the outgoing exponent."""
    return edge.fraction + (FAN_IN_BITS if isinstance(edge, FanInEdge) else 0)


def _same(mult: int | torch.Tensor) -> int:
    """A multiplier for all channels; 1 where there is a table of them."""
    return 1 if isinstance(mult, torch.Tensor) else mult
