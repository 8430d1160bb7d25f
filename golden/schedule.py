# SPDX-License-Identifier: Apache-2.0
"""How the learning rate falls over a training."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate over a training of ``steps`` steps: its binary logarithm falls from ``first`` to ``last``,
    linearly but for rounding."""

    steps: int
    first: float = -1.0
    last: float = -7.0

    def log2_rate(self, step: int) -> int:
        """Binary logarithm of the rate in force in ``step``; halves round up."""
        part = min(step, self.steps - 1) / max(1, self.steps - 1)
        return math.floor(self.first + (self.last - self.first) * part + 0.5)
