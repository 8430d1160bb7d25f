# SPDX-License-Identifier: Apache-2.0
"""Convolutions in all three passes, exact in int32 and fast.

The products run through the float32 kernels of PyTorch. A float32 sum of integers is exact, in whatever order, while
every partial sum stays below 2^24 in magnitude; a reduction that might pass that is halved until it cannot, and the
halves are added in int32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.ops.checks import (
    ACTIVATIONS,
    ERRORS,
    INT32_MAX,
    WEIGHTS,
    require_int,
    require_shape,
    require_tensor,
)

EXACT = 1 << 24
"""Integers below this magnitude are exact in float32."""
MAX_KERNEL = 15
MAX_STRIDE = 15

Padding = int | tuple[int, int, int, int]
"""Rows and columns added around a map: one number for all sides, or (top, bottom, left, right)."""


@contextmanager
def _exact_kernels() -> Iterator[None]:
    """Keep PyTorch from kernels that are not sums of products (Winograd in NNPACK) or round their operands."""
    nnpack = torch.backends.nnpack.set_flags(False)  # type: ignore[no-untyped-call]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.nnpack.set_flags(nnpack[0])  # type: ignore[no-untyped-call]
        torch.set_float32_matmul_precision(precision)


def _sides(padding: Padding) -> tuple[int, int, int, int]:
    sides = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    if len(sides) != 4:
        raise ValueError(f"padding must be one number or (top, bottom, left, right), not {padding!r}")
    for side in sides:
        require_int("padding", side, 0, 31)
    top, bottom, left, right = sides
    return top, bottom, left, right


def output_size(size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding) -> tuple[int, int]:
    """Return (height, width) of a convolution's output; ValueError if the kernel is larger than the padded map."""
    top, bottom, left, right = _sides(padding)
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


def _float(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float32 else tensor.to(torch.float32)


def _largest(tensor: Tensor) -> int:
    low, high = torch.aminmax(tensor)
    return max(-int(low), int(high))


def _forward(
    x: Tensor, weight: Tensor, stride: int, groups: int, magnitude: int, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """Convolve float32 ``x`` with float32 ``weight``; ``magnitude`` bounds ``|x|``."""
    fan_in = weight[0].numel()
    if fan_in * 128 * magnitude < EXACT or int(weight.abs().sum((1, 2, 3)).max()) * magnitude < EXACT:
        return functional.conv2d(x, weight, stride=stride, padding=padding, groups=groups).to(torch.int32)
    half = weight.shape[1] // 2
    grouped = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    halves = (
        (grouped[:, :, :half].flatten(1, 2), weight[:, :half]),
        (grouped[:, :, half:].flatten(1, 2), weight[:, half:]),
    )
    low, high = (_forward(inputs, part, stride, groups, magnitude, padding) for inputs, part in halves)
    return low + high


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
    output_size((x.shape[2], x.shape[3]), kernel, stride, padding)
    low, high = (0, 255) if x.dtype == torch.uint8 else (-128, 127)
    require_int("zero_point", zero_point, low, high)
    if weight[0].numel() * 128 * _magnitude(x) > INT32_MAX:
        raise ValueError(f"a reduction over {weight[0].numel()} products could overflow 32 bits")
    top, bottom, left, right = _sides(padding)
    operand, around = _float(x), (top, left)
    if zero_point or (top, left) != (bottom, right):
        operand = functional.pad(operand, (left, right, top, bottom), value=zero_point)
        around = (0, 0)
    with _exact_kernels():
        return _forward(operand, _float(weight), stride, groups, _magnitude(x), around)


def dense(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply activations (N, I), int8 or uint8, with ``weight`` (O, I), int8; returns int32 sums (N, O).

    Raises TypeError or ValueError as :func:`conv2d` does.
    """
    require_tensor("x", x, ACTIVATIONS, 2)
    require_tensor("weight", weight, WEIGHTS, 2)
    return conv2d(x[:, :, None, None], weight[:, :, None, None])[:, :, 0, 0]


def _backward(error: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    """Transposed convolution of float32 ``error`` with float32 ``weight``: the error of the padded input."""
    outputs = weight.shape[0] // groups
    grouped = weight.reshape(groups, outputs, *weight.shape[1:])
    fan_out = outputs * weight[0, 0].numel()
    if fan_out * 128 * 128 < EXACT or int(grouped.abs().sum((1, 3, 4)).max()) * 128 < EXACT:
        return functional.conv_transpose2d(error, weight, stride=stride, groups=groups).to(torch.int32)
    half = outputs // 2
    errors = error.reshape(error.shape[0], groups, outputs, *error.shape[2:])
    low = _backward(errors[:, :, :half].flatten(1, 2), grouped[:, :half].flatten(0, 1), stride, groups)
    return low + _backward(errors[:, :, half:].flatten(1, 2), grouped[:, half:].flatten(0, 1), stride, groups)


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
    top, bottom, left, right = _sides(padding)
    height, width = size[0] + top + bottom, size[1] + left + right
    with _exact_kernels():
        reached = _backward(_float(error), _float(weight), stride, groups)
    padded = functional.pad(reached, (0, width - reached.shape[3], 0, height - reached.shape[2]))
    return padded[:, :, top : top + size[0], left : left + size[1]].contiguous()


def _gradient(x: Tensor, error: Tensor, kernel: tuple[int, int], stride: int, groups: int, magnitude: int) -> Tensor:
    """Gradient of float32 operands; halves the images, then the rows, then the columns until the sums are exact."""
    images, outputs, oh, ow = error.shape
    pixels = images * oh * ow
    if pixels * 128 * magnitude < EXACT or int(error.abs().sum((0, 2, 3)).max()) * magnitude < EXACT:
        weight = x.new_empty((outputs, x.shape[1] // groups, *kernel))
        _, gradient, _ = torch.ops.aten.convolution_backward(
            error, x, weight, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], groups, [False, True, False]
        )
        return torch.as_tensor(gradient).to(torch.int32)
    dim = 0 if images > 1 else 2 if oh > 1 else 3
    half = error.shape[dim] // 2
    cuts = {0: (half, half), 2: ((half - 1) * stride + kernel[0], half * stride)}
    cuts[3] = ((half - 1) * stride + kernel[1], half * stride)
    end, start = cuts[dim]
    low = _gradient(x.narrow(dim, 0, end), error.narrow(dim, 0, half), kernel, stride, groups, magnitude)
    rest = x.narrow(dim, start, x.shape[dim] - start), error.narrow(dim, half, error.shape[dim] - half)
    return low + _gradient(*rest, kernel, stride, groups, magnitude)


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
    top, bottom, left, right = _sides(padding)
    operand = functional.pad(_float(x), (left, right, top, bottom))
    with _exact_kernels():
        return _gradient(operand, _float(error), kernel, stride, groups, _magnitude(x))


def bias_gradient(error: Tensor) -> Tensor:
    """Sum errors (N, O, ...), int8, over everything but the channel; returns int32 (O,)."""
    require_tensor("error", error, ERRORS)
    if error.dim() < 2:
        raise ValueError(f"error must have at least 2 dimensions, not {tuple(error.shape)!r}")
    return error.transpose(0, 1).flatten(1).sum(1, dtype=torch.int32)
