# SPDX-License-Identifier: Apache-2.0
"""One axis of an index map, walked without dividing."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.jobs import EXTENT, AxisMap


class AxisWalker(Component):
    """The source range of each output coordinate ``i = 0, 1, 2 ...`` of an :class:`~respin.rtl.jobs.AxisMap`.

    It holds the starts of this range and of the next one, and works out the one after that, ``((i+2)*num + add) //
    den``: from its remainder it carries on as Bresenham's line does. So to advance is only to shift. Starts stop at
    ``extent``; ``den`` is 1 or more.

    Latency: a range is there in the cycle after ``advance``; ``ready`` for the next advance 1 cycle later where the
    start moves by at most 1, else as many cycles as it moves by. After ``restart`` both take 6 cycles, more where the
    first starts move on by more than 1.

    Members
    -------
    map: In(AxisMap)
        Held from ``restart`` on.
    extent: In(EXTENT)
        Elements of the source.
    restart: In(1)
        To ``i = 0``.
    advance: In(1)
        To the next ``i``. Only while ``ready``.
    there: Out(1)
        The range is there.
    ready: Out(1)
        So is the next one: it may advance.
    start, stop: Out(EXTENT)
        First element and the one after the last.
    empty: Out(1)
        There is none.
    """

    map: In(AxisMap)
    extent: In(EXTENT)
    restart: In(1)
    advance: In(1)
    there: Out(1)
    ready: Out(1)
    start: Out(EXTENT)
    stop: Out(EXTENT)
    empty: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        second, third = Signal(EXTENT), Signal(EXTENT)
        remainder = Signal(len(self.map.num) + 1)
        total = Signal(len(remainder) + 1)
        missing = Signal(range(3))
        fresh, moving, settled, move, shift = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            settled.eq(~fresh & ~moving),
            self.there.eq(missing == 0),
            self.ready.eq(settled & self.there),
            # After a restart the first two starts move up by themselves.
            shift.eq(self.advance | (settled & ~self.there)),
            total.eq(Mux(fresh, remainder + self.map.num, remainder)),
            move.eq((total >= self.map.den) & (third != self.extent)),
            self.empty.eq((self.start == self.extent) | (self.start == self.stop)),
            self.stop.eq(Mux(self.map.span, second, self.start + 1)),
        ]
        with m.If(self.restart):
            m.d.sync += [third.eq(0), remainder.eq(self.map.add), missing.eq(2)]
            m.d.sync += [fresh.eq(0), moving.eq(1)]
        with m.Else():
            m.d.sync += [
                remainder.eq(Mux(move, total - self.map.den, total)),
                third.eq(third + move),
                fresh.eq(shift),
                # Whether it moves once more is compared now, so that `ready` comes from registers.
                moving.eq(move & (total >= self.map.den << 1)),
            ]
            with m.If(shift):
                m.d.sync += [self.start.eq(second), second.eq(third)]
            with m.If(shift & ~self.there):
                m.d.sync += missing.eq(missing - 1)
        return m
