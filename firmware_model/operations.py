# SPDX-License-Identifier: Apache-2.0
"""The operations of a network in their order: what each reads and makes, and which rows of what it reads it needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from respin.firmware_model.geometry import Geometry
from respin.firmware_model.layout import blocks
from respin.golden.inference import InferenceNetwork, RawSums
from respin.golden.network import (
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    Upsample,
    reads,
    sources,
)
from respin.golden.ops import padding_sides
from respin.rtl.config import PLANES
from respin.rtl.imc.depthwise import MAX_TAPS

if TYPE_CHECKING:
    from respin.firmware_model.packing import Packing

LABELS = "labels"
"""The name of the labels, as the loss reads them."""
Shape = tuple[int, int, int, int]
Network = IntegerNetwork | InferenceNetwork
"""What a program can be made of: a network that learns, or one that only runs."""
AxisMap = tuple[int, int, int, int]
"""(num, den, add, span) of a :class:`respin.rtl.jobs.AxisMap`."""
IDENTITY: AxisMap = (1, 1, 0, 0)
GATHERED_CYCLES = 4
"""About how many cycles a gathered sum takes for 32 channels of an operand."""


def raw_sums(network: Network) -> RawSums | None:
    """The convolution whose int32 sums are the network's output, if there is one."""
    return network.sums if isinstance(network, InferenceNetwork) else None


def geometry(layer: Convolution | RawSums) -> Geometry:
    """Kernel, stride and padding of a convolution as the window takes them."""
    top, _, left, _ = padding_sides(layer.padding)
    return Geometry(kh=layer.weight.shape[2], kw=layer.weight.shape[3], stride=layer.stride, pad_y=top, pad_x=left)


def runs_depthwise(layer: Convolution | RawSums) -> bool:
    """Whether the depthwise unit runs a convolution: each output channel has an input channel of its own, there are no
    more taps than the unit holds, and the weights do not learn, as its rows have no weight gradient."""
    outputs, inputs, kh, kw = layer.weight.shape
    learns = isinstance(layer, Convolution) and layer.trained is not None and layer.trained.tensor is not None
    return layer.groups > 1 and outputs == layer.groups and inputs == 1 and kh * kw <= MAX_TAPS and not learns


def table_name(edge: str, source: str) -> str:
    """What the multipliers of an edge's operand are called in the table."""
    return f"{edge}/{source}"


