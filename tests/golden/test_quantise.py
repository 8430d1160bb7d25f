# SPDX-License-Identifier: Apache-2.0
"""Scales, multipliers and folded norms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from respin.golden import quantise

RATIOS = st.floats(2.0**-30, 2.0**14, allow_nan=False)


@given(RATIOS)
def test_multiplier_is_nearest(ratio: float) -> None:
    mult, shift = (int(v) for v in quantise.multiplier_and_shift(torch.tensor([ratio], dtype=torch.float64)))
    assert 0 <= mult <= 65535
    assert 1 <= shift <= 46
    assert abs(mult / 2**shift - ratio) <= 2.0**-shift
    assert mult >= 1 << 15 or shift == 46 or ratio < 2.0**-31


@pytest.mark.parametrize("ratio", [1 - 2.0**-17, 1.0, 0.5, 2.0**-31, 0.0])
def test_multiplier_at_the_edges(ratio: float) -> None:
    mult, shift = quantise.multiplier_and_shift(torch.tensor([ratio], dtype=torch.float64))
    assert float(mult) / 2.0 ** int(shift) == pytest.approx(ratio, rel=2.0**-16, abs=2.0**-47)


@given(st.lists(RATIOS, min_size=1, max_size=5))
def test_common_fraction_uses_all_bits(ratios: list[float]) -> None:
    mult, fraction = quantise.common_multipliers(torch.tensor(ratios, dtype=torch.float64))
    assert int(mult.max()) <= 65535
    assert int(mult.max()) >= 1 << 14 or fraction == 46
    for m, ratio in zip(mult.tolist(), ratios, strict=True):
        assert abs(m / 2.0**fraction - ratio) <= 2.0**-fraction


def test_ratios_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ratio must be in 0\.\.32768"):
        quantise.multiplier_and_shift(torch.tensor([40000.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"ratio must be in 0\.\.32768"):
        quantise.multiplier_and_shift(torch.tensor([-1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="ratio must be below 65536"):
        quantise.common_multipliers(torch.tensor([1e6], dtype=torch.float64))


def test_weights_use_the_whole_range_of_each_channel() -> None:
    weight = torch.tensor([[1.0, -0.5], [0.01, 0.02], [0.0, 0.0]])
    levels, scale = quantise.quantise_weight(weight, torch.zeros(3), 0.1)
    assert levels.tolist() == [[127, -64], [64, 127], [0, 0]]
    assert scale.tolist() == pytest.approx([1 / 127, 0.02 / 127, 1.0])


def test_a_bias_far_above_the_weights_sets_the_scale() -> None:
    levels, scale = quantise.quantise_weight(torch.tensor([[1e-9, 0.0]]), torch.tensor([3.0]), 0.5)
    assert levels.tolist() == [[0, 0]]
    assert 3.0 / (float(scale) * 0.5) == pytest.approx(quantise.MAX_BIAS)

