# SPDX-License-Identifier: Apache-2.0
"""A board in simulation: a machine with its banks, a serial link, and RAM that both reach."""

from pathlib import Path
from tempfile import TemporaryDirectory

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.cli.watched_machine import kept_verilog
from respin.rtl.config import AcceleratorConfig
from respin.rtl.link.linked_memory import LinkedMemory
from respin.rtl.machine import Machine
from respin.sim.banks import BANK_MODEL, model_plusargs, with_banks
from respin.sim.runner import seed
from respin.sim.serial_line import SerialBoard, build_board
from respin.sim.tables import NO_FAULTS, table_for

MEMORY_BYTES = 1 << 17
"""As much as an iCE40 UP5K has in its large RAMs."""
BIT_CYCLES = 8
_BAUD = 115200
_TOP = "simulated_board"
_TIED = ("backdoor_op", "backdoor_bank", "backdoor_row", "backdoor_wdata")


class Board(Component):
    """A machine and what stands around it on a board, but for its banks.

    Parameters
    ----------
    config : AcceleratorConfig
    size : int
        Bytes of external memory: a power of two.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    banks
        As of :class:`respin.rtl.machine.Machine`.
    """

    def __init__(self, *, config: AcceleratorConfig, size: int) -> None:
        self._config, self._size, self._machine = config, size, Machine(config=config)
        super().__init__({
            "rx": In(1, init=1),
            "tx": Out(1, init=1),
            "banks": self._machine.signature.members["banks"],
        })

    def elaborate(self, platform: object) -> Module:
        """Connect the parts."""
        m = Module()
        m.submodules.machine = machine = self._machine
        m.submodules.memory = memory = LinkedMemory(
            clock_hz=BIT_CYCLES * _BAUD, baud=_BAUD, data_bits=self._config.axi_bits, size=self._size
        )
        connect(m, memory.registers, machine.s_axi)
        connect(m, machine.m_axi, memory.dma)
        for outer, inner in zip(self.banks, machine.banks, strict=True):
            connect(m, inner, flipped(outer))
        m.d.comb += [memory.rx.eq(self.rx), self.tx.eq(memory.tx)]
        return m


def simulated_board(config: AcceleratorConfig, *, size: int = MEMORY_BYTES) -> SerialBoard:
    """Generate a board and compile it, or find it compiled, and reset it.

    Parameters
    ----------
    config:
        Its machine. Banks take the device's cycle counts and make no faults.
    size:
        Bytes of external memory: a power of two.
    """
    verilog = kept_verilog(f"{_TOP}_{size}", config, Path(__file__), lambda: Board(config=config, size=size))
    texts = with_banks(verilog, f"{_TOP}_{size}", rows=config.mram_rows, bench="banked")
    library = build_board(texts, "banked", tied=_TIED, models=[BANK_MODEL])
    with TemporaryDirectory() as folder:  # the bank models read their files when they are made
        plusargs = model_plusargs(Path(folder), table=table_for(config, seed=seed(), rates=NO_FAULTS))
        return SerialBoard(library, bit_cycles=BIT_CYCLES, plusargs=plusargs)
