# SPDX-License-Identifier: Apache-2.0
"""The bank controller: corrected reads, and writes that compare, pulse what differs, verify and retry.

A global row ``g`` lies in bank ``g mod B``, row ``g div B`` of it. After the same requests in the same order the model
holds the same cells and the same counters as the hardware, faults included. Reads that run ahead of a write to their
own bank are read again by the hardware; the model covers requests that do not overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from respin.golden.memory.array import Bits, Places, Pulse, SasMramArray, Words
from respin.golden.memory.secded import Weights, decode, encode, to_codewords
from respin.rtl.config import ROW_WEIGHTS, STRIPS, AcceleratorConfig

COUNTER_MASK = 0xFFFFFFFF


class Outcome(IntEnum):
    """How a write ended."""

    OK = 0
    DEFECT = 1
    FAILED = 2
    REFUSED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteResult:
    """End of a write: ``defects`` columns were left wrong and accepted, after ``retries`` further attempts."""

    outcome: Outcome = Outcome.OK
    defects: int = 0
    retries: int = 0


@dataclass(kw_only=True, slots=True)
class Counters:
    """The controller's counters, in the order of its register file; 32 bits each."""

    rows_read: int = 0
    raw_reads: int = 0
    words_corrected: int = 0
    uncorrectable: int = 0
    row_writes: int = 0
    writes_skipped: int = 0
    strips_pulsed: int = 0
    pulses: int = 0
    bits_flipped: int = 0
    retries: int = 0
    defects_accepted: int = 0
    writes_failed: int = 0
    refused: int = 0
    timeouts: int = 0

    def words(self) -> list[int]:
        """The counters in their order."""
        return [getattr(self, name) for name in self.__slots__]


