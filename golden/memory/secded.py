# SPDX-License-Identifier: Apache-2.0
"""Hsiao's SECDED(72,64), and the layout of four of its codewords in a row, on arrays of bits.

The parity-check matrix H has odd-weight columns: the 56 bytes of weight 3 in ascending order, 0x1F rotated left by
0..7, and the eight unit vectors. So one wrong bit gives an odd syndrome that is a column, two give an even one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from respin.rtl.config import ROW_COLUMNS, ROW_WEIGHTS

Bits = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.int8]

DATA_BITS, CODE_BITS, CODEWORDS = 64, 72, 4


def parity_columns() -> list[int]:
    """Return the columns of H: bit ``r`` of a column says whether the codeword bit takes part in check ``r``."""
    triples = [byte for byte in range(256) if byte.bit_count() == 3]
    fives = [(0x1F << turn | 0x1F >> (8 - turn)) & 0xFF for turn in range(8)]
    return triples + fives + [1 << check for check in range(8)]


def _syndrome_tables() -> Bits:
    tables = np.zeros((CODE_BITS // 8, 256), dtype=np.uint8)
    for bit, column in enumerate(parity_columns()):
        for byte in range(256):
            if byte >> bit % 8 & 1:
                tables[bit // 8, byte] ^= column
    return tables


def _error_bits() -> npt.NDArray[np.int16]:
    """``bit[syndrome]``: the codeword bit that a syndrome points at, or -1."""
    bits = np.full(256, -1, dtype=np.int16)
    bits[parity_columns()] = np.arange(CODE_BITS)
    return bits


SYNDROMES = _syndrome_tables()
"""``SYNDROMES[k, byte]``: what byte ``k`` of a codeword adds to its syndrome."""
_ERROR_BIT = _error_bits()


_BINARY_OF_GRAY = np.argsort(np.arange(256) ^ np.arange(256) >> 1).astype(np.uint8).view(np.int8)


class Decoded(NamedTuple):
    """Decoded rows, and how many codewords of each were corrected and how many were beyond correction."""

    weights: Weights
    corrected: npt.NDArray[np.int64]
    uncorrectable: npt.NDArray[np.int64]


def _bytes_of(codewords: Bits) -> Bits:
    return np.packbits(codewords, axis=-1, bitorder="little")


def syndromes(code_bytes: Bits) -> Bits:
    """Syndromes of codewords given as nine bytes each, the check bits last."""
    parts = [SYNDROMES[place][code_bytes[..., place]] for place in range(CODE_BITS // 8)]
    folded: Bits = np.bitwise_xor.reduce(np.stack(parts), axis=0)
    return folded


def to_gray(weights: Weights) -> Weights:
    """Return the reflected binary code of each byte (Gray's): neighbours, -128 and 127 too, differ in one bit."""
    binary = weights.view(np.uint8)
    return (binary ^ binary >> 1).view(np.int8)


def from_gray(codes: Weights) -> Weights:
    """Return the bytes whose Gray codes these are."""
    return _BINARY_OF_GRAY[codes.view(np.uint8)]


def encode(weights: Weights, *, gray: bool = False) -> Bits:
    """Encode rows ``int8[..., 32]`` into columns ``uint8[..., 288]``; with ``gray``, of each weight's Gray code."""
    weights = to_gray(weights) if gray else weights
    lead = weights.shape[:-1]
    code_bytes = np.zeros((*lead, CODEWORDS, 9), dtype=np.uint8)
    code_bytes[..., :8] = weights.view(np.uint8).reshape(*lead, CODEWORDS, 8)
    code_bytes[..., 8] = syndromes(code_bytes)
    codewords = np.unpackbits(code_bytes, axis=-1, bitorder="little")
    return np.ascontiguousarray(codewords.swapaxes(-1, -2)).reshape(*lead, ROW_COLUMNS)


def to_codewords(columns: Bits) -> Bits:
    """Undo the interleaving: column ``4i + c`` is bit ``i`` of codeword ``c``; gives ``uint8[..., 4, 72]``."""
    return np.ascontiguousarray(columns.reshape(*columns.shape[:-1], CODE_BITS, CODEWORDS).swapaxes(-1, -2))


def decode(columns: Bits, *, gray: bool = False) -> Decoded:
    """Decode columns ``uint8[..., 288]``; data of a codeword beyond correction passes as read.

    ``gray``: the data are Gray codes of the weights.
    """
    code_bytes = _bytes_of(to_codewords(columns))
    syndrome = syndromes(code_bytes)
    wrong = _ERROR_BIT[syndrome]
    found = np.nonzero(wrong >= 0)
    at = wrong[found]
    code_bytes[(*found, at // 8)] ^= (1 << (at % 8)).astype(np.uint8)
    data = np.ascontiguousarray(code_bytes[..., :8]).reshape(*columns.shape[:-1], ROW_WEIGHTS)
    weights = data.view(np.int8)
    return Decoded(
        weights=from_gray(weights) if gray else weights,
        corrected=(wrong >= 0).sum(axis=-1),
        uncorrectable=((wrong < 0) & (syndrome != 0)).sum(axis=-1),
    )
