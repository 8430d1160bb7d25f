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

    Latency: 3 cycles from ``start`` to the first element, more where a range starts further on (:class:`AxisWalker`),
    and a cycle for each block of channels that ``channel0`` skips. Throughput: an element in each cycle with ``step``,
    but for outputs whose range moves on by more elements than the output takes.

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
        source = Signal(range(GATHER_SOURCES))
        taken, seek = Signal(), Signal()
        m.d.comb += [
            loop.job.eq(self.order.vector),
            loop.restart.eq(self.start),
            taken.eq(self.step & self.element.tag.valid),
        ]
        rows, columns, ready = self._axes(m, loop)
        last = self._position(m, source, taken, rows, columns)
        m.d.comb += loop.step.eq(taken & last)
        self._addresses(m, loop, source, seek)

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
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self.element.tag.valid.eq(ready)
                with m.If(loop.step & loop.last):
                    m.next = "IDLE"
        return m

    def _axes(self, m: Module, loop: OutputLoop) -> tuple[list[AxisWalker], list[AxisWalker], Value]:
        """The walkers of all sources' axes, and "those in use have their ranges"."""
        rows, columns, unready = [], [], []
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
            unready.append((number < self.order.gather.count) & ~(row.ready & column.ready))
        return rows, columns, ~Cat(unready).any()

    def _position(
        self, m: Module, source: Signal, taken: Signal, rows: list[AxisWalker], columns: list[AxisWalker]
    ) -> Value:
        """Step through the sources' ranges; returns "the last element of a sum"."""
        element = self.element
        x, y, x_moved, y_moved = Signal(EXTENT), Signal(EXTENT), Signal(), Signal()
        here = Signal(EXTENT)
        empty, x_last, y_last, source_last = Signal(), Signal(), Signal(), Signal()

        def pick(walkers: list[AxisWalker], name: str) -> Value:
            return Array(getattr(walker, name) for walker in walkers)[source]

        m.d.comb += [
            empty.eq(pick(rows, "empty") | pick(columns, "empty")),
            here.eq(Mux(y_moved, y, pick(rows, "start"))),
            element.x.eq(Mux(x_moved, x, pick(columns, "start"))),
            x_last.eq(empty | (element.x + 1 == pick(columns, "stop"))),
            y_last.eq(x_last & (empty | (here + 1 == pick(rows, "stop")))),
            source_last.eq(y_last & (source + 1 == self.order.gather.count)),
            element.tag.blank.eq(empty),
            element.tag.source.eq(source),
            element.tag.first.eq((source == 0) & ~x_moved & ~y_moved),
            element.tag.last.eq(source_last),
        ]
        with m.If(self.start):
            m.d.sync += [source.eq(0), x_moved.eq(0), y_moved.eq(0)]
        with m.Elif(taken):
            m.d.sync += [
                x.eq(element.x + 1),
                y.eq(Mux(x_last, here + 1, here)),
                x_moved.eq(~x_last),
                y_moved.eq(~y_last),
                source.eq(Mux(source_last, 0, source + y_last)),
            ]
        lines = Array(self._lines(m, number) for number in range(GATHER_SOURCES))
        m.d.comb += element.line.eq(lines[source] + here)
        return source_last

    def _lines(self, m: Module, number: int) -> Signal:
        """First line of the image at hand in a source: ``n * h``."""
        loop, height = m.submodules.loop, self.order.gather.sources[number].h
        line = Signal(LINE_BITS, name=f"line_{number}")
        with m.If(self.start | (loop.step & loop.repeat_last)):
            m.d.sync += line.eq(0)
        with m.Elif(loop.step & loop.image_last):
            m.d.sync += line.eq(line + height)
        return line

    def _addresses(self, m: Module, loop: OutputLoop, source: Signal, seek: Signal) -> None:
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
            element.base.eq(Array(bases)[source]),
            element.w.eq(Array(operand.w for operand in sources)[source]),
            element.tag.group.eq(loop.group),
            element.tag.row.eq(row + loop.group),
        ]
