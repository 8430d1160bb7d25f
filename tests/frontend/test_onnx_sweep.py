# SPDX-License-Identifier: Apache-2.0
"""Quantised operators against ONNX's reference evaluator; every difference is counted, and explained exactly."""

import os
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from onnx_cases import EXECUTORS, Case, Executor, integer_cases, quantised_cases

from respin.firmware_model.frontend.onnx_import import import_onnx

SEED = int(os.environ.get("RESPIN_SEED", "1"))


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


def sweep(cases: st.SearchStrategy[Case], executor: Executor, check) -> None:
    """Run as many cases as the executor is fast enough for, all together, and ``check`` each."""
    drawn: list[Case] = []

    @seed(SEED)
    @settings(
        max_examples=executor.examples,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(cases)
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    inputs = [case.x if case.x.ndim == 4 else case.x[:, :, None, None] for case in drawn]
    networks = [import_onnx(case.model) for case in drawn]
    for case, result in zip(drawn, executor.run(list(zip(networks, inputs, strict=True))), strict=True):
        check(case, result if case.x.ndim == 4 else result[:, :, 0, 0])


def test_sums_are_the_same(executor: Executor) -> None:
    def check(case: Case, result: np.ndarray) -> None:
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, case.expected())
        np.testing.assert_array_equal(result, case.sums)

    sweep(integer_cases(), executor, check)


@pytest.mark.parametrize("qdq", [False, True])
def test_powers_of_two_are_the_same_but_for_ties(executor: Executor, qdq: bool) -> None:
    seen: Counter[str] = Counter()

    def check(case: Case, result: np.ndarray) -> None:
        expected = case.expected()
        assert result.shape == expected.shape
        seen["all"] += expected.size
        for index in map(tuple, np.argwhere(result != expected)):
            exact = case.exact(index)
            # Here halves go up, there to the even one.
            assert exact - exact.__floor__() == Fraction(1, 2), (index, exact)
            assert int(result[index]) == exact.__floor__() + 1
            assert int(result[index]) - int(expected[index]) == 1
            seen["ties"] += 1

    sweep(quantised_cases(exact=True, qdq=qdq), executor, check)
    print(dict(seen))
    assert seen["ties"] < seen["all"] / 10


@pytest.mark.parametrize("qdq", [False, True])
def test_other_scales_differ_by_a_step_where_the_multiplier_is_not_exact(executor: Executor, qdq: bool) -> None:
    seen: Counter[str] = Counter()

    def check(case: Case, result: np.ndarray) -> None:
        expected = case.expected()
        assert result.shape == expected.shape
        seen["all"] += expected.size
        for index in map(tuple, np.argwhere(result != expected)):
            assert abs(int(result[index]) - int(expected[index])) == 1
            exact = case.exact(index)
            from_half = abs(exact - exact.__floor__() - Fraction(1, 2))
            ratio = case.ratio[index[1]]
            # 16 bits of multiplier are within 2^-17 of the ratio; the zero point is rounded to half a unit of the sum;
            # and the reference works in float32.
            zero_point = ratio / 2 + abs(case.zero_point) * Fraction(1, 1 << 17)
            allowed = abs(exact - case.zero_point) * Fraction(1, 1 << 17)
            assert from_half <= allowed + zero_point + (abs(exact) + 1) * Fraction(1, 1 << 20), (index, exact)
            seen["multiplier" if from_half <= allowed else "zero point or float32"] += 1

    sweep(quantised_cases(exact=False, qdq=qdq), executor, check)
    print(dict(seen))
    assert seen.total() - seen["all"] < seen["all"] / 100
