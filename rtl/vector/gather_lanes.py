# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the gather unit: products of V channels, aligned and added up."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.vector.finish import SUM_BITS

_DIFFERENCE_BITS = 10
_PRODUCT_BITS = _DIFFERENCE_BITS + 16
WIDE_BITS = 15
"""Bits by which products are widened before they are aligned."""
_ALIGNED_BITS = _PRODUCT_BITS + WIDE_BITS
_COARSE, _FINE = slice(3, 6), slice(0, 3)


class GatherLanes(Component):
    """``sum += (byte - zero) * mult << (15 if wide) >> align`` in each of V channels; ``first`` starts a new sum.

    Latency: ``latency`` = 6 cycles with ``en`` from ``octets`` to ``sums``; ``mults`` and the other constants of an
    element come with it. Throughput: an element of V channels a cycle.

    Parameters
    ----------
    lanes:
        V.

    Members
    -------
    en: In(1)
        Advance the pipeline.
    valid, first: In(1)
        There is an element, and it is a sum's first.
    octets: In(ArrayLayout(unsigned(8), V))
    signed: In(1)
        They are int8.
    zero: In(signed(9))
        Zero point.
    blank: In(1)
        The element counts as 0.
    mults: In(ArrayLayout(unsigned(16), V))
    align: In(6)
        Arithmetic right shift.
    wide: In(1)
        Widen first. Must not change while anything is in the pipeline.
    sums: Out(ArrayLayout(signed(48), V))
    """

    latency = 6

    def __init__(self, *, lanes: int) -> None:
        self._lanes = lanes
        super().__init__({
            "en": In(1),
            "valid": In(1),
            "first": In(1),
            "octets": In(data.ArrayLayout(unsigned(8), lanes)),
            "signed": In(1),
            "zero": In(signed(9)),
            "blank": In(1),
            "mults": In(data.ArrayLayout(unsigned(16), lanes)),
            "align": In(6),
            "wide": In(1),
            "sums": Out(data.ArrayLayout(signed(SUM_BITS), lanes)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        valid = self._delayed(m, "valid", self.valid, 5)
        first = self._delayed(m, "first", self.first, 5)
        coarse = self._delayed(m, "coarse", self.align[_COARSE], 3)
        fine = self._delayed(m, "fine", self.align[_FINE], 4)
        zero = self._delayed(m, "zero", self.zero, 1)
        blank = self._delayed(m, "blank", self.blank, 1)
        for lane in range(self._lanes):
            aligned = self._aligned(m, lane, zero, blank, coarse, fine)
            with m.If(self.en & valid):
                # The plain operand comes first: it feeds the carries; the other one's gate fits in the adder's LUTs.
                m.d.sync += self.sums[lane].eq(aligned + Mux(first, 0, self.sums[lane]))
        return m

    def _delayed(self, m: Module, name: str, value: Value, stages: int) -> Value:
        for stage in range(stages):
            delayed = Signal(value.shape(), name=f"{name}_{stage}")
            with m.If(self.en):
                m.d.sync += delayed.eq(value)
            value = delayed
        return value

    def _aligned(self, m: Module, lane: int, zero: Value, blank: Value, coarse: Value, fine: Value) -> Value:
        """Five stages: value, difference, product, shift by multiples of 8, shift by the rest."""
        octet = self.octets[lane]
        difference = Signal(signed(_DIFFERENCE_BITS), name=f"difference_{lane}")
        product = Signal(signed(_PRODUCT_BITS), name=f"product_{lane}")
        coarsely = Signal(signed(_ALIGNED_BITS), name=f"coarsely_{lane}")
        finely = Signal(signed(_ALIGNED_BITS), name=f"finely_{lane}")
        mult = self._delayed(m, f"mult_{lane}", self.mults[lane], 2)
        value = self._delayed(m, f"value_{lane}", Cat(octet, self.signed & octet[-1]).as_signed(), 1)
        widened = Mux(self.wide, product << WIDE_BITS, product)
        with m.If(self.en):
            m.d.sync += [
                difference.eq(value - zero),
                product.eq(difference * mult),
                coarsely.eq(widened >> (coarse << 3)),
                finely.eq(coarsely >> fine),
            ]
        with m.If(self.en & blank):
            m.d.sync += difference.eq(0)
        return finely
