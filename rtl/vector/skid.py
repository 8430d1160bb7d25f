# SPDX-License-Identifier: Apache-2.0
"""A stage between two pipelines that stop independently."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out


class SkidBuffer(Component):
    """Passes a stream on; ``i.ready`` is a register, so a stall takes a cycle to reach what lies before.

    What arrives in that cycle waits in a second register.

    Latency: 1 cycle. Throughput: a value a cycle.

    Parameters
    ----------
    shape:
        Of the payload.

    Members
    -------
    i: In(stream(shape))
    o: Out(stream(shape))
    """

    def __init__(self, shape: ShapeLike) -> None:
        self._shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        spare, waits = Signal(self._shape), Signal()
        moves = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(~waits)
        with m.If(~waits):
            m.d.sync += [spare.eq(self.i.payload), waits.eq(self.i.valid & ~moves)]
        with m.If(moves):
            m.d.sync += [
                self.o.valid.eq(waits | self.i.valid),
                self.o.payload.as_value().eq(Mux(waits, spare.as_value(), self.i.payload.as_value())),
                waits.eq(0),
            ]
        return m
