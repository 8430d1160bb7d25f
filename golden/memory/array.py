# SPDX-License-Identifier: Apache-2.0
"""The array of one SAS-MRAM bank with its faults, written for speed over many reads.

Given the table and the defects of a bank model and the same commands in the same order, it has every cell and every
fault in common with it. A fault happens where a 32-bit draw is below its threshold; draws are counter-based, a function
of (seed, bank, number of the command, row, kind, column).
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from respin.rtl.config import ROW_COLUMNS, STRIPS

Bits = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Places = npt.NDArray[np.intp]

_GOLDEN_RATIO = 0x9E3779B9
_SECOND_WORD = 0x85EBCA6B
_KIND_READ, _KIND_DISTURB, _KIND_WRITE, _KIND_SCRAMBLE, _KIND_ERASE, _KIND_RETENTION, _KIND_CUT = range(7)
_KIND_STABILITY, _KIND_CURRENT = 7, 8
_MADE = -1
"""The number, modulo 2^32, under which static classes are drawn; no bank takes so many commands."""
_CHUNK = 256
"""Rows drawn at a time: their draws stay in the processor's cache."""


class Pulse(IntEnum):
    """The commands that pulse strips, by their code on the pins."""

    WRITE_SAS = 2
    SOT_ONLY = 3
    STT_ONLY = 4


def _hash(value: Words) -> Words:
    """Mix 32 bits, in place."""
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x21F0AAAD)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0xD35A2D97)
    value ^= value >> np.uint32(15)
    return value


def _words(values: npt.NDArray[np.int64]) -> Words:
    return (values & 0xFFFFFFFF).astype(np.uint32)


