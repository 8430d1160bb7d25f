# SPDX-License-Identifier: Apache-2.0
"""What each operator of a quantised ONNX graph becomes."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from onnx import numpy_helper

from respin.firmware_model.frontend.float_graph import Clamp
from respin.firmware_model.frontend.onnx_graph import Call
from respin.firmware_model.frontend.onnx_values import (
    BYTES,
    Array,
    FloatInput,
    Integers,
    Quantised,
    Real,
    Sums,
    Unquantised,
    Value,
)
from respin.firmware_model.frontend.refusal import refused
from respin.firmware_model.frontend.zero_points import Linear, merge, pool
from respin.golden.inference import Shape, TensorFormat
from respin.golden.network import INPUT, Layer, Upsample
from respin.golden.ops import output_size
from respin.golden.ops.convolution import MAX_KERNEL

BYTE = "int8 and uint8"


# Quantisers.


def _quantise(call: Call) -> Value:
    value = call.value(0, "input")
    scale = call.scale(1, "scale")
    kind = np.dtype(np.uint8)
    if 2 in call:
        kind = call.constant(2, "zero point").dtype
    elif call.attributes.get("output_dtype"):
        raise refused(call.label, "output_dtype without a zero point", "a zero point of the output's type")
    if kind not in BYTES:
        raise refused(call.label, f"a zero point of {kind}", BYTE)
    zero = call.zero_point(2, "zero point", kind)
    if call.attributes.get("block_size"):
        raise refused(call.label, "scales for blocks", "one for the tensor, or one for each channel")
    if isinstance(value, np.ndarray):
        return _quantised_constant(call, value, scale, zero, kind)
    form = call.form(scale, zero, signed=kind == np.int8)
    match value:
        case FloatInput():
            x = Integers(name=INPUT, shape=value.shape, dtype=kind, signed=form.signed, flat=value.flat)
            if call.graph.formats.setdefault(INPUT, form) != form:
                raise refused(call.label, "a second quantiser of the input", "one")
            return x
        case Real():
            return call.graph.requantised(call.label, value, form)
        case Unquantised():
            return call.graph.finished(value, form)
        case _:
            raise refused(call.label, "integers that are quantised again", "real numbers")


def _quantised_constant(call: Call, value: Array, scale: Array, zero: Array, kind: np.dtype[np.generic]) -> Array:
    shape = [1] * value.ndim
    if scale.ndim:
        shape[call.attributes.get("axis", 1)] = -1
    low, high = (-128, 127) if kind == np.int8 else (0, 255)
    levels = np.rint(value / scale.reshape(shape).astype(np.float32)) + (zero.reshape(shape) if zero.ndim else zero)
    constant: Array = np.clip(levels, low, high).astype(kind)
    return constant


def _dequantise(call: Call) -> Value:
    value = call.value(0, "input")
    scale = call.scale(1, "scale")
    if call.attributes.get("block_size"):
        raise refused(call.label, "scales for blocks", "one for the tensor, or one for each channel")
    if isinstance(value, np.ndarray):
        zero = call.zero_point(2, "zero point", value.dtype)
        if value.dtype not in (*BYTES, np.dtype(np.int32)):
            raise refused(call.label, f"constants of {value.dtype}", f"{BYTE} weights, int32 biases")
        axis = call.attributes.get("axis", 1)
        if scale.ndim and (scale.ndim > 1 or not -value.ndim <= axis < value.ndim or scale.size != value.shape[axis]):
            raise refused(call.label, f"scales of shape {scale.shape!r} along axis {axis}", "one for each channel")
        if zero.ndim and zero.shape != scale.shape:
            raise refused(call.label, f"zero points of shape {zero.shape!r}", "as many as scales")
        return Quantised(levels=value, scale=scale, zero_point=zero, axis=axis % max(value.ndim, 1))
    x = call.integers(0, "input")
    zero = call.zero_point(2, "zero point", x.dtype)
    return Real(x=x, form=_read(call, x, scale, zero))


def _read(call: Call, x: Integers, scale: Array, zero: Array) -> TensorFormat:
    """Return what integers are worth to the operator that reads them."""
    form = call.form(scale, zero, signed=x.signed)
    call.graph.read_as(x, form)
    return form


# Convolutions and products with matrices.


def _weight(call: Call, levels: Array, zero: Array, axis: int) -> torch.Tensor:
    """Return a weight without its zero point, int8."""
    if levels.dtype not in BYTES:
        raise refused(call.label, f"a weight of {levels.dtype}", BYTE)
    if zero.ndim and zero.size != levels.shape[axis]:
        raise refused(call.label, f"{zero.size} zero points of a weight", f"one, or {levels.shape[axis]}")
    shape = [1] * levels.ndim
    if zero.ndim:
        shape[axis] = -1
    whole = levels.astype(np.int64) - zero.reshape(shape)
    if whole.min(initial=0) < -128 or whole.max(initial=0) > 127:
        raise refused(
            call.label,
            f"weights of {whole.min()}..{whole.max()} less their zero point",
            "weights that are int8 without it",
        )
    return torch.from_numpy(whole.astype(np.int8))


def _channels(call: Call, scale: Array, outputs: int) -> torch.Tensor:
    """Return a scale as (O,), float64."""
    if scale.ndim > 1 or (scale.ndim == 1 and scale.size != outputs):
        raise refused(call.label, f"weight scales of shape {scale.shape!r}", f"one, or {outputs}")
    return torch.from_numpy(np.broadcast_to(scale, (outputs,)).copy())


def _linear(
    call: Call, x: Integers, form: TensorFormat, levels: Array, scale: Array, zero: Array
) -> tuple[Linear, Shape]:
    """Return a convolution of ``levels`` (O, I / groups, kh, kw) without a bias, and the shape of what it makes."""
    if levels.ndim != 4 or x.flat:
        raise refused(call.label, f"a convolution with a weight of {levels.ndim} dimensions", "of maps (N, C, H, W)")
    stride, groups = _stride(call), call.attributes.get("group", 1)
    dilations = list(call.attributes.get("dilations", [1, 1]))
    if any(side != 1 for side in dilations):
        raise refused(call.label, f"dilation {dilations!r}", "dilation 1")
    if levels.shape[1] * groups != x.shape[0]:
        raise ValueError(f"it must read {levels.shape[1] * groups} channels, not {x.shape[0]}")
    if levels.shape[0] % groups:
        raise ValueError(f"groups must divide {levels.shape[0]} outputs, not {groups}")
    kernel = (levels.shape[2], levels.shape[3])
    if (given := tuple(call.attributes.get("kernel_shape", kernel))) != kernel:
        raise refused(call.label, f"kernel_shape {given!r} and a weight of {kernel!r}", "the weight's own")
    padding = _padding(call, x.shape[1:], kernel, stride)
    outputs = levels.shape[0]
    linear = Linear(
        x=x.name,
        form=form,
        weight=_weight(call, levels, zero, 0),
        scale=_channels(call, scale, outputs),
        bias=torch.zeros(outputs, dtype=torch.int64),
        stride=stride,
        padding=padding,
        groups=groups,
    )
    return linear, (outputs, *output_size(x.shape[1:], kernel, stride, padding))


def _stride(call: Call) -> int:
    strides = list(call.attributes.get("strides", [1, 1]))
    if len(set(strides)) > 1:
        raise refused(call.label, f"strides {strides!r}", "the same stride down and across")
    return int(strides[0])


def _padding(call: Call, size: tuple[int, int], kernel: tuple[int, int], stride: int) -> tuple[int, int, int, int]:
    auto = call.attributes.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides = []
        for length, taps in zip(size, kernel, strict=True):
            total = max((math.ceil(length / stride) - 1) * stride + taps - length, 0)
            less, more = total // 2, total - total // 2
            sides += [less, more] if auto == "SAME_UPPER" else [more, less]
        return sides[0], sides[1], sides[2], sides[3]
    if auto == "VALID":
        return (0, 0, 0, 0)
    pads = list(call.attributes.get("pads", [0] * 4))
    if auto != "NOTSET" or len(pads) != 4:
        raise refused(call.label, f"auto_pad {auto!r} with pads {pads!r}", "NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    return pads[0], pads[2], pads[1], pads[3]


def _product(
    call: Call, x: Integers, form: TensorFormat, levels: Array, scale: Array, zero: Array
) -> tuple[Linear, Shape]:
    """Return a product with ``levels`` (K, O), and the shape of what it makes."""
    if not x.flat:
        raise refused(call.label, "a product of maps with a matrix", "of a flattened map (N, K)")
    if levels.ndim != 2 or levels.shape[0] != math.prod(x.shape):
        raise refused(call.label, f"a matrix of shape {levels.shape!r}", f"({math.prod(x.shape)}, O)")
    if max(x.shape[1:]) > MAX_KERNEL:
        raise refused(call.label, f"a product of maps of {x.shape[1:]!r}", f"maps of at most {MAX_KERNEL} a side")
    outputs = levels.shape[1]
    linear = Linear(
        x=x.name,
        form=form,
        # The kernel is the map that was flattened.
        weight=_weight(call, levels, zero, 1).t().reshape(outputs, *x.shape).contiguous(),
        scale=_channels(call, scale, outputs),
        bias=torch.zeros(outputs, dtype=torch.int64),
    )
    return linear, (outputs, 1, 1)


Build = Callable[[Call, Integers, TensorFormat, Array, Array, Array], tuple[Linear, Shape]]


def _qlinear(call: Call, build: Build) -> Value:
    x = call.integers(0, "x")
    form = _read(call, x, call.scale(1, "x scale"), call.zero_point(2, "x zero point", x.dtype))
    levels = call.constant(3, "weight")
    zero = call.zero_point(5, "weight zero point", levels.dtype)
    linear, shape = build(call, x, form, levels, call.scale(4, "weight scale"), zero)
    if call.node.op_type == "QLinearConv" and 8 in call:
        bias = call.constant(8, "bias")
        if bias.dtype != np.int32 or bias.shape != (shape[0],):
            raise refused(call.label, f"a bias of {bias.dtype} {bias.shape!r}", f"int32 ({shape[0]},)")
        linear = replace(linear, bias=torch.from_numpy(bias.astype(np.int64)))
    kind = call.constant(7, "y zero point").dtype
    if kind not in BYTES:
        raise refused(call.label, f"a y zero point of {kind}", BYTE)
    made = call.form(call.scale(6, "y scale"), call.zero_point(7, "y zero point", kind), signed=kind == np.int8)
    flat = call.node.op_type == "QLinearMatMul"
    value = Unquantised(label=call.label, shape=shape, make=linear.requantised, linear=linear, flat=flat)
    return call.graph.finished(value, made)


def _integer(call: Call, build: Build) -> Value:
    x = call.integers(0, "x")
    form = _read(call, x, np.ones(()), call.zero_point(2, "x zero point", x.dtype))
    levels = call.constant(1, "weight")
    zero = call.zero_point(3, "weight zero point", levels.dtype)
    linear, shape = build(call, x, form, levels, np.ones(()), zero)
    return Sums(label=call.label, linear=linear, shape=shape)


def _quantised(call: Call, index: int) -> Quantised:
    value = call.value(index, "weight")
    if isinstance(value, np.ndarray):
        raise refused(call.label, f"a weight of {value.dtype}", "weights that DequantizeLinear makes of integers")
    if not isinstance(value, Quantised):
        raise refused(call.label, "a weight that is no constant", "constant weights")
    return value


def _conv(call: Call) -> Value:
    x, weight = call.real(0, "an input"), _quantised(call, 1)
    if weight.scale.ndim and weight.axis != 0:
        raise refused(call.label, f"weight scales along axis {weight.axis}", "along axis 0")
    linear, shape = _linear(call, x.x, x.form, weight.levels, weight.scale, weight.zero_point)
    if 2 in call:
        linear = _with_bias(call, linear, call.value(2, "bias"))
    return Unquantised(label=call.label, shape=shape, make=linear.requantised, linear=linear)


def _with_bias(call: Call, linear: Linear, value: Value) -> Linear:
    """Return ``linear`` with a constant added that has one number, or one for each output."""
    real = value.to_float() if isinstance(value, Quantised) else value
    if not isinstance(real, np.ndarray) or real.dtype.kind != "f":
        raise refused(call.label, "a bias that is no constant of real numbers", "constant biases")
    if not np.isfinite(real).all():
        raise refused(call.label, "a bias that is not finite", "finite numbers")
    outputs = linear.weight.shape[0]
    if real.size not in (1, outputs) or max(real.shape, default=1) != real.size:
        raise refused(call.label, f"a bias of shape {real.shape!r}", f"one number, or {outputs}")
    units = torch.from_numpy(np.broadcast_to(real.reshape(-1).astype(np.float64), (outputs,)).copy()) / linear.sum_scale
    if bool((units.abs() >= 1 << 31).any()):
        raise ValueError(f"a bias must be an int32 in units of the sums, not {float(units.abs().max())!r}")
    return replace(linear, bias=linear.bias + torch.round(units).to(torch.int64))


def _gemm(call: Call) -> Value:
    if call.attributes.get("alpha", 1.0) != 1 or call.attributes.get("beta", 1.0) != 1 or call.attributes.get("transA"):
        raise refused(call.label, "alpha, beta or transA", "alpha = beta = 1, transA = 0")
    x, weight = call.real(0, "an input"), _quantised(call, 1)
    if call.attributes.get("transB"):
        weight = replace(weight, levels=weight.levels.T, axis=1 - weight.axis)
    value = _multiplied(call, x, weight)
    assert value.linear is not None
    if 2 not in call:
        return value
    linear = _with_bias(call, value.linear, call.value(2, "bias"))
    return replace(value, linear=linear, make=linear.requantised)


def _matmul(call: Call) -> Value:
    return _multiplied(call, call.real(0, "an input"), _quantised(call, 1))


def _multiplied(call: Call, x: Real, weight: Quantised) -> Unquantised:
    if weight.scale.ndim and weight.axis != 1:
        raise refused(call.label, "weight scales along the inputs", "one, or one for each output")
    linear, shape = _product(call, x.x, x.form, weight.levels, weight.scale, weight.zero_point)
    return Unquantised(label=call.label, shape=shape, make=linear.requantised, linear=linear, flat=True)


# Sums, activations, pools.


def _add(call: Call) -> Value:
    sides = [call.value(0, "operand"), call.value(1, "operand")]
    constant = [side for side in sides if isinstance(side, np.ndarray | Quantised)]
    if constant:
        value = next((side for side in sides if not isinstance(side, np.ndarray | Quantised)), None)
        if not isinstance(value, Unquantised) or value.linear is None or not value.clamp.open:
            raise refused(call.label, "a constant that is added", "one added to a product that is not yet quantised")
        linear = _with_bias(call, value.linear, constant[0])
        return replace(value, linear=linear, make=linear.requantised)
    a, b = call.real(0, "an operand"), call.real(1, "an operand")
    if a.shape != b.shape or a.flat != b.flat:
        raise refused(call.label, f"operands of {a.shape!r} and {b.shape!r}", "operands of one shape")
    operands = [(a.x.name, a.form), (b.x.name, b.form)]

    def make(name: str, form: TensorFormat, ends: tuple[int, int]) -> Layer:
        return merge(name, operands, form, ends=ends)

    return Unquantised(label=call.label, shape=a.shape, make=make, flat=a.flat)


def _qlinear_add(call: Call) -> Value:
    """onnxruntime's sum of quantised tensors: A, its scale and zero point, B, its ones, those of the sum."""
    a, b = call.integers(0, "A"), call.integers(3, "B")
    if a.shape != b.shape or a.flat != b.flat:
        raise refused(call.label, f"operands of {a.shape!r} and {b.shape!r}", "operands of one shape")
    operands = [
        (x.name, _read(call, x, call.scale(at, "scale"), call.zero_point(at + 1, "zero point", x.dtype)))
        for x, at in ((a, 1), (b, 4))
    ]

    def make(name: str, form: TensorFormat, ends: tuple[int, int]) -> Layer:
        return merge(name, operands, form, ends=ends)

    value = Unquantised(label=call.label, shape=a.shape, make=make, flat=a.flat)
    return call.graph.finished(value, _contrib_form(call, 6, a))


