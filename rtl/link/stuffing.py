# SPDX-License-Identifier: Apache-2.0
"""Flags between frames, and bytes that look like flags: RFC 1662, section 4.2."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.link.protocol import ESCAPE, FLAG, FLIPPED

SYMBOL = data.StructLayout({"data": 8, "flag": 1})
"""A byte of a frame, or the flag between frames."""


class Stuffing(Component):
    """Puts an escape before bytes that look like a flag or an escape.

    Latency: 0 cycles. Throughput: as its output's.

    Members
    -------
    i : In(stream(SYMBOL))
    o : Out(stream(8))
    """

    latency = 0

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(SYMBOL)), "o": Out(stream.Signature(unsigned(8)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        byte, flag = self.i.payload.data, self.i.payload.flag
        special, escaped = Signal(), Signal()
        m.d.comb += [
            special.eq(~flag & ((byte == FLAG) | (byte == ESCAPE))),
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(Mux(flag, FLAG, Mux(special, Mux(escaped, byte ^ FLIPPED, ESCAPE), byte))),
            self.i.ready.eq(self.o.ready & (~special | escaped)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += escaped.eq(special & ~escaped)
        return m


class Unstuffing(Component):
    """Takes escapes away, and tells flags from bytes.

    Latency: 0 cycles. Throughput: a byte a cycle.

    Members
    -------
    i : In(stream(8, always_ready))
    o : Out(stream(SYMBOL, always_ready))
    """

    latency = 0

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(8), always_ready=True)),
                "o": Out(stream.Signature(SYMBOL, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        escape, escaped = Signal(), Signal()
        m.d.comb += [
            escape.eq(self.i.payload == ESCAPE),
            self.o.payload.flag.eq(self.i.payload == FLAG),
            self.o.payload.data.eq(self.i.payload ^ Mux(escaped, FLIPPED, 0)),
            self.o.valid.eq(self.i.valid & ~escape),
        ]
        with m.If(self.i.valid):
            m.d.sync += escaped.eq(escape)
        return m
