# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit: each channel has its own filter, so lanes multiply bit-parallel and sum over taps, not lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import ROW, row_stream, word_stream
from respin.rtl.jobs import EXTENT, KERNEL, DepthwiseJob, WindowJob

MAX_TAPS = 64
"""Taps of the largest filter (8x8); the rows of two blocks are held."""

SUM_BITS = 22
"""Of 64 products of an int8 and 8 bits: at most ``64 * 128 * 255 < 2^21``."""

SUMS = data.ArrayLayout(signed(32), BLOCK)
"""What the unit puts out: one sum for each channel of a block."""

WEIGHTS = data.StructLayout({"row": ROW, "used": 1})
"""A place of an entry of the row memory; what is not used counts as 0."""

FLAGS = data.StructLayout({
    "first": 1,  # of its column
    "whole": 1,  # the last of its column, with which a sum has met all its taps
    "line_last": 1,
})
"""What a word means to the sums."""


class DepthwiseOrder(data.Struct):
    """A depthwise job and the window job that brings its words: the second one says which blocks, lines and columns
    there are, and that a column has ``steps = kh * kw`` words."""

    depthwise: DepthwiseJob
    window: WindowJob


class DepthwiseUnit(Component):
    """``sum[lane] = sum over taps of weight[tap][lane] * x[tap][lane]`` for 32 channels, along rows of outputs.

    Words come column by column. Each is multiplied with up to T taps of its kernel row, which add to T sums under way;
    from one column to the next every sum moves on by one tap, and the one that has met them all leaves. With fewer
    than 32 lanes a word takes ``32 / depthwise_lanes`` beats, and the sums rotate past the adders.

    Rows lie in the memory as they are wanted: an entry has T places for the taps of a word. A job with fewer than T
    taps to a word leaves out the first places, so that sums always leave behind the last one.

    Arithmetic: int8 rows, 8-bit words (signed or unsigned), sums exact in 22 bits.

    Throughput: one word in ``32 / depthwise_lanes`` cycles, without gaps between columns, lines and blocks while the
    rows of the next block are there; a word of the first block waits for the rows of its kernel row. Results at most
    one for each column. Latency: a result is there ``latency`` cycles after the last word of its column was accepted.

    Parameters
    ----------
    config:
        ``depthwise_lanes``, ``depthwise_taps`` (T).

    Members
    -------
    order : In(stream of DepthwiseOrder)
        ``taps`` at most T, ``window.kh * kw`` at most 64. Held at ``payload`` until ``ready``, which follows its last
        word.
    rows : In(stream of ROW)
        ``window.kh * kw`` rows for each block; those of the next block load while this one's words are processed.
    words : In(stream of WORD)
        ``for block: for line (n, oy): for column: window.steps words``.
    results : Out(stream of 32 signed(32))
        For each line of each block ``window.ow - taps + 1``.
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
                "order": In(stream.Signature(DepthwiseOrder)),
                "rows": In(row_stream()),
                "words": In(word_stream()),
                "results": Out(stream.Signature(SUMS)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loading, running = Signal(), Signal()
        loaded, consumed = Signal(), Signal()  # a block's rows are in; its last word is
        held = Signal(range(3))  # blocks whose rows are in the memory
        there = Signal(range(MAX_TAPS))  # entries of the block that loads

        # An entry is read once all its taps are there, so never while it is written: Yosys need not look.
        m.submodules.row_memory = row_memory = Memory(
            shape=data.ArrayLayout(WEIGHTS, self.config.depthwise_taps),
            depth=2 * MAX_TAPS,
            init=[],
            attrs={"no_rw_check": 1},
        )
        write, read = row_memory.write_port(granularity=1), row_memory.read_port()
        self._load_rows(m, write, loading, held, there, loaded)
        m.d.sync += held.eq(held + loaded - consumed)

        go = Signal()  # the pipeline moves
        stage = self._take_words(m, read, running, go, (held, there), consumed)
        self._accumulate(m, stage, go)
        with m.If(self.order.valid & ~running & ~self.order.ready):
            m.d.sync += [loading.eq(1), running.eq(1)]
        return m

    def _load_rows(
        self,
        m: Module,
        write: object,
        loading: Signal,
        held: Signal,
        there: Signal,
        loaded: Signal,
    ) -> None:
        """Fill the halves of the row memory in turn, a block each: each tap to its entry, and to its place in it."""
        job, window = self.order.payload.depthwise, self.order.payload.window
        most = self.config.depthwise_taps
        block, half, ky, kx = Signal.like(window.repeats), Signal(), Signal(KERNEL), Signal(KERNEL)
        inner, outer = Signal(KERNEL), Signal(KERNEL)  # taps come entry by entry, or strided: place by place
        entry, tap, place = Signal(KERNEL), Signal(KERNEL), Signal(KERNEL)
        accepted = self.rows.valid & self.rows.ready
        inner_last, row_last = inner == Mux(job.strided, window.kw, job.taps) - 1, kx == job.kw - 1
        m.d.comb += [
            self.rows.ready.eq(loading & (held != 2)),
            entry.eq(Mux(job.strided, inner, outer)),
            tap.eq(Mux(job.strided, outer, inner)),
            place.eq(most - job.taps + tap),
            write.addr.eq(Cat((there + entry)[: len(there)], half)),
            loaded.eq(accepted & row_last & (ky == window.kh - 1)),
        ]
        for number, weights in enumerate(write.data):
            m.d.comb += [
                weights.row.eq(self.rows.payload),
                weights.used.eq(place == number),
                # The first tap of an entry says that the others are not there yet.
                write.en[number].eq(accepted & ((place == number) | (tap == 0))),
            ]
        with m.If(accepted):
            m.d.sync += [
                kx.eq(Mux(row_last, 0, kx + 1)),
                inner.eq(Mux(row_last | inner_last, 0, inner + 1)),
                outer.eq(Mux(row_last, 0, outer + inner_last)),
            ]
            with m.If(row_last):
                m.d.sync += [ky.eq(Mux(loaded, 0, ky + 1)), there.eq(Mux(loaded, 0, there + window.kw))]
        with m.If(loaded):
            m.d.sync += [half.eq(~half), block.eq(block + 1)]
            with m.If(block == window.repeats - 1):
                m.d.sync += [block.eq(0), loading.eq(0)]

    def _take_words(
        self,
        m: Module,
        read: object,
        running: Signal,
        go: Signal,
        rows: tuple[Signal, Signal],
        consumed: Signal,
    ) -> data.View:
        """Walk blocks, lines, columns and their words; return the registered products and their place."""
        job, window = self.order.payload.depthwise, self.order.payload.window
        lanes = self.config.depthwise_lanes
        word = Signal(self.words.payload.shape())
        # The word held, with its entry at the memory's output; its job may be over already.
        valid, is_signed = Signal(), Signal()
        flags = Signal(FLAGS)
        beat, beat_end, accepted = Signal(range(self.beats)), Signal(), Signal()
        entry, column, oy, n = Signal(range(MAX_TAPS)), Signal(EXTENT), Signal(EXTENT), Signal.like(window.n)
        block, half = Signal.like(window.repeats), Signal()
        entry_last, column_last = entry == window.steps - 1, column == window.ow - 1
        oy_last, n_last, block_last = oy == window.oh - 1, n == window.n - 1, block == window.repeats - 1
        held, there = rows
        # While no block is whole, the one that loads is the one that is wanted: its first entries will do.
        entry_there = (held != 0) | (entry < there)

        m.d.comb += [
            beat_end.eq(beat == self.beats - 1),
            self.words.ready.eq(running & entry_there & go & (~valid | beat_end)),
            accepted.eq(self.words.valid & self.words.ready),
            read.en.eq(accepted),
            read.addr.eq(Cat(entry, half)),
            consumed.eq(accepted & entry_last & column_last & oy_last & n_last),
        ]
        with m.If(go & valid):
            m.d.sync += [beat.eq(Mux(beat_end, 0, beat + 1)), valid.eq(~beat_end)]
        m.d.sync += self.order.ready.eq(consumed & block_last)
        with m.If(accepted):
            m.d.sync += [
                word.eq(self.words.payload),
                valid.eq(1),
                is_signed.eq(job.signed),
                flags.first.eq(entry == 0),
                flags.whole.eq(entry_last & (column >= job.taps - 1)),
                flags.line_last.eq(entry_last & column_last),
                entry.eq(Mux(entry_last, 0, entry + 1)),
            ]
            with m.If(entry_last):
                m.d.sync += column.eq(Mux(column_last, 0, column + 1))
                with m.If(column_last):
                    m.d.sync += oy.eq(Mux(oy_last, 0, oy + 1))
                    with m.If(oy_last):
                        m.d.sync += n.eq(Mux(n_last, 0, n + 1))
        with m.If(consumed):
            m.d.sync += [half.eq(~half), block.eq(Mux(block_last, 0, block + 1))]
            with m.If(block_last):
                m.d.sync += running.eq(0)

        products = data.ArrayLayout(data.ArrayLayout(signed(2 * PLANES + 1), lanes), self.config.depthwise_taps)
        stage = Signal(data.StructLayout({"products": products, "valid": 1, "beat_end": 1, "flags": FLAGS}))
        numbers = [Cat(*(plane[lane] for plane in word), word[-1][lane] & is_signed) for lane in range(BLOCK)]
        # Signals, as every lane and tap reads them: an expression would be emitted, and simulated, once for each.
        operands = Signal(data.ArrayLayout(signed(PLANES + 1), lanes))
        m.d.comb += operands.eq(Cat(*numbers).word_select(beat, lanes * (PLANES + 1)))
        with m.If(go):
            m.d.sync += [stage.valid.eq(valid), stage.beat_end.eq(beat_end), stage.flags.eq(flags)]
        for place, weights in zip(stage.products, read.data, strict=True):
            row = Signal(data.ArrayLayout(signed(PLANES), lanes))
            m.d.comb += row.eq(weights.row.as_value().word_select(beat, lanes * PLANES))
            with m.If(go):
                for product, operand, weight in zip(place, operands, row, strict=True):
                    m.d.sync += product.eq(operand * weight)
            # Registers have a reset that comes before their enable: nothing needs a gate.
            with m.If(go & ~weights.used):
                m.d.sync += place.eq(0)
        m.d.comb += self.idle.eq(~running & ~self.order.ready & ~valid & ~stage.valid & ~self.results.valid)
        return stage

    def _accumulate(self, m: Module, stage: data.View, go: Signal) -> None:
        """Rotate the sums by the lanes of a beat, adding products; after a whole turn each is back in its place. With
        the first word of a column they move on by one tap."""
        lanes, taps = self.config.depthwise_lanes, self.config.depthwise_taps
        layout = data.ArrayLayout(data.ArrayLayout(signed(SUM_BITS), taps), BLOCK)
        sums, turned = Signal(layout), Signal(layout)
        results = Signal(data.ArrayLayout(signed(SUM_BITS), BLOCK))
        done = stage.valid & stage.beat_end & stage.flags.whole
        m.d.comb += go.eq(~(done & self.results.valid & ~self.results.ready))
        added = []
        for lane in range(lanes):
            for tap in range(taps):
                before = sums[lane][tap - 1] if tap else 0
                total = stage.products[tap][lane] + Mux(stage.flags.first, before, sums[lane][tap])
                added.append(total[:SUM_BITS])
        # In one piece: Icarus goes through all bits of a wide net for each part that is assigned by itself.
        m.d.comb += turned.eq(Cat(*(sums[lane] for lane in range(lanes, BLOCK)), *added))
        with m.If(stage.valid & go):
            m.d.sync += sums.eq(turned)
        # The next line begins with sums of 0; a reset that comes before the enable, again.
        with m.If(stage.valid & go & stage.beat_end & stage.flags.line_last):
            m.d.sync += sums.eq(0)
        with m.If(self.results.ready):
            m.d.sync += self.results.valid.eq(0)
        with m.If(done & go):
            m.d.sync += self.results.valid.eq(1)
            m.d.sync += [result.eq(lane[taps - 1]) for result, lane in zip(results, turned, strict=True)]
        wide = [Cat(result, result[-1].replicate(32 - SUM_BITS)) for result in results]
        m.d.comb += self.results.payload.eq(Cat(*wide))