def _qlinear_global_pool(call: Call) -> Value:
    """onnxruntime's average of a quantised map: X, its scale and zero point, those of the average."""
    x = call.integers(0, "X")
    if call.attributes.get("channels_last"):
        raise refused(call.label, "channels_last", "maps (N, C, H, W)")
    form = _read(call, x, call.scale(1, "scale"), call.zero_point(2, "zero point", x.dtype))
    value = _pooled(call, Real(x=x, form=form), x.shape[1:], flat=False)
    return call.graph.finished(value, _contrib_form(call, 3, x))


def _contrib_form(call: Call, index: int, x: Integers) -> TensorFormat:
    """The output's format: these operators leave the type as it is, and a zero point out where it is 0."""
    zero = call.zero_point(index + 1, "zero point", x.dtype)
    return call.form(call.scale(index, "scale"), zero, signed=x.dtype == np.int8)


def _clamp(call: Call, low: float, high: float) -> Value:
    if not low <= 0 <= high or low == high:
        raise refused(call.label, f"a clamp between {low!r} and {high!r}", "clamps with 0 between their ends")
    value = call.value(0, "input")
    if not isinstance(value, Real | Unquantised):
        raise refused(call.label, "an activation of what is not quantised", "of what DequantizeLinear or a layer makes")
    return replace(value, clamp=value.clamp.then(Clamp.between(low, high)))


