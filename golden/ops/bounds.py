# SPDX-License-Identifier: Apache-2.0
"""Proofs that no int32 accumulator overflows, from shapes and weights; a layer that cannot be proven is refused.

A bound holds for every partial sum in any order: those lie between the sum of all negative terms and the sum of all
positive ones.
"""

import torch
from torch import Tensor

from respin.golden.ops.checks import ERROR_MAX, INT32_MAX, INT32_MIN, WEIGHTS, require_int, require_tensor

MAX_GRADIENT_TERMS = INT32_MAX // (128 * 255)
"""Batch x output pixels of a weight gradient: 65,793."""


def require_int32(name: str, low: int, high: int) -> None:
    """Raise ValueError, with the bound that breaks, unless ``low..high`` fits an int32."""
    if low < INT32_MIN or high > INT32_MAX:
        raise ValueError(f"{name} could reach {low if low < INT32_MIN else high}, past the int32 range")


def _range(weight: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Least and greatest of every weight times an operand in ``low..high``, int64."""
    wide = weight.to(torch.int64)
    return torch.minimum(wide * low, wide * high), torch.maximum(wide * low, wide * high)


def prove_convolution(weight: Tensor, *, low: int, high: int, bias: Tensor | None = None) -> tuple[int, int]:
    """Bound the sums of a frozen convolution or dense layer, its bias included.

    Parameters
    ----------
    weight:
        (O, ...), int8.
    low, high:
        Range of its input, the padding's value included.
    bias:
        (O,), int64.

    Returns
    -------
    The least and the greatest value that any partial sum can take.

    Raises
    ------
    ValueError
        With the bound, if that is no int32.
    """
    require_tensor("weight", weight, WEIGHTS)
    require_int("low", low, -128, 255)
    require_int("high", high, low, 255)
    least, most = _range(weight.flatten(1), min(low, 0), max(high, 0))
    offset = torch.zeros(weight.shape[0], dtype=torch.int64) if bias is None else bias
    bottom = int((least.sum(1) + offset.clamp(max=0)).min())
    top = int((most.sum(1) + offset.clamp(min=0)).max())
    require_int32("a convolution's sum", bottom, top)
    return bottom, top


def prove_trained_convolution(fan_in: int, *, magnitude: int, bias_shift: int = 0) -> int:
    """Bound the sums of a layer whose weights and bias may become anything in -127..127.

    ``fan_in`` products with inputs of at most ``magnitude``, and a bias shifted by ``bias_shift``. Returns the bound;
    raises ValueError if it is no int32.
    """
    require_int("fan_in", fan_in, 1, INT32_MAX)
    require_int("magnitude", magnitude, 0, 255)
    require_int("bias_shift", bias_shift, 0, 31)
    bound = fan_in * ERROR_MAX * magnitude + (ERROR_MAX << bias_shift)
    require_int32("a trained convolution's sum", -bound, bound)
    return bound


def prove_error(fan_out: int) -> int:
    """Bound the sums of an error pass: ``fan_out`` (output channels of a group x taps) products with int8 weights."""
    require_int("fan_out", fan_out, 1, INT32_MAX)
    bound = fan_out * ERROR_MAX * 128
    require_int32("an error's sum", -bound, bound)
    return bound


def prove_bias_gradient(batch: int, pixels: int) -> int:
    """Bound the sum of errors over ``batch`` images of ``pixels`` pixels; raises ValueError if it is no int32."""
    require_int("batch", batch, 1, INT32_MAX)
    require_int("pixels", pixels, 1, INT32_MAX)
    bound = batch * pixels * ERROR_MAX
    require_int32("a bias's gradient", -bound, bound)
    return bound


def prove_weight_gradient(batch: int, pixels: int) -> int:
    """Bound the sums of a weight gradient over ``batch`` images of ``pixels`` output pixels.

    Returns the number of terms; raises ValueError past 65,793.
    """
    require_int("batch", batch, 1, INT32_MAX)
    require_int("pixels", pixels, 1, INT32_MAX)
    if batch * pixels > MAX_GRADIENT_TERMS:
        raise ValueError(f"batch x output pixels must be at most {MAX_GRADIENT_TERMS}, not {batch * pixels!r}")
    return batch * pixels
