# SPDX-License-Identifier: Apache-2.0
"""What each operator of ATen becomes in a float graph."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from respin.firmware_model.frontend.float_graph import (
    Clamp,
    FloatAffine,
    FloatConvolution,
    FloatPool,
    FloatResize,
    FloatSum,
)
from respin.firmware_model.frontend.refusal import refused
from respin.firmware_model.frontend.torch_values import FOUR, Call, Map, Value, pair
from respin.golden.backbones.description import Sides, fold_norm
from respin.golden.ops.convolution import MAX_KERNEL

SUPPORTED = (
    "conv2d, batch_norm, linear, relu, relu6, hardtanh, clamp, add, avg_pool2d, adaptive_avg_pool2d, "
    "mean over the map, flatten, view, reshape, constant pad, nearest upsample, dropout in eval mode"
)
TRAINING_NORM = ("a batch norm in training mode", "eval mode: call eval() first")
TRAINING_DROPOUT = ("dropout in training mode", "eval mode: call eval() first")


def _convolution(call: Call) -> Value:
    x, weight, bias = call.map("input", padded=True), call.weight(), call.constant("bias")
    if x.flat:
        raise refused(call.label, "a convolution of a flattened map", "maps (N, C, H, W)")
    height, width = pair(call, "stride", call.arguments["stride"])
    if height != width:
        raise refused(call.label, f"stride {height, width!r}", "the same stride down and across")
    dilation = pair(call, "dilation", call.arguments["dilation"])
    if dilation != (1, 1):
        raise refused(call.label, f"dilation {dilation!r}", "dilation 1")
    own = _sides(call, weight)
    top, bottom, left, right = (a + b for a, b in zip(own, x.pad, strict=True))
    node = FloatConvolution(
        name=call.new_name(),
        x=x.name,
        weight=weight,
        bias=weight.new_zeros(weight.shape[0]) if bias is None else bias,
        stride=height,
        padding=(top, bottom, left, right),
        groups=call.arguments["groups"],
    )
    return call.add(node, flat=False, inputs=[x])


def _sides(call: Call, weight: Tensor) -> Sides:
    padding = call.arguments["padding"]
    kh, kw = weight.shape[2], weight.shape[3]
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        return ((kh - 1) // 2, kh - 1 - (kh - 1) // 2, (kw - 1) // 2, kw - 1 - (kw - 1) // 2)
    down, across = pair(call, "padding", padding)
    return (down, down, across, across)


def _linear(call: Call) -> Value:
    x, weight, bias = call.map("input"), call.weight(), call.constant("bias")
    if not x.flat:
        raise refused(call.label, "a linear layer of a map", "one of a flattened map (N, C)")
    if max(x.shape[1:]) > MAX_KERNEL:
        raise refused(call.label, f"a linear layer of maps of {x.shape[1:]!r}", f"maps of at most {MAX_KERNEL} a side")
    node = FloatConvolution(
        name=call.new_name(),
        x=x.name,
        # The kernel is the map that was flattened.
        weight=weight.reshape(weight.shape[0], *x.shape),
        bias=weight.new_zeros(weight.shape[0]) if bias is None else bias,
    )
    return call.add(node, flat=True, inputs=[x])


def _norm(call: Call) -> Value:
    if call.arguments.get("training"):
        raise refused(call.label, *TRAINING_NORM)
    x = call.map("input")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if mean is None or variance is None:
        raise refused(call.label, "a batch norm without running statistics", "track_running_stats=True")
    scale, shift = call.constant("weight"), call.constant("bias")
    unit = torch.ones_like(variance)
    factor, offset = fold_norm(
        unit,
        scale=unit if scale is None else scale,
        shift=torch.zeros_like(mean) if shift is None else shift,
        mean=mean,
        variance=variance,
        epsilon=call.arguments["eps"],
    )
    return _affine(call, x, factor, offset)


def _affine(call: Call, x: Map, scale: Tensor, shift: Tensor) -> Map:
    node = FloatAffine(name=call.new_name(), x=x.name, scale=scale, shift=shift)
    if x.flat and x.shape[1:] != (1, 1):
        raise refused(call.label, "numbers for each element of a flattened map", "one for each channel")
    return call.add(node, flat=x.flat, inputs=[x])


def _clamp(low: float | str, high: float | str) -> Callable[[Call], Value]:
    """A clamp whose ends are numbers, or arguments of the call."""

    def end(call: Call, value: float | str, otherwise: float) -> float:
        number = call.arguments[value] if isinstance(value, str) else value
        if number is None:
            return otherwise
        if isinstance(number, Tensor) and number.numel() == 1:
            number = number.item()
        if not isinstance(number, int | float):
            raise refused(call.label, f"a clamp between {type(number).__name__}s", "between numbers")
        return float(number)

    def lower(call: Call) -> Value:
        x = call.map("self")
        bottom, top = end(call, low, -torch.inf), end(call, high, torch.inf)
        if not bottom < top:
            raise refused(call.label, f"a clamp between {bottom!r} and {top!r}", "low below high")
        if bottom > 0 or top < 0:
            raise refused(call.label, f"a clamp between {bottom!r} and {top!r}", "clamps with 0 between their ends")
        node = FloatSum(name=call.new_name(), operands=(x.name,), clamp=Clamp.between(bottom, top))
        return call.add(node, flat=x.flat, inputs=[x])

    return lower


def _per_channel(call: Call, argument: str, x: Map) -> Tensor:
    """Return a constant that is the same for all pixels as (C,)."""
    value = call.arguments[argument]
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise refused(call.label, f"an operand of type {type(value).__name__}", "tensors and numbers")
    constant = torch.as_tensor(value)
    constant = constant.to(torch.get_default_dtype()) if not constant.is_floating_point() else constant
    if not bool(torch.isfinite(constant).all()):
        raise refused(call.label, "a constant that is not finite", "finite numbers")
    channels = x.shape[0]
    # Aligned at the right, as in broadcasting.
    rank = 1 + len(x.dims)
    if constant.dim() > rank:
        raise refused(
            call.label, f"a constant of shape {tuple(constant.shape)!r}", "one number, or one for each channel"
        )
    dims = (1,) * (rank - constant.dim()) + tuple(constant.shape)
    if dims[1] not in (1, channels) or any(size != 1 for position, size in enumerate(dims) if position != 1):
        raise refused(
            call.label, f"a constant of shape {tuple(constant.shape)!r}", "one number, or one for each channel"
        )
    return constant.reshape(-1).expand(channels).clone()


def _add(call: Call) -> Value:
    if call.arguments.get("alpha", 1) != 1:
        raise refused(call.label, f"alpha {call.arguments['alpha']!r}", "alpha 1")
    sides = [call.arguments["self"], call.arguments["other"]]
    if all(isinstance(side, Map) for side in sides):
        a, b = call.map("self"), call.map("other")
        if a.flat != b.flat:
            raise refused(call.label, "a sum of a map and a flattened one", "operands of one shape")
        if a.name == b.name:
            return _affine(call, a, torch.full((a.shape[0],), 2.0), torch.zeros(a.shape[0]))
        node = FloatSum(name=call.new_name(), operands=(a.name, b.name))
        return call.add(node, flat=a.flat, inputs=[a, b])
    which, other = ("self", "other") if isinstance(sides[0], Map) else ("other", "self")
    x = call.map(which)
    shift = _per_channel(call, other, x)
    return _affine(call, x, torch.ones_like(shift), shift)


def _subtract(call: Call) -> Value:
    if isinstance(call.arguments["other"], Map):
        raise refused(call.label, "a tensor that is subtracted", "sums; a constant that is subtracted")
    if call.arguments.get("alpha", 1) != 1:
        raise refused(call.label, f"alpha {call.arguments['alpha']!r}", "alpha 1")
    x = call.map("self")
    shift = -_per_channel(call, "other", x)
    return _affine(call, x, torch.ones_like(shift), shift)


def _multiply(call: Call) -> Value:
    sides = [call.arguments["self"], call.arguments["other"]]
    if all(isinstance(side, Map) for side in sides):
        raise refused(call.label, "a product of two tensors (a gate, attention)", "products with constants")
    which, other = ("self", "other") if isinstance(sides[0], Map) else ("other", "self")
    x = call.map(which)
    scale = _per_channel(call, other, x)
    return _affine(call, x, scale, torch.zeros_like(scale))


def _divide(call: Call) -> Value:
    if isinstance(call.arguments["other"], Map):
        raise refused(call.label, "a quotient by a tensor", "quotients by constants")
    x = call.map("self")
    divisor = _per_channel(call, "other", x)
    if bool((divisor == 0).any()):
        raise refused(call.label, "a division by 0", "quotients by other constants")
    return _affine(call, x, 1 / divisor, torch.zeros_like(divisor))


def _pool(call: Call) -> Value:
    x = call.map("self")
    if x.flat:
        raise refused(call.label, "a pool of a flattened map", "maps (N, C, H, W)")
    kernel = pair(call, "kernel", call.arguments["kernel_size"])
    stride = pair(call, "stride", call.arguments["stride"] or kernel)
    if stride != kernel:
        raise refused(call.label, f"windows of {kernel!r} every {stride!r}", "windows side by side")
    if pair(call, "padding", call.arguments["padding"] or 0) != (0, 0):
        raise refused(call.label, f"padding {call.arguments['padding']!r}", "pools without padding")
    if call.arguments["divisor_override"] is not None:
        raise refused(call.label, f"divisor_override {call.arguments['divisor_override']!r}", "the mean")
    _, height, width = x.shape
    if call.arguments["ceil_mode"] and (height % kernel[0] or width % kernel[1]):
        raise refused(call.label, "ceil_mode where windows do not fill the map", "ceil_mode=False")
    return _average(call, x, kernel, flat=False)


def _average(call: Call, x: Map, kernel: tuple[int, int], *, flat: bool) -> Map:
    node = FloatPool(name=call.new_name(), x=x.name, kernel=kernel)
    return call.add(node, flat=flat, inputs=[x])


def _adaptive_pool(call: Call) -> Value:
    x = call.map("self")
    if x.flat:
        raise refused(call.label, "a pool of a flattened map", "maps (N, C, H, W)")
    asked = call.arguments["output_size"]
    sizes = [side or whole for side, whole in zip(asked, x.shape[1:], strict=True)]
    _, height, width = x.shape
    if height % sizes[0] or width % sizes[1]:
        raise refused(
            call.label, f"an output of {tuple(sizes)!r} from a map of {height, width!r}", "sizes that divide the map's"
        )
    return _average(call, x, (height // sizes[0], width // sizes[1]), flat=False)


def _mean(call: Call) -> Value:
    x = call.map("self")
    axes = {axis % FOUR for axis in call.arguments["dim"] or ()}
    if x.flat or axes != {2, 3}:
        raise refused(call.label, f"a mean over dimensions {call.arguments['dim']!r}", "a mean over height and width")
    return _average(call, x, x.shape[1:], flat=not call.arguments["keepdim"])


def _reshape(call: Call) -> Value:
    """Whatever leaves the order of an image's numbers as it is: judged by the shape that it makes."""
    x = call.map("self")
    made = tuple(call.node.meta["val"].shape)
    if made[0] == 1 and made[1:] == x.dims:
        return x
    if made == (1, x.shape[0] * x.shape[1] * x.shape[2]):
        return replace(x, flat=True)
    if made == (1, *x.shape):
        return replace(x, flat=False)
    raise refused(call.label, f"a view of {(1, *x.dims)!r} as {made!r}", "flattening, and (N, C) as (N, C, 1, 1)")


