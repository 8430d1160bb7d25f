# SPDX-License-Identifier: Apache-2.0
"""Packed windows: a convolution of few channels reads its windows as pixels of many, laid out by the host.

An image has 3 channels, a word of the store 32 lanes. The windows of a convolution that reads the network's input are
known to the host that writes it: as pixels of ``C * kh * kw`` channels they fill the lanes, and the convolution is a
pointwise one of the same weights, ``(O, I, kh, kw)`` seen as ``(O, I * kh * kw, 1, 1)``. Sums, gradients and the linear
index of every weight stay what they are (docs/decisions/0022).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import SUM_BYTES
from respin.firmware_model.layout import IntArray, blocks
from respin.firmware_model.operations import Network, Shape, geometry, raw_sums, runs_depthwise
from respin.golden.inference import RawSums
from respin.golden.network import INPUT, AveragePool, Convolution, reads
from respin.golden.ops import padding_sides
from respin.rtl.jobs import CHANNEL

COLUMNS = ("bias", "mult", "shift", "lo", "hi")
"""The constants of a requantisation."""
MAX_LANES = (1 << CHANNEL.width) - 1
"""Channels that a tensor may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPool:
    """An average pool of the network's input, which the host computes: ``kernel`` and, for each channel, the constants
    of its requantisation (docs/arithmetic.md)."""

    name: str
    kernel: tuple[int, int]
    bias: tuple[int, ...]
    mult: tuple[int, ...]
    shift: tuple[int, ...]
    lo: tuple[int, ...]
    hi: tuple[int, ...]

    @classmethod
    def of_layer(cls, layer: AveragePool) -> "InputPool":
        """The pool that golden's layer is."""
        columns = {name: tuple(getattr(layer.table, name).tolist()) for name in COLUMNS}
        return cls(name=layer.name, kernel=layer.kernel, **columns)

    @classmethod
    def from_dict(cls, about: Mapping[str, Any]) -> "InputPool":
        """The inverse of :func:`dataclasses.asdict`, after a way through JSON."""
        columns = {name: tuple(about[name]) for name in COLUMNS}
        return cls(name=about["name"], kernel=tuple(about["kernel"]), **columns)

    @property
    def signed(self) -> bool:
        """Whether it makes int8; else uint8."""
        return min(self.lo) < 0

    def run(self, x: IntArray) -> IntArray:
        """Pool ``x`` (N, C, H, W), int8 or uint8."""
        n, c, h, w = x.shape
        kh, kw = self.kernel
        oh, ow = h // kh, w // kw
        sums = x[:, :, : oh * kh, : ow * kw].reshape(n, c, oh, kh, ow, kw).sum(axis=(3, 5), dtype=np.int64)
        columns = (np.array(getattr(self, name), dtype=np.int64)[:, None, None] for name in COLUMNS)
        bias, mult, shift, lo, hi = columns
        scaled = ((sums + bias) * mult + (1 << (shift - 1))) >> shift
        pooled: IntArray = np.clip(scaled, lo, hi).astype(np.int8 if self.signed else np.uint8)
        return pooled


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedWindows:
    """How the host lays out the windows that a convolution reads of the network's input, or of its average pool.

    Parameters
    ----------
    kernel:
        (height, width).
    stride:
        Of both axes.
    padding:
        (top, bottom, left, right).
    pad_value:
        What lies outside the map.
    pool:
        Through which the convolution reads the input, if it does.
    """

    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int, int, int]
    pad_value: int
    pool: InputPool | None = None

    @classmethod
    def of_layer(cls, layer: Convolution | RawSums, pool: AveragePool | None) -> "PackedWindows":
        """The windows of golden's layer."""
        return cls(
            kernel=(layer.weight.shape[2], layer.weight.shape[3]),
            stride=layer.stride,
            padding=padding_sides(layer.padding),
            pad_value=layer.pad_value,
            pool=None if pool is None else InputPool.of_layer(pool),
        )

    @classmethod
    def from_dict(cls, about: Mapping[str, Any]) -> "PackedWindows":
        """The inverse of :func:`dataclasses.asdict`, after a way through JSON."""
        return cls(
            kernel=tuple(about["kernel"]),
            stride=about["stride"],
            padding=tuple(about["padding"]),
            pad_value=about["pad_value"],
            pool=None if about["pool"] is None else InputPool.from_dict(about["pool"]),
        )

    def signed(self, signed: bool) -> bool:
        """Whether the windows hold int8, of an input that does or does not."""
        return signed if self.pool is None else self.pool.signed

    def pack(self, x: IntArray) -> IntArray:
        """Return the windows of a batch ``x`` (N, C, H, W) as pixels (N, C * kh * kw, OH, OW), channels as weights
        count them: ``(c * kh + ky) * kw + kx``."""
        top, bottom, left, right = self.padding
        source = x if self.pool is None else self.pool.run(x)
        sides = ((0, 0), (0, 0), (top, bottom), (left, right))
        padded = np.pad(source, sides, constant_values=self.pad_value)
        every = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(2, 3))
        windows = every[:, :, :: self.stride, :: self.stride].transpose(0, 1, 4, 5, 2, 3)
        n, c, kh, kw, oh, ow = windows.shape
        return windows.reshape(n, c * kh * kw, oh, ow)


