# SPDX-License-Identifier: Apache-2.0
"""The bank controller: corrected reads, and writes that compare, pulse what differs, verify and retry.

A global row ``g`` lies in bank ``g mod B``, row ``g div B`` of it. After the same requests in the same order the model
holds the same cells and the same counters as the hardware, faults included; rows that fail go to spares as there.
Reads that run ahead of a write to their own bank are read again by the hardware; the model covers requests that do not
overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from respin.golden.memory.array import Bits, Places, Pulse, SasMramArray, Words
from respin.golden.memory.secded import Decoded, Weights, decode, encode, from_gray, to_codewords
from respin.golden.memory.spares import SpareMap
from respin.rtl.config import PAGE_SPARES, ROW_WEIGHTS, STRIPS, AcceleratorConfig

COUNTER_MASK = 0xFFFFFFFF
_MARCH = (
    (False, None, 0), (False, 0, 1), (False, 1, 0), (True, 0, 1), (True, 1, 0), (False, 0, 2), (False, 2, 0),
)  # fmt: skip
"""Elements of the march test: addresses fall; background to be found; background to be written."""


class Outcome(IntEnum):
    """How a write ended."""

    OK = 0
    DEFECT = 1
    FAILED = 2
    REFUSED = 3
    UNSAFE = 5


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
        ``banks``, ``mram_rows``, ``write_scheme``, ``write_retries``, ``spare_rows``, ``remap_defects`` and
        ``gray_code`` are used.
    table:
        Table of the bank models, ``uint32[16384]``.
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
        self.spares = SpareMap(self.config)
        self._started = False

    # What a bench does past the pins

    def preload(self, base: int, weights: Weights) -> None:
        """Put encoded rows ``int8[n, 32]`` into the cells, without a command."""
        columns = self._encode(weights)
        for bank, places, local in self._by_bank(np.arange(base, base + len(weights))):
            bank.cells[local] = columns[places]

    def contents(self, base: int, count: int) -> Weights:
        """Decoded content of rows as they are now, stuck cells included, without a command."""
        rows = np.arange(base, base + count)
        columns = np.empty((count, 288), dtype=np.uint8)
        for bank, places, local in self._by_bank(rows):
            columns[places] = bank.visible(local)
        return self._decode(columns).weights

    def age(self) -> None:
        """Let one ageing step pass in every bank."""
        for bank in self.banks:
            bank.age()

    def cut_power(self, *, busy: Sequence[bool]) -> None:
        """Lose the power, ``busy[b]`` if bank ``b`` was carrying a command out. The next request starts the memory."""
        for bank, working in zip(self.banks, busy, strict=True):
            bank.cut(busy=working)
        self.spares = SpareMap(self.config)
        self._started = False

    # Requests

    def start(self) -> None:
        """Load the spare map, and mend its copies; the first request does it by itself. Nothing of it is counted."""
        if self._started:
            return
        self._started = True
        before = self.counters
        self.counters = Counters()
        for page in range(self.config.map_pages):
            rows = self.spares.rows_of(page)
            copies = []
            for row in rows:
                read = self._decode(self._sense(row)[None])
                copies.append(None if read.uncorrectable.any() else self.spares.decode(read.weights[0]))
            sequences = [-1 if copy is None else copy[1] for copy in copies]
            newest = int(sequences[1] > sequences[0])
            copy = copies[newest]
            if copy is None:
                continue
            self.spares.take(page, copy[0])
            self.spares.sequence = max(self.spares.sequence, copy[1])
            if sequences[0] != sequences[1]:
                mended = self._store(rows[1 - newest], self.spares.encode(page, copy[1]))
                self.spares.failed |= not self._keep(mended)
        self.counters = before

    def read(self, base: int, count: int, *, tiles: int = 1, repeats: int = 1) -> Weights:
        """Do a read job and return its rows in order, ``int8[n, 32]``.

        For each repeat, ``tiles`` times the rows from ``base + repeat * count`` on. A repeat that leaves the memory
        ends the job.
        """
        if not (count and tiles and repeats):
            return np.empty((0, ROW_WEIGHTS), dtype=np.int8)
        whole = min(repeats, max(0, (self.config.usable_rows - base) // count))
        if whole < repeats:
            self._count(refused=1)
        sets = base + count * np.arange(whole)[:, None, None] + np.zeros((tiles, 1), int) + np.arange(count)
        return self.read_rows(sets.reshape(-1))

    def read_rows(self, rows: Places) -> Weights:
        """READ these rows in order, decoded and counted; they must exist."""
        decoded = self._decode(self._sense_rows(rows))
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
        result = self._store(row, weights)
        return result if self._keep(result, row=True) else self._remap(row, weights, result)

    def scrub(self, row: int) -> None:
        """Read a row of content or of the spare map, and rewrite it if it has errors that the code corrects."""
        before = replace(self.counters)
        weights = self.read_rows(np.array([row], dtype=np.intp))[0]
        corrected = self.counters.words_corrected != before.words_corrected
        if not corrected or self.counters.uncorrectable != before.uncorrectable:
            return
        result = self._store(row, weights, repair=True)
        if row < self.config.usable_rows:
            if result.outcome is Outcome.UNSAFE or not self._keep(result, row=True):
                self._remap(row, weights, result)
        elif result.outcome is Outcome.UNSAFE:
            self._keep_page((row - self.config.usable_rows) // 2)

    def march(self) -> None:
        """Test all rows of content, March C- and two elements for the check columns; those that fail go to spares."""
        words = np.array([0, 2**64 - 1, 3 << 55], dtype=np.uint64)
        columns = np.repeat(words, 4).view(np.int8).reshape(3, ROW_WEIGHTS)
        backgrounds = from_gray(columns) if self.config.gray_code else columns
        rows = range(self.config.usable_rows)
        self.start()
        for falls, found, written in _MARCH:
            for row in reversed(rows) if falls else rows:
                wrong = False
                if found is not None:
                    result = self._compare(row, backgrounds[found])
                    wrong = result.outcome is Outcome.DEFECT
                    if result.outcome is Outcome.FAILED or (wrong and self.config.remap_defects):
                        self._remap(row, backgrounds[found], result)
                result = self._store(row, backgrounds[written])
                if not self._keep(result, row=True) or (wrong and result.outcome is Outcome.DEFECT):
                    self._remap(row, backgrounds[written], result)

    def raw_read(self, row: int) -> Bits | None:
        """READ a row past the decoders: its 288 columns, or None if it is refused."""
        return None if self._refuses(row) else self._sense(row)

    def raw_read_rows(self, rows: Places) -> Bits:
        """READ these rows in order past the decoders, ``uint8[n, 288]``; they must exist."""
        columns = self._sense_rows(rows)
        self._count(raw_reads=len(rows))
        return columns

    def raw_write(self, row: int, columns: Bits, strips: Bits, pulse: int) -> Outcome:
        """Pulse the strips set in ``strips[72]`` once towards ``columns[288]``, unverified."""
        if self._refuses(row):
            return Outcome.REFUSED
        self._attempt(row, strips, columns, pulse)
        return Outcome.OK

    # Parts

    def _encode(self, weights: Weights) -> Bits:
        """Columns of rows of weights."""
        return encode(weights, gray=self.config.gray_code)

    def _decode(self, columns: Bits) -> Decoded:
        """Rows of weights that columns hold."""
        return decode(columns, gray=self.config.gray_code)

    def _keep(self, result: WriteResult, *, row: bool = False) -> bool:
        """What a write left may stay: of a ``row`` of content without defects, if those are to be remapped."""
        fine = [Outcome.OK] if row and self.config.remap_defects else [Outcome.OK, Outcome.DEFECT]
        return result.outcome in fine

    def _remap(self, row: int, weights: Weights, result: WriteResult) -> WriteResult:
        """Give a row to the first spare that takes it; without one it stays as the write left it."""
        spares = self.spares
        good = False
        while not good:
            number = spares.free(row)
            if number is None or spares.failed:
                return result
            good = self._keep(self._store(self.config.first_spare_row + number, weights), row=True)
            spares.assign(number, row, good=good)
            if not good:
                self._store(self.config.first_spare_row + number, np.zeros(ROW_WEIGHTS, dtype=np.int8))
            if not self._keep_page(number // PAGE_SPARES):
                spares.assign(number, row, good=False)
                return result
        return self._compare(row, weights)

    def _keep_page(self, page: int) -> bool:
        """Store both copies of a page of the map; False if the first one fails."""
        spares = self.spares
        spares.sequence += 1
        for place, copy in enumerate(spares.rows_of(page)):
            if not self._keep(self._store(copy, spares.encode(page, spares.sequence))):
                spares.failed = True
                if place == 0:
                    return False
        return True

    def _compare(self, row: int, weights: Weights) -> WriteResult:
        """How a row differs from what it should hold."""
        wrong: Bits = np.bitwise_xor(self._sense(row), self._encode(weights))
        if not wrong.any():
            return WriteResult()
        if (to_codewords(wrong).sum(axis=-1) <= 1).all():
            return WriteResult(outcome=Outcome.DEFECT, defects=int(wrong.sum()))
        return WriteResult(outcome=Outcome.FAILED)

    def _store(self, row: int, weights: Weights, *, repair: bool = False) -> WriteResult:
        """Write a row; as a repair only while all that differs lies on one strip."""
        target = self._encode(weights)
        wrong: Bits = np.bitwise_xor(self._sense(row), target)
        first = int(wrong.sum())
        attempts = 0
        while wrong.any() and attempts <= self.config.write_retries:
            pending: Bits = np.bitwise_or.reduce(wrong.reshape(STRIPS, 4), axis=1)
            if repair and pending.sum() > 1:
                break
            self._attempt(row, pending, target, attempts)
            self._count(retries=int(attempts > 0))
            wrong = np.bitwise_xor(self._sense(row), target)
            attempts += 1
        last, retries = int(wrong.sum()), max(attempts - 1, 0)
        self._count(row_writes=1, writes_skipped=int(attempts == 0), bits_flipped=first - last)
        if last == 0:
            return WriteResult(retries=retries)
        if repair and np.bitwise_or.reduce(wrong.reshape(STRIPS, 4), axis=1).sum() > 1:
            return WriteResult(outcome=Outcome.UNSAFE, retries=retries)
        if (to_codewords(wrong).sum(axis=-1) <= 1).all():
            self._count(defects_accepted=last)
            return WriteResult(outcome=Outcome.DEFECT, defects=last, retries=retries)
        self._count(writes_failed=1)
        return WriteResult(outcome=Outcome.FAILED, retries=retries)

    def _refuses(self, row: int) -> bool:
        self.start()
        refused = row >= self.config.usable_rows
        self._count(refused=int(refused))
        return refused

    def _sense(self, row: int) -> Bits:
        self._count(raw_reads=1)
        bank, local = self._place(row)
        columns: Bits = bank.read(np.array([local], dtype=np.intp))[0]
        return columns

    def _sense_rows(self, rows: Places) -> Bits:
        self.start()
        columns = np.empty((len(rows), 288), dtype=np.uint8)
        for bank, places, local in self._by_bank(rows):
            columns[places] = bank.read(local)
        return columns

    def _place(self, row: int) -> tuple[SasMramArray, int]:
        return self.banks[row % self.config.banks], self.spares.place(row) // self.config.banks

    def _by_bank(self, rows: Places) -> list[tuple[SasMramArray, Places, Places]]:
        """For each bank: itself, which of ``rows`` are its own, and what they are called there."""
        count = self.config.banks
        own = [np.flatnonzero(rows % count == number) for number in range(count)]
        local = [self.spares.places(rows[places]) // count for places in own]
        return list(zip(self.banks, own, local, strict=True))

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
