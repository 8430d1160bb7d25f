# SPDX-License-Identifier: Apache-2.0
"""From a trained float network to integers: scales, multipliers, folded norms, quantiser tables."""

import math

import torch
from torch import Tensor

from respin.golden.ops import QuantiserTable, prove_convolution
from respin.golden.ops.requantise import MAX_MULTIPLIER, MAX_SHIFT

INT8_MAX = 127
UINT8_MAX = 255


MAX_BIAS = 1 << 28
"""Largest bias of a frozen layer, in units of its sum: it leaves the products the rest of an int32."""


def quantise_weight(weight: Tensor, bias: Tensor, input_scale: float) -> tuple[Tensor, Tensor]:
    """Quantise ``weight`` (O, ...) to int8 with one scale per output channel; returns it and the scales (float64).

    A channel whose weights are far smaller than its ``bias`` (O,), as one that pruning left dead, gets the scale at
    which the bias is :data:`MAX_BIAS` in units of the sum; one where both are zero gets scale 1.
    """
    largest = weight.flatten(1).abs().amax(1).to(torch.float64) / INT8_MAX
    scale = torch.maximum(largest, bias.to(torch.float64).abs() / input_scale / MAX_BIAS)
    scale = torch.where(scale > 0, scale, 1.0)
    levels = torch.round(weight.to(torch.float64) / scale.reshape(-1, *[1] * (weight.dim() - 1)))
    return levels.to(torch.int8), scale


def quantise_layer(
    weight: Tensor, bias: Tensor, input_scale: float, *, low: int, high: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise a frozen layer whose input is in ``low..high``, units of ``input_scale``.

    Returns its weights (int8), what a unit of each channel's sum is worth (O,) and its bias in those units (int64).
    Raises ValueError, with the bound, if a sum could overflow.
    """
    levels, weight_scale = quantise_weight(weight, bias, input_scale)
    sum_scale = weight_scale * input_scale
    whole = torch.round(bias.to(torch.float64) / sum_scale).to(torch.int64)
    prove_convolution(levels, low=low, high=high, bias=whole)
    return levels, sum_scale, whole


def multiplier_and_shift(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the M (0..65535) and s (1..46) of each element of ``ratio`` (float64), with ``M / 2^s`` nearest to it.

    Raises ValueError for a ratio that is negative or 2^15 and more.
    """
    if bool((ratio < 0).any()) or bool((ratio >= 1 << 15).any()):
        raise ValueError(f"ratio must be in 0..{1 << 15}, not {float(ratio.min())}..{float(ratio.max())}")
    _, exponent = torch.frexp(ratio)
    shift = (16 - exponent.to(torch.int64)).clamp(1, MAX_SHIFT)
    mult = torch.round(ratio * torch.exp2(shift.to(torch.float64))).to(torch.int64)
    # A fraction just below 1 rounds up to 2^16: one shift less holds it.
    full = mult > MAX_MULTIPLIER
    return torch.where(full, mult >> 1, mult), torch.where(full, shift - 1, shift)


def common_multipliers(ratios: Tensor, *, limit: int = MAX_SHIFT) -> tuple[Tensor, int]:
    """Return multipliers (int64, 0..65535) and one fraction ``k`` for all: ``M = round(ratio * 2^k)``.

    ``k`` is the largest up to ``limit``, and at least 0, that keeps every M in 16 bits.
    """
    largest = float(ratios.max())
    if largest <= 0:
        return torch.zeros_like(ratios, dtype=torch.int64), 0
    fraction = min(limit, 16 - math.frexp(largest)[1])
    if round(largest * math.pow(2.0, fraction)) > MAX_MULTIPLIER:
        fraction -= 1
    if fraction < 0:
        raise ValueError(f"ratio must be below 65536, not {largest!r}")
    return torch.round(ratios * math.pow(2.0, fraction)).to(torch.int64), fraction


def requantiser(
    ratio: Tensor,
    *,
    bias: Tensor | int = 0,
    signed: bool,
    limit: Tensor | int | None = None,
    least: Tensor | int | None = None,
) -> QuantiserTable:
    """Make the table of a layer: ``ratio`` (C,) float64 is sum scale over output scale, ``bias`` in units of the sum.

    A signed tensor is clamped to -128..127; an unsigned one to 0..255, which is its ReLU. ``least`` and ``limit``, (C,)
    int64 or one number for all, are other ends of the clamp.
    """
    mult, shift = multiplier_and_shift(ratio)
    lo: Tensor | int = (-128 if signed else 0) if least is None else least
    hi: Tensor | int = (INT8_MAX if signed else UINT8_MAX) if limit is None else limit
    return QuantiserTable.build(ratio.shape[0], bias=bias, mult=mult, shift=shift, lo=lo, hi=hi)
