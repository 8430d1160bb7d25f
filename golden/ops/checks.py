# SPDX-License-Identifier: Apache-2.0
"""Checks shared by the operators: they name the argument, the rule and what was given."""

from collections.abc import Sequence

import torch
from torch import Tensor

ACTIVATIONS = (torch.int8, torch.uint8)
WEIGHTS = (torch.int8,)
ERRORS = (torch.int8,)
SUMS = (torch.int32,)

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
ERROR_MAX = 127
"""Largest magnitude of an error and of a trained weight."""


def require_tensor(name: str, tensor: Tensor, dtypes: Sequence[torch.dtype], rank: int | None = None) -> None:
    """Raise TypeError unless ``tensor`` has one of ``dtypes``, ValueError unless it has ``rank`` dimensions."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be {allowed}, not {str(tensor.dtype).removeprefix('torch.')}")
    if rank is not None and tensor.dim() != rank:
        raise ValueError(f"{name} must have {rank} dimensions, not {tuple(tensor.shape)!r}")


def require_shape(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless ``tensor`` has exactly ``shape``."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)!r}, not {tuple(tensor.shape)!r}")


def require_int(name: str, value: int, low: int, high: int) -> None:
    """Raise TypeError unless ``value`` is an int, ValueError unless it is in ``low..high``."""
    if type(value) is int and low <= value <= high:
        return  # the common case, thousands of times a step
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")


def require_values(name: str, tensor: Tensor, low: int, high: int) -> None:
    """Raise ValueError unless every element of ``tensor`` is in ``low..high``."""
    if tensor.numel():
        values = tensor.numpy()  # whose extremes cost a fraction of PyTorch's on small tensors
        least, most = int(values.min()), int(values.max())
        if not low <= least <= most <= high:
            raise ValueError(f"{name} must be in {low}..{high}, not {least}..{most}")
