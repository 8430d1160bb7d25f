# SPDX-License-Identifier: Apache-2.0
"""From sums to bytes: bias, multiplier, rounding shift and clamp of V channels a cycle."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.vector.table import QuantiserEntry

SUM_BITS = 48
"""Bits of a sum that does not pass the multiplier; one that does has 32."""
_OFFSET_BITS = SUM_BITS + 1
_LOW_BITS = 17
"""Bits of the sum in the lower partial product: what an 18x18 signed multiplier takes of an unsigned number."""
_FACTOR_BITS = 33
_FRACTION_BITS = 16
"""Bits below the binary point that rounding looks at: those of a random number."""
_INTEGER_BITS = 10
"""Bits of the shifted value that the clamp compares; what lies beyond them saturates at any 9-bit limit."""
_WINDOW_BITS = _INTEGER_BITS + _FRACTION_BITS
_COARSE = (32, 16, 8)
_FINE = (4, 2, 1)


def _shift_window(m: Module, name: str, value: Value, overflow: Value, shift: Value, amounts: tuple[int, ...]):
    """Shift right by the bits of ``shift`` that ``amounts`` names, keeping only what can still reach the window.

    After the multiplexer of amount ``k`` at most ``k - 1`` places are left to go, so the bits above the window plus
    ``k - 1`` cannot come back: if they differ from the sign, the result overflows.
    """
    for amount in amounts:
        width = _WINDOW_BITS + amount - 1
        taken = shift[amount.bit_length() - 1]
        above = value[width - 1 :]
        lost = (above != 0) & ~above.all()
        shifted = Signal(signed(width), name=f"{name}_{amount}")
        flag = Signal(name=f"{name}_{amount}_over")
        m.d.comb += [
            shifted.eq(Mux(taken, value.as_signed() >> amount, value.as_signed())),
            flag.eq(overflow | (lost & ~taken)),
        ]
        value, overflow = shifted, flag
    return value, overflow


class Finish(Component):
    """Requantise, or apply the error rule to, one sum of each of V channels a cycle.

    ``v = (sum + bias) * mult`` (``sum + bias`` with ``bypass``; 0 where ``keep`` is low), then ``y = (v + r) >> shift``
    and the clamp to ``lo .. hi``. With ``F`` the 16 bits below the binary point of ``v / 2^shift`` and a 16-bit ``R``
    the rounded value is ``(v >> shift) + ((F + R) >> 16)``: that is stochastic rounding for a random ``R``, halves up
    for ``R = 2^15`` and the floor for ``R = 0``. So one short adder behind the shifter serves every rounding, and the
    shifter need not hand on more than 16 fraction bits and the integer bits a clamp can tell apart.

    Latency: ``latency`` = 7 cycles with ``en``; ``keep`` belongs to the sums of the cycle before, ``random`` to those
    of ``random_delay`` = 5 cycles before.
    Throughput: V channels a cycle.

    Parameters
    ----------
    lanes:
        V, channels side by side.

    Members
    -------
    en: In(1)
        Advance the pipeline.
    valid: In(V)
        Channels that exist. The others give 0 and do not count.
    sums: In(ArrayLayout(signed(48), V))
        32-bit numbers unless ``bypass``.
    entries: In(ArrayLayout(QuantiserEntry, V))
        Constants of each channel.
    keep: In(V)
        Mask: a channel without its bit has ``v = 0``.
    bypass: In(1)
        The multiplier is 1. Must not change while anything is in the pipeline, like ``clamp``.
    clamp: In(1)
        Low: the result is the low byte of the shifted value.
    random: In(ArrayLayout(unsigned(16), V))
        ``R``.
    clear: In(1)
        Forget the magnitudes seen.
    result: Out(ArrayLayout(unsigned(8), V))
        The low byte of the clamped value.
    inside, above, below: Out(V)
        Channels with ``lo < y < hi``, with the unclamped ``y > hi`` and with ``y < lo``.
    magnitude: Out(48)
        Bitwise or of ``|v|`` over all valid channels since ``clear``: its bit length is that of the largest ``|v|``.

    Raises
    ------
    TypeError, ValueError
        If ``lanes`` is not a positive integer.
    """

    latency = 7
    random_delay = 5

    def __init__(self, *, lanes: int) -> None:
        if not isinstance(lanes, int) or isinstance(lanes, bool):
            raise TypeError(f"lanes must be an integer, not {lanes!r}")
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self._lanes = lanes
        super().__init__({
            "en": In(1),
            "valid": In(lanes),
            "sums": In(data.ArrayLayout(signed(SUM_BITS), lanes)),
            "entries": In(data.ArrayLayout(QuantiserEntry, lanes)),
            "keep": In(lanes),
            "bypass": In(1),
            "clamp": In(1),
            "random": In(data.ArrayLayout(unsigned(16), lanes)),
            "clear": In(1),
            "result": Out(data.ArrayLayout(unsigned(8), lanes)),
            "inside": Out(lanes),
            "above": Out(lanes),
            "below": Out(lanes),
            "magnitude": Out(SUM_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        stages = [self.valid]
        for stage in range(1, self.latency):
            valid = Signal(self._lanes, name=f"valid_{stage}")
            with m.If(self.en):
                m.d.sync += valid.eq(stages[-1])
            stages.append(valid)

        magnitudes = []
        for lane in range(self._lanes):
            value = self._multiply(m, lane)
            magnitudes.append(self._magnitude(m, lane, value, stages[3][lane]))
            window, over, sign = self._shift(m, lane, value)
            self._round(m, lane, window, over, sign, stages[6][lane])

        with m.If(self.clear):
            m.d.sync += self.magnitude.eq(0)
        with m.Elif(self.en):
            m.d.sync += self.magnitude.eq(reduce(or_, magnitudes, self.magnitude))
        return m

    def _delayed(self, m: Module, name: str, value: Value, stages: int) -> Value:
        for stage in range(stages):
            delayed = Signal(value.shape(), name=f"{name}_{stage}")
            with m.If(self.en):
                m.d.sync += delayed.eq(value)
            value = delayed
        return value

    def _multiply(self, m: Module, lane: int) -> Value:
        """Stages 1 to 3: offset, partial products, their sum."""
        entry = self.entries[lane]
        offset = Signal(signed(_OFFSET_BITS), name=f"offset_{lane}")
        low = Signal(_FACTOR_BITS, name=f"low_{lane}")
        high = Signal(signed(_OFFSET_BITS - _LOW_BITS), name=f"high_{lane}")
        value = Signal(signed(_OFFSET_BITS), name=f"value_{lane}")
        # With a multiplier of 1 the lower product is right; the upper one would lose the bits beyond its factor.
        mult = self._delayed(m, f"mult_{lane}", Mux(self.bypass, 1, entry.mult), 1)
        upper = offset[_LOW_BITS:].as_signed()
        with m.If(self.en):
            m.d.sync += [
                offset.eq(self.sums[lane] + entry.bias),
                low.eq(offset[:_LOW_BITS] * mult),
                high.eq(Mux(self.bypass, upper, upper[: _FACTOR_BITS - _LOW_BITS].as_signed() * mult)),
                value.eq(Cat(low[:_LOW_BITS], high + low[_LOW_BITS:])),
            ]
        # Said last and by itself it becomes the flip-flops' reset instead of a gate before each.
        with m.If(self.en & ~self.keep[lane]):
            m.d.sync += [low.eq(0), high.eq(0)]
        return value

    def _magnitude(self, m: Module, lane: int, value: Value, valid: Value) -> Value:
        """Stage 4: the absolute value, 0 for a channel that does not exist."""
        magnitude = Signal(SUM_BITS, name=f"magnitude_{lane}")
        sign = value[-1]
        with m.If(self.en):
            # The plain operand comes first: it feeds the carries, and the other one's logic fits in the adder's LUTs.
            m.d.sync += magnitude.eq(sign + (value ^ sign.replicate(len(value))))
        with m.If(self.en & ~valid):
            m.d.sync += magnitude.eq(0)
        return magnitude

    def _shift(self, m: Module, lane: int, value: Value) -> tuple[Value, Value, Value]:
        """Stages 4 and 5: the window of the shifted value, whether it overflowed, and its sign."""
        shift = self._delayed(m, f"shift_{lane}", self.entries[lane].shift, 3)
        fine_shift = self._delayed(m, f"fine_shift_{lane}", shift[: len(_FINE)], 1)
        sign = self._delayed(m, f"sign_{lane}", value[-1], 3)
        point = Cat(Signal(_FRACTION_BITS, name=f"fraction_{lane}"), value).as_signed()
        coarse, coarse_over = _shift_window(m, f"coarse_{lane}", point, Value.cast(0), shift, _COARSE)
        coarse = self._delayed(m, f"coarse_reg_{lane}", coarse, 1)
        coarse_over = self._delayed(m, f"coarse_over_{lane}", coarse_over, 1)
        fine, over = _shift_window(m, f"fine_{lane}", coarse, coarse_over, fine_shift, _FINE)
        return (
            self._delayed(m, f"fine_reg_{lane}", fine, 1),
            self._delayed(m, f"over_{lane}", over, 2),
            sign,
        )

    def _round(self, m: Module, lane: int, window: Value, over: Value, sign: Value, valid: Value) -> None:
        """Stages 6 and 7: rounding, comparison with the limits, clamp."""
        lo = self._delayed(m, f"lo_{lane}", self.entries[lane].lo, 6)
        hi = self._delayed(m, f"hi_{lane}", self.entries[lane].hi, 6)
        rounded = Signal(signed(_WINDOW_BITS + 1), name=f"rounded_{lane}")
        level = rounded[_FRACTION_BITS:].as_signed()
        above = Signal(name=f"above_{lane}")
        below = Signal(name=f"below_{lane}")
        m.d.comb += [
            above.eq(Mux(over, ~sign, level > hi)),
            below.eq(Mux(over, sign, level < lo)),
        ]
        with m.If(self.en):
            m.d.sync += [
                rounded.eq(window + self.random[lane]),
                self.above[lane].eq(valid & above),
                self.below[lane].eq(valid & below),
                self.inside[lane].eq(valid & ~above & ~below & (level != lo) & (level != hi)),
            ]
            with m.If(~valid):
                m.d.sync += self.result[lane].eq(0)
            with m.Elif(self.clamp & above):
                m.d.sync += self.result[lane].eq(hi)
            with m.Elif(self.clamp & below):
                m.d.sync += self.result[lane].eq(lo)
            with m.Else():
                m.d.sync += self.result[lane].eq(level)
