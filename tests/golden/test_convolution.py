# SPDX-License-Identifier: Apache-2.0
"""The convolutions against float64 and int64 PyTorch, torch.autograd and ONNX's integer operators."""

import os
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from torch import Tensor
from torch.nn import functional

from respin.golden import ops

SEED = int(os.environ.get("RESPIN_SEED", "1"))
BYTE = (torch.int8, torch.uint8)


def integers(generator: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype, limit: int = 127) -> Tensor:
    low, high = (0, 256) if dtype == torch.uint8 else (-limit, limit + 1)
    return torch.randint(low, high, shape, generator=generator).to(dtype)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.integers(1, 4))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    size = draw(st.tuples(st.integers(kernel[0], 9), st.integers(kernel[1], 9)))
    return {
        "groups": groups,
        "inputs": groups * draw(st.integers(1, 5)),
        "outputs": groups * draw(st.integers(1, 5)),
        "kernel": kernel,
        "size": size,
        "images": draw(st.integers(1, 3)),
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.one_of(st.integers(0, 3), st.tuples(*[st.integers(0, 3)] * 4))),
        "dtype": draw(st.sampled_from(BYTE)),
        "seed": draw(st.integers(0, 1 << 16)),
    }


def make(case: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    generator = torch.Generator().manual_seed(SEED + case["seed"])
    x = integers(generator, (case["images"], case["inputs"], *case["size"]), case["dtype"], 128 - 1)
    weight = integers(generator, (case["outputs"], case["inputs"] // case["groups"], *case["kernel"]), torch.int8)
    return x, weight, {name: case[name] for name in ("stride", "padding", "groups")}


def reference(x: Tensor, weight: Tensor, stride: int, padding: Any, groups: int, pad_value: int = 0) -> Tensor:
    """Convolution in float64; it is differentiable and exact below 2^53."""
    top, bottom, left, right = (padding,) * 4 if isinstance(padding, int) else padding
    padded = functional.pad(x, (left, right, top, bottom), value=pad_value)
    return functional.conv2d(padded, weight, stride=stride, groups=groups)


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(0, 127))
def test_forward_equals_float64(case: dict[str, Any], zero_point: int) -> None:
    x, weight, options = make(case)
    sums = ops.conv2d(x, weight, **options, zero_point=zero_point)
    assert sums.dtype == torch.int32
    assert torch.equal(sums, reference(x.double(), weight.double(), **options, pad_value=zero_point).to(torch.int32))


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_backward_equals_autograd(case: dict[str, Any]) -> None:
    x, weight, options = make(case)
    x64, w64 = x.double().requires_grad_(), weight.double().requires_grad_()
    y = reference(x64, w64, **options)
    error = integers(torch.Generator().manual_seed(case["seed"]), tuple(y.shape), torch.int8)
    dx, dw = torch.autograd.grad(y, (x64, w64), error.double())
    assert torch.equal(ops.conv2d_error(error, weight, size=case["size"], **options), dx.to(torch.int32))
    assert torch.equal(ops.conv2d_weight_gradient(x, error, kernel=case["kernel"], **options), dw.to(torch.int32))
    assert torch.equal(ops.bias_gradient(error), error.to(torch.int32).sum((0, 2, 3), dtype=torch.int32))


@pytest.mark.parametrize("channels", [1, 7, 40])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("zero_point", [0, 9])
@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((6, 7), (3, 3), 1),
        ((5, 4), (5, 5), (0, 4, 3, 1)),
        ((1, 1), (3, 3), 1),
        ((1, 1), (1, 1), (2, 0, 0, 3)),  # places that meet padding only
        ((2, 3), (5, 2), (5, 0, 1, 3)),  # more padding than kernel
        ((9, 3), (7, 1), 0),  # rows that a stride leaves out
    ],
)
def test_depthwise_equals_float64_in_both_directions(
    size: tuple[int, int], kernel: tuple[int, int], padding: Any, stride: int, channels: int, zero_point: int
) -> None:
    generator = torch.Generator().manual_seed(SEED)
    options = {"stride": stride, "padding": padding, "groups": channels}
    weight = integers(generator, (channels, 1, *kernel), torch.int8)
    for dtype in BYTE:
        x = integers(generator, (3, channels, *size), dtype)
        x64 = x.double().requires_grad_()
        y = reference(x64, weight.double(), **options, pad_value=zero_point)
        assert torch.equal(ops.conv2d(x, weight, **options, zero_point=zero_point), y.to(torch.int32))
        error = integers(generator, tuple(y.shape), torch.int8)
        (dx,) = torch.autograd.grad(y, x64, error.double())
        assert torch.equal(ops.conv2d_error(error, weight, size=size, **options), dx.to(torch.int32))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [
        ((1, 1), (1, 1), (2, 0, 0, 0)),
        ((1, 1), (1, 1), (0, 3, 0, 2)),
        ((2, 3), (2, 1), (3, 1, 4, 2)),
        ((3, 3), (2, 2), 3),
    ],
)
def test_errors_of_more_padding_than_kernel(
    size: tuple[int, int], kernel: tuple[int, int], padding: Any, stride: int, groups: int
) -> None:
    generator = torch.Generator().manual_seed(SEED)
    options = {"stride": stride, "padding": padding, "groups": groups}
    weight = integers(generator, (4, 6 // groups, *kernel), torch.int8)
    x = integers(generator, (2, 6, *size), torch.int8).double().requires_grad_()
    y = reference(x, weight.double(), **options)
    error = integers(generator, tuple(y.shape), torch.int8)
    (dx,) = torch.autograd.grad(y, x, error.double())
    assert torch.equal(ops.conv2d_error(error, weight, size=size, **options), dx.to(torch.int32))


def test_operands_may_lie_in_memory_in_any_order() -> None:
    generator = torch.Generator().manual_seed(SEED)
    x, weight = integers(generator, (2, 6, 5, 5), torch.uint8), integers(generator, (4, 3, 3, 3), torch.int8)
    error = integers(generator, (2, 4, 5, 5), torch.int8)
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        a, w, e = (tensor.contiguous(memory_format=order) for tensor in (x, weight, error))
        results.append(
            (
                ops.conv2d(a, w, padding=1, groups=2),
                ops.conv2d_error(e, w, size=(5, 5), padding=1, groups=2),
                ops.conv2d_weight_gradient(a, e, kernel=(3, 3), padding=1, groups=2),
                ops.bias_gradient(e),
            )
        )
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("x_value", "w_value"), [(255, 127), (255, -128), (-128, -128), (0, 127), (-128, 127)])
@pytest.mark.parametrize("inputs", [1, 57, 58, 515, 1280])
def test_long_reductions_of_extreme_values(x_value: int, w_value: int, inputs: int) -> None:
    dtype = torch.uint8 if x_value > 127 else torch.int8
    x = torch.full((2, inputs, 3, 3), x_value, dtype=dtype)
    weight = torch.full((2, inputs, 3, 3), w_value, dtype=torch.int8)
    weight[1, ::2] = 1  # odd sums, which float32 cannot hold past 2^24
    expected = reference(x.double(), weight.double(), 1, 0, 1).to(torch.int32)
    assert torch.equal(ops.conv2d(x, weight), expected)
    assert int(expected[0, 0]) == inputs * 9 * x_value * w_value


@pytest.mark.parametrize("outputs", [1, 65, 1024])
def test_long_error_reductions(outputs: int) -> None:
    error = torch.full((1, outputs, 2, 2), -127, dtype=torch.int8)
    weight = torch.full((outputs, 2, 3, 3), -127, dtype=torch.int8)
    weight[::2, 1] = 1
    x = torch.zeros((1, 2, 2, 2), dtype=torch.float64, requires_grad=True)
    (dx,) = torch.autograd.grad(reference(x, weight.double(), 1, 1, 1), x, error.double())
    assert torch.equal(ops.conv2d_error(error, weight, size=(2, 2), padding=1), dx.to(torch.int32))


@pytest.mark.parametrize("shape", [(16, 64, 64), (1, 256, 256), (4, 1, 9000), (65793, 1, 1)])
def test_long_gradient_reductions(shape: tuple[int, int, int]) -> None:
    images, height, width = shape
    x = torch.full((images, 2, height, width), 255, dtype=torch.uint8)
    x[:, 1, :, ::3] = 254
    error = torch.full((images, 1, height, width), -127, dtype=torch.int8)
    kernel = (3, 3) if height > 1 else (1, 1)
    gradient = ops.conv2d_weight_gradient(x, error, kernel=kernel, padding=kernel[0] // 2)
    centre = (x.to(torch.int64) * error.to(torch.int64)).sum((0, 2, 3))
    assert gradient[0, :, kernel[0] // 2, kernel[1] // 2].tolist() == centre.tolist()
    if height > 1:
        corner = (x[:, :, 1:, 1:].to(torch.int64) * error[:, :, :-1, :-1].to(torch.int64)).sum((0, 2, 3))
        assert gradient[0, :, 2, 2].tolist() == corner.tolist()


def test_strided_gradients_are_cut_right() -> None:
    generator = torch.Generator().manual_seed(SEED)
    x = integers(generator, (3, 2, 61, 43), torch.uint8)
    error = torch.full((3, 4, 30, 21), 127, dtype=torch.int8)
    w64 = torch.zeros((4, 2, 3, 3), dtype=torch.float64, requires_grad=True)
    (dw,) = torch.autograd.grad(reference(x.double(), w64, 2, 0, 1), w64, error.double())
    assert torch.equal(ops.conv2d_weight_gradient(x, error, kernel=(3, 3), stride=2), dw.to(torch.int32))


def test_dense_equals_onnx_matmulinteger() -> None:
    generator = torch.Generator().manual_seed(SEED)
    for dtype in BYTE:
        x, weight = integers(generator, (5, 70), dtype), integers(generator, (7, 70), torch.int8)
        kind = onnx.TensorProto.UINT8 if dtype == torch.uint8 else onnx.TensorProto.INT8
        expected = _run_onnx("MatMulInteger", [x.numpy(), weight.t().numpy()], [kind, onnx.TensorProto.INT8])
        assert np.array_equal(ops.dense(x, weight).numpy(), expected)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_convolution_equals_onnx_convinteger(groups: int) -> None:
    generator = torch.Generator().manual_seed(SEED)
    x, weight = integers(generator, (2, 8, 7, 6), torch.uint8), integers(generator, (16, 8 // groups, 3, 3), torch.int8)
    kinds = [onnx.TensorProto.UINT8, onnx.TensorProto.INT8]
    attributes = {"pads": [1, 0, 2, 1], "strides": [2, 2], "group": groups}
    expected = _run_onnx("ConvInteger", [x.numpy(), weight.numpy()], kinds, **attributes)
    assert np.array_equal(ops.conv2d(x, weight, stride=2, padding=(1, 2, 0, 1), groups=groups).numpy(), expected)


def _run_onnx(operator: str, inputs: list[np.ndarray], kinds: list[int], **attributes: Any) -> np.ndarray:
    names = [f"x{i}" for i in range(len(inputs))]
    node = onnx.helper.make_node(operator, names, ["y"], **attributes)
    values = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, None)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], operator, values, [output]))
    result = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(result[0])


def test_kernels_stay_exact_when_the_user_asks_for_low_precision() -> None:
    x = torch.full((16, 3, 8, 8), 255, dtype=torch.uint8)
    weight = torch.full((8, 3, 3, 3), 127, dtype=torch.int8)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert int(ops.conv2d(x, weight).max()) == 27 * 255 * 127
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)