def _clip(call: Call) -> Value:
    ends = [-math.inf, math.inf]
    for index in (1, 2):
        if index in call:
            end = call.constant(index, "end")
            if end.size != 1:
                raise refused(call.label, f"ends of shape {end.shape!r}", "numbers")
            ends[index - 1] = float(end.reshape(()))
    return _clamp(call, ends[0], ends[1])


def _average_pool(call: Call) -> Value:
    x = call.real(0, "an input")
    kernel = tuple(call.attributes["kernel_shape"])
    strides = tuple(call.attributes.get("strides", (1, 1)))
    if len(kernel) != 2 or strides != kernel:
        raise refused(call.label, f"windows of {kernel!r} every {strides!r}", "windows side by side")
    if any(call.attributes.get("pads", ())) or call.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise refused(call.label, "padding", "pools without padding")
    if any(side != 1 for side in call.attributes.get("dilations", ())):
        raise refused(call.label, "dilation", "dilation 1")
    if call.attributes.get("ceil_mode") and any(side % taps for side, taps in zip(x.shape[1:], kernel, strict=True)):
        raise refused(call.label, "ceil_mode where windows do not fill the map", "ceil_mode 0")
    return _pooled(call, x, (kernel[0], kernel[1]), flat=False)


def _global_pool(call: Call) -> Value:
    x = call.real(0, "an input")
    return _pooled(call, x, x.shape[1:], flat=False)


