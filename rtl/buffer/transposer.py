# SPDX-License-Identifier: Apache-2.0
"""Turns 32 words of one pixel each into 32 words of one channel each."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import word_stream

INDEX_BITS = (BLOCK - 1).bit_length()


class Exchange(Component):
    """Moves lane ``i`` of each plane to lane ``i ^ index``: a stage of two-way multiplexers for each bit of the index.

    Parameters
    ----------
    planes:
        Planes of 32 lanes, side by side.

    Members
    -------
    i, o:
        In and Out(32 * planes).
    index:
        In(5).
    """

    def __init__(self, *, planes: int) -> None:
        super().__init__({"i": In(BLOCK * planes), "index": In(INDEX_BITS), "o": Out(BLOCK * planes)})

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = self.i
        for stage in range(INDEX_BITS):
            distance = 1 << stage
            left = Signal(len(lanes), name=f"stage_{stage}")
            low = Const(sum(1 << lane for lane in range(len(lanes)) if not lane & distance), len(lanes))
            swapped = ((lanes & low) << distance) | ((lanes >> distance) & low)
            m.d.comb += left.eq(Mux(self.index[stage], swapped, lanes))
            lanes = left
        m.d.comb += self.o.eq(lanes)
        return m


class Transposer(Component):
    """A stream of blocks: 32 words [8 planes x 32 channels of one pixel] in, 32 words [8 planes x 32 pixels of one
    channel] out.

    Memory ``j`` of 32 holds the byte of channel ``c`` of pixel ``p`` where ``j = c ^ p``, so that both the word of a
    pixel and the word of a channel lie in 32 different memories: one access each. On the way in and out the lanes of T
    planes a cycle are exchanged accordingly. The address is the word's index in all memories, or in memory ``j`` that
    index ``^ j``; the two take turns from block to block, so that the words of a new block go where the
    words of the one before it have just been read, and one block of memory is enough.

    Latency: ``33 * 8/T`` cycles from a block's first word offered to its first word out.
    Throughput: a word in ``8/T`` cycles, in and out at the same time, without a gap between blocks.
    ``i.ready`` depends on ``o.ready`` within the cycle.

    Parameters
    ----------
    config:
        Uses ``transposers`` (T, planes exchanged in a cycle).

    Members
    -------
    i:
        In(stream of WORD).
    o:
        Out(stream of WORD), registered.

    Raises
    ------
    TypeError
        If ``config`` is no :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self.passes = PLANES // config.transposers
        self.latency = (BLOCK + 1) * self.passes
        super().__init__({"i": In(word_stream()), "o": Out(word_stream())})

    def elaborate(self, platform) -> Module:
        m = Module()
        self._banks = []
        for number in range(BLOCK):
            bank = Memory(shape=PLANES, depth=BLOCK, init=[])
            m.submodules[f"bank_{number}"] = bank
            self._banks.append((bank.read_port(domain="comb"), bank.write_port()))

        # Index of the next word and, in the top bit, the parity of its block.
        written, read = Signal(INDEX_BITS + 1), Signal(INDEX_BITS + 1)
        write, write_done, read_done = Signal(), Signal(), Signal()
        filled = written[-1] != read[-1]  # the block that is read next is complete
        index_in, index_out = written[:-1], read[:-1]
        free = ~filled | (index_in < index_out) | ((index_in == index_out) & read_done)

        m.d.comb += [
            self.i.ready.eq(write_done & free),
            write.eq(self.i.valid & self.i.ready),
        ]
        self._scatter(m, written, write, write_done, free)
        self._gather(m, read, filled, read_done)
        m.d.sync += [written.eq(written + write), read.eq(read + read_done)]
        return m

    def _address(self, bank: int, index: Value, turned: Value) -> Value:
        return index ^ Mux(turned, Const(bank, INDEX_BITS), 0)

    def _next_pass(self, m: Module, number: Signal, go: Value) -> Value:
        """Count the passes over a word's planes; return "this is the last one"."""
        last = number == self.passes - 1
        with m.If(go):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        return last

    def _scatter(self, m: Module, written: Signal, write: Signal, write_done: Signal, free: Value) -> None:
        """Exchange the lanes of a word that comes in, pass by pass, and write its bytes with the last one."""
        number = Signal(range(self.passes))
        last = self._next_pass(m, number, self.i.valid & (~write_done | free))
        m.d.comb += write_done.eq(last)
        width = BLOCK * self.config.transposers
        m.submodules.scatter = exchange = Exchange(planes=self.config.transposers)
        m.d.comb += [
            exchange.i.eq(self.i.payload.as_value().word_select(number, width)),
            exchange.index.eq(written[:-1]),
        ]
        earlier = Signal(width * (self.passes - 1))
        for low in range(0, len(earlier), width):
            with m.If(number == low // width):
                m.d.sync += earlier[low : low + width].eq(exchange.o)
        word = Cat(earlier, exchange.o)
        for bank, (_, port) in enumerate(self._banks):
            m.d.comb += [
                port.addr.eq(self._address(bank, written[:-1], written[-1])),
                port.data.eq(word[bank::BLOCK]),
                port.en.eq(write),
            ]

    def _gather(self, m: Module, read: Signal, filled: Value, read_done: Signal) -> None:
        """Read a word, exchange its lanes back, pass by pass, and put it out."""
        number, go = Signal(range(self.passes)), Signal()
        last = self._next_pass(m, number, go)
        m.d.comb += [go.eq(filled & (~self.o.valid | self.o.ready)), read_done.eq(go & last)]
        for bank, (port, _) in enumerate(self._banks):
            m.d.comb += port.addr.eq(self._address(bank, read[:-1], ~read[-1]))
        word = Cat(port.data[plane] for plane in range(PLANES) for port, _ in self._banks)
        width = BLOCK * self.config.transposers
        m.submodules.gather = exchange = Exchange(planes=self.config.transposers)
        m.d.comb += [exchange.i.eq(word.word_select(number, width)), exchange.index.eq(read[:-1])]
        for low in range(0, BLOCK * PLANES, width):
            with m.If(go & (number == low // width)):
                m.d.sync += self.o.payload.as_value()[low : low + width].eq(exchange.o)
        with m.If(go | self.o.ready):
            m.d.sync += self.o.valid.eq(read_done)
