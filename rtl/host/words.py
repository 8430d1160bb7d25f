# SPDX-License-Identifier: Apache-2.0
"""Store words out of the DMA's beats, and back."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import require_data_bits
from respin.rtl.host.dma_ports import beat_layout
from respin.rtl.ports import WORD_BITS


class BeatsToWords(Component):
    """Puts beats together to store words, the first beat lowest.

    A word that the last beat of a command leaves incomplete is filled up with zeros, so that the next command starts
    with a new word.

    Latency: 1 cycle from a word's last beat to the word. Throughput: a beat a cycle.

    Parameters
    ----------
    data_bits : int
        Bits of a beat: 32, 64, 128 or 256.

    Members
    -------
    i : In(stream(beat_layout(data_bits)))
    o : Out(stream({data: 256, last: 1}))
        ``last`` on the word that holds the last beat.
    clear : In(1)
        Beats that come in this cycle are dropped, and so is the word they were to complete: of a command that has
        timed out no last beat comes. A word that is offered stays.

    Raises
    ------
    TypeError, ValueError
        If ``data_bits`` is not such a width.
    """

    latency = 1

    def __init__(self, *, data_bits: int) -> None:
        require_data_bits(data_bits)
        self.data_bits = data_bits
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(data_bits))),
                "o": Out(stream.Signature(data.StructLayout({"data": WORD_BITS, "last": 1}))),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = WORD_BITS // self.data_bits
        index = Signal(range(beats))
        full = self.i.payload.last | (index == beats - 1)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready | self.clear)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.clear):
            m.d.sync += index.eq(0)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [self.o.valid.eq(full), self.o.payload.last.eq(self.i.payload.last)]
            m.d.sync += index.eq(Mux(full, 0, index + 1))
            with m.Switch(index):
                for number in range(beats):
                    with m.Case(number):
                        low = number * self.data_bits
                        m.d.sync += self.o.payload.data[low:].eq(self.i.payload.data)
        return m


class WordsToBeats(Component):
    """Takes store words apart into beats, the lowest bits first.

    Latency: 1 cycle. Throughput: a beat a cycle.

    Parameters
    ----------
    data_bits : int
        Bits of a beat: 32, 64, 128 or 256.

    Members
    -------
    i : In(stream(256))
    o : Out(stream(data_bits))
    clear : In(1)
        Beats that are left of a word are dropped, and none is taken in this cycle: its command has timed out.

    Raises
    ------
    TypeError, ValueError
        If ``data_bits`` is not such a width.
    """

    latency = 1

    def __init__(self, *, data_bits: int) -> None:
        require_data_bits(data_bits)
        self.data_bits = data_bits
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(WORD_BITS))),
                "o": Out(stream.Signature(data_bits)),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = WORD_BITS // self.data_bits
        word, left = Signal(WORD_BITS), Signal(range(beats))
        # Whether none is left after this beat, kept beside the count: it alone chooses what each bit takes over.
        last, moves = Signal(init=1), Signal()
        m.d.comb += [
            self.o.payload.eq(word),
            moves.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(last & moves & ~self.clear),
        ]
        with m.If(moves):
            m.d.sync += word.eq(Mux(last, self.i.payload, word >> self.data_bits))
            with m.If(~last):
                m.d.sync += [left.eq(left - 1), last.eq(left == 1)]
            with m.Else():
                m.d.sync += self.o.valid.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [left.eq(beats - 1), last.eq(beats == 1)]
        with m.If(self.clear):
            m.d.sync += [self.o.valid.eq(0), last.eq(1)]
        return m
