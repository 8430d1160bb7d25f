# SPDX-License-Identifier: Apache-2.0
"""Average pool and nearest upsample, forward and backward."""

import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.ops.checks import ACTIVATIONS, ERRORS, INT32_MAX, require_int, require_shape, require_tensor
from respin.golden.ops.matmul import EXACT_FLOAT32


def avg_pool(x: Tensor, kernel: tuple[int, int], *, zero_point: int = 0) -> Tensor:
    """Sum ``x - zero_point`` over windows of ``kernel``, side by side; what is left over at the end is dropped.

    The division by the window's size belongs to the requantisation that follows.

    Parameters
    ----------
    x:
        (N, C, H, W), int8 or uint8.
    kernel:
        (height, width) of a window, at most that of the map.

    Returns
    -------
    (N, C, H // kh, W // kw), int32.
    """
    require_tensor("x", x, ACTIVATIONS, 4)
    kh, kw = kernel
    require_int("kernel height", kh, 1, x.shape[2])
    require_int("kernel width", kw, 1, x.shape[3])
    require_int("zero_point", zero_point, -128, 255)
    if kh * kw * 383 > INT32_MAX:
        raise ValueError(f"kernel must have at most {INT32_MAX // 383} elements, not {kernel!r}")
    # The float sums are exact: of integers, and small enough for the type.
    exact = torch.float32 if kh * kw * 255 < EXACT_FLOAT32 else torch.float64
    sums = functional.avg_pool2d(x.to(exact), kernel, divisor_override=1).to(torch.int32)
    return sums - zero_point * kh * kw if zero_point else sums


def pool_error(error: Tensor, kernel: tuple[int, int], *, size: tuple[int, int]) -> Tensor:
    """Carry errors back through an average pool: each is copied to its window; dropped elements get 0.

    The 1 / (kh * kw) belongs to the multiplier of the edge.

    Parameters
    ----------
    error:
        Errors at the pool's sums (N, C, size[0] // kh, size[1] // kw), int8.
    kernel:
        (height, width) of a window.
    size:
        (height, width) of the pool's input.

    Returns
    -------
    (N, C, *size), int32.
    """
    require_tensor("error", error, ERRORS, 4)
    kh, kw = kernel
    require_int("kernel height", kh, 1, size[0])
    require_int("kernel width", kw, 1, size[1])
    require_shape("error", error, (*error.shape[:2], size[0] // kh, size[1] // kw))
    copied = error.to(torch.int32).repeat_interleave(kh, 2).repeat_interleave(kw, 3)
    return functional.pad(copied, (0, size[1] - copied.shape[3], 0, size[0] - copied.shape[2]))


def _source_index(target: int, source: int) -> Tensor:
    return torch.arange(target) * source // target


def upsample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``x`` (N, C, h, w) to ``size``: element ``i`` of an axis is the source's ``floor(i * in / out)``.

    ``size`` may be smaller as well. Returns the dtype of ``x`` (int8 or uint8).
    """
    require_tensor("x", x, ACTIVATIONS, 4)
    for axis in size:
        require_int("size", axis, 1, 1 << 16)
    rows, columns = _source_index(size[0], x.shape[2]), _source_index(size[1], x.shape[3])
    return x.index_select(2, rows).index_select(3, columns)


def upsample_error(error: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Carry errors back through :func:`upsample_nearest`: each source element sums those of its copies.

    Parameters
    ----------
    error:
        Errors at the resized map (N, C, H, W), int8.
    size:
        (height, width) of the upsample's input.

    Returns
    -------
    (N, C, *size), int32.
    """
    require_tensor("error", error, ERRORS, 4)
    for axis in size:
        require_int("size", axis, 1, 1 << 16)
    rows, columns = _source_index(error.shape[2], size[0]), _source_index(error.shape[3], size[1])
    sums = error.new_zeros((*error.shape[:2], size[0], error.shape[3]), dtype=torch.int32)
    sums.index_add_(2, rows, error.to(torch.int32))
    return sums.new_zeros((*error.shape[:2], *size)).index_add_(3, columns, sums)
