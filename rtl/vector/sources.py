# SPDX-License-Identifier: Apache-2.0
"""The walk of a gather job: which element of which source comes next."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.jobs import COUNT, EXTENT, GATHER_SOURCES, STORE_ADDRESS, GatherJob, VectorJob
from respin.rtl.vector.axis import AxisWalker
from respin.rtl.vector.loop import OutputLoop, group_shape

LINE_BITS = 17
"""Bits of ``n * h + y``."""
_BLOCK_BITS = (BLOCK - 1).bit_length()


class GatherOrder(data.Struct):
    """A gather job and the vector job that takes its sums: the second one says which outputs there are."""

    gather: GatherJob
    vector: VectorJob


def tag_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What an element carries along: its source, the group of channels and their row in a table that starts at 0.

    ``first`` and ``last`` enclose a sum. A ``blank`` element is not read and counts as 0: it stands for a source that
    has nothing to give.
    """
    return data.StructLayout({
        "valid": unsigned(1),
        "first": unsigned(1),
        "last": unsigned(1),
        "blank": unsigned(1),
        "source": unsigned((GATHER_SOURCES - 1).bit_length()),
        "group": group_shape(config),
        "row": COUNT,
    })


def element_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One element: the word of column ``x`` in line ``line = n*h + y`` of a map ``w`` wide that begins at ``base``."""
    return data.StructLayout({
        "tag": tag_layout(config),
        "line": unsigned(LINE_BITS),
        "x": EXTENT,
        "w": EXTENT,
        "base": STORE_ADDRESS,
    })


class SourceWalker(Component):
    """Walks ``for output, byte, group of V channels: for source: for y in its range: for x in its range``.

    A source with an empty range gives one blank element.

    Latency: about 10 cycles from ``start`` to the first element, more where a range starts further on
    (:class:`AxisWalker`), and a cycle for each block of channels that ``channel0`` skips. Throughput: an element in
    each cycle with ``step``, and a cycle more for each output pixel; about 7 more for each row of them.

    Parameters
    ----------
    config:
        ``vector_width`` counts.

    Members
    -------
    order: In(GatherOrder)
        Held from ``start`` on.
    start: In(1)
        Begin. Not while ``running``.
    running: Out(1)
        From the cycle after ``start`` to the last element.
    step: In(1)
        The element is taken.
    element: Out(element_layout(config))
        The one at hand; ``tag.valid`` is low if there is none.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "order": In(GatherOrder),
            "start": In(1),
            "running": Out(1),
            "step": In(1),
            "element": Out(element_layout(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.loop = loop = OutputLoop(config=self._config)
        begin, taken, seek = Signal(), Signal(), Signal()
        m.d.comb += [
            loop.job.eq(self.order.vector),
            loop.restart.eq(self.start),
            taken.eq(self.step & self.element.tag.valid),
        ]
        rows, columns = self._axes(m, loop)
        self._position(m, begin, taken, rows, columns)
        m.d.comb += loop.step.eq(taken & self.element.tag.last)
        self._addresses(m, loop, seek)

        skipped = Signal(len(self.order.vector.channel0) - _BLOCK_BITS)
        m.d.comb += self.running.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.running.eq(0)
                m.d.sync += skipped.eq(0)
                with m.If(self.start):
                    m.next = "SEEK"
            with m.State("SEEK"):
                m.d.sync += skipped.eq(skipped + 1)
                m.d.comb += seek.eq(skipped != self.order.vector.channel0[_BLOCK_BITS:])
                with m.If(~seek):
                    m.next = "BEGIN PIXEL"
            with m.State("BEGIN PIXEL"):
                m.d.comb += begin.eq(1)
                with m.If(self._all(rows + columns, "there")):
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self.element.tag.valid.eq(self._all(rows + columns, "ready"))
                with m.If(loop.step & loop.pixel_last):
                    m.next = "BEGIN PIXEL"
                with m.If(loop.step & loop.last):
                    m.next = "IDLE"
        return m

    def _axes(self, m: Module, loop: OutputLoop) -> tuple[list[AxisWalker], list[AxisWalker]]:
        """The walkers of all sources' axes."""
        rows, columns = [], []
        for number, source in enumerate(self.order.gather.sources):
            m.submodules[f"row_{number}"] = row = AxisWalker()
            m.submodules[f"column_{number}"] = column = AxisWalker()
            m.d.comb += [
                row.map.eq(source.y),
                row.extent.eq(source.h),
                row.restart.eq(self.start | (loop.step & loop.image_last)),
                row.advance.eq(loop.step & loop.row_last),
                column.map.eq(source.x),
                column.extent.eq(source.w),
                column.restart.eq(self.start | (loop.step & loop.row_last)),
                column.advance.eq(loop.step & loop.pixel_last),
            ]
            rows.append(row)
            columns.append(column)
        return rows, columns

    def _all(self, walkers: list[AxisWalker], name: str) -> Value:
        """Whether a condition holds for the walkers of every source in use."""
        used = [number % GATHER_SOURCES < self.order.gather.count for number in range(len(walkers))]
        return Cat(getattr(walker, name) | ~use for walker, use in zip(walkers, used, strict=True)).all()

    def _position(
        self, m: Module, begin: Signal, taken: Signal, rows: list[AxisWalker], columns: list[AxisWalker]
    ) -> None:
        """Step through the sources' ranges, each taken over from its walkers when the one before ends."""
        tag = self.element.tag
        x, y, first_x, stop_x, stop_y = (
            Signal(EXTENT, name=name) for name in ("x", "y", "first_x", "stop_x", "stop_y")
        )
        empty, opening, last_x, last_y, last_source = Signal(), Signal(), Signal(), Signal(), Signal()
        following = Signal(tag.source.shape())
        m.d.comb += [
            last_x.eq(empty | (x + 1 == stop_x)),
            last_y.eq(last_x & (empty | (y + 1 == stop_y))),
            last_source.eq(tag.source + 1 == self.order.gather.count),
            following.eq(Mux(begin | last_source, 0, tag.source + 1)),
            self.element.x.eq(x),
            tag.blank.eq(empty),
            tag.first.eq(opening & (tag.source == 0)),
            tag.last.eq(last_y & last_source),
        ]

        def pick(walkers: list[AxisWalker], name: str) -> Value:
            return Array(getattr(walker, name) for walker in walkers)[following]

        with m.If(begin | (taken & last_y)):
            m.d.sync += [
                tag.source.eq(following),
                opening.eq(1),
                x.eq(pick(columns, "start")),
                first_x.eq(pick(columns, "start")),
                stop_x.eq(pick(columns, "stop")),
                y.eq(pick(rows, "start")),
                stop_y.eq(pick(rows, "stop")),
                empty.eq(pick(rows, "empty") | pick(columns, "empty")),
            ]
        with m.Elif(taken):
            m.d.sync += [opening.eq(0), x.eq(Mux(last_x, first_x, x + 1)), y.eq(y + last_x)]
        lines = Array(self._lines(m, number) for number in range(GATHER_SOURCES))
        m.d.comb += self.element.line.eq(lines[tag.source] + y)

    def _lines(self, m: Module, number: int) -> Signal:
        """First line of the image at hand in a source: ``n * h``."""
        loop, height = m.submodules.loop, self.order.gather.sources[number].h
        line = Signal(LINE_BITS, name=f"line_{number}")
        with m.If(self.start | (loop.step & loop.repeat_last)):
            m.d.sync += line.eq(0)
        with m.Elif(loop.step & loop.image_last):
            m.d.sync += line.eq(line + height)
        return line

    def _addresses(self, m: Module, loop: OutputLoop, seek: Signal) -> None:
        """The sources' block of channels, and the channels' row in a table."""
        element, sources = self.element, self.order.gather.sources
        next_block = seek | (loop.step & loop.repeat_last)
        bases = []
        for number, operand in enumerate(sources):
            base = Signal(STORE_ADDRESS, name=f"base_{number}")
            with m.If(self.start):
                m.d.sync += base.eq(operand.base)
            with m.Elif(next_block):
                m.d.sync += base.eq(base + operand.block_stride)
            bases.append(base)
        row = Signal(COUNT)
        with m.If(self.start):
            m.d.sync += row.eq(0)
        with m.Elif(loop.step & loop.repeat_last):
            m.d.sync += row.eq(row + BLOCK // self._config.vector_width)
        m.d.comb += [
            element.base.eq(Array(bases)[element.tag.source]),
            element.w.eq(Array(operand.w for operand in sources)[element.tag.source]),
            element.tag.group.eq(loop.group),
            element.tag.row.eq(row + loop.group),
        ]
