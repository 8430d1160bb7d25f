# SPDX-License-Identifier: Apache-2.0
"""Errors on backward edges: multiply, mask, round to int8 with a power-of-two scale that lags a step behind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from respin.golden.ops import kernels
from respin.golden.ops.checks import ERROR_MAX, ERRORS, SUMS, require_int, require_shape, require_tensor, require_values
from respin.golden.ops.layout import Array, array, empty_like, tensor_like
from respin.golden.ops.requantise import MAX_MULTIPLIER

MAX_ERROR_SHIFT = 63
FAN_IN_BITS = 15
"""Bits by which products are widened before errors of different exponents are aligned."""
MAX_ALIGN = 39
"""Largest alignment: 23 bits of product and 15 of widening, so that what is further down vanishes."""

Multiplier = Tensor | int
"""0..65535: one for all channels, or an int64 tensor (C,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayedScale:
    """The scale of one edge, measured in the last step in which its tensor was not all zero.

    Parameters
    ----------
    shift:
        ``max(0, bitlen(A) - 7)`` of that step, 0..63.
    valid:
        Whether there has been such a step. An edge whose scale is not valid only measures.
    exponent:
        E of the errors that came in when A was measured: what a unit of A was worth.
    """

    shift: int = 0
    valid: bool = False
    exponent: int = 0

    def __post_init__(self) -> None:
        require_int("shift", self.shift, 0, MAX_ERROR_SHIFT)

    def at(self, exponent: int) -> int:
        """Return the shift for errors that come in with another ``exponent``: 0 while nothing has been measured.

        A is a magnitude, not a number of units: where the unit has grown since, it needs so many bits less. Without
        that each edge would answer the last step's change of the edge before it, and in a chain of n edges a change
        of one bit would come out as the n-th difference, up to 2^n bits.
        """
        return min(max(0, self.shift + self.exponent - exponent), MAX_ERROR_SHIFT) if self.valid else 0

    def after(self, largest: int, exponent: int = 0) -> "DelayedScale":
        """Return the next step's scale, given A and the exponent that came in; ``A = 0`` keeps what there is."""
        if largest == 0:
            return self
        return replace(self, shift=max(0, largest.bit_length() - 7), valid=True, exponent=exponent)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class EdgeResult:
    """What passing an edge gives.

    Parameters
    ----------
    error:
        int8 in -127..127.
    largest:
        A: the largest magnitude before shifting.
    saturated:
        Elements that were cut to ±127.
    exponent:
        E' of ``error``, given the exponent of what came in.
    """

    error: Tensor
    largest: int
    saturated: int
    exponent: int


def _columns(values: Tensor, mult: Multiplier) -> Array:
    """``M_c`` for every channel of ``values``."""
    if isinstance(mult, int):
        require_int("mult", mult, 0, MAX_MULTIPLIER)
        return np.full(values.shape[1], mult, dtype=np.int64)
    require_tensor("mult", mult, (torch.int64,), 1)
    require_shape("mult", mult, (values.shape[1],))
    require_values("mult", mult, 0, MAX_MULTIPLIER)
    columns: Array = mult.numpy()
    return columns


_EVERYTHING = np.ones((1, 1, 1), dtype=np.bool_)
_NOTHING = np.zeros((1, 1, 1), dtype=np.int32)


def _pixels(name: str, values: Tensor | None, like: Tensor, dtype: torch.dtype, default: Array) -> Array:
    """``values``, which belong to a tensor of the shape of ``like``; without any, one pixel of the ``default``."""
    if values is None:
        return np.repeat(default, like.shape[1], axis=2)
    require_tensor(name, values, (dtype,))
    require_shape(name, values, like.shape)
    return array(values)


def _finish(
    x: Array, mult: Array, like: Tensor, mask: Tensor | None, shift: int, random: Tensor | None, exponent: int
) -> EdgeResult:
    """Multiply, mask and round ``x``, which belongs to a tensor of the shape of ``like``.

    Without ``random`` it rounds to nearest, halves up. With it (16-bit draws, int32, one a value) stochastically:
    ``(v + r) >> s`` with ``r`` uniform in ``[0, 2^s)``, ``r = R >> (16 - s)`` up to ``s = 16``, then ``R << (s - 16)``.
    """
    require_int("shift", shift, 0, MAX_ERROR_SHIFT)
    masks = _pixels("mask", mask, like, torch.bool, _EVERYTHING)
    draws = _pixels("random", random, like, torch.int32, _NOTHING)
    half = 0 if random is not None else 1 << shift >> 1
    result = empty_like(like, np.int8)
    largest, saturated = kernels.round_error(x, mult, masks, draws, half, shift, ERROR_MAX, result)
    error = tensor_like(result, like)
    return EdgeResult(error=error, largest=int(largest), saturated=int(saturated), exponent=exponent)


def error_edge(
    sums: Tensor,
    mult: Multiplier,
    *,
    shift: int,
    mask: Tensor | None = None,
    random: Tensor | None = None,
    exponent: int = 0,
    fraction: int = 0,
) -> EdgeResult:
    """Pass sums over one backward edge: ``v = mask * sum * M_c``, ``e = clamp(round_s(v), -127, 127)``.

    Parameters
    ----------
    sums:
        (N, C) or (N, C, H, W), int32 (or the int8 errors of another edge).
    mult:
        M_c.
    shift:
        0..63, of the edge's :class:`DelayedScale`.
    mask:
        bool, the shape of ``sums``; None passes everything.
    random:
        16-bit draws (int32, the shape of ``sums``) for stochastic rounding; None rounds to nearest.
    exponent, fraction:
        E of the errors that made ``sums``, and the ``k`` of ``M_c = round(ratio * 2^k)``: ``E' = E + s - k``.
    """
    require_tensor("sums", sums, SUMS + ERRORS)
    columns = _columns(sums, mult).astype(np.int32)
    return _finish(array(sums), columns, sums, mask, shift, random, exponent + shift - fraction)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FanInOperand:
    """One of the edges that meet: its errors (int8), their exponent and the multiplier on the way on."""

    error: Tensor
    exponent: int
    mult: Multiplier


def fan_in_reference(operands: Sequence[FanInOperand]) -> int:
    """E_ref: the largest exponent among the operands that are not all zero; among all, if every one is."""
    alive = [operand.exponent for operand in operands if bool(operand.error.any())]
    return max(alive or [operand.exponent for operand in operands])


def fan_in(
    operands: Sequence[FanInOperand],
    *,
    shift: int,
    mask: Tensor | None = None,
    random: Tensor | None = None,
    fraction: int = 0,
) -> EdgeResult:
    """Add errors where edges meet: ``v = mask * Σ_j ((e_j * M_jc) << 15) >> min(E_ref - E_j, 39)``, rounded once.

    All-zero operands are skipped. ``E' = E_ref + s - k - 15``.

    Parameters
    ----------
    operands:
        Two to four, of one shape.
    shift, mask, random, fraction:
        As in :func:`error_edge`.
    """
    if not 2 <= len(operands) <= 4:
        raise ValueError(f"operands must be two to four, not {len(operands)!r}")
    reference = fan_in_reference(operands)
    first = operands[0].error
    total = empty_like(first, np.int64)
    total.fill(0)
    for operand in operands:
        require_tensor("error", operand.error, ERRORS)
        require_shape("error", operand.error, first.shape)
        if operand.exponent <= reference:
            align = min(reference - operand.exponent, MAX_ALIGN)
            kernels.add_aligned(total, array(operand.error), _columns(first, operand.mult), FAN_IN_BITS, align)
    ones = np.ones(first.shape[1], dtype=np.int32)
    return _finish(total, ones, first, mask, shift, random, reference + shift - fraction - FAN_IN_BITS)
