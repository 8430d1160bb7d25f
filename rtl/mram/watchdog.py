# SPDX-License-Identifier: Apache-2.0
"""The bound on every wait."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Watchdog(wiring.Component):
    """Ends a wait of more than ``cycles`` cycles.

    Parameters
    ----------
    cycles : int
        Longest wait, in cycles.

    Members
    -------
    waiting : In(1)
        High in each cycle of a wait; a low cycle ends it.
    expired : Out(1)
        The wait has lasted ``cycles`` cycles and this is one more.

    Raises
    ------
    TypeError
        If ``cycles`` is not an integer.
    ValueError
        If ``cycles`` is below 1.
    """

    def __init__(self, *, cycles: int) -> None:
        if not isinstance(cycles, int) or isinstance(cycles, bool):
            raise TypeError(f"cycles must be an integer, not {cycles!r}")
        if cycles < 1:
            raise ValueError(f"cycles must be at least 1, not {cycles!r}")
        self._cycles = cycles
        super().__init__({"waiting": In(1), "expired": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        elapsed = Signal(range(self._cycles + 1))
        m.d.comb += self.expired.eq(self.waiting & (elapsed == self._cycles))
        m.d.sync += elapsed.eq(0)
        with m.If(self.waiting & ~self.expired):
            m.d.sync += elapsed.eq(elapsed + 1)
        return m
