# SPDX-License-Identifier: Apache-2.0
"""The mean-scaled ternary update: a weight moves by at most one unit, with a probability that follows its gradient."""

import math
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

MEAN_FRACTION = 8
"""The mean gradient is held in units of 2^-8."""
MULTIPLIER_MAX = 255
SHIFT_OFFSET = 8
"""What is stored of the shift t is t + 8, so that the smallest, -8, is 0."""
SHIFT_MAX = 63
PROBABILITY_MAX = (1 << 16) - 1
GROWTH_SHIFT = 4
"""A step scale grows by at most 2^-4 of itself from one step to the next."""


def learning_rate(mu: float) -> int:
    """Return ``round(2^(16 + mu))``, cut to 1..65535: the expected step, in 2^-16 weight units, of a mean gradient."""
    return min(PROBABILITY_MAX, max(1, round(math.pow(2.0, 16 + mu))))


def shifted_rate(rate: int, shift: int) -> int:
    """Return ``rate * 2^shift``, cut to 1..65535."""
    return min(PROBABILITY_MAX, max(1, rate << shift if shift >= 0 else rate >> -shift))


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
    def mean(self) -> int:
        """Mean over the nonzero entries in units of 2^-8, at least ``max|G| * 2^-8``; 0 if there is none."""
        return max((self.total << MEAN_FRACTION) // self.count, self.largest) if self.count else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepScale:
    """The step scale of one trained tensor, from its gradient of the last step in which that was not all zero.

    Parameters
    ----------
    multiplier:
        L, 0..255.
    shift:
        t' = t + 8, 0..63.
    valid:
        Whether it has been measured. A tensor whose scale is not valid does not move.
    """

    multiplier: int = 0
    shift: int = 0
    valid: bool = False

    def __post_init__(self) -> None:
        require_int("multiplier", self.multiplier, 0, MULTIPLIER_MAX)
        require_int("shift", self.shift, 0, SHIFT_MAX)

    def after(self, statistics: GradientStatistics, rate: int) -> "StepScale":
        """Return the next step's scale.

        That is the largest t for which ``L = ((rate << 8) * 2^t) // mean`` is at most 255. But it is no larger than the
        one before with ``L + (L >> 4)``: a batch whose gradient happens to be small does not make large steps of the
        next one's. The smaller of two scales is the one of larger t, or of smaller L where t is the same.
        ``rate`` is 1..65535. With no nonzero entry the scale stays what it is.
        """
        require_int("rate", rate, 1, PROBABILITY_MAX)
        mean = statistics.mean
        if mean == 0:
            return self
        shift = max(s for s in range(SHIFT_MAX + 1) if (rate << s) // mean <= MULTIPLIER_MAX)
        measured = replace(self, multiplier=(rate << shift) // mean, shift=shift, valid=True)
        if not self.valid:
            return measured
        return max(measured, self.grown(), key=lambda scale: (scale.shift, -scale.multiplier))

    def grown(self) -> "StepScale":
        """The largest scale that may follow this one."""
        multiplier, shift = self.multiplier + (self.multiplier >> GROWTH_SHIFT), self.shift
        if multiplier > MULTIPLIER_MAX:
            multiplier, shift = (multiplier >> 1, shift - 1) if shift else (self.multiplier, 0)
        return replace(self, multiplier=multiplier, shift=shift, valid=True)


def ternary_update(weight: Tensor, gradient: Tensor, scale: StepScale, random: Tensor) -> tuple[Tensor, Tensor]:
    """Move weights against their gradient.

    ``p = min(65535, (|G| * L << 8) >> t')``, ``u = sign(G)`` where ``R < p``, else 0, ``w' = clamp(w - u, -127, 127)``.

    Parameters
    ----------
    weight:
        int8 in -127..127, any shape.
    gradient:
        int32, the same shape.
    scale:
        L and t'; where it is not valid nothing moves.
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
    require_tensor("random", random, (torch.int32,))
    require_shape("random", random, weight.shape)
    if not scale.valid:
        return weight.clone(), torch.zeros_like(weight)
    rows = array(_matrix(weight))
    moved, move = np.empty_like(rows), np.empty_like(rows)
    draws, slopes = array(_matrix(random)), array(_matrix(gradient))
    factor = scale.multiplier << SHIFT_OFFSET
    kernels.ternary_update(rows, slopes, draws, factor, scale.shift, PROBABILITY_MAX, ERROR_MAX, moved, move)
    like = _matrix(weight)
    return tensor_like(moved, like).reshape(weight.shape), tensor_like(move, like).reshape(weight.shape)


def _matrix(x: Tensor) -> Tensor:
    """``x`` in two or four dimensions, as the loops take it; the elements' order does not matter to them."""
    return x if x.dim() in (2, 4) else x.reshape(1, -1)
