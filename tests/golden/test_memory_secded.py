# SPDX-License-Identifier: Apache-2.0
"""SECDED(72,64) and the row layout of the golden model, against the definitions bit by bit."""

from itertools import combinations

import numpy as np
import pytest

from respin.golden.memory.secded import decode, encode, from_gray, parity_columns, to_codewords, to_gray
from respin.sim.runner import seed


def _rows(count):
    return np.random.default_rng(seed()).integers(-128, 128, (count, 32)).astype(np.int8)


def test_the_matrix_is_hsiaos():
    columns = parity_columns()
    assert len(set(columns)) == 72
    assert columns[:3] == [0x07, 0x0B, 0x0D]
    assert columns[55:58] == [0xE0, 0x1F, 0x3E]
    assert columns[64:] == [1 << check for check in range(8)]
    assert all(column.bit_count() % 2 for column in columns)
    assert [sum(column >> check & 1 for column in columns) for check in range(8)] == [27] * 8


def test_columns_lie_where_the_contract_says():
    weights = _rows(1)[0]
    columns = encode(weights)
    for weight in range(32):
        codeword, byte = divmod(weight, 8)
        for bit in range(8):
            assert columns[4 * (8 * byte + bit) + codeword] == int(weights[weight]) >> bit & 1
    for codeword in range(4):
        check = 0
        for bit in range(64):
            check ^= parity_columns()[bit] * int(columns[4 * bit + codeword])
        assert [columns[4 * (64 + place) + codeword] for place in range(8)] == [
            check >> place & 1 for place in range(8)
        ]


def test_clean_rows_decode_to_themselves():
    weights = _rows(1000)
    weights[0], weights[1], weights[2] = 0, -1, 127
    decoded = decode(encode(weights))
    assert (decoded.weights == weights).all()
    assert not decoded.corrected.any()
    assert not decoded.uncorrectable.any()


def test_every_single_wrong_column_is_corrected():
    weights = np.repeat(_rows(1), 288, axis=0)
    columns = encode(weights)
    columns[np.arange(288), np.arange(288)] ^= 1
    decoded = decode(columns)
    assert (decoded.weights == weights).all()
    assert (decoded.corrected == 1).all()
    assert not decoded.uncorrectable.any()


def test_every_dead_strip_is_corrected():
    weights = np.repeat(_rows(1), 72, axis=0)
    columns = encode(weights)
    for strip in range(72):
        columns[strip, 4 * strip : 4 * strip + 4] ^= 1
    decoded = decode(columns)
    assert (decoded.weights == weights).all()
    assert (decoded.corrected == 4).all()


@pytest.mark.parametrize("codeword", range(4))
def test_every_pair_of_wrong_bits_is_detected_and_passes_as_read(codeword):
    pairs = np.array(list(combinations(range(72), 2)))
    columns = np.repeat(encode(_rows(1)), len(pairs), axis=0)
    numbers = np.arange(len(pairs))
    for side in range(2):
        columns[numbers, 4 * pairs[:, side] + codeword] ^= 1
    decoded = decode(columns)
    assert (decoded.uncorrectable == 1).all()
    assert not decoded.corrected.any()
    as_read = np.packbits(to_codewords(columns)[..., :64], axis=-1, bitorder="little").reshape(len(pairs), 32)
    assert (decoded.weights.view(np.uint8) == as_read).all()


def test_triples_are_mistaken_as_often_as_the_bound_says():
    """About 57 % of triple errors look like a single one: what only a region's CRC can catch."""
    columns = parity_columns()
    syndromes = [a ^ b ^ c for a, b, c in combinations(columns, 3)]
    known = set(columns)
    share = sum(syndrome in known for syndrome in syndromes) / len(syndromes)
    assert share == pytest.approx(0.57, abs=0.01)


def test_gray_codes_of_neighbours_differ_in_one_bit():
    numbers = np.arange(-128, 128).astype(np.int8)
    codes = to_gray(numbers)
    assert len(np.unique(codes)) == 256
    assert [int(bits).bit_count() for bits in (codes ^ np.roll(codes, 1)).view(np.uint8)] == [1] * 256
    assert (from_gray(codes) == numbers).all()


def test_rows_in_gray_code_hold_the_codes():
    weights = _rows(8)
    columns = encode(weights, gray=True)
    assert (columns == encode(to_gray(weights))).all()
    assert (decode(columns, gray=True).weights == weights).all()
