# SPDX-License-Identifier: Apache-2.0
"""The Rep-Net module: what was published, as a description, a float module and the counts that check it.

Rep-Net (Yang, Rakin, Fan, CVPR 2022, pp. 12277-12286) trains a small path beside a frozen backbone:
``AvgPool(r) -> Conv k x k, groups g -> norm -> ReLU -> Conv 1 x 1 -> norm -> resize``, whose output is added
to that of a block. The INT8 version of docs/arithmetic.md has int8 biases in place of the norms, and its resize takes
the nearest element.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

NORM_PARAMETERS = 2
"""Trained numbers of a norm, for each channel: scale and shift."""
SMALLEST_POOLED_MAP = 4
"""A module whose input map is this or smaller does not pool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepModule:
    """One Rep-Net module.

    Parameters
    ----------
    inputs, outputs:
        Channels of its input and of the block output that it is added to.
    kernel:
        Side of the first convolution's kernel.
    groups:
        Groups of the first convolution.
    pool:
        r, the side of the average pool's window.
    expand:
        Hidden channels per input channel, rounded to 8.
    """

    inputs: int
    outputs: int
    kernel: int = 5
    groups: int = 2
    pool: int = 2
    expand: float = 1.0

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "kernel", "groups", "pool"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {self.kernel!r}")
        if self.inputs % self.groups or self.hidden % self.groups:
            raise ValueError(
                f"groups must divide {self.inputs} inputs and {self.hidden} hidden channels, not {self.groups!r}"
            )

    @property
    def hidden(self) -> int:
        """Channels between the two convolutions: ``inputs * expand`` to the nearest multiple of 8, at least 8."""
        return max(8, int(self.inputs * self.expand + 4) // 8 * 8)

    @property
    def weights(self) -> int:
        """Weights of both convolutions."""
        return self.inputs * self.hidden // self.groups * self.kernel**2 + self.hidden * self.outputs

    @property
    def published_parameters(self) -> int:
        """Trained numbers of the published module: weights and norms."""
        return self.weights + NORM_PARAMETERS * (self.hidden + self.outputs)

    @property
    def parameters(self) -> int:
        """Trained numbers of the INT8 module: weights and biases, one byte each."""
        return self.weights + self.hidden + self.outputs


def weight_unit(fan_in: int) -> float:
    """Return what one unit of a trained layer's int8 weights is worth: ``2^ceil(log2(4 * sqrt(2 / fan_in))) / 128``."""
    if fan_in < 1:
        raise ValueError(f"fan_in must be at least 1, not {fan_in!r}")
    return math.pow(2.0, math.ceil(math.log2(4 * math.sqrt(2 / fan_in)))) / 128


class FloatRepModule(nn.Module):
    """A Rep-Net module in float.

    Parameters
    ----------
    module:
        Its description.
    norm:
        With the published batch norms (the last one's scale starts at 0, no biases), or as in the INT8 version:
        biases instead, and a last convolution that starts at 0.
    """

    def __init__(self, module: RepModule, *, norm: bool = False) -> None:
        super().__init__()
        self.module = module
        self.first = nn.Conv2d(
            module.inputs,
            module.hidden,
            module.kernel,
            padding=module.kernel // 2,
            groups=module.groups,
            bias=not norm,
        )
        self.last = nn.Conv2d(module.hidden, module.outputs, 1, bias=not norm)
        self.first_norm = nn.BatchNorm2d(module.hidden) if norm else nn.Identity()
        self.last_norm = nn.BatchNorm2d(module.outputs) if norm else nn.Identity()
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        for bias in (self.first.bias, self.last.bias):
            if bias is not None:
                nn.init.zeros_(bias)
        nn.init.zeros_(self.last_norm.weight if isinstance(self.last_norm, nn.BatchNorm2d) else self.last.weight)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the module's addition to a block output of ``size``; ``x`` is (N, inputs, H, W)."""
        if min(x.shape[2:]) > SMALLEST_POOLED_MAP:
            x = functional.avg_pool2d(x, self.module.pool)
        hidden = functional.relu(self.first_norm(self.first(x)))
        result: Tensor = self.last_norm(self.last(hidden))
        return functional.interpolate(result, size=size, mode="nearest")
