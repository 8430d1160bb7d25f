# SPDX-License-Identifier: Apache-2.0
"""The whole machine, compiled: generated, wrapped with its bank models and external memory, and built."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out, connect, flipped

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig
from respin.rtl.machine import Machine
from respin.rtl.sequencer.ports import INDEX_BITS, EdgeNote
from respin.sim.banks import with_banks
from respin.sim.compiled import CompiledMachine, build_machine
from respin.sim.memory import with_memory

TOP = "respin_machine"
MEMORY_WORDS = 1 << 20
"""External memory of a compiled machine, in words of 32 bytes: 32 MB unless more is asked for."""


class WatchedMachine(Component):
    """A machine, and ports that show the ends of its descriptors (:data:`respin.sim.compiled.WATCHES`).

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    descriptor_done : Out(1), descriptor : Out(24)
        A descriptor ends in this cycle; the one under way.
    reported : Out(1)
        A job reports.
    note : Out(EdgeNote)
        What the sequencer notes of tensors of errors.
    s_axi, m_axi, irq, banks
        As of :class:`respin.rtl.machine.Machine`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._machine = Machine(config=config)
        super().__init__({
            **self._machine.signature.members,
            "descriptor_done": Out(1),
            "descriptor": Out(INDEX_BITS),
            "reported": Out(1),
            "note": Out(EdgeNote),
        })

    def elaborate(self, platform: object) -> Module:
        """Connect the machine's own ports through, and those of what it is made of."""
        m = Module()
        m.submodules.machine = machine = self._machine
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        for outer, inner in zip(self.banks, machine.banks, strict=True):
            connect(m, inner, flipped(outer))
        inside = machine._machine  # the ports of what a machine is made of
        m.d.comb += [
            self.irq.eq(machine.irq),
            self.descriptor_done.eq(inside.control.descriptor_done),
            self.descriptor.eq(inside.control.current),
            self.reported.eq(inside.reported),
            self.note.eq(inside.note),
        ]
        return m


def compiled_machine(config: AcceleratorConfig, *, words: int = MEMORY_WORDS, **settings) -> CompiledMachine:
    """Generate a machine, compile it with ``words`` words of external memory, or find it compiled, and reset it."""
    verilog = emit(WatchedMachine(config=config), TOP, config=config)
    texts = with_memory(with_banks(verilog, TOP, rows=config.mram_rows, bench="banked"), "banked", words=words)
    machine = CompiledMachine(build_machine(texts), config, **settings)
    machine.reset()
    return machine
