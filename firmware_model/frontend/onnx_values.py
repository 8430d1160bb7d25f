# SPDX-License-Identifier: Apache-2.0
"""What a tensor of a quantised ONNX graph is while it is read: constants, integers, and real numbers on the way."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from respin.firmware_model.frontend.float_graph import LINEAR, Clamp
from respin.firmware_model.frontend.zero_points import Linear
from respin.golden.inference import Shape, TensorFormat
from respin.golden.network import Layer

Array = NDArray[Any]
BYTES = (np.dtype(np.int8), np.dtype(np.uint8))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Quantised:
    """Constant integers worth ``scale * (levels - zero_point)``, which go along ``axis`` if they are many."""

    levels: Array
    scale: Array
    zero_point: Array
    axis: int

    def to_float(self) -> Array:
        """Return what they are worth, float64."""
        shape = [1] * self.levels.ndim
        if self.scale.ndim:
            shape[self.axis] = -1
        scale, zero = (side.reshape(shape) if side.ndim else side for side in (self.scale, self.zero_point))
        return (self.levels.astype(np.float64) - zero) * scale


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Integers:
    """A tensor of 8 bits that a layer makes.

    ``signed`` is whether it is int8 here: not where the model says ``dtype`` int8, but a clamp leaves nothing below 0.
    ``flat`` is whether the model sees it as (N, C * H * W).
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    signed: bool
    flat: bool = False

    def seen(self, *, flat: bool) -> "Integers":
        """Return the same numbers, flattened or not."""
        return replace(self, flat=flat)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Real:
    """What integers are worth, and a clamp that waits for a quantiser."""

    x: Integers
    form: TensorFormat
    clamp: Clamp = LINEAR

    @property
    def shape(self) -> Shape:
        """(C, H, W)."""
        return self.x.shape

    @property
    def flat(self) -> bool:
        """Whether the model sees it as (N, C * H * W)."""
        return self.x.flat

    def seen(self, *, flat: bool) -> "Real":
        """Return the same numbers, flattened or not."""
        return replace(self, x=self.x.seen(flat=flat))


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Unquantised:
    """The real result of a layer that waits for its quantiser.

    ``make`` is given a name, a format and the clamp's ends; ``linear`` is the convolution where it is one.
    """

    label: str
    shape: Shape
    make: Callable[[str, TensorFormat, tuple[int, int]], Layer]
    linear: Linear | None = None
    clamp: Clamp = LINEAR
    flat: bool = False

    def seen(self, *, flat: bool) -> "Unquantised":
        """Return the same numbers, flattened or not."""
        return replace(self, flat=flat)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Sums:
    """int32 sums of ConvInteger or MatMulInteger; nothing but the output may read them."""

    label: str
    linear: Linear
    shape: Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatInput:
    """The float input, which a QuantizeLinear makes integers of."""

    name: str
    shape: Shape
    flat: bool


class Refused:
    """What a refused node makes: whatever reads it is not refused again."""


Value = Array | Quantised | FloatInput | Integers | Real | Unquantised | Sums | Refused
