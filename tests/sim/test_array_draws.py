# SPDX-License-Identifier: Apache-2.0
"""The generator of faults: uniform, uncorrelated between neighbours of every kind, equal to its definition."""

import numpy as np
import pytest

from respin.sim.draws import STEP, TWIST, Draws, Kind, mix

COMMANDS = 2000


def _plain_mix(x):
    x = ((x ^ x >> 16) * 0x21F0AAAD) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * 0xD35A2D97) & 0xFFFFFFFF
    return x ^ x >> 15


@pytest.mark.parametrize(
    ("seed", "bank", "command", "row"), [(1, 0, 0, 0), (2**32 - 1, 31, 2**31, 16383), (7, 3, 99, 5)]
)
def test_draws_are_what_their_definition_says(seed, bank, command, row):
    key = _plain_mix((_plain_mix(seed) + (bank + 1) * STEP) & 0xFFFFFFFF)
    a = _plain_mix((_plain_mix((key + command * STEP) & 0xFFFFFFFF) + row * STEP) & 0xFFFFFFFF)
    b = _plain_mix((a + TWIST) & 0xFFFFFFFF)
    for kind in Kind:
        draws = Draws(seed, bank).columns(command, row, kind)
        for column in (0, 1, 100, 287):
            assert draws[column] == _plain_mix((a + (kind * 512 + column) * STEP) & 0xFFFFFFFF) ^ b


def test_mix_is_a_bijection_on_a_sample():
    values = np.arange(1 << 20, dtype=np.uint32) * np.uint32(4096)
    assert len(np.unique(mix(values))) == len(values)


def _sample(kind=Kind.READ, *, seed=1, bank=0, row=0):
    source = Draws(seed, bank)
    return np.array([source.columns(command, row, kind) for command in range(COMMANDS)])


def _assert_uniform(values, bins):
    counts = np.bincount(values, minlength=bins)
    expected = counts.sum() / bins
    chi_square = ((counts - expected) ** 2).sum() / expected
    # Six standard deviations around the mean of a chi-square with bins - 1 degrees of freedom.
    assert abs(chi_square - (bins - 1)) < 6 * np.sqrt(2 * (bins - 1))


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_every_byte_is_uniform(shift):
    _assert_uniform((_sample() >> shift & 0xFF).reshape(-1), 256)


def test_columns_are_uniform_one_by_one():
    sample = _sample() >> 28
    for column in range(0, 288, 41):
        _assert_uniform(sample[:, column], 16)


def _correlation(left, right):
    left, right = left.reshape(-1) / 2**32 - 0.5, right.reshape(-1) / 2**32 - 0.5
    return abs(12 * float((left * right).mean())) * np.sqrt(left.size)


def test_neighbours_are_uncorrelated():
    sample = _sample()
    others = {
        "next column": (sample[:, 1:], sample[:, :-1]),
        "next MTJ of the column's codeword": (sample[:, 4:], sample[:, :-4]),
        "next command": (sample[1:], sample[:-1]),
        "next kind": (sample, _sample(Kind.DISTURB)),
        "next bank": (sample, _sample(bank=1)),
        "next seed": (sample, _sample(seed=2)),
        "next row": (sample, _sample(row=1)),
    }
    for name, (left, right) in others.items():
        assert _correlation(left, right) < 6, name


def test_rare_events_come_as_often_as_they_should_and_spread_like_chance():
    """Counts per command of an event of probability 1/64 have the binomial's mean and variance."""
    counts = (_sample() < 2**26).sum(axis=1)
    mean, variance = 288 / 64, 288 / 64 * 63 / 64
    assert abs(counts.mean() - mean) < 6 * np.sqrt(variance / COMMANDS)
    assert counts.var() == pytest.approx(variance, rel=6 * np.sqrt(2 / COMMANDS))
