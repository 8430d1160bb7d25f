# SPDX-License-Identifier: Apache-2.0
"""The whole machine: registers, DMA, sequencer and accelerator, between two AXI ports and the banks."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.host import Host
from respin.rtl.host.registers import STAGES
from respin.rtl.interfaces import BankPins
from respin.rtl.job_control import UNITS
from respin.rtl.mram.keeper_ports import ERASE_KEY, MemoryControl
from respin.rtl.mram.upkeep import CareCounters, MemoryState
from respin.rtl.sequenced import SequencedAccelerator
from respin.rtl.sequencer.ports import Control
from respin.rtl.streams import join

_UNIT_OF_STAGE = {"rows": "read", "feeder": "feed"}
"""What the counters call the units that a job calls otherwise."""
_REPORTED = {
    "engine_busy": "busy",
    "starved_rows": "starved_rows",
    "starved_words": "starved_words",
    "stalled": "stalled",
}
"""Counters that grow by what a job's report says."""
_MEMORY_COUNTERS = {
    "rows_read": "rows_read",
    "rows_written": "row_writes",
    "strips_pulsed": "strips_pulsed",
    "bits_flipped": "bits_flipped",
    "retries": "retries",
    "words_corrected": "words_corrected",
    "uncorrectable": "uncorrectable",
}
"""Counters that the bank controller keeps, by the registers' names."""


_MEMORY_REGISTERS = {
    "start": "memory_start",
    "procedure": "memory_procedure",
    "region": "memory_region",
    "ready": "memory_ready",
    "ended": "irq_memory",
    "error": "memory_error",
    "error_row": "memory_row",
    "formatted": "memory_formatted",
    "training": "memory_training",
    "committed": "memory_committed",
    "slot": "memory_slot",
    "version": "memory_version",
    "whole": "memory_whole",
    "writes_locked": "writes_locked",
}
"""Registers' members by what the memory's keeper calls them."""


