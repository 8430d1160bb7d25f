# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit: each channel has its own filter, so lanes multiply bit-parallel and sum over taps, not lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import ROW, row_stream, word_stream
from respin.rtl.jobs import DepthwiseJob

MAX_TAPS = 64
"""Taps of the largest filter (8x8); the rows of two blocks are held."""

SUMS = data.ArrayLayout(signed(32), BLOCK)
"""What the unit puts out: one sum for each channel of a block."""


class DepthwiseUnit(Component):
    """``sum[lane] = sum over taps of row[tap][lane] * word[tap][lane]`` for 32 channels.

    With fewer than 32 multipliers a word takes ``32 / depthwise_lanes`` beats, and the sums rotate past the adders.

    Arithmetic: int8 rows, 8-bit words (signed or unsigned), int32 sums, exact.

    Throughput: one word in ``32 / depthwise_lanes`` cycles, without gaps between taps, items and blocks while the rows
    of the next block are there; a word of the first block waits for the row of its tap. Results at most one for each
    ``taps`` words. Latency: a result is there ``latency`` cycles after the last word of its item was accepted.

    Parameters
    ----------
    config:
        ``depthwise_lanes``.

    Members
    -------
    job : In(stream of DepthwiseJob)
        Every count at least 1, ``taps`` at most 64. Taken when the rows and words of the one before are in.
    rows : In(stream of ROW)
        ``taps`` rows for each block; those of the next block load while this one's words are processed.
    words : In(stream of WORD)
        One for each tap and item, tap fastest.
    results : Out(stream of 32 signed(32))
        One for each item of each block.
    idle : Out(1)
        Nothing is left of any job.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self.beats = BLOCK // config.depthwise_lanes
        self.latency = 2 + self.beats
        super().__init__(
            {
                "job": In(stream.Signature(DepthwiseJob)),
                "rows": In(row_stream()),
                "words": In(word_stream()),
                "results": Out(stream.Signature(SUMS)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Signal(DepthwiseJob)
        loading, running = Signal(), Signal()
        loaded, consumed = Signal(), Signal()  # a block's rows are in; its last word is
        held = Signal(range(3))  # blocks whose rows are in the memory
        arrived = Signal(range(MAX_TAPS))  # rows of the block that loads

        m.submodules.row_memory = row_memory = Memory(shape=ROW, depth=2 * MAX_TAPS, init=[])
        m.d.comb += self.job.ready.eq(~loading & ~running)
        self._load_rows(m, row_memory.write_port(), job, loading, held, arrived, loaded)
        m.d.sync += held.eq(held + loaded - consumed)

        go = Signal()  # the pipeline moves
        rows = (held, arrived)
        stage = self._take_words(m, row_memory.read_port(), job, running, go, rows, consumed)
        self._accumulate(m, stage, go)
        with m.If(self.job.ready & self.job.valid):
            m.d.sync += [job.eq(self.job.payload), loading.eq(1), running.eq(1)]
        return m

    def _load_rows(
        self,
        m: Module,
        write: object,
        job: data.View,
        loading: Signal,
        held: Signal,
        tap: Signal,
        loaded: Signal,
    ) -> None:
        """Fill the halves of the row memory in turn, a block each."""
        block, half = Signal.like(job.blocks), Signal()
        accepted = self.rows.valid & self.rows.ready
        m.d.comb += [
            self.rows.ready.eq(loading & (held != 2)),
            write.en.eq(accepted),
            write.addr.eq(Cat(tap, half)),
            write.data.eq(self.rows.payload),
            loaded.eq(accepted & (tap == job.taps - 1)),
        ]
        with m.If(accepted):
            m.d.sync += tap.eq(Mux(loaded, 0, tap + 1))
        with m.If(loaded):
            m.d.sync += [half.eq(~half), block.eq(block + 1)]
            with m.If(block == job.blocks - 1):
                m.d.sync += [block.eq(0), loading.eq(0)]

    def _take_words(
        self,
        m: Module,
        read: object,
        job: data.View,
        running: Signal,
        go: Signal,
        rows: tuple[Signal, Signal],
        consumed: Signal,
    ) -> data.View:
        """Walk blocks, items and taps; return the registered products and their place."""
        lanes = self.config.depthwise_lanes
        word = Signal(self.words.payload.shape())
        # The word held, with its row at the memory's output; its job may be over already.
        valid, first, last, is_signed = Signal(), Signal(), Signal(), Signal()
        beat, beat_end, accepted = Signal(range(self.beats)), Signal(), Signal()
        tap, item, block, half = Signal(range(MAX_TAPS)), Signal.like(job.items), Signal.like(job.blocks), Signal()
        tap_last = tap == job.taps - 1
        held, arrived = rows
        # While no block is whole, the one that loads is the one that is wanted: its first rows will do.
        row_there = (held != 0) | (tap < arrived)

        m.d.comb += [
            beat_end.eq(beat == self.beats - 1),
            self.words.ready.eq(running & row_there & go & (~valid | beat_end)),
            accepted.eq(self.words.valid & self.words.ready),
            read.en.eq(accepted),
            read.addr.eq(Cat(tap, half)),
            consumed.eq(accepted & tap_last & (item == job.items - 1)),
        ]
        with m.If(go & valid):
            m.d.sync += [beat.eq(Mux(beat_end, 0, beat + 1)), valid.eq(~beat_end)]
        with m.If(accepted):
            m.d.sync += [word.eq(self.words.payload), valid.eq(1), first.eq(tap == 0), last.eq(tap_last)]
            m.d.sync += is_signed.eq(job.signed)
            m.d.sync += tap.eq(Mux(tap_last, 0, tap + 1))
            with m.If(tap_last):
                m.d.sync += item.eq(Mux(consumed, 0, item + 1))
        with m.If(consumed):
            m.d.sync += [half.eq(~half), block.eq(block + 1)]
            with m.If(block == job.blocks - 1):
                m.d.sync += [block.eq(0), running.eq(0)]

        stage = Signal(
            data.StructLayout({
                "products": data.ArrayLayout(signed(2 * PLANES + 1), lanes),
                "valid": 1,
                "first": 1,
                "end": 1,
            })
        )  # fmt: skip
        numbers = [Cat(*(plane[lane] for plane in word), word[-1][lane] & is_signed) for lane in range(BLOCK)]
        operands = Cat(*numbers).word_select(beat, lanes * (PLANES + 1))
        weights = read.data.as_value().word_select(beat, lanes * PLANES)
        with m.If(go):
            m.d.sync += [stage.valid.eq(valid), stage.first.eq(first), stage.end.eq(last & beat_end)]
            for lane, product in enumerate(stage.products):
                operand = operands.word_select(lane, PLANES + 1).as_signed()
                m.d.sync += product.eq(operand * weights.word_select(lane, PLANES).as_signed())
        m.d.comb += self.idle.eq(self.job.ready & ~valid & ~stage.valid & ~self.results.valid)
        return stage

    def _accumulate(self, m: Module, stage: data.View, go: Signal) -> None:
        """Rotate the sums by the lanes of a beat, adding products; after a whole turn each is back in its place."""
        lanes = self.config.depthwise_lanes
        sums, turned = Signal(SUMS), Signal(SUMS)
        done = stage.valid & stage.end
        m.d.comb += go.eq(~(done & self.results.valid & ~self.results.ready))
        for lane in range(BLOCK - lanes):
            m.d.comb += turned[lane].eq(sums[lane + lanes])
        for lane, product in enumerate(stage.products):
            m.d.comb += turned[BLOCK - lanes + lane].eq(product + Mux(stage.first, 0, sums[lane]))
        with m.If(stage.valid & go):
            m.d.sync += sums.eq(turned)
        with m.If(self.results.ready):
            m.d.sync += self.results.valid.eq(0)
        with m.If(done & go):
            m.d.sync += [self.results.valid.eq(1), self.results.payload.eq(turned)]
