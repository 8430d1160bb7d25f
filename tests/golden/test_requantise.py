# SPDX-License-Identifier: Apache-2.0
"""Requantise, masks, merge, pool and upsample against plain integers, PyTorch and ONNX."""

import math
import os
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from torch.nn import functional

from respin.golden import ops
from respin.golden.ops.checks import INT32_MAX, INT32_MIN

SEED = int(os.environ.get("RESPIN_SEED", "1"))
INT32 = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from([INT32_MIN, INT32_MAX, -1, 0, 1]))
CLAMPS = st.sampled_from([(0, 255), (-128, 127), (-127, 127), (0, 6), (-3, 3), (10, 200), (5, 5)])


def plain(acc: int, bias: int, mult: int, shift: int, lo: int, hi: int) -> int:
    return min(max(((acc + bias) * mult + (1 << (shift - 1))) >> shift, lo), hi)


@settings(max_examples=300, deadline=None)
@given(st.lists(INT32, min_size=1, max_size=8), INT32, st.integers(0, 65535), st.integers(1, 46), CLAMPS)
def test_requantise_equals_plain_integers(
    sums: list[int], bias: int, mult: int, shift: int, clamp: tuple[int, int]
) -> None:
    table = ops.QuantiserTable.build(1, bias=bias, mult=mult, shift=shift, lo=clamp[0], hi=clamp[1])
    y = ops.requantise(torch.tensor(sums, dtype=torch.int32)[:, None], table)
    assert y.dtype == (torch.int8 if clamp[0] < 0 else torch.uint8)
    assert y[:, 0].tolist() == [plain(acc, bias, mult, shift, *clamp) for acc in sums]


@pytest.mark.parametrize("acc", [INT32_MIN, INT32_MIN + 1, INT32_MAX - 1, INT32_MAX])
@pytest.mark.parametrize("bias", [INT32_MIN, 0, INT32_MAX])
@pytest.mark.parametrize("shift", [1, 40, 46])
def test_requantise_is_exact_at_the_ends(acc: int, bias: int, shift: int) -> None:
    table = ops.QuantiserTable.build(1, bias=bias, mult=65535, shift=shift, lo=-128, hi=127)
    y = ops.requantise(torch.tensor([[acc]], dtype=torch.int32), table)
    assert y.item() == plain(acc, bias, 65535, shift, -128, 127)


def test_halves_round_up() -> None:
    table = ops.QuantiserTable.build(1, mult=1, shift=1, lo=-128, hi=127)
    y = ops.requantise(torch.tensor([[-3], [-1], [1], [3]], dtype=torch.int32), table)
    assert y.flatten().tolist() == [-1, 0, 1, 2]


def test_each_channel_has_its_own_constants() -> None:
    column = torch.arange(1, 5)
    table = ops.QuantiserTable.build(4, bias=column * 10, mult=column * 1000, shift=column + 8, lo=-column, hi=column)
    generator = torch.Generator().manual_seed(SEED)
    sums = torch.randint(-300, 300, (2, 4, 3, 3), generator=generator, dtype=torch.int32)
    y = ops.requantise(sums, table)
    for n, c, row, col in np.ndindex(*sums.shape):
        expected = plain(int(sums[n, c, row, col]), 10 * (c + 1), 1000 * (c + 1), c + 9, -c - 1, c + 1)
        assert int(y[n, c, row, col]) == expected


def test_mask_is_open_at_both_ends() -> None:
    table = ops.QuantiserTable.build(1, mult=1, shift=1, lo=0, hi=6)
    y = torch.tensor([[0], [1], [5], [6]], dtype=torch.uint8)
    assert ops.activation_mask(y, table).flatten().tolist() == [False, True, True, False]
    wide = ops.QuantiserTable.build(1, mult=1, shift=1, lo=0, hi=255)
    assert ops.activation_mask(torch.tensor([[254], [255]], dtype=torch.uint8), wide).flatten().tolist() == [
        True,
        False,
    ]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 30), CLAMPS)
