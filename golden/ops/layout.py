# SPDX-License-Identifier: Apache-2.0
"""How tensors lie in memory: channels last, so that matrix products and the loops over channels run through memory.

It changes no value and no shape: a tensor is (N, C, H, W) or (N, C) to whoever uses it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


def pixel_rows(x: Tensor) -> Tensor:
    """Return ``x``, (N, C) or (N, C, H, W), as (N * H * W, C): a view where its channels lie last in memory already."""
    if x.dim() == 2:
        return x.contiguous()
    return x.permute(0, 2, 3, 1).contiguous().reshape(-1, x.shape[1])


def from_pixel_rows(rows: Tensor, images: int, size: tuple[int, int]) -> Tensor:
    """Return (images * height * width, C) as (images, C, height, width)."""
    return rows.reshape(images, *size, rows.shape[1]).permute(0, 3, 1, 2)


def array(x: Tensor) -> Array:
    """Return ``x``, (N, C) or (N, C, H, W), as an array (N, pixels, C) for the loops of ``kernels``."""
    # NumPy's views cost less than PyTorch's, and a step takes thousands.
    values: Array = x.numpy()
    last = np.ascontiguousarray(values if values.ndim == 2 else values.transpose(0, 2, 3, 1))
    return last.reshape(x.shape[0], -1, x.shape[1])


def empty_like(x: Tensor, dtype: type[np.generic]) -> Array:
    """Return an array (N, pixels, C) to hold a result of the shape of ``x``."""
    pixels = x.shape[2] * x.shape[3] if x.dim() == 4 else 1
    return np.empty((x.shape[0], pixels, x.shape[1]), dtype=dtype)


def tensor_like(values: Array, x: Tensor) -> Tensor:
    """Return an array (N, pixels, C) as a tensor of the shape of ``x``."""
    images, channels, *size = x.shape
    last = values.reshape(images, *size, channels)
    return torch.from_numpy(last.transpose(0, 3, 1, 2) if size else last)
