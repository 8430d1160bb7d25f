# SPDX-License-Identifier: Apache-2.0
"""Convolutions in all three passes, exact in int32: windows laid out as rows, then products of int8 matrices."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.ops import kernels
from respin.golden.ops.checks import (
    ACTIVATIONS,
    ERRORS,
    INT32_MAX,
    WEIGHTS,
    require_int,
    require_shape,
    require_tensor,
)
from respin.golden.ops.layout import from_pixel_rows, pixel_rows
from respin.golden.ops.matmul import column_sums, matmul

MAX_KERNEL = 15
MAX_STRIDE = 15

Padding = int | tuple[int, int, int, int]
"""Rows and columns added around a map: one number for all sides, or (top, bottom, left, right)."""


def padding_sides(padding: Padding) -> tuple[int, int, int, int]:
    """Return padding as (top, bottom, left, right); ValueError if it is neither of both, or a side not in 0..31."""
    sides = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    if len(sides) != 4:
        raise ValueError(f"padding must be one number or (top, bottom, left, right), not {padding!r}")
    for side in sides:
        require_int("padding", side, 0, 31)
    top, bottom, left, right = sides
    return top, bottom, left, right


def output_size(size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding) -> tuple[int, int]:
    """Return (height, width) of a convolution's output; ValueError if the kernel is larger than the padded map."""
    top, bottom, left, right = padding_sides(padding)
    for name, value, limit in (("stride", stride, MAX_STRIDE), ("kernel", max(kernel), MAX_KERNEL)):
        require_int(name, value, 1, limit)
    padded = (size[0] + top + bottom, size[1] + left + right)
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        raise ValueError(f"kernel must be at most the padded map {padded!r}, not {kernel!r}")
    return (padded[0] - kernel[0]) // stride + 1, (padded[1] - kernel[1]) // stride + 1


def _require_groups(inputs: int, outputs: int, groups: int) -> None:
    require_int("groups", groups, 1, inputs)
    if inputs % groups or outputs % groups:
        raise ValueError(f"groups must divide {inputs} inputs and {outputs} outputs, not {groups!r}")


def _magnitude(tensor: Tensor) -> int:
    """A bound of ``|tensor|`` from its type alone."""
    return 255 if tensor.dtype == torch.uint8 else 128


def _padded_map(x: Tensor, sides: tuple[int, int, int, int], value: int = 0) -> Tensor:
    """Return ``x`` (N, C, H, W) as (N, H', W', C) with padding around it; of a negative side so much is cut off."""
    last = x.permute(0, 2, 3, 1).contiguous()
    if not any(sides):
        return last
    top, bottom, left, right = (max(side, 0) for side in sides)
    padded = functional.pad(last, (0, 0, left, right, top, bottom), value=value)
    # Cut after padding: more than the whole map may go on one side while the other grows.
    above, below, before, behind = (max(-side, 0) for side in sides)
    return padded[:, above : padded.shape[1] - below, before : padded.shape[2] - behind]