class SasMramArray:
    """One bank.

    Parameters
    ----------
    rows:
        Rows of the bank.
    bank:
        Its number.
    table:
        ``uint32[16384]``: seed, flags and thresholds (docs/device.md, The table).
    defects:
        ``uint8[rows, 4, 288]``: stuck, stuck value, high resistance, low resistance; None for a bank without.
    """

    def __init__(self, rows: int, bank: int, table: Words, defects: Bits | None = None) -> None:
        self.rows = rows
        self.cells = np.zeros((rows, ROW_COLUMNS), dtype=np.uint8)
        self.commands = 0
        key = _hash(np.array([table[0]], dtype=np.uint32)) + _words(np.array([(bank + 1) * _GOLDEN_RATIO]))
        self._key = int(_hash(key)[0])
        self._erases = bool(table[1])
        # Static classes, 0..3: of stability (retention, disturb) and of critical current (disturb, erase, write).
        self._static_edges = table[4:7]
        self._retention = table[8:12]
        self._disturb = table[112:144].reshape(4, 4, 2)
        self._erase_error = table[160:224].reshape(4, 16)
        # Rows of the next: static class of the cell and its state; columns: the place of the MTJ on its strip.
        self._read_error = table[32:56].reshape(3, 4, 2)
        self._write_error = table[8192:16384].reshape(4, 16, 16, 4, 2)
        self._defects = defects
        self._erased: frozenset[tuple[int, int]] = frozenset()
        self._last_pulse: tuple[int, int, Places] | None = None

    def visible(self, rows: Places) -> Bits:
        """States of the cells of rows, stuck cells included: ``uint8[len(rows), 288]``."""
        states: Bits = self.cells[rows]
        if self._defects is not None:
            np.copyto(states, self._defects[rows, 1], where=self._defects[rows, 0] != 0)
        return states

    def read(self, rows: Places) -> Bits:
        """READ these rows one after the other; returns what the sense amplifiers give, ``uint8[len(rows), 288]``."""
        sensed = np.empty((len(rows), ROW_COLUMNS), dtype=np.uint8)
        for start, stop in self._batches(rows):
            sensed[start:stop] = self._read_batch(rows[start:stop])
        return sensed

    def pulse(self, command: Pulse, row: int, strips: Bits, target: Bits, pulse: int) -> None:
        """Pulse the strips set in ``strips[72]`` of a row towards ``target[288]``, with an entry of the pulse table."""
        number = self._next(1)
        masked = np.flatnonzero(strips)
        columns = (4 * masked[:, None] + np.arange(4)).reshape(-1)
        self._last_pulse = (number, row, columns)
        if command is Pulse.STT_ONLY:
            erased, self._erased = self._erased, frozenset()
            programmed = [c for c in columns.tolist() if target[c] and (row, c // 4) in erased]
            self._program(number, row, np.array(programmed, dtype=np.intp), target, pulse)
        elif self._erases:
            if command is Pulse.SOT_ONLY:
                self._erased = frozenset((row, strip) for strip in masked.tolist())
            limit = self._erase_error[self._made(np.full(len(columns), row), columns, _KIND_CURRENT), pulse]
            failed = self._draw(number, row, _KIND_ERASE, columns) < limit
            self.cells[row, columns] = failed
        elif command is Pulse.SOT_ONLY:
            self._scramble(number, row, _KIND_SCRAMBLE, columns)
        else:
            self._program(number, row, columns, target, pulse)

    def cut(self, *, busy: bool) -> None:
        """Lose the power. If the last command is a pulse and still ``busy``, its strips end with random bits."""
        if busy and self._last_pulse is not None:
            number, row, columns = self._last_pulse
            self._scramble(number, row, _KIND_CUT, columns)
        self._last_pulse = None
        self._erased = frozenset()

    def age(self) -> None:
        """Let one ageing step pass: each cell may have lost its state."""
        number = self._next(1)
        everything = np.arange(ROW_COLUMNS)
        if self._retention.any():
            for row in range(self.rows):
                draws = self._draw(number, row, _KIND_RETENTION, everything)
                column = np.flatnonzero(draws < self._retention.max())
                limit = self._retention[self._made(np.full(len(column), row), column, _KIND_STABILITY)]
                self.cells[row, column] ^= draws[column] < limit

    def _classes(self, rows: Places, columns: Places) -> Places:
        """Static class of cells: 0 normal, 1 high resistance, 2 low resistance."""
        if self._defects is None:
            return np.zeros(len(rows), dtype=np.intp)
        classes: Places = self._defects[rows, 2, columns] + 2 * self._defects[rows, 3, columns].astype(np.intp)
        return classes

    def _made(self, rows: Places, columns: Places, kind: int) -> Places:
        """Static class of cells: how many of the edges lie above the draw that each was made with."""
        first, second = self._bases(np.full(len(rows), _MADE, dtype=np.int64), rows)
        drawn = _hash(first + _words((512 * kind + columns.astype(np.int64)) * _GOLDEN_RATIO)) ^ second
        classes: Places = (drawn[:, None] < self._static_edges).sum(axis=1)
        return classes

    def _next(self, count: int) -> int:
        number = self.commands
        self.commands += count
        return number

    def _bases(self, numbers: npt.NDArray[np.int64], rows: Places) -> tuple[Words, Words]:
        """The two words from which the draws of a command on a row are made."""
        of_command = _hash(_words(self._key + numbers * _GOLDEN_RATIO)).astype(np.int64)
        first = _hash(_words(of_command + rows * _GOLDEN_RATIO))
        return first, _hash(first + np.uint32(_SECOND_WORD))

    def _draws(self, bases: tuple[Words, Words], kind: int, columns: Places) -> Words:
        steps = _words((512 * kind + columns.astype(np.int64)) * _GOLDEN_RATIO)
        draws = _hash(bases[0][:, None] + steps[None, :])
        draws ^= bases[1][:, None]
        return draws

    def _draw(self, number: int, row: int, kind: int, columns: Places) -> Words:
        bases = self._bases(np.array([number], dtype=np.int64), np.array([row], dtype=np.intp))
        drawn: Words = self._draws(bases, kind, columns)[0]
        return drawn

    def _batches(self, rows: Places) -> Iterator[tuple[int, int]]:
        """Cut reads into runs. Where a read may disturb, no row comes twice in one: the second sees the first's."""
        start = 0
        seen: set[int] = set()
        for index, row in enumerate(rows.tolist()) if self._disturb.any() else ():
            if row in seen or index - start == _CHUNK:
                yield start, index
                start = index
                seen.clear()
            seen.add(row)
        for begin in range(start, len(rows), _CHUNK):
            yield begin, min(begin + _CHUNK, len(rows))

    def _read_batch(self, rows: Places) -> Bits:
        first = self._next(len(rows))
        self._last_pulse = None
        state = self.visible(rows)
        sensed = state
        if not (self._read_error.any() or self._disturb.any()):
            return sensed
        bases = self._bases(np.arange(first, first + len(rows)), rows)
        everything = np.arange(ROW_COLUMNS)
        if self._read_error.any():
            draws = self._draws(bases, _KIND_READ, everything)
            # Few draws are below even the largest threshold; only those need their own.
            which, column = np.nonzero(draws < self._read_error.max())
            cell_class = self._classes(rows[which], column)
            limit = self._read_error[cell_class, column % 4, state[which, column]]
            wrong = draws[which, column] < limit
            sensed = state.copy()
            sensed[which[wrong], column[wrong]] ^= 1
        if self._disturb.any():
            draws = self._draws(bases, _KIND_DISTURB, everything)
            which, column = np.nonzero(draws < self._disturb.max())
            stability = self._made(rows[which], column, _KIND_STABILITY)
            current = self._made(rows[which], column, _KIND_CURRENT)
            hit = draws[which, column] < self._disturb[stability, current, state[which, column]]
            self.cells[rows[which[hit]], column[hit]] ^= 1
        return sensed

    def _scramble(self, number: int, row: int, kind: int, columns: Places) -> None:
        self.cells[row, columns] = self._draw(number, row, kind, columns) >> np.uint32(31)

    def _program(self, number: int, row: int, columns: Places, target: Bits, pulse: int) -> None:
        if not len(columns):
            return
        state = self.visible(np.array([row], dtype=np.intp))[0]
        patterns = target.reshape(STRIPS, 4) @ np.array([1, 2, 4, 8], dtype=np.uint8)
        wanted = target[columns]
        limits = self._write_error[:, pulse, patterns[columns // 4], columns % 4, state[columns]]
        if limits.any():
            current = self._made(np.full(len(columns), row), columns, _KIND_CURRENT)
            wanted = wanted ^ (self._draw(number, row, _KIND_WRITE, columns) < limits[current, np.arange(len(columns))])
        self.cells[row, columns] = wanted
