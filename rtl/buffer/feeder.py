# SPDX-License-Identifier: Apache-2.0
"""Operands of the weight-gradient pass: errors and activations of 32 pixels, both through one transposer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.buffer.fetch import Fetch
from respin.rtl.buffer.transposer import Transposer
from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import StoreRead, row_stream, word_stream
from respin.rtl.jobs import COUNT, FeedJob

BUFFERED_WORDS = 17
"""Words that wait for the engine, which lives on them while a block of errors passes the transposer: 16 in a memory (a
LUT memory's depth on the smallest devices), one in its output register."""

ONES = Const((1 << BLOCK) - 1, BLOCK * PLANES)
"""A word whose 32 bytes are all 1: the activations that a bias sees."""


class BlockWalk(Component):
    """Counts through a weight-gradient pass: for each 32 pixels a block of errors, ``steps`` blocks of activations and,
    with ``bias``, one word of ones.

    Members
    -------
    pixels, steps, bias:
        In: the job's; constant from ``start`` on.
    start:
        In(1): begin with the first word.
    go:
        In(1): on to the next word.
    errors, ones:
        Out(1): the word is one of errors; it is the word of ones.
    index:
        Out(5): the word's number in its block.
    present:
        Out(1): there is such a pixel (if the block's words are pixels).
    end:
        Out(1): the word is the last one.
    """

    def __init__(self) -> None:
        super().__init__({
            "pixels": In(24),
            "steps": In(COUNT),
            "bias": In(1),
            "start": In(1),
            "go": In(1),
            "errors": Out(1),
            "ones": Out(1),
            "index": Out(range(BLOCK)),
            "present": Out(1),
            "end": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        left = Signal(24)  # pixels of this block and those that follow
        step = Signal(17)  # 0: errors, then the window's steps, then ones
        last_block, last_step, block_end = Signal(), Signal(), Signal()
        m.d.comb += [
            self.errors.eq(step == 0),
            self.ones.eq(step == self.steps + 1),
            self.present.eq(self.index < left),
            block_end.eq(self.ones | (self.index == BLOCK - 1)),
            last_step.eq(step == self.steps + self.bias),
            last_block.eq(left <= BLOCK),
            self.end.eq(block_end & last_step & last_block),
        ]
        with m.If(self.start):
            m.d.sync += [left.eq(self.pixels), step.eq(0), self.index.eq(0)]
        with m.Elif(self.go):
            m.d.sync += self.index.eq(Mux(block_end, 0, self.index + 1))
            with m.If(block_end):
                m.d.sync += step.eq(Mux(last_step, 0, step + 1))
            with m.If(block_end & last_step):
                m.d.sync += left.eq(left - BLOCK)
        return m


class GradientFeeder(Component):
    """Brings errors and activations into the engine's order, in the order of :class:`~respin.rtl.jobs.FeedJob`.

    For each block of 32 pixels the 32 error words are read from the store, then come ``steps`` times 32 words from
    the window; all pass the transposer one after the other. The last block may be short: the window then delivers
    fewer words, and zeros stand for the missing pixels. Behind the transposer a word holds 32 pixels of one
    channel. Error words of channels ``lane0 .. lane0+M-1`` become rows, the others are dropped; words of activations
    wait in a buffer of 17 for the engine.

    Blocks to come are fetched as far as transposer and buffer hold them, in the job's order: an engine that latches
    the rows of a block before it takes its words needs no buffer of its own to go on.

    A job is held at ``job.payload`` until its last word has reached the buffer; ``job.ready`` then ends it.

    Latency: ``65 * 8/T + 5`` cycles from ``job.valid`` to the first word of activations (two blocks must be filled).
    Throughput: a word in ``8/T`` cycles; an engine that takes a word in c cycles is kept busy if
    ``c * 32 * steps >= 32 * 8/T * (steps + 1)``.

    Parameters
    ----------
    config:
        Uses ``transposers`` (T), ``slices`` (M).

    Members
    -------
    job:
        In(stream of :class:`~respin.rtl.jobs.FeedJob`); ``pixels`` and ``steps`` at least 1, ``lane0 + M <= 32``.
    window:
        In(stream of WORD): words of a :class:`~respin.rtl.buffer.window.Window` with tiles of 32.
    read:
        Out(:class:`~respin.rtl.interfaces.StoreRead`): the port at the store for errors.
    rows:
        Out(stream of ROW).
    words:
        Out(stream of WORD).

    Raises
    ------
    TypeError
        If ``config`` is no :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self.latency = (2 * BLOCK + 1) * PLANES // config.transposers + 5
        super().__init__({
            "job": In(stream.Signature(FeedJob)),
            "window": In(word_stream()),
            "read": Out(StoreRead()),
            "rows": Out(row_stream()),
            "words": Out(word_stream()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch()
        m.submodules.transposer = transposer = Transposer(config=self.config)
        m.submodules.buffer = buffer = SyncFIFOBuffered(width=BLOCK * PLANES, depth=BUFFERED_WORDS)
        connect(m, flipped(self.read), fetch.read)
        m.d.comb += [
            self.words.valid.eq(buffer.r_rdy),
            self.words.payload.as_value().eq(buffer.r_data),
            buffer.r_en.eq(self.words.ready),
        ]
        m.submodules.loaded = loaded = BlockWalk()
        m.submodules.unloaded = unloaded = BlockWalk()
        job = self.job.payload
        loading, unloading, start = Signal(), Signal(), Signal()
        m.d.comb += start.eq(self.job.valid & ~loading & ~unloading)
        for walk, bias in ((loaded, 0), (unloaded, job.bias)):
            m.d.comb += [walk.pixels.eq(job.pixels), walk.steps.eq(job.steps), walk.bias.eq(bias), walk.start.eq(start)]
        with m.If(start):
            m.d.sync += [loading.eq(1), unloading.eq(1)]
        with m.If(loaded.go & loaded.end):
            m.d.sync += loading.eq(0)
        with m.If(unloaded.go & unloaded.end):
            m.d.comb += self.job.ready.eq(1)
            m.d.sync += unloading.eq(0)
        self._request_errors(m, job, fetch, start)
        self._load(m, fetch, transposer, loaded, loading)
        self._unload(m, job, transposer, buffer, unloaded, unloading)
        return m

    def _request_errors(self, m: Module, job: data.View, fetch: Fetch, start: Signal) -> None:
        """Ask for the errors of all pixels, one after the other."""
        left = Signal(24)
        address = fetch.requests.payload.addr
        m.d.comb += fetch.requests.valid.eq(left != 0)
        with m.If(start):
            m.d.sync += [left.eq(job.pixels), address.eq(job.base)]
        with m.Elif(fetch.requests.valid & fetch.requests.ready):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]

    def _load(self, m: Module, fetch: Fetch, transposer: Transposer, walk: BlockWalk, loading: Signal) -> None:
        """Feed the transposer: errors or activations, zeros for pixels that are not there."""
        errors, activations, into = fetch.words, self.window, transposer.i
        wanted = loading & walk.present
        m.d.comb += [
            into.valid.eq(loading & (~walk.present | Mux(walk.errors, errors.valid, activations.valid))),
            errors.ready.eq(wanted & walk.errors & into.ready),
            activations.ready.eq(wanted & ~walk.errors & into.ready),
            walk.go.eq(into.valid & into.ready),
        ]
        with m.If(walk.present):
            m.d.comb += into.payload.eq(Mux(walk.errors, errors.payload.as_value(), activations.payload.as_value()))

    def _unload(
        self, m: Module, job: data.View, transposer: Transposer, buffer: SyncFIFOBuffered, walk: BlockWalk,
        unloading: Signal,
    ) -> None:
        """Sort what the transposer puts out: errors of M channels to the rows, activations to the buffer."""
        word, rows = transposer.o, self.rows
        channel = Signal(range(BLOCK))  # counted from lane0
        mine = Signal()
        m.d.comb += [channel.eq(walk.index - job.lane0), mine.eq(channel < self.config.slices)]
        for pixel, error in enumerate(rows.payload):
            m.d.comb += error.eq(Cat(plane[pixel] for plane in word.payload).as_signed())
        m.d.comb += buffer.w_data.eq(Mux(walk.ones, ONES, word.payload.as_value()))
        with m.If(~unloading):
            pass
        with m.Elif(walk.errors):
            m.d.comb += [
                rows.valid.eq(word.valid & mine),
                word.ready.eq(rows.ready | ~mine),
                walk.go.eq(word.valid & word.ready),
            ]
        with m.Elif(walk.ones):
            m.d.comb += [buffer.w_en.eq(1), walk.go.eq(buffer.w_rdy)]
        with m.Else():
            m.d.comb += [
                buffer.w_en.eq(word.valid),
                word.ready.eq(buffer.w_rdy),
                walk.go.eq(word.valid & word.ready),
            ]
