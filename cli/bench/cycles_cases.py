# SPDX-License-Identifier: Apache-2.0
"""What ``respin bench cycles`` measures: layers, and the figures that others published for the same ones."""

from dataclasses import dataclass, replace

from respin.firmware_model.geometry import Geometry
from respin.firmware_model.layout import StoreTensor, blocks
from respin.rtl.config import AcceleratorConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution of stride 1.

    Parameters
    ----------
    case:
        What it is called in the report.
    inputs, outputs:
        Channels.
    kernel:
        Side of the kernel.
    size:
        (H, W) of the input map.
    padding:
        Zeros on each side of the map.
    bits:
        Bits of an activation that are streamed.
    depthwise:
        One input for each output channel.
    peer_cycles:
        Published cycles of N-EUREKA, 4x4 processing elements, at 576 multiply-accumulates a cycle.
    """

    case: str
    inputs: int
    outputs: int
    kernel: int
    size: tuple[int, int]
    padding: int = 0
    bits: int = 8
    depthwise: bool = False
    peer_cycles: int | None = None

    @property
    def geometry(self) -> Geometry:
        """Kernel and padding."""
        return Geometry(kh=self.kernel, kw=self.kernel, pad_y=self.padding, pad_x=self.padding)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(O, I, kh, kw); I is 1 for a depthwise convolution."""
        return self.outputs, 1 if self.depthwise else self.inputs, self.kernel, self.kernel

    def macs(self, images: int) -> int:
        """Multiply-accumulates of one pass over ``images`` images."""
        _, inputs, kh, kw = self.weight_shape
        _, outputs, oh, ow = self.tensors(images)[1].shape
        return images * oh * ow * outputs * inputs * kh * kw

    def tensors(self, images: int) -> tuple[StoreTensor, StoreTensor]:
        """Input and output, side by side in the store."""
        oh, ow = (side + 2 * self.padding - self.kernel + 1 for side in self.size)
        x = StoreTensor(0, (images, self.inputs, *self.size), False)
        return x, StoreTensor(x.words, (images, self.outputs, oh, ow), True)

    def rows(self, config: AcceleratorConfig) -> int:
        """Rows of a dense layer's image."""
        return -(-self.outputs // config.slices) * config.slices * blocks(self.inputs) * self.kernel**2


def _same(case: str, channels: int, kernel: int, side: int) -> Layer:
    """A layer whose output map has the size of its input."""
    return Layer(
        case=case, inputs=channels, outputs=channels, kernel=kernel, size=(side, side), padding=kernel // 2
    )  # fmt: skip


STEADY = (_same("64-64 1x1", 64, 1, 8), _same("64-64 3x3", 64, 3, 8))
MODULE = (_same("Rep-Net 3x3 32-32, one group", 32, 3, 4), _same("Rep-Net 1x1 32-32", 32, 1, 4))

FEWER_BITS = tuple(replace(_same(f"32-32 3x3, {bits} bits", 32, 3, 8), bits=bits) for bits in (8, 6, 4, 2))

SMALLEST = Layer(case="32-32 1x1 on one pixel", inputs=32, outputs=32, kernel=1, size=(1, 1))

PEER = tuple(
    Layer(
        case=case, inputs=channels, outputs=channels, kernel=kernel, size=size, depthwise=depthwise, peer_cycles=cycles
    )
    for case, kernel, size, channels, depthwise, cycles in (
        ("t0 1x1", 1, (4, 4), 32, False, 141),
        ("t1 1x1", 1, (4, 1), 32, False, 137),
        ("t2 1x1", 1, (1, 4), 32, False, 126),
        ("t3 1x1", 1, (1, 1), 32, False, 124),
        ("t4 1x1", 1, (8, 8), 32, False, 550),
        ("t5 1x1", 1, (7, 7), 32, False, 538),
        ("t6 1x1", 1, (4, 4), 64, False, 441),
        ("t7 1x1", 1, (4, 4), 48, False, 376),
        ("t8 3x3", 3, (6, 6), 32, False, 494),
        ("t9 1x1", 1, (7, 7), 32, False, 542),
        ("t10 1x1", 1, (4, 4), 64, False, 431),
        ("t11 1x1", 1, (4, 4), 48, False, 375),
        ("t12 3x3 depthwise", 3, (6, 6), 32, True, 167),
        ("t13 3x3 depthwise", 3, (6, 6), 64, True, 333),
    )
)
"""N-EUREKA's cases, weights of 8 bits. It streams the weights, 2, 4 and 6 bits of them in t9, t10 and t11; these stream
8-bit activations, so t9 to t11 are the layers of t5 to t7 again. The 3x3 cases make 4x4 maps of 6x6 ones."""