def strip_groups() -> Bits:
    """The five groups in which strips are pulsed, ``uint8[5, 72]``: two bit significances of every weight; the checks.

    At most 16 strips may be pulsed at once.
    """
    strip = np.arange(STRIPS)
    group = np.where(strip < 64, strip % 8 // 2, 4)
    members: Bits = (group == np.arange(5)[:, None]).astype(np.uint8)
    return members


@dataclass(kw_only=True)
class Memory:
    """All banks behind their controller.

    Parameters
    ----------
    config:
        ``banks``, ``mram_rows``, ``write_scheme`` and ``write_retries`` are used.
    table:
        Table of the bank models, ``uint32[4096]``.
    defects:
        Defect map of each bank; none unless given.

    Raises
    ------
    ValueError
        If there is not one defect map for each bank.
    """

    config: AcceleratorConfig
    table: Words
    defects: Sequence[Bits] | None = None
    counters: Counters = field(default_factory=Counters)
    banks: list[SasMramArray] = field(init=False)

    def __post_init__(self) -> None:
        count, rows = self.config.banks, self.config.mram_rows
        if self.defects is not None and len(self.defects) != count:
            raise ValueError(f"defects must be one map for each of {count} banks, not {len(self.defects)}")
        maps: Sequence[Bits | None] = [None] * count if self.defects is None else self.defects
        self.banks = [SasMramArray(rows, bank, self.table, maps[bank]) for bank in range(count)]
        self._groups = strip_groups()

    # What a bench does past the pins

    def preload(self, base: int, weights: Weights) -> None:
        """Put encoded rows ``int8[n, 32]`` into the cells, without a command."""
        columns = encode(weights)
        for bank, places, local in self._by_bank(np.arange(base, base + len(weights))):
            bank.cells[local] = columns[places]

    def contents(self, base: int, count: int) -> Weights:
        """Decoded content of rows as they are now, stuck cells included, without a command."""
        rows = np.arange(base, base + count)
        columns = np.empty((count, 288), dtype=np.uint8)
        for bank, places, local in self._by_bank(rows):
            columns[places] = bank.visible(local)
        return decode(columns).weights

    def age(self) -> None:
        """Let one ageing step pass in every bank."""
        for bank in self.banks:
            bank.age()

    # Requests

    def read(self, base: int, count: int, *, tiles: int = 1, repeats: int = 1) -> Weights:
        """Do a read job and return its rows in order, ``int8[n, 32]``.

        For each repeat, ``tiles`` times the rows from ``base + repeat * count`` on. A repeat that leaves the memory
        ends the job.
        """
        if not (count and tiles and repeats):
            return np.empty((0, ROW_WEIGHTS), dtype=np.int8)
        whole = min(repeats, max(0, (self.config.total_rows - base) // count))
        if whole < repeats:
            self._count(refused=1)
        sets = base + count * np.arange(whole)[:, None, None] + np.zeros((tiles, 1), int) + np.arange(count)
        return self.read_rows(sets.reshape(-1))

    def read_rows(self, rows: Places) -> Weights:
        """READ these rows in order, decoded and counted; they must exist."""
        columns = np.empty((len(rows), 288), dtype=np.uint8)
        for bank, places, local in self._by_bank(rows):
            columns[places] = bank.read(local)
        decoded = decode(columns)
        self._count(
            rows_read=len(rows),
            words_corrected=int(decoded.corrected.sum()),
            uncorrectable=int(decoded.uncorrectable.sum()),
        )
        return decoded.weights

    def write(self, row: int, weights: Weights) -> WriteResult:
        """Store 32 weights in a row: compare, pulse the strips that differ, verify, retry those that failed."""
        if self._refuses(row):
            return WriteResult(outcome=Outcome.REFUSED)
        target = encode(weights)
        wrong: Bits = np.bitwise_xor(self._sense(row), target)
        first = int(wrong.sum())
        retries = 0
        while wrong.any():
            pending: Bits = np.bitwise_or.reduce(wrong.reshape(STRIPS, 4), axis=1)
            self._attempt(row, pending, target, retries)
            wrong = np.bitwise_xor(self._sense(row), target)
            if retries == self.config.write_retries or not wrong.any():
                break
            retries += 1
            self._count(retries=1)
        last = int(wrong.sum())
        self._count(row_writes=1, writes_skipped=int(first == 0), bits_flipped=first - last)
        if last == 0:
            return WriteResult(retries=retries)
        if (to_codewords(wrong).sum(axis=-1) <= 1).all():
            self._count(defects_accepted=last)
            return WriteResult(outcome=Outcome.DEFECT, defects=last, retries=retries)
        self._count(writes_failed=1)
        return WriteResult(outcome=Outcome.FAILED, retries=retries)

    def raw_read(self, row: int) -> Bits | None:
        """READ a row past the decoders: its 288 columns, or None if it is refused."""
        return None if self._refuses(row) else self._sense(row)

    def raw_write(self, row: int, columns: Bits, strips: Bits, pulse: int) -> Outcome:
        """Pulse the strips set in ``strips[72]`` once towards ``columns[288]``, unverified."""
        if self._refuses(row):
            return Outcome.REFUSED
        self._attempt(row, strips, columns, pulse)
        return Outcome.OK

    # Parts

    def _refuses(self, row: int) -> bool:
        refused = row >= self.config.total_rows
        self._count(refused=int(refused))
        return refused

    def _sense(self, row: int) -> Bits:
        self._count(raw_reads=1)
        bank, local = self._place(row)
        columns: Bits = bank.read(np.array([local], dtype=np.intp))[0]
        return columns

    def _place(self, row: int) -> tuple[SasMramArray, int]:
        return self.banks[row % self.config.banks], row // self.config.banks

    def _by_bank(self, rows: Places) -> list[tuple[SasMramArray, Places, Places]]:
        """For each bank: itself, which of ``rows`` are its own, and what they are called there."""
        count = self.config.banks
        own = [np.flatnonzero(rows % count == number) for number in range(count)]
        return [(self.banks[number], places, rows[places] // count) for number, places in enumerate(own)]

    def _attempt(self, row: int, pending: Bits, target: Bits, pulse: int) -> None:
        bank, local = self._place(row)
        sequence = (Pulse.WRITE_SAS,) if self.config.write_scheme == "sas" else (Pulse.SOT_ONLY, Pulse.STT_ONLY)
        groups: Bits = np.bitwise_and(self._groups, pending)
        for group in groups:
            if not group.any():
                continue
            for command in sequence:
                bank.pulse(command, local, group, target, pulse)
                self._count(pulses=1, strips_pulsed=int(group.sum()))

    def _count(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            setattr(self.counters, name, (getattr(self.counters, name) + amount) & COUNTER_MASK)