@dataclass(frozen=True, slots=True)
class Packing:
    """Which convolutions of a network read packed windows, by their names."""

    windows: Mapping[str, PackedWindows] = field(default_factory=dict)

    @property
    def pools(self) -> frozenset[str]:
        """The layers that the host computes."""
        return frozenset(made.pool.name for made in self.windows.values() if made.pool is not None)

    @property
    def names(self) -> dict[str, str]:
        """What the tensor of each convolution's windows is called."""
        return {layer: f"{layer} windows" for layer in self.windows}

    @property
    def tensors(self) -> dict[str, PackedWindows]:
        """The windows by these names."""
        return {self.names[layer]: made for layer, made in self.windows.items()}

    def source(self, layer: Convolution | RawSums) -> str:
        """Return the name of the tensor that the machine reads for a convolution."""
        return self.names.get(layer.name, layer.x)

    def geometry(self, layer: Convolution | RawSums) -> Geometry:
        """Return kernel, stride and padding that the machine walks that tensor with."""
        return Geometry(kh=1, kw=1) if layer.name in self.windows else geometry(layer)

    def weight(self, layer: Convolution | RawSums, weight: IntArray) -> IntArray:
        """Return weights (O, I / groups, kh, kw) of a convolution in the shape that the machine takes them."""
        return weight.reshape(len(weight), -1, 1, 1) if layer.name in self.windows else weight


def choose_packing(
    network: Network, shapes: Mapping[str, Shape], *, training: bool, store_words: int
) -> Packing:
    """Choose what to pack: convolutions of the input, or of an average pool of it that nothing else reads, whose
    windows take the engine fewer words than their taps do.

    What has to lie in the store at once limits it: a channel block of windows and all errors of a layer that learns its
    weights, the windows and sums of one whose sums are the network's output.

    Parameters
    ----------
    network, shapes:
        The network, and the shapes of its tensors by name.
    training:
        Whether edges and gradients are to run.
    store_words:
        Words of the store.
    """
    readers = Counter(name for layer in network.layers for name in set(reads(layer)))
    sums = raw_sums(network)
    convolutions: list[Convolution | RawSums] = [layer for layer in network.layers if isinstance(layer, Convolution)]
    if sums is not None:
        convolutions.append(sums)
        readers[sums.x] += 1
    pools = {
        layer.name: layer
        for layer in network.layers
        if isinstance(layer, AveragePool)
        and layer.x == INPUT
        and readers[layer.name] == 1
        and layer.name != network.output
    }
    passed = {getattr(edge, "through", None) for edge in network.edges} if training else set()
    learned = {gradient.layer for gradient in network.gradients} if training else set()
    chosen = {}
    for layer in convolutions:
        if layer.x not in (INPUT, *pools) or layer.name in passed or runs_depthwise(layer):
            continue
        (n, channels, _, _), (_, outputs, oh, ow) = shapes[layer.x], shapes[layer.name]
        taps = layer.weight.shape[2] * layer.weight.shape[3]
        lanes = channels * taps
        if layer is sums:
            words = n * oh * ow * (blocks(lanes) + SUM_BYTES * blocks(outputs))
        elif layer.name in learned:
            words = n * oh * ow * (1 + blocks(outputs))
        else:
            words = 0
        if blocks(lanes) < blocks(channels) * taps and lanes <= MAX_LANES and words <= store_words:
            chosen[layer.name] = PackedWindows.of_layer(layer, pools.get(layer.x))
    return Packing(chosen)
