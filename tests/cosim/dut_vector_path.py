# SPDX-License-Identifier: Apache-2.0
"""The gather unit and the vector unit, connected as in the accelerator."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.interfaces import StoreRead, StoreWrite
from respin.rtl.vector.gather import Gather
from respin.rtl.vector.sources import GatherOrder
from respin.rtl.vector.table import EntryWrite
from respin.rtl.vector.unit import VectorUnit


class VectorPath(Component):
    """One order for both units; it is taken when both are done."""

    def __init__(self, *, config):
        self._gather = Gather(config=config)
        self._unit = VectorUnit(config=config)
        super().__init__({
            "order": In(stream.Signature(GatherOrder)),
            "seed": In(32),
            "step": In(20),
            "tensor": In(12),
            "table": In(EntryWrite()),
            "read": Out(StoreRead()),
            "mask": Out(StoreRead()),
            "write": Out(StoreWrite(config)),
            "magnitude": Out(48),
            "above": Out(32),
            "below": Out(32),
            "busy": Out(1),
            "starved": Out(1),
            "stalled": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.gather = gather = self._gather
        m.submodules.vector = unit = self._unit
        connect(m, gather.sums, unit.gather)
        connect(m, gather.multipliers, unit.multipliers)
        connect(m, flipped(self.table), unit.table)
        connect(m, gather.read, flipped(self.read))
        connect(m, unit.mask, flipped(self.mask))
        connect(m, unit.write, flipped(self.write))
        gathered = self._accepted(m, "gathered", gather.order)
        finished = self._accepted(m, "finished", unit.job)
        m.d.comb += [
            gather.order.payload.eq(self.order.payload),
            unit.job.payload.eq(self.order.payload.vector),
            self.order.ready.eq(gathered & finished),
            unit.seed.eq(self.seed),
            unit.step.eq(self.step),
            unit.tensor.eq(self.tensor),
        ]
        for name in ("magnitude", "above", "below", "busy", "starved", "stalled"):
            m.d.comb += getattr(self, name).eq(getattr(unit, name))
        return m

    def _accepted(self, m, name, port):
        """Offer the order to one unit until it takes it; returns "it has taken it"."""
        taken = Signal(name=name)
        m.d.comb += port.valid.eq(self.order.valid & ~taken)
        with m.If(self.order.valid & self.order.ready):
            m.d.sync += taken.eq(0)
        with m.Elif(port.valid & port.ready):
            m.d.sync += taken.eq(1)
        return taken | port.ready
