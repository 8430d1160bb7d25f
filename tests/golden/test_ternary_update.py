# SPDX-License-Identifier: Apache-2.0
"""The ternary update and the loss against plain integers, and the loss against float."""

import math
import os
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from respin.golden import ops
from respin.golden.ops.loss import ONE, TABLE

SEED = int(os.environ.get("RESPIN_SEED", "1"))
INT32_MAX = (1 << 31) - 1
GRADIENT = st.one_of(st.integers(-INT32_MAX, INT32_MAX), st.integers(-300, 300))


def test_statistics_count_nonzero_entries_only() -> None:
    gradient = torch.tensor([[0, -3], [4, 0]], dtype=torch.int32)
    statistics = ops.GradientStatistics.of(gradient)
    assert (statistics.total, statistics.count, statistics.largest) == (7, 2, 4)
    assert statistics.order == 3 - 2


@pytest.mark.parametrize("shape", [(70,), (3, 50), (5, 33, 3, 2), (4, 3, 2)])
def test_any_shape_and_order_in_memory_equals_plain_integers(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(SEED)
    gradient = torch.randint(-300, 301, shape, generator=generator).to(torch.int32)
    weight = torch.randint(-127, 128, shape, generator=generator).to(torch.int8)
    random = torch.randint(0, 65536, shape, generator=generator).to(torch.int32)
    turned = gradient.movedim(0, -1).contiguous().movedim(-1, 0)
    moved, move = ops.ternary_update(weight, turned, 8, random)
    triples = list(zip(*(tensor.flatten().tolist() for tensor in (weight, gradient, random)), strict=True))
    steps = [(g > 0) - (g < 0) if r < min(65535, abs(g) * 256) else 0 for _, g, r in triples]
    assert move.flatten().tolist() == steps
    assert moved.flatten().tolist() == [min(max(t[0] - u, -127), 127) for t, u in zip(triples, steps, strict=True)]
    assert ops.GradientStatistics.of(turned).total == sum(abs(g) for _, g, _ in triples)


@settings(max_examples=300, deadline=None)
@given(st.lists(GRADIENT.filter(bool), min_size=1, max_size=40))
def test_an_order_is_the_logarithm_of_the_mean(gradient: list[int]) -> None:
    statistics = ops.GradientStatistics.of(torch.tensor(gradient, dtype=torch.int32))
    magnitudes = [abs(g) for g in gradient]
    floor = math.log2(max(magnitudes)) - 8
    exact = math.log2(sum(magnitudes) / len(magnitudes))
    assert max(exact, floor) - 1 < statistics.order <= max(exact + 1, floor + 1)


def test_an_order_has_a_floor() -> None:
    assert ops.GradientStatistics(total=1_000_999, count=1000, largest=1_000_000).order == 20 - 8
    assert ops.GradientStatistics(total=1000, count=1000, largest=1).order == 0


@pytest.mark.parametrize(
    ("before", "exponent", "after"),
    [
        (None, -7, 4 - 7),
        (2, 0, 4),
        (4, 0, 4),
        (9, 0, 9),  # the largest so far
        (-3, -7, -3),
        (-4, -7, -3),  # the exponent counts
    ],
)
def test_a_step_scale_keeps_the_largest_order(before: int | None, exponent: int, after: int) -> None:
    scale = ops.StepScale() if before is None else ops.StepScale(order=before, valid=True)
    statistics = ops.GradientStatistics(total=300, count=16, largest=40)  # 9 bits, 5 bits
    assert scale.after(statistics, exponent) == ops.StepScale(order=after, valid=True)


def test_no_gradient_keeps_the_scale() -> None:
    scale = ops.StepScale(order=9, valid=True)
    assert scale.after(ops.GradientStatistics(total=0, count=0, largest=0), 20) is scale


def test_a_shift_is_bounded() -> None:
    scale = ops.StepScale(order=-12, valid=True)
    cases = ((-3, -20), (0, -12), (-1, 0), (-60, -20))
    assert [scale.shift(log2_rate, exponent) for log2_rate, exponent in cases] == [11, 0, 0, 63]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-127, 127), GRADIENT, st.integers(0, 65535)), min_size=1, max_size=6),
    st.integers(0, 63),
)
def test_update_equals_plain_integers(elements: list[tuple[int, int, int]], shift: int) -> None:
    weight = torch.tensor([e[0] for e in elements], dtype=torch.int8)
    gradient = torch.tensor([e[1] for e in elements], dtype=torch.int32)
    random = torch.tensor([e[2] for e in elements], dtype=torch.int32)
    moved, step = ops.ternary_update(weight, gradient, shift, random)
    for i, (w, g, r) in enumerate(elements):
        p = min(65535, (abs(g) << 16) >> shift)
        u = (g > 0) - (g < 0) if r < p else 0
        assert (int(step[i]), int(moved[i])) == (u, min(max(w - u, -127), 127))


