# SPDX-License-Identifier: Apache-2.0
"""Backward edges, fan-in, delayed scales and the overflow proofs, against plain integers."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from respin.golden import ops
from respin.golden.ops.checks import INT32_MAX, INT32_MIN

SEED = int(os.environ.get("RESPIN_SEED", "1"))
INT32 = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from([INT32_MIN, INT32_MAX, -1, 0, 1]))


def plain_round(value: int, shift: int, bits: int | None) -> int:
    if bits is None:
        return (value + (1 << (shift - 1)) >> shift) if shift else value
    return value + (bits >> (16 - shift) if shift <= 16 else bits << (shift - 16)) >> shift


def cut(value: int) -> int:
    return min(max(value, -127), 127)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(INT32, st.booleans(), st.integers(0, 65535)), min_size=1, max_size=6),
    st.integers(0, 65535),
    st.integers(0, 47),
    st.booleans(),
)
def test_edge_equals_plain_integers(
    elements: list[tuple[int, bool, int]], mult: int, shift: int, stochastic: bool
) -> None:
    sums = torch.tensor([[e[0]] for e in elements], dtype=torch.int32)
    mask = torch.tensor([[e[1]] for e in elements])
    random = torch.tensor([[e[2]] for e in elements], dtype=torch.int32) if stochastic else None
    edge = ops.error_edge(sums, mult, shift=shift, mask=mask, random=random, exponent=-5, fraction=9)
    values = [acc * mult if kept else 0 for acc, kept, _ in elements]
    rounded = [plain_round(v, shift, e[2] if stochastic else None) for v, e in zip(values, elements, strict=True)]
    assert edge.error[:, 0].tolist() == [cut(r) for r in rounded]
    assert edge.largest == max(abs(v) for v in values)
    assert edge.saturated == sum(abs(r) > 127 for r in rounded)
    assert edge.exponent == -5 + shift - 9


@pytest.mark.parametrize("shift", [0, 1, 16, 17, 40, 63])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("stochastic", [False, True])
def test_wide_tensors_equal_plain_integers(shift: int, masked: bool, stochastic: bool) -> None:
    generator = torch.Generator().manual_seed(SEED)
    shape = (2, 37, 3, 2)
    sums = torch.randint(INT32_MIN, INT32_MAX + 1, shape, generator=generator).to(torch.int32)
    sums >>= torch.randint(0, 31, shape, generator=generator).to(torch.int32)
    mult = torch.randint(0, 65536, (37,), generator=generator)
    mask = torch.randint(0, 2, shape, generator=generator, dtype=torch.bool) if masked else None
    # In the order of the shape, not with channels last: the order in memory does not matter.
    random = torch.randint(0, 65536, shape, generator=generator).to(torch.int32) if stochastic else None
    edge = ops.error_edge(sums, mult, shift=shift, mask=mask, random=random)
    values = (sums.to(torch.int64) * mult[:, None, None] * (1 if mask is None else mask)).flatten().tolist()
    draws = [None] * len(values) if random is None else random.flatten().tolist()
    rounded = [plain_round(value, shift, bits) for value, bits in zip(values, draws, strict=True)]
    assert edge.error.flatten().tolist() == [cut(r) for r in rounded]
    assert edge.largest == max(abs(v) for v in values)
    assert edge.saturated == sum(abs(r) > 127 for r in rounded)


def test_multipliers_are_per_channel() -> None:
    sums = torch.ones((2, 3, 2, 2), dtype=torch.int32)
    edge = ops.error_edge(sums, torch.tensor([1, 20, 300]), shift=1)
    assert edge.error[:, :, 0, 0].tolist() == [[1, 10, 127]] * 2
    assert (edge.largest, edge.saturated) == (300, 8)


@pytest.mark.parametrize("shift", [1, 7, 16, 17, 30])
def test_stochastic_rounding_is_unbiased(shift: int) -> None:
    value = -(1 << shift) * 5 // 3
    every = torch.arange(1 << 16, dtype=torch.int32)[:, None]
    rounded = ops.error_edge(torch.full_like(every, value), 1, shift=shift, random=every).error
    # r = R << (s - 16) has 16 random bits only: what lies below them is rounded down
    exact = value / (1 << shift)
    assert abs(float(rounded.double().mean()) - exact) <= 2**-16


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-127, 127), st.integers(-127, 127), st.integers(-60, 60), st.integers(0, 65535)),
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 47),
)
def test_fan_in_equals_plain_integers(edges: list[tuple[int, int, int, int]], shift: int) -> None:
    operands = [
        ops.FanInOperand(error=torch.tensor([[a, b]], dtype=torch.int8), exponent=exponent, mult=mult)
        for a, b, exponent, mult in edges
    ]
    result = ops.fan_in(operands, shift=shift, fraction=3)
    alive = [edge for edge in edges if edge[0] or edge[1]]
    reference = max(edge[2] for edge in alive or edges)
    values = [sum((e[i] * e[3] << 15) >> min(reference - e[2], 39) for e in alive) for i in (0, 1)]
    assert result.error[0].tolist() == [cut(plain_round(v, shift, None)) for v in values]
    assert result.largest == max(abs(v) for v in values)
    assert result.exponent == reference + shift - 3 - 15


def test_fan_in_of_one_scale_is_the_sum_that_autograd_makes() -> None:
    x = torch.tensor([[3.0, -4.0]], requires_grad=True, dtype=torch.float64)
    errors = [torch.tensor([[5, -7]], dtype=torch.int8), torch.tensor([[-2, 9]], dtype=torch.int8)]
    outputs = (x * 4, x * 6)
    (dx,) = torch.autograd.grad(outputs, x, [error.double() for error in errors])
    operands = [ops.FanInOperand(error=e, exponent=2, mult=m) for e, m in zip(errors, (4, 6), strict=True)]
    result = ops.fan_in(operands, shift=15)
    assert result.error.tolist() == dx.tolist()
    assert result.exponent == 2


def test_an_all_zero_edge_does_not_set_the_reference() -> None:
    zero = ops.FanInOperand(error=torch.zeros((1, 1), dtype=torch.int8), exponent=40, mult=1)
    alive = ops.FanInOperand(error=torch.ones((1, 1), dtype=torch.int8), exponent=-3, mult=1)
    assert ops.fan_in_reference([zero, alive]) == -3
    assert ops.fan_in([zero, alive], shift=15).error.item() == 1


def test_delayed_scale() -> None:
    start = ops.DelayedScale()
    assert (start.shift, start.valid) == (0, False)
    assert start.after(0) is start
    assert start.after(127) == ops.DelayedScale(shift=0, valid=True)
    assert start.after(128) == ops.DelayedScale(shift=1, valid=True)
    assert start.after(1 << 47) == ops.DelayedScale(shift=41, valid=True)
    assert start.after(1 << 20).after(0) == start.after(1 << 20)


@given(st.integers(1, 1 << 47))
def test_a_measured_scale_just_fits(largest: int) -> None:
    shift = ops.DelayedScale().after(largest).shift
    assert largest >> shift <= 127
    assert shift == 0 or largest >> (shift - 1) > 127


def test_convolution_bound_is_reached() -> None:
    generator = torch.Generator().manual_seed(SEED)
    weight = torch.randint(-128, 128, (4, 6), generator=generator).to(torch.int8)
    bias = torch.tensor([100, -100, 0, 5])
    for low, high, dtype in ((0, 255, torch.uint8), (-128, 127, torch.int8)):
        bottom, top = ops.prove_convolution(weight, low=low, high=high, bias=bias)
        best = torch.where(weight > 0, high, low).to(dtype)
        worst = torch.where(weight > 0, low, high).to(dtype)
        sums = [int((ops.dense(best, weight).diagonal() + bias.clamp(min=0)).max())]
        sums.append(int((ops.dense(worst, weight).diagonal() + bias.clamp(max=0)).min()))
        assert sums == [top, bottom]


def test_layers_that_could_overflow_are_refused() -> None:
    weight = torch.full((1, 66312), 127, dtype=torch.int8)
    with pytest.raises(ValueError, match="a convolution's sum could reach 2147514120, past the int32 range"):
        ops.prove_convolution(weight, low=0, high=255)
    assert ops.prove_convolution(weight[:, :66311], low=0, high=255)[1] == 66311 * 127 * 255
    with pytest.raises(ValueError, match="a convolution's sum could reach"):
        ops.prove_convolution(weight[:, :1], low=0, high=255, bias=torch.tensor([INT32_MAX]))
    with pytest.raises(ValueError, match="a trained convolution's sum could reach"):
        ops.prove_trained_convolution(66311, magnitude=255, bias_shift=24)
    assert ops.prove_trained_convolution(288, magnitude=255, bias_shift=8) == 288 * 127 * 255 + (127 << 8)
    with pytest.raises(ValueError, match="an error's sum could reach"):
        ops.prove_error(1 << 18)
    assert ops.prove_error(576) == 576 * 127 * 128
    with pytest.raises(ValueError, match="batch x output pixels must be at most 65793, not 65794"):
        ops.prove_weight_gradient(2, 32897)
    assert ops.prove_weight_gradient(1, 65793) == 65793


ONE = torch.ones((1, 1), dtype=torch.int32)
REFUSED = [
    (lambda: ops.error_edge(ONE.double(), 1, shift=0), TypeError, "sums must be int32 or int8, not float64"),
    (lambda: ops.error_edge(ONE, 65536, shift=0), ValueError, r"mult must be in 0\.\.65535, not 65536"),
    (lambda: ops.error_edge(ONE, torch.tensor([1, 2]), shift=0), ValueError, "mult must have shape"),
    (lambda: ops.error_edge(ONE, 1, shift=64), ValueError, r"shift must be in 0\.\.63, not 64"),
    (lambda: ops.error_edge(ONE, 1, shift=0, mask=ONE), TypeError, "mask must be bool, not int32"),
    (lambda: ops.error_edge(ONE, 1, shift=0, random=ONE.double()), TypeError, "random must be int32"),
    (lambda: ops.fan_in([], shift=0), ValueError, "operands must be two to four, not 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_operands_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_int64_holds_every_value() -> None:
    edge = ops.error_edge(torch.full((1, 1), INT32_MIN, dtype=torch.int32), 65535, shift=41)
    assert edge.largest == (1 << 31) * 65535
    assert edge.error.item() == -64
    assert np.iinfo(np.int64).max > 4 * (127 * 65535 << 15)