class Machine(Component):
    """What goes onto a chip: it runs programs by itself (docs/sequencer.md, docs/registers.md).

    A soft reset puts accelerator and sequencer back to where a reset does; registers keep their values. What the DMA
    has under way then is let run out, at most until its watchdog ends it; meanwhile the machine is not ready.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    s_axi : In(AxiLite(12, 32))
        Registers.
    m_axi : Out(Axi4(axi_bits, 32, 1))
        External memory.
    irq : Out(1)
    banks : Out(BankPins(mram_rows)).array(B)
        The SAS-MRAM macros.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self.config = config
        self._host = Host(config=config)
        self._machine = SequencedAccelerator(config=config)
        host = self._host.signature.members
        super().__init__({
            **{name: host[name] for name in ("s_axi", "m_axi", "irq")},
            "banks": Out(BankPins(config.mram_rows)).array(config.banks),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.host = host = self._host
        m.submodules.sequenced = ResetInserter(host.regs.soft_reset)(self._machine)
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(host, name))
        m.d.comb += self.irq.eq(host.irq)
        for inner, outer in zip(self._machine.banks, self.banks, strict=True):
            connect(m, inner, flipped(outer))
        self._connect_memory(m)
        self._connect_registers(m)
        self._count(m)
        return m

    def _connect_memory(self, m: Module) -> None:
        """The DMA's streams; after a soft reset they are emptied first."""
        host, machine = self._host, self._machine
        statuses = [getattr(host, f"{name}_status") for name in ("fetch", "load", "store")]
        words = [getattr(host, f"{name}_words") for name in ("fetch", "load")]
        self._emptying = emptying = Signal()
        left = host.busy
        for port in (*statuses, *words):
            left = left | port.valid
        with m.If(host.regs.soft_reset):
            m.d.sync += emptying.eq(1)
        with m.Elif(~left):
            m.d.sync += emptying.eq(0)
        for name in ("fetch", "load", "store"):
            command, inner = getattr(host, f"{name}_command"), getattr(machine, name)
            with m.If(emptying):
                m.d.comb += getattr(host, f"{name}_status").ready.eq(1)
                if name != "store":
                    m.d.comb += getattr(host, f"{name}_words").ready.eq(1)
            with m.Else():
                pairs = [(inner.command, command), (getattr(host, f"{name}_status"), inner.status)]
                moved = getattr(host, f"{name}_words")
                pairs.append((inner.words, moved) if name == "store" else (moved, inner.words))
                for source, sink in pairs:
                    join(m, source, sink)

    def _connect_registers(self, m: Module) -> None:
        regs, machine = self._host.regs, self._machine
        control = machine.control
        for name, member in Control().members.items():
            if name in ("blocked", "descriptor_done", "ended"):
                continue
            inner, outer = getattr(control, name), getattr(regs, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        uncorrectable = Signal.like(machine.counters.uncorrectable)
        m.d.sync += uncorrectable.eq(machine.counters.uncorrectable)
        m.d.comb += [
            control.blocked.eq(self._emptying),
            machine.clear_counters.eq(regs.clear_counters),
            regs.irq_uncorrectable.eq(machine.counters.uncorrectable > uncorrectable),
        ]
        self._connect_upkeep(m)
        for name, counted in _MEMORY_COUNTERS.items():
            m.d.comb += getattr(regs, name).eq(machine.counters[counted])
        self._connect_keeper(m)

    def _connect_keeper(self, m: Module) -> None:
        regs, memory = self._host.regs, self._machine.memory
        for name, member in _MEMORY_REGISTERS.items():
            inner, outer = getattr(memory, name), getattr(regs, member)
            is_output = MemoryControl().members[name].flow == Out
            m.d.comb += outer.eq(inner) if is_output else inner.eq(outer)
        # Outside of what a soft reset reaches: the key must come before anything else.
        fresh, unlocked = Signal(init=1), Signal()
        m.d.comb += [memory.unlocked.eq(unlocked), regs.memory_unlocked.eq(unlocked)]
        with m.If(fresh & (regs.memory_key == ERASE_KEY)):
            m.d.sync += unlocked.eq(1)
        with m.If(regs.start | regs.memory_start):
            m.d.sync += fresh.eq(0)
        with m.If(regs.start):
            m.d.sync += unlocked.eq(0)

    def _connect_upkeep(self, m: Module) -> None:
        regs, upkeep, memory = self._host.regs, self._machine.upkeep, self._machine.memory
        spares_low = Signal()
        m.d.sync += spares_low.eq(upkeep.state.spares_low)
        m.d.comb += [
            upkeep.scrub_interval.eq(regs.scrub_interval),
            # It destroys what is locked too, so a memory with a region table must be erased first, with the key.
            upkeep.march.eq(regs.march & regs.ready & memory.ready & ~memory.formatted),
            upkeep.errors.ready.eq(regs.next_error),
            regs.upkeep_error.eq(Mux(upkeep.errors.valid, upkeep.errors.payload.as_value(), 0)),
            regs.upkeep_overflow.eq(upkeep.overflow),
            regs.irq_spares_low.eq(upkeep.state.spares_low & ~spares_low),
        ]
        state = [name for name, _ in data.Layout.cast(MemoryState)]
        m.d.comb += [getattr(regs, f"upkeep_{name}").eq(upkeep.state[name]) for name in state]
        m.d.comb += [getattr(regs, name).eq(upkeep.care[name]) for name, _ in data.Layout.cast(CareCounters)]

    def _count(self, m: Module) -> None:
        count, machine = self._host.count, self._machine
        m.d.comb += [
            count.cycles.eq(machine.control.running),
            count.descriptors_done.eq(machine.control.descriptor_done),
        ]
        for stage in STAGES:
            unit = list(UNITS).index(_UNIT_OF_STAGE.get(stage, stage))
            m.d.comb += count[f"{stage}_cycles"].eq(machine.units_busy[unit])
        with m.If(machine.reported):
            m.d.comb += [count[name].eq(machine.report[field]) for name, field in _REPORTED.items()]
