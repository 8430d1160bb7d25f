# SPDX-License-Identifier: Apache-2.0
"""The smallest board: a serial link with registers and a RAM behind it."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect

from respin.rtl.config import preset
from respin.rtl.host.register_file import RegisterFile
from respin.rtl.host.registers import register_map
from respin.rtl.link.linked_memory import LinkedMemory

SIZE = 8192
BIT_CYCLES = 8


class LinkedRegisters(Component):
    """CURRENT shows how often CONTROL was written with ``start``; a machine there is none."""

    def __init__(self) -> None:
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = LinkedMemory(
            clock_hz=115200 * BIT_CYCLES, baud=115200, data_bits=32, size=SIZE, timeout=200
        )
        m.submodules.registers = registers = RegisterFile(registers=register_map(preset("tiny")))
        connect(m, memory.registers, registers.axi)
        regs = registers.regs
        m.d.comb += [memory.rx.eq(self.rx), self.tx.eq(memory.tx)]
        m.d.sync += regs.current.eq(regs.current + regs.start)
        return m
