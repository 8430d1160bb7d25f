# SPDX-License-Identifier: Apache-2.0
"""Moves words from the store into external memory."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.dma_ports import DmaError
from respin.rtl.ports import WORD_BITS, HostRange
from respin.rtl.sequencer.descriptor import DESCRIPTOR
from respin.rtl.sequencer.errors import ErrorCode
from respin.rtl.sequencer.ports import MemoryWrite

_WORD_BYTES = 32


class Storer(Component):
    """Carries out STORE, beside jobs. Each row of it is one command to the DMA.

    Throughput: a word a cycle; 5 cycles and the latencies of DMA and store for each row.

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
        Something moved in this cycle.
    error : Out(ErrorCode), info : Out(8)
        How the last one ended; hold from its end to the next ``start`` or ``clear``.
    memory : Out(MemoryWrite())
    store_read : Out(stream(HostRange)), store_data : In(stream(256))
    """

    descriptor: In(DESCRIPTOR)
    start: In(1)
    stop: In(1)
    clear: In(1)
    idle: Out(1)
    moves: Out(1)
    error: Out(ErrorCode)
    info: Out(8)
    memory: Out(MemoryWrite())
    store_read: Out(stream.Signature(HostRange))
    store_data: In(stream.Signature(unsigned(WORD_BITS)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.clear):
            m.d.sync += self.error.eq(ErrorCode.NONE)
        body, memory = self.descriptor.transfer, self.memory
        address, pitch, base, base_pitch = Signal(32), Signal(32), Signal(20), Signal(20)
        words, rows = Signal(16), Signal(16)
        left = Signal(16)  # words of the row that have not left the store
        taken = self.store_data.valid & self.store_data.ready
        dropping = Signal()
        m.d.comb += [
            memory.command.payload.address.eq(address),
            memory.command.payload.bytes.eq(words * _WORD_BYTES),
            self.store_read.payload.base.eq(base),
            self.store_read.payload.count.eq(words),
            memory.words.payload.eq(self.store_data.payload),
            memory.words.valid.eq(self.store_data.valid & ~dropping & (left != 0)),
            self.store_data.ready.eq(dropping | (memory.words.ready & (left != 0))),
            self.moves.eq(taken | memory.status.valid | (memory.command.valid & memory.command.ready)),
        ]
        with m.If(taken):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    m.d.sync += [
                        self.error.eq(ErrorCode.NONE),
                        self.info.eq(0),
                        address.eq(body.address),
                        pitch.eq(body.pitch),
                        base.eq(body.base),
                        base_pitch.eq(body.base_pitch),
                        words.eq(body.words),
                        rows.eq(body.rows),
                    ]
                    m.next = "Ask the DMA"
            with m.State("Ask the DMA"):
                m.d.comb += memory.command.valid.eq(1)
                with m.If(memory.command.ready):
                    m.next = "Ask the store"
            with m.State("Ask the store"):
                m.d.comb += self.store_read.valid.eq(1)
                with m.If(self.store_read.ready):
                    m.d.sync += left.eq(words)
                    m.next = "Move"
            with m.State("Move"):
                m.d.comb += memory.status.ready.eq(1)
                with m.If(memory.status.valid):
                    m.next = "Drop"
                    with m.If(memory.status.payload.error != DmaError.NONE):
                        m.d.sync += [self.error.eq(ErrorCode.DMA), self.info.eq(memory.status.payload.error)]
            with m.State("Drop"):
                # A command that the DMA gave up left words in the store's reader.
                m.d.comb += dropping.eq(left != 0)
                m.d.sync += [address.eq(address + pitch), base.eq(base + base_pitch)]
                with m.If(left != 0):
                    m.d.sync += [address.eq(address), base.eq(base)]
                with m.Else():
                    m.d.sync += rows.eq(rows - 1)
                    m.next = "Ask the DMA"
                    with m.If((rows == 1) | self.stop | (self.error != ErrorCode.NONE)):
                        m.next = "Idle"
        return m
