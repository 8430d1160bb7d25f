# SPDX-License-Identifier: Apache-2.0
"""Comparison of a raw row with the row that is to be written."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import ROW_COLUMNS, STRIPS
from respin.rtl.interfaces import ROW
from respin.rtl.mram.popcount import popcount
from respin.rtl.mram.ports import CHECKS
from respin.rtl.mram.row_codec import CODEWORDS, codewords
from respin.rtl.mram.secded import CODEWORD_BITS, DATA_BITS, SecdedEncoder


class RowCompare(wiring.Component):
    """Encodes a row and compares it with a raw one, a codeword a cycle.

    The results hold from the sixth cycle of ``run`` until the next comparison. The raw row is looked at in the first
    four.

    Members
    -------
    run : In(1)
        Held high for the whole comparison.
    data : In(ROW)
        The row to be.
    columns : In(288)
        The raw row.
    viewing : Out(1)
        ``columns`` is looked at in this cycle.
    done : Out(1)
        Last cycle of a comparison: the results are there.
    checks : Out(CHECKS)
        Check bits of ``data``.
    strips : Out(72)
        Strips with a column that differs.
    differing : Out(9)
        Columns that differ.
    one_strip : Out(1)
        All columns that differ lie on one strip.
    repairable : Out(1)
        No codeword has more than one column that differs.
    """

    run: In(1)
    data: In(ROW)
    columns: In(ROW_COLUMNS)
    viewing: Out(1)
    done: Out(1)
    checks: Out(CHECKS)
    strips: Out(STRIPS)
    differing: Out(range(ROW_COLUMNS + 1))
    one_strip: Out(1)
    repairable: Out(1)

    latency = CODEWORDS + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.encoder = encoder = SecdedEncoder()
        step = Signal(range(self.latency + 1))
        index = step[:2]
        difference = Signal(CODEWORD_BITS)
        ones = Signal(range(CODEWORD_BITS + 1))
        elsewhere = Signal()
        m.d.comb += [
            elsewhere.eq(self.strips.any() & difference.any() & ~(self.strips & difference).any()),
            ones.eq(popcount(difference)),
            encoder.data.eq(self.data.as_value().word_select(index, DATA_BITS)),
            self.viewing.eq(self.run & (step < CODEWORDS)),
            self.done.eq(self.run & (step == self.latency)),
        ]
        with m.If(self.run):
            m.d.sync += step.eq(step + 1)
        with m.If(self.viewing):
            m.d.sync += [
                difference.eq(Array(codewords(self.columns))[index] ^ Cat(encoder.data, encoder.check)),
                self.checks[index].eq(encoder.check),
            ]
        # The count follows a cycle behind the difference: in one cycle they would be the controller's longest path.
        with m.If(self.run & (step == 0)):
            m.d.sync += [self.strips.eq(0), self.differing.eq(0), self.repairable.eq(1), self.one_strip.eq(1)]
        with m.Elif(self.run & ~self.done):
            m.d.sync += [
                self.strips.eq(self.strips | difference),
                self.differing.eq(self.differing + ones),
                self.repairable.eq(self.repairable & (ones <= 1)),
                self.one_strip.eq(self.one_strip & (ones <= 1) & ~elsewhere),
            ]
        with m.If(self.done):
            m.d.sync += step.eq(0)
        return m
