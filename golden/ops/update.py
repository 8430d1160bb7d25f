# SPDX-License-Identifier: Apache-2.0
"""The ternary update: a weight moves by at most one unit, with a probability that follows its gradient."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from respin.golden.ops import kernels
from respin.golden.ops.checks import (
    ERROR_MAX,
    INT32_MAX,
    SUMS,
    WEIGHTS,
    require_int,
    require_shape,
    require_tensor,
    require_values,
)
from respin.golden.ops.layout import array, tensor_like

PROBABILITY_BITS = 16
SHIFT_MAX = 63
"""Past 48 every probability is 0."""
LARGEST_TO_MEAN = 8
"""A gradient counts as no smaller than its largest entry times 2^-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientStatistics:
    """What a step keeps of a gradient tensor: Σ|G|, the number of nonzero entries, max|G|."""

    total: int
    count: int
    largest: int

    @classmethod
    def of(cls, gradient: Tensor) -> "GradientStatistics":
        """Measure ``gradient`` (int32, any shape; above -2^31)."""
        require_tensor("gradient", gradient, SUMS)
        total, count, largest = kernels.measure(array(_matrix(gradient)))
        return cls(total=int(total), count=int(count), largest=int(largest))

    @property
    def order(self) -> int:
        """Binary logarithm of the mean over the nonzero entries, off by less than 1, at least that of
        ``max|G| * 2^-8``: ``max(bitlen(total) - bitlen(count), bitlen(largest) - 8)``."""
        return max(self.total.bit_length() - self.count.bit_length(), self.largest.bit_length() - LARGEST_TO_MEAN)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepScale:
    """What scales the steps of one trained tensor: the largest gradient that it has had.

    Parameters
    ----------
    order:
        The largest :attr:`GradientStatistics.order`, each with the exponent of its gradient added.
    valid:
        Whether there has been any gradient. A tensor whose scale is not valid does not move.
    """

    order: int = 0
    valid: bool = False

    def after(self, statistics: GradientStatistics, exponent: int) -> "StepScale":
        """Return the next step's scale, after a gradient in units of 2^exponent; an all-zero one changes nothing."""
        if statistics.count == 0:
            return self
        order = statistics.order + exponent
        return replace(self, order=max(order, self.order) if self.valid else order, valid=True)

    def shift(self, log2_rate: int, exponent: int) -> int:
        """Return ``t = clamp(order - exponent - log2_rate, 0, 63)``, for a gradient in units of 2^exponent."""
        return min(max(self.order - exponent - log2_rate, 0), SHIFT_MAX)


def ternary_update(weight: Tensor, gradient: Tensor, shift: int, random: Tensor) -> tuple[Tensor, Tensor]:
    """Move weights against their gradient.

    ``p = min(65535, (|G| << 16) >> t)``, ``u = sign(G)`` where ``R < p``, else 0, ``w' = clamp(w - u, -127, 127)``.

    Parameters
    ----------
    weight:
        int8 in -127..127, any shape.
    gradient:
        int32, the same shape.
    shift:
        t, 0..63.
    random:
        16-bit draws, int32, the same shape.

    Returns
    -------
    ``w'`` (int8) and ``u`` (int8, -1, 0 or 1).
    """
    require_tensor("weight", weight, WEIGHTS)
    require_values("weight", weight, -ERROR_MAX, ERROR_MAX)
    require_tensor("gradient", gradient, SUMS)
    require_shape("gradient", gradient, weight.shape)
    require_values("gradient", gradient, -INT32_MAX, INT32_MAX)
    require_int("shift", shift, 0, SHIFT_MAX)
    require_tensor("random", random, (torch.int32,))
    require_shape("random", random, weight.shape)
    rows = array(_matrix(weight))
    moved, move = np.empty_like(rows), np.empty_like(rows)
    draws, slopes = array(_matrix(random)), array(_matrix(gradient))
    kernels.ternary_update(rows, slopes, draws, shift, PROBABILITY_BITS, ERROR_MAX, moved, move)
    like = _matrix(weight)
    return tensor_like(moved, like).reshape(weight.shape), tensor_like(move, like).reshape(weight.shape)


def _matrix(x: Tensor) -> Tensor:
    """``x`` in two or four dimensions, as the loops take it; the elements' order does not matter to them."""
    return x if x.dim() in (2, 4) else x.reshape(1, -1)
