# SPDX-License-Identifier: Apache-2.0
"""A machine with its banks out of block RAM; clock, reset, two AXI ports and an interrupt are left to connect."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.fpga.bank import NO_ERRORS, ONE_CYCLE, BankErrors, BankTiming, BlockRamBank
from respin.rtl.machine import Machine


class BankedMachine(Component):
    """A :class:`Machine` and as many :class:`BlockRamBank` as it has banks.

    Parameters
    ----------
    config : AcceleratorConfig
    timing : BankTiming
    errors : BankErrors
        Of every bank.

    Members
    -------
    s_axi : In(AxiLite(12, 32)), m_axi : Out(Axi4(axi_bits, 32, 1)), irq : Out(1)
        As the machine's.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(
        self, *, config: AcceleratorConfig, timing: BankTiming = ONE_CYCLE, errors: BankErrors = NO_ERRORS
    ) -> None:
        self._machine = Machine(config=config)
        self._banks = [
            BlockRamBank(rows=config.mram_rows, timing=timing, errors=errors, number=number)
            for number in range(config.banks)
        ]
        members = self._machine.signature.members
        super().__init__({name: members[name] for name in ("s_axi", "m_axi", "irq")})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = self._machine
        for number, (pins, bank) in enumerate(zip(machine.banks, self._banks, strict=True)):
            m.submodules[f"bank_{number}"] = bank
            connect(m, pins, bank.pins)
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        m.d.comb += self.irq.eq(machine.irq)
        return m
