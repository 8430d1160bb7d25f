# SPDX-License-Identifier: Apache-2.0
"""The keeper's one way to move rows: read, sum, change and write them, one after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import Outcome, ReadRow, WriteStatus, landed
from respin.rtl.mram.watchdog import Watchdog
from respin.rtl.ports import WORD_BITS, HostRow

FIELD_BITS = 32
"""Everything in tables and headers lies in words of 32 bits."""
FIELDS = WORD_BITS // FIELD_BITS
"""Such words in a row."""
NUMBER_BITS = 6
"""Bits of a word's number: the longest structure, a copy of the region table, has 64."""
_PATIENCE = 2
"""Watchdog periods that a row is waited for: the bank controller tells of its own waits first."""


class SweepOrder(data.Struct):
    """For ``i < count``: with ``reads`` row ``source + i`` is read, its words pass, and with ``writes`` row
    ``target + i`` is written with them. ``sealed``: the last word holds the CRC-32 of those before it.
    ``leaving``: rows that do not take what is written stay as they are."""

    source: unsigned(ROW_ADDRESS_BITS)
    target: unsigned(ROW_ADDRESS_BITS)
    count: unsigned(ROW_ADDRESS_BITS)
    reads: unsigned(1)
    writes: unsigned(1)
    sealed: unsigned(1)
    leaving: unsigned(1)


class Sweep(Component):
    """Passes the words of rows by, sums them, and writes rows with them.

    Each row's words pass in order, one a cycle, lowest first. ``replacement`` takes a word's place where ``replace`` is
    high; where the order is sealed and writes, the CRC takes the last one's. It ends early where a row is beyond
    correction or cannot be written.

    Throughput: a row in 12 cycles and the controller's for a read and for a write.

    Parameters
    ----------
    config : AcceleratorConfig
        ``watchdog_cycles`` is used.

    Members
    -------
    order : In(SweepOrder), go : In(1)
        Held until ``done``.
    done : Out(1)
        It has ended; in this cycle alone, in which ``go`` starts nothing.
    passing : Out(1), number : Out(6), word : Out(32)
        A word passes, its number in the sweep modulo 64, and what was read.
    replace : In(1), replacement : In(32)
        What is to be there instead.
    crc : Out(32)
        CRC-32 of the words that passed, replaced ones as they were replaced, the last one of a sealed order left out.
    matches : Out(1)
        The last word that passed was the CRC of those before it.
    blank : Out(1)
        All words that were read were 0.
    failed : Out(1), row : Out(24)
        It ended early, at this row.
    row_read : Out(stream(ReadJob)), row_data : In(stream(ReadRow))
    row_write : Out(stream(HostRow)), row_written : In(stream(WriteStatus))
        The memory.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "order": In(SweepOrder),
            "go": In(1),
            "done": Out(1),
            "passing": Out(1),
            "number": Out(NUMBER_BITS),
            "word": Out(FIELD_BITS),
            "replace": In(1),
            "replacement": In(FIELD_BITS),
            "crc": Out(FIELD_BITS),
            "matches": Out(1),
            "blank": Out(1),
            "failed": Out(1),
            "row": Out(ROW_ADDRESS_BITS),
            "row_read": Out(stream.Signature(ReadJob)),
            "row_data": In(stream.Signature(ReadRow)),
            "row_write": Out(stream.Signature(HostRow)),
            "row_written": In(stream.Signature(WriteStatus)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=FIELD_BITS).create()
        m.submodules.watchdog = watchdog = Watchdog(cycles=_PATIENCE * self.config.watchdog_cycles)
        order, row = self.order, Signal(WORD_BITS)
        at = Signal(ROW_ADDRESS_BITS)
        last_row, seal = Signal(), Signal()
        kept = Signal(FIELD_BITS)
        m.d.comb += [
            self.word.eq(row[:FIELD_BITS]),
            self.crc.eq(crc.crc),
            crc.data.eq(kept),
            last_row.eq(at + 1 == order.count),
            seal.eq(order.sealed & last_row & (self.number[:3] == FIELDS - 1)),
            kept.eq(Mux(self.replace, self.replacement, self.word)),
            self.row_read.payload.of_row(order.source + at),
            self.row_write.payload.row.eq(order.target + at),
            self.row_write.payload.data.eq(row),
        ]
        with m.FSM() as self._states:
            with m.State("Wait"):
                m.d.sync += [at.eq(0), self.number.eq(0), self.blank.eq(1), self.failed.eq(0)]
                with m.If(self.go):
                    m.d.comb += crc.start.eq(1)
                    m.next = "Row"
            with m.State("Row"):
                m.next = "Pass"
                with m.If(at == order.count):
                    m.next = "Done"
                with m.Elif(order.reads):
                    m.next = "Ask"
            with m.State("Ask"):
                m.d.comb += [self.row_read.valid.eq(1), watchdog.waiting.eq(1)]
                with m.If(self.row_read.ready):
                    m.next = "Take"
                with m.Elif(watchdog.expired):
                    self._fail(m, self.row_read.payload.base)
            with m.State("Take"):
                m.d.comb += [self.row_data.ready.eq(1), watchdog.waiting.eq(1)]
                m.d.sync += row.eq(self.row_data.payload.data)
                with m.If(self.row_data.valid):
                    m.next = "Pass"
                    with m.If(self.row_data.payload.uncorrectable):
                        self._fail(m, self.row_read.payload.base)
                with m.Elif(watchdog.expired):
                    self._fail(m, self.row_read.payload.base)
            with m.State("Pass"):
                m.d.comb += [self.passing.eq(1), crc.valid.eq(~seal)]
                m.d.sync += [
                    row.eq(Cat(row[FIELD_BITS:], Mux(seal, self.crc, kept))),
                    self.number.eq(self.number + 1),
                    self.matches.eq(self.word == self.crc),
                    self.blank.eq(self.blank & (self.word == 0)),
                ]
                with m.If(self.number[:3] == FIELDS - 1):
                    m.next = "Next"
                    with m.If(order.writes):
                        m.next = "Write"
            with m.State("Write"):
                # A request is taken together with its status.
                m.d.comb += [self.row_write.valid.eq(1), self.row_written.ready.eq(1)]
                with m.If(self.row_written.valid):
                    m.next = "Next"
                    failed = self.row_written.payload.outcome == Outcome.FAILED
                    with m.If(~landed(self.row_written.payload.outcome) & ~(order.leaving & failed)):
                        self._fail(m, self.row_write.payload.row)
            with m.State("Next"):
                m.d.sync += at.eq(at + 1)
                m.next = "Row"
            with m.State("Done"):
                m.d.comb += self.done.eq(1)
                m.next = "Wait"
        return m

    def _fail(self, m: Module, row: Value) -> None:
        m.d.sync += [self.failed.eq(1), self.row.eq(row)]
        m.next = "Done"
