# SPDX-License-Identifier: Apache-2.0
"""Shapes of convolutions, and into what hardware takes them apart: kernel rows, and the phases of an error pass."""

from dataclasses import dataclass

from respin.rtl.jobs import EXTENT

MAX_EXTENT = (1 << EXTENT.width) - 1
"""Columns of a window's longest line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Kernel, stride and zero-padding (top, left) of a convolution; equal on both axes unless given."""

    kh: int
    kw: int
    stride: int = 1
    pad_y: int = 0
    pad_x: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRow:
    """How the depthwise unit goes about a kernel row: ``words`` words a column, each for ``taps`` taps of the row.

    The taps of a word lie side by side or, where ``strided``, as far apart as outputs do.
    """

    words: int
    taps: int
    strided: bool = False

    @classmethod
    def fastest(cls, geometry: Geometry, outputs: int, most: int) -> "KernelRow":
        """The way that takes the fewest words for a row of ``outputs``, with at most ``most`` taps to a word."""
        kw, stride = geometry.kw, geometry.stride
        ways = [cls(words=kw, taps=1)]
        if stride == 1:
            ways += [cls(words=-(-kw // taps), taps=taps) for taps in range(2, min(kw, most) + 1)]
        elif stride < kw <= stride * most:
            ways.append(cls(words=stride, taps=-(-kw // stride), strided=True))
        return min(
            (way for way in ways if way.columns(outputs) <= MAX_EXTENT),
            key=lambda way: way.words * way.columns(outputs),
        )

    def columns(self, outputs: int) -> int:
        """Columns that a row of outputs takes."""
        return outputs + self.taps - 1


@dataclass(frozen=True, slots=True)
class ErrorPhase:
    """One phase of the error pass of a strided convolution: where it starts and the dense convolution it is."""

    y0: int
    x0: int
    oh: int
    ow: int
    geometry: Geometry
    taps_y: tuple[int, ...]
    taps_x: tuple[int, ...]


def error_phases(geometry: Geometry, h: int, w: int) -> list[ErrorPhase]:
    """The dense convolutions into which the error pass of a strided convolution falls, row-major over (y, x) phases.

    Input row ``y`` gets errors through the taps ``ky`` for which ``y + pad - ky`` is a multiple of the stride. Phases
    that no tap or no row reaches are refused.

    Raises
    ------
    ValueError
        If a phase has no taps (a kernel smaller than its stride): its errors are 0 and no job can say so.
    """
    stride = geometry.stride
    axes = []
    for kernel, pad, extent in ((geometry.kh, geometry.pad_y, h), (geometry.kw, geometry.pad_x, w)):
        axis = []
        for first in range(min(stride, extent)):
            taps = tuple(tap for tap in range(kernel) if (first + pad - tap) % stride == 0)
            if not taps:
                raise ValueError(f"kernel must be at least the stride ({stride}) for an error pass, not {kernel}")
            # Flipped taps: the dense kernel's first tap meets the smallest error index.
            lowest = (first + pad - taps[-1]) // stride
            axis.append((first, -(-(extent - first) // stride), taps[::-1], -lowest))
        axes.append(axis)
    return [
        ErrorPhase(
            y0=y0,
            x0=x0,
            oh=oh,
            ow=ow,
            geometry=Geometry(kh=len(ty), kw=len(tx), pad_y=py, pad_x=px),
            taps_y=ty,
            taps_x=tx,
        )
        for y0, oh, ty, py in axes[0]
        for x0, ow, tx, px in axes[1]
    ]
