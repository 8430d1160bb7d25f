# SPDX-License-Identifier: Apache-2.0
"""From int32 sums to 8-bit activations: requantise, its mask, and the merge of several tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from respin.golden.ops import kernels
from respin.golden.ops.checks import (
    ACTIVATIONS,
    INT32_MAX,
    INT32_MIN,
    SUMS,
    require_int,
    require_shape,
    require_tensor,
    require_values,
)
from respin.golden.ops.layout import Array, array, empty_like, tensor_like

MAX_MULTIPLIER = (1 << 16) - 1
MAX_SHIFT = 46


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantiserTable:
    """Per-channel constants of a requantisation, each an int64 tensor (C,).

    Parameters
    ----------
    bias:
        Added to the sum, int32.
    mult:
        Multiplier, 0..65535.
    shift:
        Right shift, 1..46.
    lo, hi:
        Clamp; either all of 0..255 (an unsigned tensor) or all of -128..127 (a signed one).

    Raises
    ------
    TypeError, ValueError
        Naming the column, the rule and the value.
    """

    bias: Tensor
    mult: Tensor
    shift: Tensor
    lo: Tensor
    hi: Tensor

    def __post_init__(self) -> None:
        ranges = {"bias": (INT32_MIN, INT32_MAX), "mult": (0, MAX_MULTIPLIER), "shift": (1, MAX_SHIFT)}
        ranges |= {"lo": (-128, 255), "hi": (-128, 255)}
        for name, (low, high) in ranges.items():
            column = getattr(self, name)
            require_tensor(name, column, (torch.int64,), 1)
            require_shape(name, column, self.bias.shape)
            require_values(name, column, low, high)
        if bool((self.lo > self.hi).any()):
            raise ValueError("lo must be at most hi in every channel")
        if self.signed and int(self.hi.max()) > 127:
            raise ValueError("hi must be at most 127 where some lo is negative")

    @classmethod
    def build(
        cls,
        channels: int,
        *,
        bias: Tensor | int = 0,
        mult: Tensor | int,
        shift: Tensor | int,
        lo: Tensor | int,
        hi: Tensor | int,
    ) -> "QuantiserTable":
        """Make a table of ``channels`` entries; a number stands for the same value in every channel."""

        def column(value: Tensor | int) -> Tensor:
            return torch.as_tensor(value, dtype=torch.int64).expand(channels).clone()

        return cls(bias=column(bias), mult=column(mult), shift=column(shift), lo=column(lo), hi=column(hi))

    @property
    def channels(self) -> int:
        """Entries of the table."""
        return self.bias.shape[0]

    @cached_property
    def signed(self) -> bool:
        """Whether the result is int8; else it is uint8."""
        return int(self.lo.min()) < 0

    @cached_property
    def ratio(self) -> Tensor:
        """``M / 2^s`` of each channel, float64: exact."""
        return self.mult.to(torch.float64) * torch.exp2(-self.shift.to(torch.float64))

    @cached_property
    def columns(self) -> tuple[Array, Array, Array, Array, Array]:
        """``M`` (int32), ``bias * M + 2^(s-1)``, ``s``, ``lo`` and ``hi`` as the loops take them."""
        offset = self.bias * self.mult + (1 << self.shift - 1)
        mult = self.mult.to(torch.int32)
        return mult.numpy(), offset.numpy(), self.shift.numpy(), self.lo.numpy(), self.hi.numpy()

    @cached_property
    def limits(self) -> tuple[Array, Array]:
        """``lo`` and ``hi`` in the type of the result."""
        kind = torch.int8 if self.signed else torch.uint8
        return self.lo.to(kind).numpy(), self.hi.to(kind).numpy()

    def with_bias(self, bias: Tensor) -> "QuantiserTable":
        """Return the same table with another bias (int64, (C,))."""
        return QuantiserTable(bias=bias, mult=self.mult, shift=self.shift, lo=self.lo, hi=self.hi)


def requantise(sums: Tensor, table: QuantiserTable) -> Tensor:
    """Scale sums to 8 bits: ``y = clamp(((acc + bias) * M + 2^(s-1)) >> s, lo, hi)``; halves round up.

    Parameters
    ----------
    sums:
        (N, C) or (N, C, H, W), int32.
    table:
        C entries.

    Returns
    -------
    The same shape, int8 if some ``lo`` is negative, else uint8.

    Raises
    ------
    TypeError, ValueError
        For a wrong dtype, or a table of another number of channels.
    """
    require_tensor("sums", sums, SUMS)
    if sums.dim() < 2 or sums.shape[1] != table.channels:
        raise ValueError(f"sums must have {table.channels} channels in dimension 1, not shape {tuple(sums.shape)!r}")
    result = empty_like(sums, np.int8 if table.signed else np.uint8)
    kernels.requantise(array(sums), *table.columns, result)
    return tensor_like(result, sums)


def activation_mask(y: Tensor, table: QuantiserTable) -> Tensor:
    """Mask of a ReLU or ReLU6 layer's output: bool, true where ``lo < y < hi``.

    ``y`` is what :func:`requantise` gave for ``table``.
    """
    require_tensor("y", y, ACTIVATIONS)
    if y.dim() < 2 or y.shape[1] != table.channels:
        raise ValueError(f"y must have {table.channels} channels in dimension 1, not shape {tuple(y.shape)!r}")
    result = empty_like(y, np.bool_)
    kernels.between(array(y), *table.limits, result)
    return tensor_like(result, y)


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeOperand:
    """One side of a merge: ``x`` (N, C, H, W), int8 or uint8, its zero point and its multiplier (0..65535)."""

    x: Tensor
    mult: int
    zero_point: int = 0

    def __post_init__(self) -> None:
        require_tensor("x", self.x, ACTIVATIONS)
        require_int("mult", self.mult, 0, MAX_MULTIPLIER)
        require_int("zero_point", self.zero_point, -128, 255)


def merge_add(operands: Sequence[MergeOperand], *, shift: int, lo: int, hi: int) -> Tensor:
    """Add tensors of different scales: ``y = clamp((Σ (x_j - zero_j) * m_j + 2^(s-1)) >> s, lo, hi)``.

    Parameters
    ----------
    operands:
        One to four, all of one shape.
    shift:
        1..46, shared.
    lo, hi:
        Clamp, in 0..255 or -128..127.

    Returns
    -------
    The operands' shape; int8 if ``lo`` is negative, else uint8.
    """
    if not 1 <= len(operands) <= 4:
        raise ValueError(f"operands must be one to four, not {len(operands)!r}")
    require_int("shift", shift, 1, MAX_SHIFT)
    require_int("lo", lo, -128, 255)
    require_int("hi", hi, lo, 127 if lo < 0 else 255)
    for operand in operands:
        require_shape("operand", operand.x, operands[0].x.shape)
    # The sum is at most 4 * 383 * 65535 in magnitude: an int32.
    first = operands[0].x
    total = empty_like(first, np.int32)
    total.fill(0)
    for operand in operands:
        kernels.accumulate(total, array(operand.x), operand.zero_point, operand.mult)
    result = empty_like(first, np.int8 if lo < 0 else np.uint8)
    kernels.round_clamp(total, shift, lo, hi, result)
    return tensor_like(result, first)
