# SPDX-License-Identifier: Apache-2.0
"""Errors on backward edges: multiply, mask, round to int8 with a power-of-two scale that lags a step behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.ops.checks import ERROR_MAX, ERRORS, SUMS, require_int, require_shape, require_tensor, require_values
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
        return DelayedScale(shift=max(0, largest.bit_length() - 7), valid=True, exponent=exponent)


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


def _multiplied(values: Tensor, mult: Multiplier) -> Tensor:
    """``values * M_c`` in int64."""
    wide = values.to(torch.int64)
    if isinstance(mult, int):
        require_int("mult", mult, 0, MAX_MULTIPLIER)
        return wide * mult
    require_tensor("mult", mult, (torch.int64,), 1)
    require_shape("mult", mult, (values.shape[1],))
    require_values("mult", mult, 0, MAX_MULTIPLIER)
    return wide * mult.reshape(-1, *[1] * (values.dim() - 2))


def round_shift(values: Tensor, shift: int, random: Tensor | None = None) -> Tensor:
    """Divide int64 ``values`` by ``2^shift``.

    Without ``random``: to nearest, halves up. With it (int32, 0..65535, one for each value): stochastically,
    ``(v + r) >> s`` with ``r`` uniform in ``[0, 2^s)``, ``r = R >> (16 - s)`` up to ``s = 16``, then ``R << (s - 16)``.
    """
    require_int("shift", shift, 0, MAX_ERROR_SHIFT)
    if random is None:
        return (values + (1 << shift >> 1)) >> shift
    require_tensor("random", random, (torch.int32,))
    require_shape("random", random, values.shape)
    wide = random.to(torch.int64)
    return (values + (wide >> (16 - shift) if shift <= 16 else wide << (shift - 16))) >> shift


def _finish(values: Tensor, mask: Tensor | None, shift: int, random: Tensor | None, exponent: int) -> EdgeResult:
    if mask is not None:
        require_tensor("mask", mask, (torch.bool,))
        require_shape("mask", mask, values.shape)
        values = values * mask
    rounded = round_shift(values, shift, random)
    low, high = torch.aminmax(values)
    return EdgeResult(
        error=rounded.clamp(-ERROR_MAX, ERROR_MAX).to(torch.int8),
        largest=max(-int(low), int(high)),
        saturated=int(torch.count_nonzero(rounded.abs() > ERROR_MAX)),
        exponent=exponent,
    )


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
    return _finish(_multiplied(sums, mult), mask, shift, random, exponent + shift - fraction)


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
    total = torch.zeros_like(operands[0].error, dtype=torch.int64)
    for operand in operands:
        require_tensor("error", operand.error, ERRORS)
        require_shape("error", operand.error, total.shape)
        if operand.exponent <= reference:
            widened = _multiplied(operand.error, operand.mult) << FAN_IN_BITS
            total += widened >> min(reference - operand.exponent, MAX_ALIGN)
    return _finish(total, mask, shift, random, reference + shift - fraction - FAN_IN_BITS)
