# SPDX-License-Identifier: Apache-2.0
"""The whole machine, with what a bench wants to see of its inside: notes of edges, and every write to a bank."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.utils import exact_log2

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS, BankCommand
from respin.rtl.machine import Machine
from respin.rtl.sequencer.ports import EdgeNote
from respin.sim.banks import BANK_MODEL, model_plusargs, with_banks
from respin.sim.memory import MEMORY_MODEL, with_memory
from respin.sim.runner import Build, Result, build, run, seed
from respin.sim.tables import NO_FAULTS, table_for

TOP = "respin_machine"


class WatchedMachine(Component):
    """A machine with more ports: what it notes of edges (``note``), jobs' ends (``reported``) and what they took
    (``job_cycles``), how many write commands banks were given (``writes``), and whether one went to a row outside
    ``first_row`` .. ``end_row - 1`` (``outside``); ``forget`` clears these two."""

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._machine = Machine(config=config)
        self._banks = config.banks
        super().__init__({
            **self._machine.signature.members,
            "note": Out(EdgeNote),
            "reported": Out(1),
            "job_cycles": Out(32),
            "first_row": In(ROW_ADDRESS_BITS + 1),
            "end_row": In(ROW_ADDRESS_BITS + 1),
            "forget": In(1),
            "writes": Out(32),
            "outside": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.machine = machine = self._machine
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        inside = machine._machine  # the ports of what a machine is made of
        m.d.comb += [self.irq.eq(machine.irq), self.note.eq(inside.note), self.reported.eq(inside.reported)]
        m.d.comb += self.job_cycles.eq(inside.report.cycles)
        written, strayed = [], []
        for bank, (outer, inner) in enumerate(zip(self.banks, machine.banks, strict=True)):
            connect(m, inner, flipped(outer))
            write, row = Signal(name=f"write_{bank}"), Signal(ROW_ADDRESS_BITS, name=f"row_{bank}")
            m.d.comb += [
                write.eq((inner.cmd != BankCommand.IDLE) & (inner.cmd != BankCommand.READ)),
                row.eq((inner.row << exact_log2(self._banks)) | bank),
            ]
            written.append(write)
            strayed.append(write & ((row < self.first_row) | (row >= self.end_row)))
        with m.If(Cat(written).any()):
            m.d.sync += self.writes.eq(self.writes + 1)
        with m.If(Cat(strayed).any()):
            m.d.sync += self.outside.eq(1)
        with m.If(self.forget):
            m.d.sync += [self.writes.eq(0), self.outside.eq(0)]
        return m


def machine_verilog(config: AcceleratorConfig) -> str:
    """Generate the machine."""
    return emit(WatchedMachine(config=config), TOP, config=config)


def machine_bench(config: AcceleratorConfig, verilog: str, *, words: int = 1 << 14) -> dict[str, str]:
    """Return the texts of a module ``bench``: a machine's Verilog, with its banks and ``words`` words of memory."""
    return with_memory(with_banks(verilog, TOP, rows=config.mram_rows, bench="banked"), "banked", words=words)


def run_bench(
    dut: Build,
    config: AcceleratorConfig,
    module: str,
    folder: Path,
    *,
    tests: int,
    seconds: float = 900,
    only: Sequence[str] = (),
    **settings: object,
) -> Result:
    """Run a bench of machines, its banks with the device's cycles and no faults; ``settings`` become MACHINE_*."""
    env = {"MACHINE_CONFIG": json.dumps(asdict(config)), "MACHINE_FOLDER": str(folder), "OMP_NUM_THREADS": "1"}
    env |= {f"MACHINE_{name.upper()}": str(value) for name, value in settings.items()}
    plusargs = model_plusargs(folder, table=table_for(config, seed=seed(), rates=NO_FAULTS))
    return run(dut, module, tests=tests, only=only, env=env, plusargs=plusargs, seconds=seconds)


def build_machine(config: AcceleratorConfig, simulator: str, *, words: int = 1 << 14) -> Build:
    """Generate the machine and build its simulation, with its banks and ``words`` words of external memory."""
    texts = machine_bench(config, machine_verilog(config), words=words)
    return build("bench", texts, simulator=simulator, files=[BANK_MODEL, MEMORY_MODEL], optimise=True, held=True)
