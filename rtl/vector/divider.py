# SPDX-License-Identifier: Apache-2.0
"""A serial unsigned divider."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Divider(wiring.Component):
    """``quotient = dividend // divisor``, restoring, one bit a cycle.

    ``start`` takes the operands in a cycle with ``ready`` high; ``latency`` = ``dividend_bits + 1`` cycles later
    ``ready`` is high again with the quotient, which stays until the next start. A divisor of 0 gives all ones.

    Parameters
    ----------
    dividend_bits, divisor_bits:
        Widths of the operands; the quotient is as wide as the dividend.

    Members
    -------
    start : In(1)
    ready : Out(1)
    dividend : In(dividend_bits)
    divisor : In(divisor_bits)
    quotient : Out(dividend_bits)

    Raises
    ------
    TypeError, ValueError
        For a width of the wrong type or below 1.
    """

    def __init__(self, *, dividend_bits: int, divisor_bits: int) -> None:
        for name, bits in (("dividend_bits", dividend_bits), ("divisor_bits", divisor_bits)):
            if not isinstance(bits, int) or isinstance(bits, bool):
                raise TypeError(f"{name} must be an integer, not {bits!r}")
            if bits < 1:
                raise ValueError(f"{name} must be at least 1, not {bits!r}")
        self.latency = dividend_bits + 1
        super().__init__({
            "start": In(1),
            "ready": Out(1, init=1),
            "dividend": In(dividend_bits),
            "divisor": In(divisor_bits),
            "quotient": Out(dividend_bits),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = Signal.like(self.divisor)
        # The remainder stays below the divisor; with the next bit of the dividend it is one bit wider.
        remainder = Signal.like(self.divisor)
        left = Signal(range(len(self.dividend) + 1))
        # The dividend's bits leave the quotient's register at the top while the quotient's enter at the bottom.
        trial = Signal(unsigned(len(divisor) + 1))
        rest = Signal(unsigned(len(divisor) + 2))
        m.d.comb += [
            trial.eq(Cat(self.quotient[-1], remainder)),
            rest.eq(trial - divisor),
            self.ready.eq(left == 0),
        ]
        with m.If(left != 0):
            m.d.sync += [
                remainder.eq(Mux(rest[-1], trial, rest)),
                self.quotient.eq(Cat(~rest[-1], self.quotient)),
                left.eq(left - 1),
            ]
        with m.Elif(self.start):
            m.d.sync += [
                self.quotient.eq(self.dividend),
                divisor.eq(self.divisor),
                remainder.eq(0),
                left.eq(len(self.dividend)),
            ]
        return m
