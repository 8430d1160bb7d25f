# SPDX-License-Identifier: Apache-2.0
"""The machine's clock and its reset, from a pin of the board."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

_START_BITS = 10
"""Cycles of the reset after configuration, as a power of two; block RAM of iCE40 needs 10 us until it can be read."""
_VCO_MHZ = (400, 800)
"""Where the oscillator of an ECP5's PLL works (FPGA-DS-02012, sysCLOCK PLL timing)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Which clock the machine gets.

    Parameters
    ----------
    pin_mhz:
        Of the oscillator on the board.
    mhz:
        Of the machine: ``pin_mhz``, or with ``pll`` a multiple of it.
    pll:
        Whether there is an ECP5's PLL to multiply it.

    Raises
    ------
    ValueError
        If the PLL cannot make ``mhz``, with what it can, or there is none.
    """

    pin_mhz: int
    mhz: int
    pll: bool = False

    def __post_init__(self) -> None:
        if self.mhz not in self.choices:
            raise ValueError(f"clock must be one of {', '.join(map(str, self.choices))} MHz, not {self.mhz!r}")

    @property
    def choices(self) -> tuple[int, ...]:
        """What ``mhz`` may be."""
        return tuple(self.pin_mhz * times for times in range(1, 9)) if self.pll else (self.pin_mhz,)

    @property
    def divider(self) -> int:
        """Of the PLL's oscillator: its multiple of ``mhz``, in the middle of where it works."""
        return round(sum(_VCO_MHZ) / 2 / self.mhz)


class ClockAndReset(Component):
    """Makes a clock of ``mhz``, and a reset that lasts until it has been steady for 1024 cycles.

    Parameters
    ----------
    clock : Clock
    late : bool
        Make a second clock, a quarter of a cycle later; it needs the PLL.

    Members
    -------
    pin : In(1)
        The oscillator.
    clk, rst : Out(1)
        Of the machine; ``rst`` follows the clock.
    late : Out(1)
        The second clock; 0 without one.

    Raises
    ------
    ValueError
        For a second clock without a PLL.
    """

    def __init__(self, *, clock: Clock, late: bool = False) -> None:
        if late and not clock.pll:
            raise ValueError("a second clock needs a PLL, which this board's chip does not have here")
        self._clock, self._late = clock, late
        super().__init__({"pin": In(1), "clk": Out(1), "rst": Out(1, init=1), "late": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.start = ClockDomain(reset_less=True, local=True)
        steady, out = Signal(), self.clk
        if self._clock.mhz == self._clock.pin_mhz and not self._late:
            m.d.comb += [out.eq(self.pin), steady.eq(1)]
        else:
            locked = Signal()
            m.submodules.pll = self._pll(out, locked)
            m.submodules.locked = FFSynchronizer(locked, steady, o_domain="start")
        m.d.comb += ClockSignal("start").eq(out)
        left = Signal(_START_BITS + 1)
        with m.If(~steady):
            m.d.start += left.eq(0)
        with m.Elif(~left[-1]):
            m.d.start += left.eq(left + 1)
        m.d.start += self.rst.eq(~left[-1])
        return m

    def _pll(self, out: Signal, locked: Signal) -> Instance:
        clock = self._clock
        second: dict[str, object] = {}
        if self._late:
            eighths = 2 * clock.divider  # of a cycle of the PLL's oscillator: a quarter of the output's
            second = {
                "p_CLKOS_DIV": clock.divider, "p_CLKOS_ENABLE": "ENABLED", "i_ENCLKOS": Const(0), "o_CLKOS": self.late,
                "p_CLKOS_CPHASE": clock.divider - 1 + eighths // 8, "p_CLKOS_FPHASE": eighths % 8,
            }  # fmt: skip
        return Instance(
            "EHXPLLL",
            p_CLKI_DIV=1, p_CLKFB_DIV=clock.mhz // clock.pin_mhz, p_CLKOP_DIV=clock.divider,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=clock.divider - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            i_CLKI=self.pin, i_CLKFB=out, i_RST=Const(0), i_STDBY=Const(0), i_PHASESEL0=Const(0), i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0), i_PHASESTEP=Const(0), i_PHASELOADREG=Const(0), i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0), o_CLKOP=out, o_LOCK=locked, **second,
        )  # fmt: skip
