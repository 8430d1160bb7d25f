# SPDX-License-Identifier: Apache-2.0
"""The bank controller: B macros behind one read stream and one write stream."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from respin.rtl.config import ROW_COLUMNS, AcceleratorConfig
from respin.rtl.interfaces import BankCommand, BankPins
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.events import EventCounters
from respin.rtl.mram.ports import (
    Counters,
    ErrorKind,
    ErrorRecord,
    Outcome,
    ReadRow,
    WriteKind,
    WriteRequest,
    WriteStatus,
)
from respin.rtl.mram.reader import RowReader
from respin.rtl.mram.row_codec import RowDecoder
from respin.rtl.mram.writer import RowWriter


class MramController(wiring.Component):
    """Reads rows with correction and writes them differentially, verified and with bounded retry.

    Row ``r`` lies in bank ``r mod B``, local row ``r div B``. Reads run ahead, one row a bank, and come out in order;
    the banks' output latches are the buffers. One raw row is looked at in a cycle, by the decoders or by the write
    path.

    A write has its bank alone from its first read to its last comparison, while the other banks go on reading. A
    waiting write stops new reads in its bank and takes it once no read is in flight there and no row is being decoded
    from it; a raw row that the consumer has left there is read again afterwards. Between two writes, a read that
    waits for the bank gets one. So neither starves the other, and neither waits for the other's consumer.

    Reads: throughput ``min(1 / S, B / (N + 1 + S))`` rows a cycle, where a READ takes N cycles of the macro and
    decoding ``S = 4 / ecc_decoders``; latency ``N + S + 3`` cycles from job to first row. Writes: see
    :class:`RowWriter`.

    Parameters
    ----------
    config : AcceleratorConfig
        ``banks``, ``mram_rows``, ``ecc_decoders``, ``write_scheme``, ``write_retries``, ``gray_code`` and
        ``watchdog_cycles`` are used.

    Members
    -------
    banks : Out(BankPins(mram_rows)).array(B)
        The macros.
    read : In(stream.Signature(ReadJob))
        Rows to read.
    rows : Out(stream.Signature(ReadRow))
        The rows of the jobs, decoded, in order.
    mended : Out(1)
        A codeword of the row in ``rows`` was corrected.
    maintenance : In(2)
        Read jobs (bit 0), write requests (bit 1) may name rows past ``usable_rows``, the spare map and the spares.
    write : In(stream.Signature(WriteRequest))
        Writes and raw accesses, one at a time. A request is taken together with its status.
    written : Out(stream.Signature(WriteStatus))
        How each ended. The status of a RAW_READ must be taken soon: no row is decoded while it waits.
    raw_columns : Out(288)
        The raw row, while the status of a RAW_READ waits.
    clear : In(1)
        Counters and error records start anew.
    counters : Out(Counters)
        What happened since.
    read_error, write_error : Out(ErrorRecord)
        The last error of either path.
    new_errors : Out(2)
        Either record is new in this cycle.
    idle : Out(1)
        No job, no request, nothing in flight.

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__(
            {
                "banks": Out(BankPins(config.mram_rows)).array(config.banks),
                "read": In(stream.Signature(ReadJob)),
                "rows": Out(stream.Signature(ReadRow)),
                "mended": Out(1),
                "maintenance": In(2),
                "write": In(stream.Signature(WriteRequest)),
                "written": Out(stream.Signature(WriteStatus)),
                "raw_columns": Out(ROW_COLUMNS),
                "clear": In(1),
                "counters": Out(Counters),
                "read_error": Out(ErrorRecord),
                "write_error": Out(ErrorRecord),
                "new_errors": Out(2),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.reader = reader = RowReader(config=config)
        m.submodules.decoder = decoder = RowDecoder(config=config)
        m.submodules.writer = writer = RowWriter(config=config)
        connect(m, flipped(self.read), reader.jobs)
        connect(m, decoder.rows, flipped(self.rows))
        connect(m, flipped(self.write), writer.requests)
        connect(m, writer.status, flipped(self.written))

        write_row = self.write.payload.row
        # The bank of a request, and that of the one under way: what a bank is told follows from registers alone.
        write_mask, held_mask = Signal(config.banks), Signal(config.banks)
        with m.If(writer.granted):
            m.d.sync += held_mask.eq(write_mask)
        m.d.comb += [
            write_mask.eq(1 << write_row[: exact_log2(config.banks)]),
            writer.in_range.eq(write_row < Mux(self.maintenance[1], config.total_rows, config.usable_rows)),
            reader.maintenance.eq(self.maintenance[0]),
            self.mended.eq(decoder.mended),
        ]

        ready = Cat(bank.power_good & ~bank.busy for bank in self.banks)
        rvalid = Cat(bank.rvalid for bank in self.banks)
        m.d.comb += [
            reader.ready.eq(ready),
            reader.rvalid.eq(rvalid),
            writer.ready.eq((ready & held_mask).any()),
            writer.rvalid.eq((rvalid & held_mask).any()),
        ]
        self._arbitrate(m, reader, writer, write_mask, held_mask)
        self._drive_banks(m, reader, writer, held_mask)

        columns = Signal(ROW_COLUMNS)
        viewed = Signal(config.banks)
        m.d.comb += [
            viewed.eq(Mux(writer.viewing, held_mask, reader.front_mask)),
            columns.eq(
                reduce(or_, (bank.rdata & viewed[b].replicate(ROW_COLUMNS) for b, bank in enumerate(self.banks)))
            ),
            decoder.columns.eq(columns),
            decoder.valid.eq(reader.present & ~writer.viewing),
            reader.free.eq(decoder.free),
            reader.done.eq(decoder.done),
            writer.columns.eq(columns),
            self.raw_columns.eq(columns),
            self.idle.eq(reader.idle & ~self.rows.valid & ~self.write.valid),
        ]
        self._report(m, reader, decoder, writer)
        return m

    def _arbitrate(
        self, m: Module, reader: RowReader, writer: RowWriter, write_mask: Value, held_mask: Value
    ) -> None:
        """Hand the writer's bank from the reader to the writer and back."""
        read_turn = Signal()
        claimed = write_mask & writer.claim.replicate(len(write_mask))
        owned = held_mask & writer.owned.replicate(len(held_mask))
        read_first = read_turn & (reader.wants & claimed).any()
        m.d.comb += [
            writer.granted.eq(writer.claim & ~read_first & ~(reader.in_use & write_mask).any()),
            reader.blocked.eq(owned | claimed & ~read_first.replicate(len(write_mask))),
            reader.taken.eq(claimed & writer.granted.replicate(len(write_mask))),
        ]
        with m.If(writer.owned):
            m.d.sync += read_turn.eq(1)
        with m.Elif((reader.issue & claimed).any()):
            m.d.sync += read_turn.eq(0)

    def _drive_banks(self, m: Module, reader: RowReader, writer: RowWriter, held_mask: Value) -> None:
        """Give each bank its command; what only a write uses goes to all of them alike."""
        bank_bits = exact_log2(self._config.banks)
        request = self.write.payload
        raw = (request.kind == WriteKind.RAW_READ) | (request.kind == WriteKind.RAW_WRITE)
        for b, bank in enumerate(self.banks):
            owned = writer.owned & held_mask[b]
            m.d.comb += [
                bank.row.eq(Mux(owned, request.row, reader.issue_row)[bank_bits:]),
                bank.strip_mask.eq(writer.strip_mask),
                bank.wdata.eq(writer.wdata),
                bank.pulse.eq(writer.pulse),
                bank.test_mode.eq(owned & raw),
            ]
            with m.If(owned):
                m.d.comb += bank.cmd.eq(writer.cmd)
            with m.Elif(reader.issue[b]):
                m.d.comb += bank.cmd.eq(BankCommand.READ)

    def _report(self, m: Module, reader: RowReader, decoder: RowDecoder, writer: RowWriter) -> None:
        """Count events and keep the last errors."""
        m.submodules.events = events = EventCounters()
        m.d.comb += [
            events.read_events.rows_read.eq(decoder.done),
            events.read_events.words_corrected.eq(decoder.corrected),
            events.read_events.uncorrectable.eq(decoder.uncorrectable),
            events.read_events.refused.eq(reader.refused),
            events.read_events.timeouts.eq(reader.timeout),
            events.write_events.eq(writer.events),
            events.clear.eq(self.clear),
            self.counters.eq(events.counters),
        ]
        with m.If(self.clear):
            m.d.sync += [self.read_error.as_value().eq(0), self.write_error.as_value().eq(0)]

        # The decoder corrects a cycle after it has looked at a row.
        decoded_row = Signal.like(reader.front)
        m.d.sync += [decoded_row.eq(reader.front), self.new_errors.eq(0)]
        with m.If(reader.refused | reader.timeout):
            m.d.sync += [
                self.new_errors[0].eq(1),
                self.read_error.kind.eq(Mux(reader.timeout, ErrorKind.TIMEOUT, ErrorKind.REFUSED)),
                self.read_error.row.eq(reader.error_row),
            ]
        with m.Elif(decoder.uncorrectable.any()):
            m.d.sync += [
                self.new_errors[0].eq(1),
                self.read_error.kind.eq(ErrorKind.UNCORRECTABLE),
                self.read_error.row.eq(decoded_row),
            ]

        kinds = {
            Outcome.DEFECT: ErrorKind.DEFECT,
            Outcome.FAILED: ErrorKind.WRITE_FAILED,
            Outcome.REFUSED: ErrorKind.REFUSED,
            Outcome.TIMEOUT: ErrorKind.TIMEOUT,
        }
        for outcome, kind in kinds.items():
            with m.If(self.written.valid & self.written.ready & (self.written.payload.outcome == outcome)):
                m.d.sync += [
                    self.new_errors[1].eq(1),
                    self.write_error.kind.eq(kind),
                    self.write_error.row.eq(self.write.payload.row),
                ]
