# SPDX-License-Identifier: Apache-2.0
"""What a training step keeps of a gradient: the sum of magnitudes, how many are not zero, and the largest."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.learn.scales import COUNT_BITS, GRADIENT_BITS, SUM_BITS

CONTEXTS = 2
"""Gradients measured side by side: a layer's weights and its bias."""


class Statistics(wiring.Component):
    """Sum, count and maximum of magnitudes, ``width`` a cycle, for weights (context 0) and bias (context 1).

    The magnitudes of a cycle are reduced by a tree with a register after every level. Latency: ``latency`` =
    ``log2(width) + 1`` cycles until they show in the results. Throughput: ``width`` a cycle.

    Parameters
    ----------
    width:
        Magnitudes taken side by side, a power of two.

    Members
    -------
    magnitudes : In(ArrayLayout(32, width))
    strobe : In(1)
        Takes the magnitudes; one that does not count is 0.
    context : In(1)
        The context they belong to, and the one that is shown.
    clear : In(1)
        Sets the shown context to 0; only after everything taken shows in it.
    total : Out(56)
    count : Out(24)
    maximum : Out(32)

    Raises
    ------
    TypeError, ValueError
        For ``width`` of the wrong type or no power of two.
    """

    def __init__(self, *, width: int) -> None:
        if not isinstance(width, int) or isinstance(width, bool):
            raise TypeError(f"width must be an integer, not {width!r}")
        if width < 1 or width & (width - 1):
            raise ValueError(f"width must be a power of two, not {width!r}")
        self._width = width
        self.latency = width.bit_length()
        super().__init__({
            "magnitudes": In(data.ArrayLayout(unsigned(GRADIENT_BITS), width)),
            "strobe": In(1),
            "context": In(1),
            "clear": In(1),
            "total": Out(SUM_BITS),
            "count": Out(COUNT_BITS),
            "maximum": Out(GRADIENT_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        leaves = list(self.magnitudes)
        totals, counts, maxima = leaves, [leaf.any() for leaf in leaves], leaves
        strobe, context = self.strobe, self.context

        def register(value, name):
            stage = Signal.like(value, name=name)
            m.d.sync += stage.eq(value)
            return stage

        level = 0
        while len(totals) > 1:
            pairs = range(0, len(totals), 2)
            totals = [register(totals[i] + totals[i + 1], f"total{level}_{i}") for i in pairs]
            counts = [register(counts[i] + counts[i + 1], f"count{level}_{i}") for i in pairs]
            larger = [Mux(maxima[i] > maxima[i + 1], maxima[i], maxima[i + 1]) for i in pairs]
            maxima = [register(value, f"maximum{level}_{i}") for i, value in enumerate(larger)]
            strobe, context = register(strobe, f"strobe{level}"), register(context, f"context{level}")
            level += 1

        total = Signal(data.ArrayLayout(unsigned(SUM_BITS), CONTEXTS))
        count = Signal(data.ArrayLayout(unsigned(COUNT_BITS), CONTEXTS))
        maximum = Signal(data.ArrayLayout(unsigned(GRADIENT_BITS), CONTEXTS))
        with m.If(strobe):
            m.d.sync += [total[context].eq(total[context] + totals[0]), count[context].eq(count[context] + counts[0])]
            with m.If(maxima[0] > maximum[context]):
                m.d.sync += maximum[context].eq(maxima[0])
        with m.If(self.clear):
            m.d.sync += [total[self.context].eq(0), count[self.context].eq(0), maximum[self.context].eq(0)]
        m.d.comb += [
            self.total.eq(total[self.context]),
            self.count.eq(count[self.context]),
            self.maximum.eq(maximum[self.context]),
        ]
        return m
