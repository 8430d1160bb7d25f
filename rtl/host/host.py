# SPDX-License-Identifier: Apache-2.0
"""The host's side as one block: registers, counters, and a DMA with two readers and a writer on one AXI4 port."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.arbiter import ReadArbiter
from respin.rtl.host.axi import Axi4, AxiLite, join
from respin.rtl.host.counters import COUNTED, HostCounters
from respin.rtl.host.dma_ports import ADDRESS_BITS, DmaCommand, DmaStatus
from respin.rtl.host.dma_read import DmaRead
from respin.rtl.host.dma_write import DmaWrite
from respin.rtl.host.register_file import RegisterFile, RegisterValues
from respin.rtl.host.register_map import REGISTER_BITS, RegisterMap
from respin.rtl.host.registers import WINDOW_BITS, register_map
from respin.rtl.host.words import BeatsToWords, WordsToBeats
from respin.rtl.ports import WORD_BITS

DMA_COUNTERS = ("dma_bytes_read", "dma_bytes_written", "dma_stalled")
"""Counters that this block feeds itself."""
COUNTS = data.StructLayout({counter.name: counter.step for counter in COUNTED if counter.name not in DMA_COUNTERS})
"""What the machine adds to its counters in a cycle."""
READERS = ("fetch", "load")


class MachineValues(RegisterValues):
    """What registers and machine tell each other, without the counters that :class:`Host` keeps."""

    def __init__(self, registers: RegisterMap) -> None:
        super().__init__(registers, without=tuple(counter.name for counter in COUNTED))


class Host(Component):
    """Everything between the chip's edge and the sequencer.

    ``fetch`` and ``load`` read external memory as store words, ``store`` writes it: for each a command, words and a
    status, as :class:`DmaRead` and :class:`DmaWrite` describe. Where the length is no multiple of a word's 32 bytes,
    the last word that is read is filled up with zeros, and writing is refused. After a TIMEOUT the words that were
    taken for the command are gone, and so is one that was not complete; a word that is offered stays offered. The next
    command starts with a new word. ``store_words`` may be taken ahead of their command.

    Parameters
    ----------
    config : AcceleratorConfig
        ``axi_bits`` and ``watchdog_cycles`` are used, and all that the registers show.

    Members
    -------
    s_axi : In(AxiLite(12, 32))
        The registers' port.
    m_axi : Out(Axi4(axi_bits, 32, 1))
        External memory.
    irq : Out(1)
    regs : Out(MachineValues(register_map(config)))
        By the members of the map: ``regs.start``, ``regs.program_base`` and so on.
    count : In(COUNTS)
        What to add to counters in this cycle.
    fetch_command, load_command, store_command : In(stream(DmaCommand))
    fetch_words, load_words : Out(stream({data: 256, last: 1}))
    store_words : In(stream(256))
    fetch_status, load_status, store_status : Out(stream(DmaStatus))
    busy : Out(1)
        Some DMA engine has a command, or something of an earlier one, under way.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self.config, self.registers = config, register_map(config)
        word = data.StructLayout({"data": WORD_BITS, "last": 1})
        members = {
            "s_axi": In(AxiLite(WINDOW_BITS, REGISTER_BITS)),
            "m_axi": Out(Axi4(config.axi_bits, ADDRESS_BITS, 1)),
            "irq": Out(1),
            "regs": Out(MachineValues(self.registers)),
            "count": In(COUNTS),
            "busy": Out(1),
        }
        for name in (*READERS, "store"):
            members[f"{name}_command"] = In(stream.Signature(DmaCommand))
            members[f"{name}_status"] = Out(stream.Signature(DmaStatus))
        for name in READERS:
            members[f"{name}_words"] = Out(stream.Signature(word))
        members["store_words"] = In(stream.Signature(unsigned(WORD_BITS)))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._read(m)
        self._write(m)
        self._registers(m)
        return m

    def _read(self, m: Module) -> None:
        bits, watchdog = self.config.axi_bits, self.config.watchdog_cycles
        m.submodules.arbiter = arbiter = ReadArbiter(clients=len(READERS), data_bits=bits)
        join(m, self.m_axi, arbiter.axi)
        self._readers = []
        for name, client in zip(READERS, arbiter.clients, strict=True):
            m.submodules[name] = engine = DmaRead(data_bits=bits, watchdog=watchdog)
            m.submodules[f"{name}_join"] = words = BeatsToWords(data_bits=bits)
            connect(m, flipped(getattr(self, f"{name}_command")), engine.command)
            connect(m, engine.status, flipped(getattr(self, f"{name}_status")))
            connect(m, engine.axi, client)
            connect(m, engine.data, words.i)
            m.d.comb += words.clear.eq(engine.timed_out)
            connect(m, words.o, flipped(getattr(self, f"{name}_words")))
            self._readers.append(engine)

    def _write(self, m: Module) -> None:
        bits = self.config.axi_bits
        m.submodules.store = self._writer = DmaWrite(
            data_bits=bits, watchdog=self.config.watchdog_cycles, unit_bytes=WORD_BITS // 8
        )
        m.submodules.store_split = beats = WordsToBeats(data_bits=bits)
        connect(m, flipped(self.store_command), self._writer.command)
        connect(m, self._writer.status, flipped(self.store_status))
        connect(m, flipped(self.store_words), beats.i)
        connect(m, beats.o, self._writer.data)
        m.d.comb += beats.clear.eq(self._writer.timed_out)
        join(m, self.m_axi, self._writer.axi)

    def _registers(self, m: Module) -> None:
        m.submodules.registers = registers = RegisterFile(registers=self.registers)
        m.submodules.counters = counters = HostCounters()
        connect(m, flipped(self.s_axi), registers.axi)
        m.d.comb += [self.irq.eq(registers.irq), counters.clear.eq(registers.regs.clear_counters)]
        for name, member in self.regs.signature.members.items():
            inner, outer = getattr(registers.regs, name), getattr(self.regs, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        beat_bytes = self.config.axi_bits // 8
        read = sum(engine.moved for engine in self._readers)
        engines = (*self._readers, self._writer)
        busy, moved = (sum(getattr(engine, name) for engine in engines) != 0 for name in ("busy", "moved"))
        m.d.comb += [
            self.busy.eq(busy),
            counters.add.dma_bytes_read.eq(read * beat_bytes),
            counters.add.dma_bytes_written.eq(self._writer.moved * beat_bytes),
            counters.add.dma_stalled.eq(busy & ~moved),
        ]
        m.d.comb += [counters.add[name].eq(self.count[name]) for name, _ in COUNTS]
        m.d.comb += [getattr(registers.regs, counter.name).eq(counters.sums[counter.name]) for counter in COUNTED]