def test_merge_equals_plain_integers(data: st.DataObject, count: int, shift: int, clamp: tuple[int, int]) -> None:
    operands, expected = [], 0
    for _ in range(count):
        signed = data.draw(st.booleans())
        value = data.draw(st.integers(-128, 127) if signed else st.integers(0, 255))
        zero, mult = data.draw(st.integers(-128, 255)), data.draw(st.integers(0, 65535))
        x = torch.tensor([[[[value]]]], dtype=torch.int8 if signed else torch.uint8)
        operands.append(ops.MergeOperand(x=x, mult=mult, zero_point=zero))
        expected += (value - zero) * mult
    y = ops.merge_add(operands, shift=shift, lo=clamp[0], hi=clamp[1])
    assert y.item() == plain(expected, 0, 1, shift, *clamp)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([torch.int8, torch.uint8]),
    st.integers(-128, 127),
)
def test_pool_equals_autograd(
    size: tuple[int, int], kernel: tuple[int, int], dtype: torch.dtype, zero_point: int
) -> None:
    kernel = (min(kernel[0], size[0]), min(kernel[1], size[1]))
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randint(0, 128, (2, 3, *size), generator=generator).to(dtype)
    x64 = (x.double() - zero_point).requires_grad_()
    y = functional.avg_pool2d(x64, kernel, divisor_override=1)
    assert torch.equal(ops.avg_pool(x, kernel, zero_point=zero_point), y.to(torch.int32))
    error = torch.randint(-127, 128, y.shape, generator=generator).to(torch.int8)
    (dx,) = torch.autograd.grad(y, x64, error.double())
    assert torch.equal(ops.pool_error(error, kernel, size=size), dx.to(torch.int32))


def test_pool_and_requantise_equal_onnx_averagepool_where_it_is_exact() -> None:
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randint(0, 64, (2, 3, 8, 8), generator=generator).to(torch.uint8) * 4
    node = onnx.helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "pool", values[:1], values[1:]))
    expected = ReferenceEvaluator(model).run(None, {"x": x.numpy().astype(np.float32)})
    table = ops.QuantiserTable.build(3, mult=1, shift=2, lo=0, hi=255)
    y = ops.requantise(ops.avg_pool(x, (2, 2)), table)
    assert np.array_equal(y.numpy(), np.asarray(expected[0]))


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 12)] * 2))
def test_upsample_equals_autograd(size: tuple[int, int], target: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randint(-128, 128, (2, 3, *size), generator=generator).to(torch.int8)
    rows = torch.tensor([math.floor(i * size[0] / target[0]) for i in range(target[0])])
    columns = torch.tensor([math.floor(i * size[1] / target[1]) for i in range(target[1])])
    x64 = x.double().requires_grad_()
    y = x64[:, :, rows][:, :, :, columns]
    assert torch.equal(ops.upsample_nearest(x, target), y.to(torch.int8))
    error = torch.randint(-127, 128, (2, 3, *target), generator=generator).to(torch.int8)
    (dx,) = torch.autograd.grad(y, x64, error.double())
    assert torch.equal(ops.upsample_error(error, size=size), dx.to(torch.int32))


def _table(**changes: Any) -> Any:
    return ops.QuantiserTable.build(2, **({"mult": 1, "shift": 1, "lo": 0, "hi": 255} | changes))


X = torch.zeros((1, 2, 2, 2), dtype=torch.uint8)
REFUSED = [
    (lambda: _table(mult=65536), ValueError, r"mult must be in 0\.\.65535, not 65536"),
    (lambda: _table(shift=0), ValueError, r"shift must be in 1\.\.46, not 0"),
    (lambda: _table(shift=47), ValueError, r"shift must be in 1\.\.46"),
    (lambda: _table(lo=3, hi=2), ValueError, "lo must be at most hi"),
    (lambda: _table(lo=-1, hi=128), ValueError, "hi must be at most 127 where some lo is negative"),
    (lambda: ops.requantise(torch.zeros(1, 3, dtype=torch.int32), _table()), ValueError, "sums must have 2 channels"),
    (lambda: ops.requantise(torch.zeros(1, 2), _table()), TypeError, "sums must be int32, not float32"),
    (lambda: ops.merge_add([], shift=1, lo=0, hi=1), ValueError, "operands must be one to four, not 0"),
    (lambda: ops.MergeOperand(x=X, mult=65536), ValueError, "mult must be in"),
    (lambda: ops.avg_pool(X, (3, 1)), ValueError, r"kernel height must be in 1\.\.2, not 3"),
    (lambda: ops.upsample_nearest(X, (0, 1)), ValueError, "size must be in"),
    (lambda: ops.pool_error(X.to(torch.int8), (2, 2), size=(8, 8)), ValueError, "error must have shape"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_operands_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
