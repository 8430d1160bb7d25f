# SPDX-License-Identifier: Apache-2.0
"""What an integer network asks of an accelerator, layer by layer."""

import math
from dataclasses import dataclass

from respin.firmware_model.operations import runs_depthwise
from respin.firmware_model.packing import Packing, choose_packing
from respin.firmware_model.placement import forward_rows
from respin.golden.inference import InferenceNetwork, RawSums, Shape
from respin.golden.network import AveragePool, Convolution, Layer, Merge, Upsample, reads
from respin.golden.ops import QuantiserTable, padding_sides
from respin.rtl.config import AcceleratorConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerListing:
    """One layer.

    Parameters
    ----------
    name, kind, reads:
        The tensor that it makes, what it is, the tensors that it reads.
    shape:
        (C, H, W) of what it makes.
    kernel, stride, padding, groups:
        Its geometry; padding is (top, bottom, left, right).
    quantiser:
        Range of its scale factors and its clamp, as text.
    macs:
        Multiply-accumulates for an image.
    weights, rows:
        Its weights, and the MRAM rows that they take.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    shape: Shape
    quantiser: str
    kernel: tuple[int, int] | None = None
    stride: int | None = None
    padding: tuple[int, int, int, int] | None = None
    groups: int | None = None
    macs: int = 0
    weights: int = 0
    rows: int = 0


def list_layers(network: InferenceNetwork, config: AcceleratorConfig) -> list[LayerListing]:
    """Describe every layer of ``network``; rows are those of ``config``."""
    shapes = network.shapes()
    images = {name: (1, *shape) for name, shape in shapes.items()}
    packing = choose_packing(network, images, training=False, store_words=config.store_words)
    listed = [_listed(layer, shapes, config, packing) for layer in network.layers]
    if network.sums is not None:
        listed.append(_convolution(network.sums, shapes, config, packing, "none: int32 sums"))
    return listed


def _listed(layer: Layer, shapes: dict[str, Shape], config: AcceleratorConfig, packing: Packing) -> LayerListing:
    shape, sources = shapes[layer.name], reads(layer)
    match layer:
        case Convolution():
            return _convolution(layer, shapes, config, packing, _table(layer.table))
        case AveragePool():
            return LayerListing(
                name=layer.name,
                kind="average pool",
                reads=sources,
                shape=shape,
                kernel=layer.kernel,
                quantiser=_table(layer.table),
            )
        case Merge():
            factors = [operand.mult * math.pow(2.0, -layer.shift) for operand in layer.operands]
            text = f"{_span(min(factors), max(factors))} -> {layer.lo}..{layer.hi}"
            return LayerListing(name=layer.name, kind="merge", reads=sources, shape=shape, quantiser=text)
        case Upsample():
            return LayerListing(name=layer.name, kind="upsample", reads=sources, shape=shape, quantiser="")


def _convolution(
    layer: Convolution | RawSums,
    shapes: dict[str, Shape],
    config: AcceleratorConfig,
    packing: Packing,
    quantiser: str,
) -> LayerListing:
    shape, weights = shapes[layer.name], layer.weight.numel()
    dense = layer.weight.shape[2:] == shapes[layer.x][1:] and shape[1:] == (1, 1)
    return LayerListing(
        name=layer.name,
        kind="depthwise" if runs_depthwise(layer) else "dense" if dense else "convolution",
        reads=(layer.x,),
        shape=shape,
        kernel=(layer.weight.shape[2], layer.weight.shape[3]),
        stride=layer.stride,
        padding=padding_sides(layer.padding),
        groups=layer.groups,
        quantiser=quantiser,
        macs=weights * shape[1] * shape[2],
        weights=weights,
        rows=len(forward_rows(layer, packing.weight(layer, layer.weight.numpy()), config.slices)),
    )


def _table(table: QuantiserTable) -> str:
    factors = _span(float(table.ratio.min()), float(table.ratio.max()))
    return f"{factors} -> {int(table.lo.min())}..{int(table.hi.max())}"


def _span(low: float, high: float) -> str:
    return f"x {low:.3g}" if low == high else f"x {low:.3g}..{high:.3g}"
