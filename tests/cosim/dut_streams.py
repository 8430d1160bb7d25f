# SPDX-License-Identifier: Apache-2.0
"""A small design for the benches of the stream drivers themselves: a queue, then a sum."""

from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

TERMS = data.StructLayout({"gain": signed(3), "terms": data.ArrayLayout(signed(5), 3), "offset": unsigned(4)})
SUM = signed(12)


class QueuedSum(wiring.Component):
    """``gain * sum(terms) + offset`` of each value, through a queue of four; ``count`` values have left."""

    i: In(stream.Signature(TERMS))
    o: Out(stream.Signature(SUM))
    count: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=TERMS.size, depth=4)
        item = data.View(TERMS, queue.r_data)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(item.gain * sum(item.terms) + item.offset),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.count.eq(self.count + 1)
        return m
