# SPDX-License-Identifier: Apache-2.0
"""A whole machine on an FPGA board: banks out of block RAM, external memory, a serial line to the host."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.fpga.bank import NO_ERRORS, ONE_CYCLE, BankErrors, BankTiming
from respin.rtl.fpga.banked import BankedMachine
from respin.rtl.fpga.clock import Clock, ClockAndReset
from respin.rtl.fpga.linked_sdram import LinkedSdram
from respin.rtl.fpga.sdram import SdramPins
from respin.rtl.fpga.spram import Spram
from respin.rtl.link.linked_memory import LinkedMemory
from respin.rtl.link.memory import Ram


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardConfig:
    """What is around the machine.

    Parameters
    ----------
    clock:
        Where the clock comes from.
    memory_bytes:
        External memory on the chip: a power of two, at least 4096.
    spram:
        It is the single-port RAM of an iCE40 UP5K instead of block RAM (:class:`respin.rtl.fpga.spram.Spram`).
    sdram:
        External memory is the board's SDRAM instead (:class:`respin.rtl.fpga.sdram.Sdram`).
    baud:
        Of the serial line.
    machine:
        False leaves the machine out: the serial line and memory alone, small enough for every board, to try one out.
    lights_low:
        Whether the board's lights shine where their pins are low.
    timing, errors:
        Of the banks.
    """

    clock: Clock
    memory_bytes: int
    baud: int = 115_200
    machine: bool = True
    spram: bool = False
    sdram: bool = False
    lights_low: bool = False
    timing: BankTiming = ONE_CYCLE
    errors: BankErrors = NO_ERRORS


class Board(Component):
    """The machine with all that it needs of an FPGA.

    Without a machine nobody answers at the registers: the link says so (TIMEOUT).

    Parameters
    ----------
    config : AcceleratorConfig
    board : BoardConfig

    Members
    -------
    clock : In(1)
        The board's oscillator.
    rx : In(1), tx : Out(1)
        The serial line.
    busy, alert : Out(1)
        For lights: something came over the line, or goes back; the interrupt line.
    sdram : Out(SdramPins()), sdram_clk : Out(1)
        With SDRAM: its pins; its data are the top module's ``sdram_dq``.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(self, *, config: AcceleratorConfig, board: BoardConfig) -> None:
        self._config, self._board = config, board
        line = {"clock_hz": board.clock.mhz * 1_000_000, "baud": board.baud}
        if board.sdram:
            self._memory = LinkedSdram(**line, data_bits=config.axi_bits)
        else:
            ram = Spram if board.spram else Ram
            self._memory = LinkedMemory(**line, data_bits=config.axi_bits, size=board.memory_bytes, ram=ram)
        pins = {"sdram": Out(SdramPins()), "sdram_clk": Out(1)} if board.sdram else {}
        super().__init__(
            {"clock": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "alert": Out(1), **pins}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.submodules.clock = clock = ClockAndReset(clock=self._board.clock, late=self._board.sdram)
        m.submodules.memory = memory = self._memory
        if self._board.sdram:
            # Whoever asks for something waits in its reset until the chip has been powered up.
            m.domains.power_up = power_up = ClockDomain()
            m.d.comb += [power_up.clk.eq(clock.clk), power_up.rst.eq(clock.rst), self.sdram_clk.eq(clock.late)]
            connect(m, memory.pins, flipped(self.sdram))
        m.d.comb += [
            clock.pin.eq(self.clock),
            sync.clk.eq(clock.clk),
            sync.rst.eq(clock.rst | ~memory.ready if self._board.sdram else clock.rst),
            memory.rx.eq(self.rx),
            self.tx.eq(memory.tx),
            self.busy.eq(~(self.rx & self.tx) ^ self._board.lights_low),
            self.alert.eq(self._board.lights_low),
        ]
        if self._board.machine:
            m.submodules.machine = machine = BankedMachine(
                config=self._config, timing=self._board.timing, errors=self._board.errors
            )
            connect(m, memory.registers, machine.s_axi)
            connect(m, machine.m_axi, memory.dma)
            m.d.comb += self.alert.eq(machine.irq ^ self._board.lights_low)
        return m
