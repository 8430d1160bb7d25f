# SPDX-License-Identifier: Apache-2.0
"""The exact share of miscorrected errors, against decoding all patterns of up to three wrong bits and random others."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from respin.golden.memory.miscorrection import silent_patterns, silent_probability, silent_share
from respin.golden.memory.secded import decode
from respin.sim.runner import seed


def _silent(patterns):
    """Which error patterns ``bool[n, 72]`` of a codeword, here of four zeros, decode to wrong data unflagged."""
    rows = np.zeros((len(patterns), 72, 4), dtype=np.uint8)
    rows[:, :, 0] = patterns
    decoded = decode(rows.reshape(len(patterns), 288))
    return decoded.weights.any(axis=1) & (decoded.uncorrectable == 0)


def _patterns(places):
    patterns = np.zeros((len(places), 72), dtype=bool)
    np.put_along_axis(patterns, np.array(places), True, axis=1)
    return patterns


@pytest.mark.parametrize("weight", [1, 2, 3])
def test_every_pattern_of_few_errors_is_counted(weight):
    places = list(combinations(range(72), weight))
    assert silent_patterns()[weight] == _silent(_patterns(places)).sum()


def test_the_published_figures_of_hsiaos_code_are_met():
    """33,568 of 59,640 triples are miscorrected; 8,392 codewords of weight four pass for clean ones."""
    assert silent_patterns()[:5] == (0, 0, 0, 33568, 8392)
    assert math.comb(72, 3) == 59640
    assert f"{silent_share(3):.2%} {silent_share(4):.2%}" == "56.28% 0.82%"


@pytest.mark.parametrize("weight", [4, 5, 8, 27, 71])
def test_random_patterns_of_more_errors_are_silent_as_often(weight):
    trials = 20_000
    order = np.random.default_rng(seed()).random((trials, 72)).argsort(axis=1)
    found = int(_silent(_patterns(order[:, :weight])).sum())
    assert binomtest(found, trials, silent_share(weight)).pvalue > 1e-6


def test_random_bits_are_silent_where_their_syndrome_is_one_of_73():
    """0 and the 72 columns, of 256 syndromes; 73 of 2^72 words decode to the right data."""
    assert silent_probability(0.5) == pytest.approx(73 / 256, rel=1e-12)
    assert silent_probability(0.0) == 0
    assert silent_probability(1e-5) == pytest.approx(33568e-15, rel=1e-3)