@dataclass(frozen=True, slots=True)
class Reach:
    """Which rows of an operand the rows of a result need: for row ``y`` those from ``(y*a + b) // d`` to
    ``(y*a + c) // d``."""

    a: int = 1
    b: int = 0
    c: int = 0
    d: int = 1

    @classmethod
    def of_window(cls, geometry: Geometry) -> "Reach":
        """The reach of a convolution."""
        return cls(a=geometry.stride, b=-geometry.pad_y, c=geometry.kh - 1 - geometry.pad_y)

    @classmethod
    def of_error(cls, geometry: Geometry) -> "Reach":
        """The reach of the errors back through a convolution: row ``y`` takes ``oy`` where ``oy*stride - pad + ky`` is
        ``y``."""
        return cls(b=geometry.pad_y - geometry.kh + geometry.stride, c=geometry.pad_y, d=geometry.stride)

    @classmethod
    def of_map(cls, map_y: AxisMap) -> "Reach":
        """The reach of an operand of a gathered sum."""
        num, den, add, span = map_y
        return cls(a=num, b=add, c=add + (num - den if span else 0), d=den)

    def rows(self, row: int, rows: int, height: int) -> tuple[int, int]:
        """The first row and the number of rows of a map of ``height`` that ``rows`` rows from ``row`` on need.

        At least one row, be it needed or not: a job's map has one.
        """
        first = min(max((row * self.a + self.b) // self.d, 0), height - 1)
        end = min(((row + rows - 1) * self.a + self.c) // self.d + 1, height)
        return first, max(end - first, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A tensor that an operation reads; of a gathered sum with the maps of its axes. One that is ``blockwise`` can be
    read some channel blocks at a time."""

    name: str
    reach: Reach = Reach()
    y: AxisMap = IDENTITY
    x: AxisMap = IDENTITY
    blockwise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A layer, the loss, an edge or a gradient.

    Parameters
    ----------
    item:
        Which.
    operands:
        What it reads.
    result:
        The tensor that it makes; None for a gradient.
    mask:
        The layer whose mask it writes or reads.
    tables:
        Names of the constants that it takes for each channel.
    row_step:
        A band of rows of the result begins at a multiple of this.
    whole:
        Whether it needs all pixels of its tensors at once.
    pixel_cycles:
        About how many cycles it takes for 32 channels of a pixel of its result.
    """

    item: Layer | RawSums | Loss | Edge | FanInEdge | Gradient
    operands: tuple[Operand, ...]
    result: str | None
    mask: str | None = None
    tables: tuple[str, ...] = ()
    row_step: int = 1
    whole: bool = False
    pixel_cycles: int = GATHERED_CYCLES

    @property
    def forward(self) -> bool:
        """Whether it belongs to inference."""
        return isinstance(self.item, Layer | RawSums)

    @property
    def over(self) -> str:
        """The tensor over whose elements it runs: its result; of a gradient its errors."""
        return self.item.error if isinstance(self.item, Gradient) else self.item.name

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.item.layer} gradient" if isinstance(self.item, Gradient) else self.item.name


def operations(
    network: Network, shapes: Mapping[str, Shape], packing: "Packing", *, training: bool
) -> Iterator[Operation]:
    """Yield the operations of inference, or of a training step.

    Parameters
    ----------
    network, shapes:
        The network, and the shapes of its tensors by name.
    packing:
        Which convolutions read packed windows; the pools before them are the host's.
    training:
        Whether loss, edges and gradients come too.
    """
    masked = {edge.mask for edge in network.edges if edge.mask is not None} if training else set()
    for layer in network.layers:
        if layer.name not in packing.pools:
            yield _layer(layer, shapes, packing, masked)
    sums = raw_sums(network)
    if sums is not None:
        yield Operation(item=sums, operands=(Operand(name=packing.source(sums)),), result=sums.name, whole=True)
    loss = network.loss
    if not training or loss is None:
        return
    yield Operation(
        item=loss, operands=(Operand(name=loss.logits), Operand(name=LABELS)), result=loss.name, whole=True
    )
    for edge in network.edges:
        yield _edge(network, edge, shapes)
    for gradient in network.gradients:
        activations = Operand(name=packing.source(network.convolution(gradient.layer)), blockwise=True)
        yield Operation(item=gradient, operands=(activations, Operand(name=gradient.error)), result=None, whole=True)


def _gathered(name: str, y: AxisMap, x: AxisMap) -> Operand:
    return Operand(name=name, reach=Reach.of_map(y), y=y, x=x)


def _layer(layer: Layer, shapes: Mapping[str, Shape], packing: "Packing", masked: set[str]) -> Operation:
    operands: tuple[Operand, ...]
    pixel_cycles = GATHERED_CYCLES * len(reads(layer))
    match layer:
        case Convolution():
            _, inputs, kh, kw = packing.weight(layer, layer.weight.numpy()).shape
            pixel_cycles = _pixel_cycles(layer, inputs * layer.groups, kh * kw)
            operands = (Operand(name=packing.source(layer), reach=Reach.of_window(packing.geometry(layer))),)
        case AveragePool():
            kh, kw = layer.kernel
            operands = (_gathered(layer.x, (kh, 1, 0, 1), (kw, 1, 0, 1)),)
        case Upsample():
            (_, _, h, w), (oh, ow) = shapes[layer.x], layer.size
            operands = (_gathered(layer.x, (h, oh, 0, 0), (w, ow, 0, 0)),)
        case Merge():
            operands = tuple(Operand(name=operand.x) for operand in layer.operands)
    return Operation(
        item=layer,
        operands=operands,
        result=layer.name,
        mask=layer.name if layer.name in masked else None,
        tables=(layer.name,) if isinstance(layer, Convolution | AveragePool) else (),
        pixel_cycles=pixel_cycles,
    )


def _pixel_cycles(layer: Convolution, channels: int, taps: int) -> int:
    """Cycles that a convolution takes for 32 results from ``taps`` taps of ``channels`` channels."""
    return taps if runs_depthwise(layer) else PLANES * blocks(channels) * taps


def _edge(network: Network, edge: Edge | FanInEdge, shapes: Mapping[str, Shape]) -> Operation:
    through = network.layer(edge.through) if isinstance(edge, Edge) and edge.through is not None else None
    row_step = 1
    operands: tuple[Operand, ...]
    pixel_cycles = GATHERED_CYCLES * len(sources(edge))
    match through:
        case Convolution():
            row_step = through.stride
            outputs, _, kh, kw = through.weight.shape
            pixel_cycles = _pixel_cycles(through, outputs, -(-kh * kw // through.stride**2))
            operands = (Operand(name=sources(edge)[0], reach=Reach.of_error(geometry(through))),)
        case AveragePool():
            kh, kw = through.kernel
            operands = (_gathered(sources(edge)[0], (1, kh, 0, 0), (1, kw, 0, 0)),)
        case Upsample():
            (_, _, ih, iw), (h, w) = shapes[through.x], through.size
            operands = (_gathered(sources(edge)[0], (h, ih, ih - 1, 1), (w, iw, iw - 1, 1)),)
        case _:
            operands = tuple(Operand(name=name) for name in sources(edge))
    mults = edge.operands if isinstance(edge, FanInEdge) else ((edge.error, edge.mult),)
    return Operation(
        item=edge,
        operands=operands,
        result=edge.name,
        mask=edge.mask,
        tables=tuple(table_name(edge.name, name) for name, mult in mults if isinstance(mult, torch.Tensor)),
        row_step=row_step,
        pixel_cycles=pixel_cycles,
    )
