# SPDX-License-Identifier: Apache-2.0
"""From ternary steps to rows: the rows of a layer's images that a tile moves."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import BLOCK, ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import UpdateJob
from respin.rtl.learn.ternary import Step, step_beat, update_width
from respin.rtl.learn.tile_buffer import TileBuffer


class RowChange(data.Struct):
    """A row and how its weights move."""

    row: unsigned(ROW_ADDRESS_BITS)
    steps: data.ArrayLayout(Step, ROW_WEIGHTS)


class Image(enum.Enum, shape=unsigned(2)):
    """Which of a layer's images rows are made for."""

    WEIGHTS = 0
    TRANSPOSED = 1
    BIAS = 2


class TileRows(wiring.Component):
    """Offers the rows that a job's tiles move: rows of the weight image, of the transposed one, and of the bias.

    A tile is M outputs of 32 inputs of one tap: M whole rows of the weight image, M lanes of 32 rows of the
    transposed one. A row of the weight image is gathered in 36 cycles, a row of the others read in 5, the next one
    while the last is written. Rows without a step take one cycle and are told by ``skipped``.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    job : In(stream(UpdateJob))
    beats : In(stream(step_beat(width)))
    changes : Out(stream(RowChange))
    skipped : Out(1)
        A row has no step.
    idle : Out(1)

    Raises
    ------
    TypeError
        If ``config`` is no AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "job": In(stream.Signature(UpdateJob)),
            "beats": In(stream.Signature(step_beat(update_width(config)))),
            "changes": Out(stream.Signature(RowChange)),
            "skipped": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tile = tile = TileBuffer(config=self.config)
        wiring.connect(m, wiring.flipped(self.beats), tile.beats)

        job = Signal(UpdateJob)
        image = Signal(Image)
        # The row's output in the weight image, its input in the others.
        line = Signal(range(BLOCK))
        last_line, moved, done = Signal(), Signal(), Signal()
        weights = image == Image.WEIGHTS
        m.d.comb += [
            last_line.eq((image == Image.BIAS) | (line == Mux(weights, self.config.slices - 1, BLOCK - 1))),
            moved.eq(Mux(weights, tile.outputs, tile.inputs).bit_select(line, 1)),
        ]
        begin, advance = Signal(), Signal()
        self._address(m, job, image, line, begin=begin, advance=advance, finish=tile.release)
        fetch, fetched = self._fetch(m, tile, image, line, job.o0)

        left = Signal.like(job.steps)
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += [self.idle.eq(~self.job.valid), self.job.ready.eq(1), begin.eq(self.job.valid)]
                m.d.sync += [job.eq(self.job.payload), left.eq(self.job.payload.steps)]
                with m.If(self.job.valid):
                    m.next = "Tile"
            with m.State("Tile"):
                m.d.sync += image.eq(Mux(left == 0, Image.BIAS, Image.WEIGHTS))
                with m.If(tile.full):
                    m.next = "Row"
            with m.State("Row"):
                with m.If(moved & ~done):
                    m.next = "Fetch"
                with m.Else():
                    m.d.comb += [advance.eq(1), self.skipped.eq(~moved)]
                    m.d.sync += [done.eq(0), line.eq(Mux(last_line, 0, line + 1))]
                    with m.If(last_line & weights & job.transposed):
                        m.d.sync += image.eq(Image.TRANSPOSED)
                    with m.Elif(last_line):
                        m.d.comb += tile.release.eq(1)
                        m.d.sync += left.eq(left - 1)
                        m.next = "Tile"
                        with m.If((left == 0) | (left == 1) & ~job.bias):
                            m.next = "Idle"
            with m.State("Fetch"):
                m.d.comb += fetch.eq(1)
                with m.If(fetched):
                    m.next = "Offer"
            with m.State("Offer"):
                m.d.comb += self.changes.valid.eq(1)
                with m.If(self.changes.ready):
                    m.d.sync += done.eq(1)
                    m.next = "Row"
        return m

    def _address(
        self, m: Module, job: Signal, image: Signal, line: Signal, *, begin: Signal, advance: Signal, finish: Signal
    ) -> None:
        """Count the rows of the images: from line to line with ``advance``, from tile to tile with ``finish`` too."""
        slices = self.config.slices
        row, line_row, tile_row, block_row = (
            Signal(ROW_ADDRESS_BITS, name=name) for name in ("row", "line_row", "tile_row", "block_row")
        )
        tap = Signal.like(job.taps)
        with m.Switch(image):
            with m.Case(Image.WEIGHTS):
                m.d.comb += self.changes.payload.row.eq(row)
            with m.Case(Image.TRANSPOSED):
                m.d.comb += self.changes.payload.row.eq(line_row)
            with m.Default():
                m.d.comb += self.changes.payload.row.eq(job.bias_base)

        new = self.job.payload
        with m.If(begin):
            m.d.sync += [
                row.eq(new.base),
                tap.eq(new.tap0),
                tile_row.eq(new.transposed_base),
                block_row.eq(new.transposed_base + new.tap0 * slices),
            ]
        with m.If(advance & (image == Image.WEIGHTS)):
            m.d.sync += [row.eq(row + 1), line_row.eq(tile_row)]
        with m.Elif(advance):
            last_slice = (line & (slices - 1)) == slices - 1
            m.d.sync += line_row.eq(line_row + Mux(last_slice, job.transposed_stride - (slices - 1), 1))
        with m.If(finish):
            with m.If(tap + 1 == job.taps):
                following = block_row + job.transposed_stride * (BLOCK // slices)
                m.d.sync += [tap.eq(0), block_row.eq(following), tile_row.eq(following)]
            with m.Else():
                m.d.sync += [tap.eq(tap + 1), tile_row.eq(tile_row - slices)]

    def _fetch(
        self, m: Module, tile: TileBuffer, image: Signal, line: Signal, output: Signal
    ) -> tuple[Signal, Signal]:
        """Read a row's steps while ``fetch`` is high, until ``fetched``."""
        fetch, fetched = Signal(), Signal()
        slices = self.config.slices
        read = Signal(range(BLOCK + 1))
        steps = Signal.like(self.changes.payload.steps)
        first_lane = output[:5] & ~(slices - 1)
        m.d.comb += [
            tile.k.eq(Mux(image == Image.WEIGHTS, read, line)),
            fetched.eq(fetch & (read == Mux(image == Image.WEIGHTS, BLOCK, 1))),
            self.changes.payload.steps.eq(steps),
        ]
        with m.If(fetch):
            m.d.sync += read.eq(Mux(fetched, 0, read + 1))
            with m.If(image == Image.WEIGHTS):
                # The word of an input comes a cycle after its address; the first one shifted in is no word and leaves.
                m.d.sync += steps.as_value().eq(Cat(steps.as_value()[Step.as_shape().size :], tile.word[line]))
            with m.Else():
                m.d.sync += steps.eq(0)
                for lane in range(0, ROW_WEIGHTS, slices):
                    with m.If(first_lane == lane):
                        m.d.sync += [steps[lane + i].eq(tile.word[i]) for i in range(slices)]
        return fetch, fetched