def _mean(call: Call) -> Value:
    x = call.real(0, "an input")
    axes = call.constant(1, "axes").tolist() if 1 in call else list(call.attributes.get("axes", ()))
    if {axis % 4 for axis in axes} != {2, 3}:
        raise refused(call.label, f"a mean over axes {axes!r}", "a mean over height and width")
    return _pooled(call, x, x.shape[1:], flat=not call.attributes.get("keepdims", 1))


def _pooled(call: Call, x: Real, kernel: tuple[int, int], *, flat: bool) -> Unquantised:
    channels, height, width = x.shape
    if x.flat or kernel[0] > height or kernel[1] > width:
        raise refused(call.label, f"windows of {kernel!r} of {(height, width)!r}", "windows of at most the map")

    def make(name: str, form: TensorFormat, ends: tuple[int, int]) -> Layer:
        return pool(name, x.x.name, x.form, form, kernel=kernel, channels=channels, ends=ends)

    shape = (channels, height // kernel[0], width // kernel[1])
    return Unquantised(label=call.label, shape=shape, make=make, flat=flat)


# What moves numbers about.


def _resize(call: Call) -> Value:
    value = call.value(0, "input")
    if isinstance(value, Unquantised):
        value = call.real(0, "an input")
    if not isinstance(value, Integers | Real) or value.flat:
        raise refused(call.label, "a resize of what is no quantised map", "maps (N, C, H, W)")
    x = value if isinstance(value, Integers) else value.x
    if call.attributes.get("mode", b"nearest") != b"nearest":
        raise refused(call.label, f"mode {call.attributes['mode'].decode()!r}", "nearest")
    if call.attributes.get("axes") or call.attributes.get("antialias"):
        raise refused(call.label, "axes or antialias", "a resize of all axes")
    policy = call.attributes.get("keep_aspect_ratio_policy", b"stretch")
    if policy != b"stretch":
        raise refused(call.label, f"keep_aspect_ratio_policy {policy.decode()!r}", "stretch")
    if 3 in call:
        wanted = [int(side) for side in call.constant(3, "sizes")]
        scales = [out / side for out, side in zip(wanted[2:], x.shape[1:], strict=False)]
    else:
        scales = [float(scale) for scale in call.constant(2, "scales")]
        wanted = [1, x.shape[0], *(math.floor(s * side) for s, side in zip(scales[2:], x.shape[1:], strict=False))]
        if len(scales) == 4 and scales[:2] != [1, 1]:
            raise refused(call.label, f"scales {scales!r}", "batch and channels as they are")
        scales = scales[2:]
    if len(wanted) != 4 or wanted[1] != x.shape[0]:
        raise refused(call.label, f"a resize to {wanted!r}", "batch and channels as they are")
    size = (wanted[2], wanted[3])
    for out, side, scale in zip(size, x.shape[1:], scales, strict=True):
        if out < 1 or _sources(call, out, side, scale) != [i * side // out for i in range(out)]:
            raise refused(call.label, f"a resize from {side} to {out} that reads other elements", "floor(i * in / out)")
    layer = Upsample(name=call.graph.new_name(call.label), x=x.name, size=size)
    signed_form = value.form if isinstance(value, Real) else None
    call.graph.layers.append(layer)
    made = replace(x, name=layer.name, shape=(x.shape[0], *size))
    known = signed_form or call.graph.formats.get(x.name)
    if known is not None:
        call.graph.formats[layer.name] = known
    return made if isinstance(value, Integers) else replace(value, x=made)


def _sources(call: Call, out: int, side: int, scale: float) -> list[int]:
    """Return the elements that a nearest resize reads."""
    transform = call.attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    nearest = call.attributes.get("nearest_mode", b"round_prefer_floor").decode()
    places: dict[str, Callable[[int], float]] = {
        "half_pixel": lambda i: (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel": lambda i: (i + 0.5) / scale - 0.5 if out > 1 else 0.0,
        "asymmetric": lambda i: i / scale,
    }
    rounding: dict[str, Callable[[float], int]] = {
        "floor": math.floor,
        "ceil": math.ceil,
        "round_prefer_floor": lambda place: math.ceil(place - 0.5),
        "round_prefer_ceil": lambda place: math.floor(place + 0.5),
    }
    if transform not in places or nearest not in rounding:
        raise refused(call.label, f"{transform} and {nearest}", f"{', '.join(places)}; {', '.join(rounding)}")
    return [min(max(rounding[nearest](places[transform](i)), 0), side - 1) for i in range(out)]


def _reshape(call: Call) -> Value:
    """Whatever leaves the order of an image's numbers as it is: flattening, and (N, C) as (N, C, 1, 1)."""
    value = call.value(0, "input")
    if not isinstance(value, Integers | Real | Unquantised):
        raise refused(call.label, "a reshape of what is not quantised", "of what a layer or DequantizeLinear makes")
    shape, count = value.shape, math.prod(value.shape)
    dims = [1, count] if value.flat else [1, *shape]
    match call.node.op_type:
        case "Flatten":
            made = [1, count] if call.attributes.get("axis", 1) == 1 else []
        case "Squeeze":
            axes = {axis % len(dims) for axis in call.constant(1, "axes").tolist()}
            made = [] if 0 in axes else [side for axis, side in enumerate(dims) if axis not in axes]
        case _:
            wanted = [int(side) for side in call.constant(1, "shape")]
            if call.attributes.get("allowzero") and 0 in wanted:
                raise refused(call.label, f"a reshape to {wanted!r} with allowzero", "sizes of 1 and more")
            # The batch is whatever it is.
            wanted = [1 if axis == 0 else dims[axis] if side == 0 else side for axis, side in enumerate(wanted)]
            free = abs(math.prod(wanted))
            made = [count // free if side == -1 and free else side for side in wanted]
    if made == dims:
        return value
    if made == [1, count]:
        return value.seen(flat=True)
    if made == [1, *shape]:
        return value.seen(flat=False)
    raise refused(call.label, f"a reshape of {dims!r} to {made!r}", "flattening, and (N, C) as (N, C, 1, 1)")


def _dropout(call: Call) -> Value:
    if 2 in call and call.constant(2, "training mode").any():
        raise refused(call.label, "dropout in training mode", "inference")
    return call.value(0, "input")


def _constant(call: Call) -> Value:
    value = call.attributes.get("value")
    if value is None:
        raise refused(call.label, "a constant that is no tensor", "tensors")
    return numpy_helper.to_array(value)


OPERATORS: dict[str, Callable[[Call], Value]] = {
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _dequantise,
    "QLinearConv": partial(_qlinear, build=_linear),
    "QLinearMatMul": partial(_qlinear, build=_product),
    "ConvInteger": partial(_integer, build=_linear),
    "MatMulInteger": partial(_integer, build=_product),
    "com.microsoft.QLinearAdd": _qlinear_add,
    "com.microsoft.QLinearGlobalAveragePool": _qlinear_global_pool,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Relu": partial(_clamp, low=0.0, high=math.inf),
    "Clip": _clip,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_pool,
    "ReduceMean": _mean,
    "Resize": _resize,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Identity": lambda call: call.value(0, "input"),
    "Dropout": _dropout,
    "Constant": _constant,
}
"""What each operator becomes."""
SUPPORTED = ", ".join(OPERATORS)
