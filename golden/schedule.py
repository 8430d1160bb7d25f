# SPDX-License-Identifier: Apache-2.0
"""How the learning rate falls over a training."""

from dataclasses import dataclass

from respin.golden.ops import learning_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate over a training of ``steps`` steps: ``mu`` falls linearly from ``first`` to ``last``."""

    steps: int
    first: float = -2.0
    last: float = -6.0

    def rate(self, step: int) -> int:
        """The rate, 1..65535, in force in ``step``."""
        part = min(step, self.steps - 1) / max(1, self.steps - 1)
        return learning_rate(self.first + (self.last - self.first) * part)