def _pad(call: Call) -> Value:
    x = call.map("self", padded=True)
    mode, value = call.arguments.get("mode", "constant"), call.arguments.get("value")
    if mode != "constant" or value not in (None, 0):
        raise refused(call.label, f"a pad of mode {mode!r} with {value!r}", "constant pads with 0")
    widths = list(call.arguments["pad"])
    if x.flat or len(widths) > FOUR or any(not isinstance(width, int) or width < 0 for width in widths):
        raise refused(call.label, f"a pad by {widths!r}", "pads of 0 and more at the sides of maps")
    left, right, top, bottom = widths + [0] * (FOUR - len(widths))
    sides = (top, bottom, left, right)
    padded = tuple(a + b for a, b in zip(x.pad, sides, strict=True))
    return replace(x, pad=(padded[0], padded[1], padded[2], padded[3]))


def _resize(call: Call) -> Value:
    x = call.map("input" if "input" in call.arguments else "self")
    if x.flat:
        raise refused(call.label, "an upsample of a flattened map", "maps (N, C, H, W)")
    made = call.node.meta["val"].shape
    size = (int(made[2]), int(made[3]))
    # A scale that is no ratio of the sizes reads other elements.
    factors = call.arguments.get("scale_factors")
    for factor, out, source in zip(factors or (), size, x.shape[1:], strict=False):
        if any(min(int(i / factor), source - 1) != i * source // out for i in range(out)):
            raise refused(
                call.label, f"a scale of {factor!r} from {source} to {out}", "scales that are the ratio of the sizes"
            )
    return call.add(FloatResize(name=call.new_name(), x=x.name, size=size), flat=False, inputs=[x])


def _dropout(call: Call) -> Value:
    if call.arguments["train"] and call.arguments["p"]:
        raise refused(call.label, *TRAINING_DROPOUT)
    return call.map("input", padded=True)


def _same(call: Call) -> Value:
    return call.map("self" if "self" in call.arguments else "input", padded=True)


def _cast(call: Call) -> Value:
    if not call.node.meta["val"].is_floating_point():
        raise refused(call.label, f"a conversion to {call.node.meta['val'].dtype}", "floating point")
    return _same(call)


def _refuse(found: str, supported: str) -> Callable[[Call], Value]:
    """What the tracer makes of an operator in a mode that is not supported."""

    def lower(call: Call) -> Value:
        raise refused(call.label, found, supported)

    return lower


LOWERINGS: dict[str, Callable[[Call], Value]] = {
    "conv2d": _convolution,
    "conv2d.padding": _convolution,
    "linear": _linear,
    "batch_norm": _norm,
    "_native_batch_norm_legit_no_training": _norm,
    "_native_batch_norm_legit_functional": _refuse(*TRAINING_NORM),
    "_native_batch_norm_legit.no_stats": _refuse("a batch norm without running statistics", "track_running_stats=True"),
    "relu": _clamp(0.0, torch.inf),
    "relu6": _clamp(0.0, 6.0),
    "hardtanh": _clamp("min_val", "max_val"),
    "clamp": _clamp("min", "max"),
    "clamp_min": _clamp("min", torch.inf),
    "clamp_max": _clamp(-torch.inf, "max"),
    "add.Tensor": _add,
    "sub.Tensor": _subtract,
    "mul.Tensor": _multiply,
    "div.Tensor": _divide,
    "avg_pool2d": _pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "mean.dim": _mean,
    "flatten.using_ints": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "unflatten.int": _reshape,
    "squeeze.dim": _reshape,
    "squeeze.dims": _reshape,
    "unsqueeze": _reshape,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "upsample_nearest2d.vec": _resize,
    "upsample_nearest2d": _resize,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "native_dropout": _refuse(*TRAINING_DROPOUT),
    "contiguous": _same,
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "to.dtype": _cast,
    "_to_copy": _cast,
}
"""What each operator of ATen becomes."""
