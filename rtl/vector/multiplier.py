# SPDX-License-Identifier: Apache-2.0
"""A small multiplier for the products that a job needs once, before it starts."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out


class SerialMultiplier(Component):
    """``product = a * b`` by shifting and adding, one bit of ``b`` a cycle until none is left.

    Latency: the bit length of ``b`` in cycles after ``start``; then ``busy`` is low and ``product`` holds.

    Parameters
    ----------
    width:
        Bits of ``a`` and of the product; what does not fit is cut.
    factor_width:
        Bits of ``b``.

    Members
    -------
    start: In(1)
        Take ``a`` and ``b``.
    a, b: In(width), In(factor_width)
    busy: Out(1)
    product: Out(width)
    """

    def __init__(self, *, width: int, factor_width: int) -> None:
        super().__init__({
            "start": In(1),
            "a": In(width),
            "b": In(factor_width),
            "busy": Out(1),
            "product": Out(width),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        shifted = Signal.like(self.a)
        rest = Signal.like(self.b)
        m.d.comb += self.busy.eq(rest != 0)
        with m.If(self.start):
            m.d.sync += [shifted.eq(self.a), rest.eq(self.b), self.product.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [shifted.eq(shifted << 1), rest.eq(rest >> 1)]
            with m.If(rest[0]):
                m.d.sync += self.product.eq(self.product + shifted)
        return m
