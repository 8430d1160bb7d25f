# SPDX-License-Identifier: Apache-2.0
"""The Hsiao(72,64) code of a row's codewords: its matrix in plain Python, its encoder and its decoder in two parts."""

from itertools import combinations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

DATA_BITS = 64
CHECK_BITS = 8
CODEWORD_BITS = DATA_BITS + CHECK_BITS


def _columns() -> tuple[int, ...]:
    weight3 = sorted(sum(1 << bit for bit in bits) for bits in combinations(range(CHECK_BITS), 3))
    weight5 = [(0x1F << n | 0x1F >> CHECK_BITS - n) & 0xFF for n in range(CHECK_BITS)]
    return (*weight3, *weight5, *(1 << bit for bit in range(CHECK_BITS)))


COLUMNS: tuple[int, ...] = _columns()
"""Column of H for each codeword bit, as a byte: all of odd weight, so that a double error has an even syndrome."""


def row_mask(check: int, bits: int = CODEWORD_BITS) -> int:
    """Return row ``check`` of H over the first ``bits`` codeword bits: bit ``i`` is set where bit ``i`` takes part."""
    return sum(1 << i for i in range(bits) if COLUMNS[i] >> check & 1)


class SecdedEncoder(wiring.Component):
    """Check bits of a codeword. Combinational.

    Members
    -------
    data : In(64)
        Data bits of the codeword.
    check : Out(8)
        Its bits 64..71: with them every row of H sums to 0.
    """

    data: In(DATA_BITS)
    check: Out(CHECK_BITS)

    latency = 0

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.check.eq(Cat((self.data & row_mask(r, DATA_BITS)).xor() for r in range(CHECK_BITS)))
        return m


class SecdedSyndrome(wiring.Component):
    """What of a codeword as read tells its errors. Combinational.

    Members
    -------
    word : In(72)
        The codeword as read.
    syndrome : Out(8)
        The sum of the columns of H of its ones: 0 if no bit is wrong, a column of H if that one is.
    """

    word: In(CODEWORD_BITS)
    syndrome: Out(CHECK_BITS)

    latency = 0

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.syndrome.eq(Cat((self.word & row_mask(r)).xor() for r in range(CHECK_BITS)))
        return m


class SecdedDecoder(wiring.Component):
    """Corrects one wrong bit of a codeword and detects two. Combinational.

    A syndrome of 0 is clean; one that equals a column of H names the bit to flip back; any other (every even one, and
    the 56 odd ones that are no column) cannot be corrected.

    Members
    -------
    read : In(64)
        The codeword's data bits as read.
    syndrome : In(8)
        Of the whole codeword: :class:`SecdedSyndrome`.
    data : Out(64)
        Its data bits, corrected; as read where they cannot be corrected.
    corrected : Out(1)
        One bit was wrong and was flipped back (a check bit counts too).
    uncorrectable : Out(1)
        More than one bit was wrong.
    """

    read: In(DATA_BITS)
    syndrome: In(CHECK_BITS)
    data: Out(DATA_BITS)
    corrected: Out(1)
    uncorrectable: Out(1)

    latency = 0

    def elaborate(self, platform) -> Module:
        m = Module()
        wrong = Signal(CODEWORD_BITS)
        m.d.comb += [
            wrong.eq(Cat(self.syndrome == column for column in COLUMNS)),
            self.data.eq(self.read ^ wrong[:DATA_BITS]),
            self.corrected.eq(wrong.any()),
            self.uncorrectable.eq(self.syndrome.any() & ~self.corrected),
        ]
        return m
