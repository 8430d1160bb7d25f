# SPDX-License-Identifier: Apache-2.0
"""The order of a march test."""

from amaranth.hdl import Array, Const, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW, ROW_ADDRESS_BITS
from respin.rtl.mram.gray import from_gray
from respin.rtl.mram.row_codec import CODEWORDS
from respin.rtl.mram.secded import DATA_BITS

_ZEROS = 0
_ONES = (1 << DATA_BITS) - 1
_CHECKS = 3 << 55
BACKGROUNDS = tuple(word * sum(1 << DATA_BITS * c for c in range(CODEWORDS)) for word in (_ZEROS, _ONES, _CHECKS))
"""Data columns of a row: every column 0; every data column 1 (the check columns stay 0); every check column 1: the
columns of data bits 55 and 56 in the parity-check matrix are e0 and 1f."""

ELEMENTS = (
    # Falling addresses; background to be found, or None; background to be written.
    (False, None, 0),
    (False, 0, 1),
    (False, 1, 0),
    (True, 0, 1),
    (True, 1, 0),
    (False, 0, 2),
    (False, 2, 0),
)
"""March C- on the data columns, its last read joined with the first of two more elements, which are for the check
columns. All is 0 in the end."""


class MarchWalk(wiring.Component):
    """Goes through the steps of the march test: for each element, for each row, a check and a write.

    A write is verified by its own reads, so a stuck MTJ shows in the element that first writes against it; what a write
    to one row does to another shows in a check.

    Parameters
    ----------
    config : AcceleratorConfig
        ``usable_rows`` and ``gray_code`` are used.

    Members
    -------
    start : In(1)
        The test begins in the next cycle.
    advance : In(1)
        The step in hand is done.
    running : Out(1)
        There is a step in hand.
    row : Out(24)
    check : Out(1)
        It is a check, not a write.
    data : Out(ROW)
        What the row is to hold, or to be given.
    """

    latency = 1

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._last_row = config.usable_rows - 1
        self._gray = config.gray_code
        super().__init__(
            {
                "start": In(1),
                "advance": In(1),
                "running": Out(1),
                "row": Out(ROW_ADDRESS_BITS),
                "check": Out(1),
                "data": Out(ROW),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        element = Signal(range(len(ELEMENTS)))
        falling = Array(int(falls) for falls, _, _ in ELEMENTS)
        found = Array(Const(found or 0, unsigned(2)) for _, found, _ in ELEMENTS)[element]
        written = Array(Const(written, unsigned(2)) for _, _, written in ELEMENTS)[element]
        background = Signal(2)
        m.d.comb += background.eq(written)
        with m.If(self.check):
            m.d.comb += background.eq(found)
        with m.Switch(background):
            for number, bits in enumerate(BACKGROUNDS):
                with m.Case(number):
                    columns = Const(bits, ROW.size)
                    m.d.comb += self.data.as_value().eq(from_gray(columns) if self._gray else columns)

        last = Signal()
        m.d.comb += last.eq(self.row == 0)
        with m.If(~falling[element]):
            m.d.comb += last.eq(self.row == self._last_row)
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), element.eq(0), self.row.eq(0), self.check.eq(0)]
        with m.Elif(self.advance & self.check):
            m.d.sync += self.check.eq(0)
        with m.Elif(self.advance & ~last):
            m.d.sync += [self.check.eq(element != 0), self.row.eq(self.row + 1)]
            with m.If(falling[element]):
                m.d.sync += self.row.eq(self.row - 1)
        with m.Elif(self.advance):
            m.d.sync += [self.check.eq(1), element.eq(element + 1), self.row.eq(0)]
            with m.If(falling[element + 1]):
                m.d.sync += self.row.eq(self._last_row)
            with m.If(element == len(ELEMENTS) - 1):
                m.d.sync += self.running.eq(0)
        return m