def _windows(x: Tensor, kernel: tuple[int, int], stride: int) -> Tensor:
    """Return the windows of ``x`` (N, H, W, C) as rows (N * oh * ow, kh * kw * C)."""
    if kernel == (1, 1) and stride == 1:
        return x.reshape(-1, x.shape[3])
    last = np.ascontiguousarray(x.numpy())
    images, height, width, channels = last.shape
    size = ((height - kernel[0]) // stride + 1, (width - kernel[1]) // stride + 1)
    rows = np.empty((images, *size, kernel[0], kernel[1] * channels), dtype=last.dtype)
    kernels.windows(last.reshape(images, height, width * channels), stride, stride * channels, rows)
    return torch.from_numpy(rows.reshape(-1, kernel[0] * kernel[1] * channels))


def _convolve(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """Convolve a padded map (N, H, W, I) with ``weight`` (O, I / groups, kh, kw); returns (N, O, oh, ow)."""
    kernel = (weight.shape[2], weight.shape[3])
    images, height, width, _ = x.shape
    size = ((height - kernel[0]) // stride + 1, (width - kernel[1]) // stride + 1)
    parts = [
        matmul(_windows(part, kernel, stride), taps.permute(2, 3, 1, 0).flatten(0, 2))
        for part, taps in zip(x.chunk(groups, 3), weight.chunk(groups), strict=True)
    ]
    return from_pixel_rows(parts[0] if groups == 1 else torch.cat(parts, 1), images, size)


def _depthwise(
    x: Tensor, weight: Tensor, size: tuple[int, int], before: tuple[int, int], *, stride: int = 1, spread: int = 1
) -> Tensor:
    """Sums (N, C, *size) of a depthwise convolution of ``x`` (N, C, H, W) with ``weight`` (C, 1, kh, kw).

    ``before`` is how many zeros come at the top and at the left; ``spread - 1`` of them come between elements.
    """
    channels, _, kh, kw = weight.shape
    taps = np.zeros((kh * kw + 1, channels), dtype=np.int32)
    taps[:-1] = weight.numpy().reshape(channels, -1).T
    sums = np.empty((x.shape[0], *size, channels), dtype=np.int32)
    last = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))
    kernels.depthwise(last, taps, kw, stride, spread, *before, sums)
    return torch.from_numpy(sums.transpose(0, 3, 1, 2))


def conv2d(
    x: Tensor, weight: Tensor, *, stride: int = 1, padding: Padding = 0, groups: int = 1, zero_point: int = 0
) -> Tensor:
    """Convolve (cross-correlate) integers.

    Parameters
    ----------
    x:
        Activations (N, I, H, W), int8 or uint8.
    weight:
        (O, I / groups, kh, kw), int8.
    stride, padding, groups:
        As in PyTorch; padding may differ from side to side. ``groups = I`` is a depthwise convolution.
    zero_point:
        The value of the padding. It is not subtracted: a compiler folds it into the bias.

    Returns
    -------
    Sums (N, O, oh, ow), int32.

    Raises
    ------
    TypeError
        For a wrong dtype.
    ValueError
        For shapes that do not fit, or a reduction so long that an int32 could overflow.
    """
    require_tensor("x", x, ACTIVATIONS, 4)
    require_tensor("weight", weight, WEIGHTS, 4)
    _require_groups(x.shape[1], weight.shape[0], groups)
    kernel = (weight.shape[2], weight.shape[3])
    require_shape("weight", weight, (weight.shape[0], x.shape[1] // groups, *kernel))
    size = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    low, high = (0, 255) if x.dtype == torch.uint8 else (-128, 127)
    require_int("zero_point", zero_point, low, high)
    if weight[0].numel() * 128 * _magnitude(x) > INT32_MAX:
        raise ValueError(f"a reduction over {weight[0].numel()} products could overflow 32 bits")
    sides = padding_sides(padding)
    if groups == x.shape[1] == weight.shape[0] and (zero_point == 0 or not any(sides)):
        return _depthwise(x, weight, size, (sides[0], sides[2]), stride=stride)
    padded = _padded_map(x, sides, zero_point)
    if groups == x.shape[1] == weight.shape[0]:
        return _depthwise(padded.permute(0, 3, 1, 2), weight, size, (0, 0), stride=stride)
    return _convolve(padded, weight, stride, groups)


def dense(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply activations (N, I), int8 or uint8, with ``weight`` (O, I), int8; returns int32 sums (N, O).

    Raises TypeError or ValueError as :func:`conv2d` does.
    """
    require_tensor("x", x, ACTIVATIONS, 2)
    require_tensor("weight", weight, WEIGHTS, 2)
    return conv2d(x[:, :, None, None], weight[:, :, None, None])[:, :, 0, 0]


def _transposed(weight: Tensor, groups: int) -> Tensor:
    """Return the weights of the error pass: inputs and outputs of each group exchanged, taps flipped."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    # One tap is its own mirror image, and a view of the weights costs nothing.
    return (grouped if weight.shape[2:] == (1, 1) else grouped.flip(3, 4)).flatten(0, 1)


def _spread(error: Tensor, stride: int) -> Tensor:
    """Return ``error`` (N, O, h, w) with ``stride - 1`` zeros between its elements."""
    if stride == 1:
        return error
    images, channels, height, width = error.shape
    spread = error.new_zeros((images, (height - 1) * stride + 1, (width - 1) * stride + 1, channels))
    spread[:, ::stride, ::stride] = error.permute(0, 2, 3, 1)
    return spread.permute(0, 3, 1, 2)


def conv2d_error(
    error: Tensor,
    weight: Tensor,
    *,
    size: tuple[int, int],
    stride: int = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> Tensor:
    """Carry errors back through a convolution: ``dx[i] = Σ_o Σ_taps W[o, i, tap] * dy[o]``.

    Parameters
    ----------
    error:
        Errors at the convolution's sums (N, O, oh, ow), int8.
    weight:
        (O, I / groups, kh, kw), int8.
    size:
        (height, width) of the convolution's unpadded input.
    stride, padding, groups:
        Those of the convolution.

    Returns
    -------
    Sums (N, I, H, W), int32; 0 where the kernel never reached.

    Raises
    ------
    TypeError
        For a wrong dtype.
    ValueError
        For shapes that do not fit, or a reduction so long that an int32 could overflow.
    """
    require_tensor("error", error, ERRORS, 4)
    require_tensor("weight", weight, WEIGHTS, 4)
    outputs, group_inputs, kh, kw = weight.shape
    _require_groups(group_inputs * groups, outputs, groups)
    oh, ow = output_size(size, (kh, kw), stride, padding)
    require_shape("error", error, (error.shape[0], outputs, oh, ow))
    if outputs // groups * kh * kw * 128 * 128 > INT32_MAX:
        raise ValueError(f"a reduction over {outputs // groups * kh * kw} products could overflow 32 bits")
    top, _, left, _ = padding_sides(padding)
    # Where the transposed kernel starts: so much of it lies before the map, or so much of the error is cut off.
    before = (kh - 1 - top, kw - 1 - left)
    if group_inputs == 1 and groups == outputs:
        return _depthwise(error, weight.flip(2, 3), size, before, spread=stride)
    spread = _spread(error, stride)
    after = (size[0] + top - spread.shape[2], size[1] + left - spread.shape[3])
    padded = _padded_map(spread, (before[0], after[0], before[1], after[1]))
    return _convolve(padded, _transposed(weight, groups), 1, groups)


def conv2d_weight_gradient(
    x: Tensor,
    error: Tensor,
    *,
    kernel: tuple[int, int],
    stride: int = 1,
    padding: Padding = 0,
    groups: int = 1,
) -> Tensor:
    """Weight gradient over the whole batch: ``G[o, i, tap] = Σ_n Σ_pixels e[o] * x[i at the tap]``.

    Parameters
    ----------
    x:
        The convolution's input (N, I, H, W), int8 or uint8, without zero point.
    error:
        Errors at its sums (N, O, oh, ow), int8.
    kernel, stride, padding, groups:
        Those of the convolution.

    Returns
    -------
    (O, I / groups, kh, kw), int32.

    Raises
    ------
    TypeError
        For a wrong dtype.
    ValueError
        For shapes that do not fit, or N * oh * ow > 65,793, where an int32 could overflow.
    """
    require_tensor("x", x, ACTIVATIONS, 4)
    require_tensor("error", error, ERRORS, 4)
    _require_groups(x.shape[1], error.shape[1], groups)
    oh, ow = output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    require_shape("error", error, (x.shape[0], error.shape[1], oh, ow))
    if x.shape[0] * oh * ow * 128 * 255 > INT32_MAX:
        raise ValueError(f"batch x output pixels must be at most 65793, not {x.shape[0] * oh * ow!r}")
    # What no window reaches is cut off, so that there are as many windows as errors.
    padded = _padded_map(x, padding_sides(padding))[:, : (oh - 1) * stride + kernel[0], : (ow - 1) * stride + kernel[1]]
    gradients = [
        # (windows, taps)ᵀ x (windows, outputs): activations may be unsigned, so they are the left operand.
        matmul(_windows(part, kernel, stride).t(), errors)
        for part, errors in zip(padded.chunk(groups, 3), pixel_rows(error).chunk(groups, 1), strict=True)
    ]
    outputs, inputs = error.shape[1], x.shape[1] // groups
    by_tap = torch.cat(gradients, 1).reshape(*kernel, inputs, outputs)
    return by_tap.permute(3, 0, 1, 2).contiguous().permute(0, 3, 1, 2)


def bias_gradient(error: Tensor) -> Tensor:
    """Sum errors (N, O, ...), int8, over everything but the channel; returns int32 (O,)."""
    require_tensor("error", error, ERRORS)
    if error.dim() < 2:
        raise ValueError(f"error must have at least 2 dimensions, not {tuple(error.shape)!r}")
    return column_sums(error.movedim(1, -1).flatten(0, -2))
