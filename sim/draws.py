# SPDX-License-Identifier: Apache-2.0
"""The counter-based generator of the bank model: one 32-bit draw for every (seed, bank, command, row, kind, column).

``mix`` is the 32-bit integer hash "lowbias32" of C. Wellons' hash prospector (public domain) with its later, better
constants. All arithmetic is modulo 2^32:

    key  = mix(mix(seed) + (bank + 1) * STEP)
    a    = mix(mix(key + command * STEP) + row * STEP)
    b    = mix(a + TWIST)
    draw = mix(a + (kind * 512 + column) * STEP) ^ b

``command`` counts the commands that a bank has taken since its table was loaded. What an MTJ was made with, its static
classes, is drawn for command ``2^32 - 1``, which no bank reaches. No draw depends on which others were
made, so a model may leave out those whose threshold is 0. For one column, ``a`` runs through a permutation as commands
go by; ``b`` keeps two commands apart whose sequences of columns happen to overlap.
"""

from enum import IntEnum

import numpy as np

from respin.rtl.config import ROW_COLUMNS

STEP = 0x9E3779B9
TWIST = 0x85EBCA6B
KIND_STRIDE = 512
MADE = 0xFFFFFFFF
"""Number of the command for which static classes are drawn."""
_COLUMNS = np.arange(ROW_COLUMNS, dtype=np.uint32)


class Kind(IntEnum):
    """What a draw decides."""

    READ = 0
    DISTURB = 1
    WRITE = 2
    SCRAMBLE = 3
    ERASE = 4
    RETENTION = 5
    CUT = 6
    STABILITY = 7
    CURRENT = 8


def mix(value: np.ndarray) -> np.ndarray:
    """The 32-bit hash; a bijection."""
    value = (value ^ (value >> 16)) * np.uint32(0x21F0AAAD)
    value = (value ^ (value >> 15)) * np.uint32(0xD35A2D97)
    return value ^ (value >> 15)


def _mix_one(value: int) -> int:
    return int(mix(np.array([value & 0xFFFFFFFF], dtype=np.uint32))[0])


class Draws:
    """The generator of one bank."""

    def __init__(self, seed: int, bank: int) -> None:
        self.key = _mix_one(_mix_one(seed) + (bank + 1) * STEP)

    def columns(self, command: int, row: int, kind: Kind) -> np.ndarray:
        """The 288 draws of one kind for one command on one row."""
        a = _mix_one(_mix_one(self.key + command * STEP) + row * STEP)
        b = _mix_one(a + TWIST)
        start = np.uint32((a + kind * KIND_STRIDE * STEP) & 0xFFFFFFFF)
        return mix(_COLUMNS * np.uint32(STEP) + start) ^ np.uint32(b)
