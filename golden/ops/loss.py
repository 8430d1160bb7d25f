# SPDX-License-Identifier: Apache-2.0
"""Softmax cross-entropy in integers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.ops.checks import ERROR_MAX, ERRORS, require_int, require_shape, require_tensor, require_values

MAX_CLASSES = 1024
ONE = 1 << 15
"""Probability 1."""
OCTAVE_BITS = 12
"""Exponents are in units of 2^-12 octave."""
TABLE_BITS = 5
TABLE = tuple(round(ONE * 2.0 ** (-f / (1 << TABLE_BITS))) for f in range(1 << TABLE_BITS))
"""T[f] = 32768 * 2^(-f/32)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossParameters:
    """Constants of the loss.

    Parameters
    ----------
    alpha:
        What one unit of a logit is, in 1/4096 octave: ``round(4096 * log2(e) * logit scale)``, 0..65535.
    on, off:
        Target probability of the label and of any other class, in 2^-15.
    """

    alpha: int
    on: int = ONE
    off: int = 0

    def __post_init__(self) -> None:
        require_int("alpha", self.alpha, 0, (1 << 16) - 1)
        require_int("on", self.on, 0, ONE)
        require_int("off", self.off, 0, ONE)

    @classmethod
    def of(cls, logit_scale: float, classes: int, smoothing: float = 0.0) -> "LossParameters":
        """Make the constants from the scale of the int8 logits (nats a unit) and the label smoothing (0..1)."""
        require_int("classes", classes, 1, MAX_CLASSES)
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(f"smoothing must be in 0..1, not {smoothing!r}")
        alpha = round((1 << OCTAVE_BITS) * math.log2(math.e) * logit_scale)
        off = round(ONE * smoothing / classes)
        return cls(alpha=alpha, on=round(ONE * (1 - smoothing + smoothing / classes)), off=off)

    @property
    def logit_scale(self) -> float:
        """Nats that one unit of a logit is worth."""
        return self.alpha * math.log(2) / (1 << OCTAVE_BITS)


def softmax(logits: Tensor, alpha: int) -> Tensor:
    """Probabilities of int8 ``logits`` (N, classes): int64 in units of 2^-15, each rounded down.

    ``d = max(z) - z``, ``q = d * alpha``, ``e = T[(q >> 7) & 31] >> (q >> 12)`` (0 past 15 octaves),
    ``prob = (e << 15) // Σ e``.
    """
    require_tensor("logits", logits, ERRORS, 2)
    require_int("classes", logits.shape[1], 1, MAX_CLASSES)
    wide = logits.to(torch.int64)
    q = (wide.amax(1, keepdim=True) - wide) * alpha
    octaves = q >> OCTAVE_BITS
    table = torch.tensor(TABLE, dtype=torch.int64)
    entry = table[(q >> (OCTAVE_BITS - TABLE_BITS)) & ((1 << TABLE_BITS) - 1)]
    powers = torch.where(octaves > 15, 0, entry >> octaves.clamp(max=15))
    return (powers << 15) // powers.sum(1, keepdim=True)


def softmax_cross_entropy(
    logits: Tensor, labels: Tensor, parameters: LossParameters, random: Tensor | None = None
) -> Tensor:
    """Error at the logits of softmax cross-entropy: ``((prob - target) * 127 + r) >> 15``.

    Parameters
    ----------
    logits:
        (N, classes), int8; at most 1024 classes.
    labels:
        (N,), int64 in 0..classes - 1.
    parameters:
        The loss's constants.
    random:
        16-bit draws (int32, the shape of ``logits``): ``r = R >> 1``, stochastic rounding. None rounds to nearest,
        ``r = 2^14``.

    Returns
    -------
    (N, classes), int8 in -127..127; one unit is 1/127 of a probability.
    """
    probability = softmax(logits, parameters.alpha)
    require_tensor("labels", labels, (torch.int64,), 1)
    require_shape("labels", labels, logits.shape[:1])
    require_values("labels", labels, 0, logits.shape[1] - 1)
    target = torch.full_like(probability, parameters.off).scatter_(1, labels[:, None], parameters.on)
    draw: Tensor | int = ONE >> 1
    if random is not None:
        require_tensor("random", random, (torch.int32,))
        require_shape("random", random, logits.shape)
        draw = random >> 1
    return ((probability - target) * ERROR_MAX + draw >> 15).to(torch.int8)
