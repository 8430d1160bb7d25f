# SPDX-License-Identifier: Apache-2.0
"""Window addressing: which word of the store a convolution needs next, without a product in the loop."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.buffer.fetch import Fetch
from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import StoreRead, word_stream
from respin.rtl.jobs import COUNT, EXTENT, KERNEL, STORE_ADDRESS, WindowJob

OFFSET = signed(7)
"""A kernel row less the padding: -31..46."""
POSITION = unsigned(13)
"""An output coordinate times the stride: up to 510 * 15."""

PIXEL = data.StructLayout({
    "n": unsigned(8),
    "oy": EXTENT,
    "ox": EXTENT,
    "y": POSITION,  # oy * stride
    "x": POSITION,  # ox * stride
    "row": STORE_ADDRESS,  # of row oy * stride of image n, moved to the job's first kernel row
    "image": STORE_ADDRESS,  # the same for oy = 0
})
"""Where the walk over output pixels stands."""

TAP = data.StructLayout({
    "y": OFFSET,  # ky - pad_y
    "kx": KERNEL,
    "x": signed(9),  # kx*dilation_x - pad_x: -31..242
    "row": STORE_ADDRESS,  # of the channel block and kernel row, from block 0 and the job's first kernel row
})
"""Where the walk over kernel taps and channel blocks stands."""


class Window(Component):
    """Walks a tensor in the store under a sliding window, in the order of :class:`~respin.rtl.jobs.WindowJob`.

    The address of a word is the sum of the pixel's row, the tap's row and the column; the rows move by constants, one
    addition for each loop that advances. The constants (``h*w``, ``stride*w``, ...) are made bit-serially when a job
    starts, all at once, in as many cycles as the largest factor has bits.

    A job is held at ``job.payload`` until its last word has been taken; ``job.ready`` then ends it.

    Latency: 5 cycles plus the bits of the largest of ``h`` (unless ``n`` is 1), ``stride``, ``kh - 1``,
    ``|ky0 - pad_y|`` and ``block0`` (at most 14 in all) from ``job.valid`` to the first word; 2 cycles from the last
    word to the next job. Throughput: one word a cycle with no gap at any loop's end; a word of padding costs no access
    to the store.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    job:
        In(stream of :class:`~respin.rtl.jobs.WindowJob`); every extent and count at least 1.
    read:
        Out(:class:`~respin.rtl.interfaces.StoreRead`).
    words:
        Out(stream of WORD), registered.

    Raises
    ------
    TypeError
        If ``config`` is no :class:`AcceleratorConfig`.
    """

    latency = 14

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "job": In(stream.Signature(WindowJob)),
            "read": Out(StoreRead()),
            "words": Out(word_stream()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch()
        connect(m, flipped(self.read), fetch.read)
        connect(m, flipped(self.words), fetch.words)

        job = self.job.payload
        self._start, self._step = Signal(), Signal()
        self._image_step = Signal(STORE_ADDRESS)  # h * w
        self._row_step = Signal(POSITION)  # stride * w
        self._block_step = Signal(STORE_ADDRESS)  # from the last kernel row to the first one of the next block
        self._first_row = Signal(STORE_ADDRESS)  # address of row ky0 - pad_y
        self._first_tap = Signal(STORE_ADDRESS)  # block0 * block_stride
        self._next_tap = Signal(STORE_ADDRESS)  # the same for block0 + 1
        self._pixel, self._tap = Signal(PIXEL), Signal(TAP)
        self._tile_end, self._step_end, self._map_end = Signal(), Signal(), Signal()
        walked = self._walk(m, job)

        factors_left, load, multiply = Signal(), Signal(), Signal()
        self._multiply(m, job, load, multiply, factors_left)
        with m.FSM():
            with m.State("Wait for a job"):
                with m.If(self.job.valid):
                    m.d.comb += load.eq(1)
                    m.next = "Make the constants"
            with m.State("Make the constants"):
                m.d.comb += multiply.eq(1)
                with m.If(~factors_left):
                    m.next = "Start the walk"
            with m.State("Start the walk"):
                m.d.comb += self._start.eq(1)
                m.next = "Walk"
            with m.State("Walk"):
                m.d.comb += self._step.eq(~fetch.requests.valid | fetch.requests.ready)
                with m.If(self._step & walked):
                    m.next = "Hand out the last words"
            with m.State("Hand out the last words"):
                with m.If(fetch.idle & ~fetch.requests.valid):
                    m.d.comb += self.job.ready.eq(1)
                    m.next = "Wait for a job"

        self._request(m, job, fetch)
        return m

    def _multiply(self, m: Module, job: data.View, load: Signal, multiply: Signal, factors_left: Signal) -> None:
        """Make the walk's constants by shift and add, all side by side."""
        above = Signal()  # the first kernel row lies above the map's first row
        rows, blocks = Signal(STORE_ADDRESS), Signal(STORE_ADDRESS)  # w and block_stride, times a power of two
        moved = Signal(STORE_ADDRESS)  # base, moved by the first kernel row; complemented (so subtracted from) if above
        m.d.comb += [
            above.eq(job.ky0 < job.pad_y),
            self._first_row.eq(moved ^ above.replicate(len(moved))),
            self._next_tap.eq(self._first_tap + blocks),
        ]
        first_offset = Mux(above, job.pad_y - job.ky0, job.ky0 - job.pad_y)
        products = (  # sum, its initial value, factor, the sum with a set bit of the factor
            # With a single image there is no step to a next one, and the map's height costs no cycles.
            (self._image_step, 0, Mux(job.n == 1, 0, job.h), self._image_step + rows),
            (self._row_step, 0, job.stride, self._row_step + rows[: len(self._row_step)]),
            (self._block_step, job.block_stride, (job.kh - 1)[:4], self._block_step - rows),
            (moved, job.base ^ above.replicate(len(moved)), first_offset[:6], moved + rows),
            (self._first_tap, 0, job.block0, self._next_tap),
        )
        m.d.comb += factors_left.eq(0)
        with m.If(load | self._start):
            m.d.sync += [rows.eq(job.w), blocks.eq(job.block_stride)]
        with m.If(multiply):
            m.d.sync += [rows.eq(rows << 1), blocks.eq(blocks << 1)]
        for total, initial, factor, advanced in products:
            remaining = Signal(len(factor), name=f"{total.name}_factor")
            with m.If(load):
                m.d.sync += [total.eq(initial), remaining.eq(factor)]
            with m.If(multiply):
                m.d.sync += remaining.eq(remaining >> 1)
                with m.If(remaining[0]):
                    m.d.sync += total.eq(advanced)
            with m.If(remaining[1:].any()):
                m.d.comb += factors_left.eq(1)
        with m.If(self._step & self._map_end & job.advance):
            m.d.sync += self._first_tap.eq(self._next_tap)

    def _walk(self, m: Module, job: data.View) -> Signal:
        """Walk the loops; return "the state is that of the last word"."""
        in_tile, step, repeat = Signal(COUNT), Signal(COUNT), Signal(8)
        next_in_tile, next_step, next_repeat = in_tile + 1, step + 1, repeat + 1
        last_pixel = self._walk_pixels(m, job)
        self._walk_taps(m, job)
        m.d.comb += [
            self._tile_end.eq(last_pixel | (next_in_tile == job.tile)),
            self._step_end.eq(next_step == job.steps),
            self._map_end.eq(last_pixel & self._step_end),
        ]
        with m.If(self._start):
            m.d.sync += [in_tile.eq(0), step.eq(0), repeat.eq(0)]
        with m.Elif(self._step):
            m.d.sync += in_tile.eq(Mux(self._tile_end, 0, next_in_tile))
            with m.If(self._tile_end):
                m.d.sync += step.eq(Mux(self._step_end, 0, next_step))
            with m.If(self._map_end):
                m.d.sync += repeat.eq(next_repeat)
        return self._map_end & (next_repeat == job.repeats)

    def _walk_pixels(self, m: Module, job: data.View) -> Signal:
        """Walk the output pixels, a tile once for each step; return "this is the last pixel"."""
        here, following, tile_start = self._pixel, Signal(PIXEL), Signal(PIXEL)
        next_x, next_y, next_n = here.ox + 1, here.oy + 1, here.n + 1
        last_x, last_y, last_n = next_x == job.ow, next_y == job.oh, next_n == job.n
        m.d.comb += [
            following.eq(here),
            following.ox.eq(next_x),
            following.x.eq(here.x + job.stride),
        ]
        with m.If(last_x):
            m.d.comb += [
                following.ox.eq(0),
                following.x.eq(0),
                following.oy.eq(next_y),
                following.y.eq(here.y + job.stride),
                following.row.eq(here.row + self._row_step),
            ]
            with m.If(last_y):
                image = Mux(last_n, self._first_row, here.image + self._image_step)
                m.d.comb += [
                    following.oy.eq(0),
                    following.y.eq(0),
                    following.n.eq(Mux(last_n, 0, next_n)),
                    following.row.eq(image),
                    following.image.eq(image),
                ]
        with m.If(self._start):
            for state in (here, tile_start):
                m.d.sync += [state.eq(0), state.row.eq(self._first_row), state.image.eq(self._first_row)]
        with m.Elif(self._step):
            m.d.sync += here.eq(following)
            with m.If(self._tile_end & self._step_end):
                m.d.sync += tile_start.eq(following)
            with m.Elif(self._tile_end):
                m.d.sync += here.eq(tile_start)
        return last_x & last_y & last_n

    def _walk_taps(self, m: Module, job: data.View) -> None:
        """Walk the taps and channel blocks, a step at each end of a tile."""
        here, first, following = self._tap, Signal(TAP), Signal(TAP)
        next_kx, next_y = here.kx + 1, here.y + 1
        last_x, last_y = next_kx == job.kw, next_y == job.kh - job.pad_y
        m.d.comb += [
            first.y.eq(job.ky0 - job.pad_y),
            first.kx.eq(job.kx0),
            first.x.eq(job.kx0 - job.pad_x),
            first.row.eq(Mux(self._step & self._map_end & job.advance, self._next_tap, self._first_tap)),
            following.eq(here),
            following.kx.eq(next_kx),
            following.x.eq(here.x + job.dilation_x),
        ]
        with m.If(last_x):
            m.d.comb += [
                following.kx.eq(0),
                following.x.eq(-job.pad_x),
                following.y.eq(Mux(last_y, -job.pad_y, next_y)),
                following.row.eq(here.row + Mux(last_y, self._block_step, job.w)),
            ]
        with m.If(self._start):
            m.d.sync += here.eq(first)
        with m.Elif(self._step & self._tile_end):
            m.d.sync += here.eq(following)
            with m.If(self._step_end):
                m.d.sync += here.eq(first)

    def _request(self, m: Module, job: data.View, fetch: Fetch) -> None:
        """Turn the walk's state into a registered request."""
        x, y = Signal(signed(15)), Signal(signed(15))
        m.d.comb += [
            x.eq(self._pixel.x + self._tap.x),
            y.eq(self._pixel.y + self._tap.y),
            fetch.pad.eq(job.pad),
        ]
        request = fetch.requests
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(self._step):
            m.d.sync += [
                request.valid.eq(1),
                request.payload.addr.eq(self._pixel.row + self._tap.row + x),
                # A negative coordinate, seen as unsigned, lies past any map too.
                request.payload.blank.eq((x.as_unsigned() >= job.w) | (y.as_unsigned() >= job.h)),
            ]