@pytest.mark.parametrize("log2_rate", [-2, -4, -6])
def test_expected_step_follows_the_gradient(log2_rate: int) -> None:
    generator = torch.Generator().manual_seed(SEED)
    gradient = (torch.randn(1 << 16, generator=generator) * 5000).to(torch.int32)
    random = torch.randint(0, 1 << 16, gradient.shape, generator=generator, dtype=torch.int32)
    scale = ops.StepScale().after(ops.GradientStatistics.of(gradient), -20)
    # 2^12 is within a factor of 2 of the mean, 3990. Later the same gradient comes in units of half the size.
    assert scale.order == 12 - 20
    for exponent in (-20, -21):
        shift = scale.shift(log2_rate, exponent)
        _, step = ops.ternary_update(torch.zeros_like(gradient, dtype=torch.int8), gradient, shift, random)
        expected = float((gradient.double().abs() * 2.0 ** (log2_rate + exponent - scale.order)).clamp(max=1).mean())
        noise = 5 * (expected / gradient.numel()) ** 0.5
        assert abs(float(step.abs().double().mean()) - expected) < 0.001 * expected + noise


def plain_loss(logits: list[int], label: int, alpha: int, on: int, off: int, bits: list[int] | None) -> list[int]:
    powers = []
    for z in logits:
        q = (max(logits) - z) * alpha
        powers.append(round(32768 * 2 ** (-(q >> 7 & 31) / 32)) >> (q >> 12) if q >> 12 <= 15 else 0)
    errors = []
    for i, power in enumerate(powers):
        difference = (power << 15) // sum(powers) - (on if i == label else off)
        errors.append(difference * 127 + (bits[i] >> 1 if bits else 1 << 14) >> 15)
    return errors


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 65535), st.booleans())
def test_loss_equals_plain_integers(data: st.DataObject, alpha: int, stochastic: bool) -> None:
    logits = data.draw(st.lists(st.integers(-128, 127), min_size=1, max_size=12))
    label = data.draw(st.integers(0, len(logits) - 1))
    bits = [data.draw(st.integers(0, 65535)) for _ in logits] if stochastic else None
    parameters = ops.LossParameters(alpha=alpha, on=data.draw(st.integers(0, ONE)), off=data.draw(st.integers(0, ONE)))
    random = torch.tensor([bits], dtype=torch.int32) if bits else None
    error = ops.softmax_cross_entropy(
        torch.tensor([logits], dtype=torch.int8), torch.tensor([label]), parameters, random
    )
    assert error.dtype == torch.int8
    assert error[0].tolist() == plain_loss(logits, label, alpha, parameters.on, parameters.off, bits)


def test_table_is_monotonic_and_pinned() -> None:
    assert (TABLE[0], TABLE[16], TABLE[31]) == (32768, 23170, 16743)
    assert all(a > b for a, b in pairwise(TABLE))


@pytest.mark.parametrize("classes", [2, 5, 10, 100, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_close_to_float(classes: int, smoothing: float) -> None:
    """Measured in docs/arithmetic.md: the error against float softmax stays within 1.2 units of 1/127."""
    scale = 1 / 16
    generator = torch.Generator().manual_seed(SEED)
    logits = torch.randint(-128, 128, (500, classes), generator=generator).to(torch.int8)
    labels = torch.randint(0, classes, (500,), generator=generator)
    parameters = ops.LossParameters.of(scale, classes, smoothing)
    error = ops.softmax_cross_entropy(logits, labels, parameters)
    z = (logits.double() * scale).requires_grad_()
    loss = torch.nn.functional.cross_entropy(z, labels, label_smoothing=smoothing, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, z)
    assert float((error.double() - gradient * 127).abs().max()) < 1.2


REFUSED = [
    (lambda: ops.LossParameters(alpha=65536), ValueError, r"alpha must be in 0\.\.65535, not 65536"),
    (lambda: ops.LossParameters.of(0.1, 1025), ValueError, r"classes must be in 1\.\.1024, not 1025"),
    (lambda: ops.LossParameters.of(0.1, 5, 1.5), ValueError, r"smoothing must be in 0\.\.1, not 1\.5"),
    (lambda: ops.softmax(torch.zeros(1, 2), 1), TypeError, "logits must be int8, not float32"),
    (
        lambda: ops.softmax_cross_entropy(
            torch.zeros(1, 2, dtype=torch.int8), torch.tensor([2]), ops.LossParameters(alpha=1)
        ),
        ValueError,
        r"labels must be in 0\.\.1, not 2\.\.2",
    ),
    (
        lambda: ops.ternary_update(
            torch.zeros(1, dtype=torch.int8), torch.zeros(1, dtype=torch.int32), 64, torch.zeros(1, dtype=torch.int32)
        ),
        ValueError,
        r"shift must be in 0\.\.63, not 64",
    ),
    (
        lambda: ops.GradientStatistics.of(torch.zeros(1, dtype=torch.int64)),
        TypeError,
        "gradient must be int32, not int64",
    ),
    (
        lambda: ops.ternary_update(
            torch.tensor([-128], dtype=torch.int8),
            torch.zeros(1, dtype=torch.int32),
            8,
            torch.zeros(1, dtype=torch.int32),
        ),
        ValueError,
        r"weight must be in -127\.\.127",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_operands_are_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
