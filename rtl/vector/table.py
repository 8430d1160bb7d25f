# SPDX-License-Identifier: Apache-2.0
"""The per-channel constants of the quantiser: their entry, their memory and its ports."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, memory
from amaranth.lib.wiring import Component, In, Out, Signature

from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import COUNT


class QuantiserEntry(data.Struct):
    """Constants of one channel: ``y = clamp(((sum + bias) * mult + 2^(shift-1)) >> shift, lo, hi)``."""

    bias: signed(32)
    mult: unsigned(16)
    shift: unsigned(6)
    lo: signed(9)
    hi: signed(9)


_OTHERS = data.StructLayout({"bias": signed(32), "shift": unsigned(6), "lo": signed(9), "hi": signed(9)})


class EntryWrite(Signature):
    """The host's side of the table: ``entry`` is written to ``index`` in every cycle with ``valid``."""

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "index": Out(COUNT), "entry": Out(QuantiserEntry)})


class MultiplierRead(Signature):
    """A reader of multipliers: ``mult`` holds those of V channels from ``row * V`` on, the cycle after ``en``."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__({
            "en": Out(1),
            "row": Out(COUNT),
            "mult": In(data.ArrayLayout(unsigned(16), config.vector_width)),
        })


class QuantiserTable(Component):
    """Memory of ``table_channels`` entries, written one by one and read V side by side.

    The multipliers lie in a memory of their own, because two units read them: the finishing pipeline and the gather
    unit. Reads take a cycle and hold their data while ``en`` is low.

    Parameters
    ----------
    config:
        ``table_channels`` entries, ``vector_width`` of them in a row of the memory.

    Members
    -------
    write: In(EntryWrite)
        Host port.
    en, row: In(1), In(16)
        Read entries ``row * V`` to ``row * V + V - 1``.
    entries: Out(ArrayLayout(QuantiserEntry, V))
        What was read, one cycle later.
    multipliers: In(MultiplierRead)
        The second reader's port.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._lanes = config.vector_width
        self._rows = config.table_channels // config.vector_width
        super().__init__({
            "write": In(EntryWrite()),
            "en": In(1),
            "row": In(COUNT),
            "entries": Out(data.ArrayLayout(QuantiserEntry, self._lanes)),
            "multipliers": In(MultiplierRead(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = self._lanes
        m.submodules.mults = mults = memory.Memory(
            shape=data.ArrayLayout(unsigned(16), lanes), depth=self._rows, init=[]
        )
        m.submodules.others = others = memory.Memory(shape=data.ArrayLayout(_OTHERS, lanes), depth=self._rows, init=[])

        lane_bits = (lanes - 1).bit_length()
        for store in (mults, others):
            port = store.write_port(granularity=1)
            m.d.comb += [
                port.addr.eq(self.write.index[lane_bits:]),
                port.en.eq(self.write.valid << self.write.index[:lane_bits]),
            ]
            for lane in range(lanes):
                if store is mults:
                    m.d.comb += port.data[lane].eq(self.write.entry.mult)
                else:
                    m.d.comb += [port.data[lane][name].eq(self.write.entry[name]) for name in _OTHERS.members]

        mult_read, other_read, second = mults.read_port(), others.read_port(), mults.read_port()
        for port in (mult_read, other_read):
            m.d.comb += [port.addr.eq(self.row), port.en.eq(self.en)]
        m.d.comb += [
            second.addr.eq(self.multipliers.row),
            second.en.eq(self.multipliers.en),
            self.multipliers.mult.eq(second.data),
        ]
        for lane in range(lanes):
            m.d.comb += self.entries[lane].mult.eq(mult_read.data[lane])
            m.d.comb += [self.entries[lane][name].eq(other_read.data[lane][name]) for name in _OTHERS.members]
        return m
