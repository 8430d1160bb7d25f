# SPDX-License-Identifier: Apache-2.0
"""Moves what external memory holds to where it belongs: store words, table entries, biases and rows."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.interfaces import ROW
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import ReadRow, WriteStatus, landed
from respin.rtl.ports import HostRow, HostWord, TableWrite
from respin.rtl.sequencer.descriptor import DESCRIPTOR, Opcode
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode
from respin.rtl.sequencer.ports import MemoryRead, gives_no_words
from respin.rtl.vector.table import QuantiserEntry

_WORD_BYTES = 32
_ENTRIES = 2
"""Table entries in a word of external memory."""
_PIECE_BYTES = BLOCK // _ENTRIES * _WORD_BYTES
"""The entries that the biases of a row belong to."""


class Loader(Component):
    """Carries out LOAD, TABLE, BIASES and ROWS, one at a time.

    LOAD and TABLE go on beside jobs; the others take rows of MRAM, as jobs do, so the sequencer waits for them.
    A row of a LOAD, a whole TABLE, 32 BIASES and one of ROWS each are one command to the DMA: a row of MRAM may take
    longer to write than the DMA lets data wait.

    Throughput: a word a cycle for LOAD, an entry a cycle for TABLE and BIASES, the bank controller's for ROWS; 5 cycles
    and the DMA's latency for each command.

    Members
    -------
    descriptor : In(DESCRIPTOR)
        What to do; taken over with ``start``.
    start : In(1)
        Only while ``idle``.
    stop : In(1)
        End after the command under way.
    clear : In(1)
        Forget how the last one ended.
    idle : Out(1)
    moves : Out(1)
        Something moved in this cycle, or an MRAM row is being written, which the bank controller bounds.
    error : Out(ErrorCode), info : Out(8)
        How the last one ended; hold from its end to the next ``start`` or ``clear``.
    memory : Out(MemoryRead())
    store_write : Out(stream(HostWord)), table_write : Out(stream(TableWrite))
    row_write : Out(stream(HostRow)), row_written : In(stream(WriteStatus))
    row_read : Out(stream(ReadJob)), row_data : In(stream(ReadRow))
    """

    descriptor: In(DESCRIPTOR)
    start: In(1)
    stop: In(1)
    clear: In(1)
    idle: Out(1)
    moves: Out(1)
    error: Out(ErrorCode)
    info: Out(8)
    memory: Out(MemoryRead())
    store_write: Out(stream.Signature(HostWord))
    table_write: Out(stream.Signature(TableWrite))
    row_write: Out(stream.Signature(HostRow))
    row_written: In(stream.Signature(WriteStatus))
    row_read: Out(stream.Signature(ReadJob))
    row_data: In(stream.Signature(ReadRow))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.clear):
            m.d.sync += self.error.eq(ErrorCode.NONE)
        memory, words = self.memory, self.memory.words
        self._opcode, self._address, self._pitch = Signal(Opcode, init=Opcode.LOAD), Signal(32), Signal(32)
        self._base, self._base_pitch = Signal(20), Signal(20)
        self._words, self._left = Signal(16), Signal(32)  # words of a row, and rows, entries or MRAM rows to come
        self._place, self._row, self._shift = Signal(20), Signal(32), Signal(5)
        load, rows, biases = (self._opcode == opcode for opcode in (Opcode.LOAD, Opcode.ROWS, Opcode.BIASES))
        entries = ~load & ~rows
        taken, self._taking, self._half = Signal(), Signal(), Signal()
        self._entry_number = Signal(range(BLOCK))
        self._weights = Signal(ROW)

        # Entries of this command, and its bytes.
        piece = Mux(biases & (self._left > BLOCK), BLOCK, self._left)[: len(self._words) + 1]
        count = Mux(load, self._words, Mux(rows, 1, (piece + 1) >> 1))
        m.d.comb += [
            memory.command.payload.address.eq(self._address),
            memory.command.payload.bytes.eq(count * _WORD_BYTES),
            taken.eq(words.valid & words.ready),
            self.moves.eq(
                taken | (memory.command.valid & memory.command.ready) | memory.status.valid
                | (self.row_read.valid & self.row_read.ready)
            ),
        ]  # fmt: skip
        whole = Signal()  # the command's last word was taken
        with m.If(taken & words.payload.last):
            m.d.sync += whole.eq(1)
        self._destinations(m, load, rows, entries, biases)
        with m.FSM():
            with m.State("Idle"):
                # What a command that timed out still has to say is nobody's.
                m.d.comb += [self.idle.eq(1), words.ready.eq(1)]
                with m.If(self.start):
                    self._begin(m)
                    m.next = "Ask"
                    with m.If(self.descriptor.header.opcode == Opcode.BIASES):
                        m.next = "Ask for the biases"
            with m.State("Ask for the biases"):
                m.d.comb += self.row_read.valid.eq(1)
                with m.If(self.row_read.ready):
                    m.next = "Take the biases"
            with m.State("Take the biases"):
                m.d.comb += self.row_data.ready.eq(1)
                m.d.sync += self._weights.eq(self.row_data.payload.data)
                with m.If(self.row_data.valid):
                    m.next = "Ask"
                    with m.If(self.row_data.payload.uncorrectable):
                        m.d.sync += [self.error.eq(ErrorCode.ROW), self.info.eq(UNCORRECTABLE_ROW)]
                        m.next = "Idle"
            with m.State("Ask"):
                m.d.comb += memory.command.valid.eq(1)
                m.d.sync += whole.eq(0)
                with m.If(memory.command.ready):
                    m.next = "Take"
            with m.State("Take"):
                # The status may overtake the last word.
                m.d.comb += [memory.status.ready.eq(1), self._taking.eq(1)]
                with m.If(memory.status.valid):
                    m.next = "Take the last word"
                    with m.If(memory.status.payload.error != DmaError.NONE):
                        m.d.sync += [self.error.eq(ErrorCode.DMA), self.info.eq(memory.status.payload.error)]
                        with m.If(gives_no_words(memory.status.payload.error)):
                            m.next = "Idle"
            with m.State("Take the last word"):
                m.d.comb += self._taking.eq(1)
                with m.If(whole):
                    m.next = "Move on"
            with m.State("Move on"):
                self._advance(m, load, rows, biases)
        return m

    def _begin(self, m: Module) -> None:
        """Take the descriptor's fields over: LOAD goes on when the next descriptor has long come."""
        body = self.descriptor
        opcode = body.header.opcode
        m.d.sync += [
            self.error.eq(ErrorCode.NONE),
            self.info.eq(0),
            self._opcode.eq(opcode),
            self._address.eq(body.table.address),  # first in every body
            self._pitch.eq(body.transfer.pitch),
            self._base_pitch.eq(body.transfer.base_pitch),
            self._words.eq(body.transfer.words),
            self._row.eq(Mux(opcode == Opcode.ROWS, body.rows.row, body.biases.row)),
            self._shift.eq(body.biases.shift),
            self._entry_number.eq(0),
            self._half.eq(0),
        ]
        with m.If(opcode == Opcode.LOAD):
            m.d.sync += [self._left.eq(body.transfer.rows), self._place.eq(body.transfer.base)]
            m.d.sync += self._base.eq(body.transfer.base)
        with m.Elif(opcode == Opcode.ROWS):
            m.d.sync += self._left.eq(body.rows.count)
        with m.Else():
            m.d.sync += [self._left.eq(body.table.count), self._place.eq(body.table.index)]

    def _destinations(self, m: Module, load: Value, rows: Value, entries: Value, biases: Value) -> None:
        """Where a word goes."""
        words, word = self.memory.words, self.memory.words.payload.data
        half = self._half
        last_entry = self._left == 1
        entry = Signal(QuantiserEntry)
        weight = self._weights.as_value().word_select(self._entry_number, 8).as_signed()
        m.d.comb += [
            entry.as_value().eq(word.word_select(half, len(word) // _ENTRIES)),
            self.store_write.payload.addr.eq(self._place),
            self.store_write.payload.data.eq(word),
            self.table_write.payload.index.eq(self._place),
            self.table_write.payload.entry.eq(entry.as_value()),
            self.row_write.payload.row.eq(self._row),
            self.row_write.payload.data.eq(word),
            self.row_read.payload.of_row(self._row),
        ]
        with m.If(biases):
            shifted = QuantiserEntry(self.table_write.payload.entry)
            m.d.comb += shifted.bias.eq(entry.bias + (weight << self._shift))
        with m.If(load & self._taking):
            m.d.comb += [self.store_write.valid.eq(words.valid), words.ready.eq(self.store_write.ready)]
            with m.If(words.valid & words.ready):
                m.d.sync += self._place.eq(self._place + 1)
        with m.If(entries & self._taking):
            m.d.comb += [
                self.table_write.valid.eq(words.valid),
                words.ready.eq(self.table_write.ready & (half | last_entry)),
            ]
            with m.If(words.valid & self.table_write.ready):
                m.d.sync += [
                    half.eq(~half & ~last_entry),
                    self._place.eq(self._place + 1),
                    self._entry_number.eq(self._entry_number + 1),
                    self._left.eq(self._left - 1),
                ]
        with m.If(rows & self._taking):
            self._write_row(m)

    def _write_row(self, m: Module) -> None:
        """A row is taken when its write has ended: the bank controller looks at it for as long."""
        words, written = self.memory.words, self.row_written
        asked = Signal()
        outcome = written.payload.outcome
        # The status may come in the very cycle in which the request is taken.
        m.d.comb += [
            self.row_write.valid.eq(words.valid & ~asked),
            written.ready.eq(words.valid),
            words.ready.eq(written.valid),
        ]
        with m.If(words.valid):
            m.d.comb += self.moves.eq(1)
        with m.If(self.row_write.valid & self.row_write.ready):
            m.d.sync += asked.eq(1)
        with m.If(written.valid & written.ready):
            m.d.sync += asked.eq(0)
            with m.If(~landed(outcome)):
                m.d.sync += [self.error.eq(ErrorCode.ROW), self.info.eq(outcome)]

    def _advance(self, m: Module, load: Value, rows: Value, biases: Value) -> None:
        """To the next command, or the end."""
        left = Signal.like(self._left)
        m.d.comb += left.eq(Mux(load | rows, self._left - 1, self._left))
        m.d.sync += [
            self._left.eq(left),
            self._address.eq(self._address + Mux(load, self._pitch, Mux(rows, _WORD_BYTES, _PIECE_BYTES))),
            self._row.eq(self._row + 1),
            self._base.eq(self._base + self._base_pitch),
        ]
        with m.If(load):
            m.d.sync += self._place.eq(self._base + self._base_pitch)
        m.next = "Ask"
        with m.If(biases):
            m.next = "Ask for the biases"
        with m.If((left == 0) | self.stop | (self.error != ErrorCode.NONE)):
            m.next = "Idle"