def _int8(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int8)


REFUSED = [
    (lambda: ops.conv2d(torch.zeros(1, 1, 3, 3), _int8(1, 1, 1, 1)), TypeError, "x must be int8 or uint8, not float32"),
    (lambda: ops.conv2d(_int8(1, 1, 3), _int8(1, 1, 1, 1)), ValueError, "x must have 4 dimensions"),
    (lambda: ops.conv2d(_int8(1, 2, 3, 3), _int8(1, 1, 1, 1)), ValueError, "weight must have shape"),
    (lambda: ops.conv2d(_int8(1, 2, 3, 3), _int8(3, 1, 1, 1), groups=2), ValueError, "groups must divide"),
    (lambda: ops.conv2d(_int8(1, 1, 3, 3), _int8(1, 1, 4, 1)), ValueError, "kernel must be at most the padded map"),
    (lambda: ops.conv2d(_int8(1, 1, 3, 3), _int8(1, 1, 1, 1), stride=0), ValueError, "stride must be in 1..15, not 0"),
    (lambda: ops.conv2d(_int8(1, 1, 3, 3), _int8(1, 1, 1, 1), padding=-1), ValueError, "padding must be in 0..31"),
    (lambda: ops.conv2d(_int8(1, 1, 3, 3), _int8(1, 1, 1, 1), zero_point=128), ValueError, "zero_point must be in"),
    (lambda: ops.conv2d(_int8(1, 1, 16, 16), _int8(1, 1, 16, 16)), ValueError, "kernel must be in 1..15, not 16"),
    (lambda: ops.dense(_int8(1, 200000), _int8(1, 200000)), ValueError, "could overflow 32 bits"),
    (lambda: ops.conv2d_error(_int8(1, 1, 3, 3), _int8(1, 1, 1, 1), size=(4, 4)), ValueError, "error must have shape"),
    (lambda: ops.conv2d_weight_gradient(_int8(65794, 1, 1, 1), _int8(65794, 1, 1, 1), kernel=(1, 1)), ValueError,
     "at most 65793, not 65794"),
    (lambda: ops.bias_gradient(_int8(3)), ValueError, "error must have at least 2 dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_operands_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
