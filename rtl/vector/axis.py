# SPDX-License-Identifier: Apache-2.0
"""One axis of an index map, walked without dividing."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.jobs import EXTENT, AxisMap


class AxisWalker(Component):
    """The source range of each output coordinate ``i = 0, 1, 2 ...`` of an :class:`~respin.rtl.jobs.AxisMap`.

    It keeps the start of the range after next to come, ``((i+1)*num + add) // den``, and its remainder, and carries on
    from there as Bresenham's line does. Starts stop at ``extent``; ``den`` is 1 or more.

    Latency: after ``advance`` a range is there at once where the start moves by at most 1, else after as many cycles as
    it moves by, less 1; after ``restart`` it takes ``(num + add) // den + 1`` cycles.

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
    ready: Out(1)
        The range is there.
    start, stop: Out(EXTENT)
        First element and the one after the last.
    empty: Out(1)
        There is none.
    """

    map: In(AxisMap)
    extent: In(EXTENT)
    restart: In(1)
    advance: In(1)
    ready: Out(1)
    start: Out(EXTENT)
    stop: Out(EXTENT)
    empty: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        following = Signal(EXTENT)
        remainder = Signal(len(self.map.num) + 1)
        total = Signal(len(remainder) + 1)
        first, settled, move, forward = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            settled.eq((remainder < self.map.den) | (following == self.extent)),
            self.ready.eq(settled & ~first),
            # From i = -1, where a restart begins, to 0 the walk moves by itself.
            forward.eq(Mux(first, settled, self.advance)),
            total.eq(Mux(forward, remainder + self.map.num, remainder)),
            move.eq((total >= self.map.den) & (following != self.extent)),
            self.empty.eq((self.start == self.extent) | (self.start == self.stop)),
            self.stop.eq(Mux(self.map.span, following, self.start + 1)),
        ]
        with m.If(self.restart):
            m.d.sync += [following.eq(0), remainder.eq(self.map.add), first.eq(1)]
        with m.Else():
            m.d.sync += [
                remainder.eq(Mux(move, total - self.map.den, total)),
                following.eq(following + move),
            ]
            with m.If(forward):
                m.d.sync += [self.start.eq(following), first.eq(0)]
        return m
