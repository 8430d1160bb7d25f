# SPDX-License-Identifier: Apache-2.0
"""The handshakes of an AXI4-Lite subordinate, apart from what lies behind it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import AxiLite, Response


class AxiLitePort(Component):
    """Turns AXI4-Lite transfers into accesses of one cycle.

    Address and data of a write come in any order and wait for each other; a response waits until it is taken, and
    nothing else is done meanwhile in its direction. Reads and writes go on independently. Every output of the bundle is
    a register, or a gate behind one: none follows an input in the same cycle.

    Latency: 2 cycles from address (and data) to response. Throughput: a transfer in 3 cycles in each direction.

    Parameters
    ----------
    addr_width, data_width : int
        As for :class:`AxiLite`.

    Members
    -------
    axi : In(AxiLite(addr_width, data_width))
    write : Out(1)
        Write ``write_data`` to ``write_address`` in this cycle, the bytes in ``write_strobe``.
    write_address, read_address : Out(addr_width)
        As the host gave it, with the bits inside a word.
    write_data : Out(data_width)
    write_strobe : Out(data_width / 8)
    write_error : In(1)
        In the same cycle: it cannot be done; the host gets SLVERR.
    read : Out(1)
        ``read_data`` is taken in this cycle.
    read_data : In(data_width)
        The content of ``read_address``.
    read_error : In(1)
        In the same cycle: it cannot be read; the host gets SLVERR and 0.
    """

    latency = 2

    def __init__(self, *, addr_width: int = 12, data_width: int = 32) -> None:
        super().__init__(
            {
                "axi": In(AxiLite(addr_width, data_width)),
                "write": Out(1),
                "write_address": Out(addr_width),
                "write_data": Out(data_width),
                "write_strobe": Out(data_width // 8),
                "write_error": In(1),
                "read": Out(1),
                "read_address": Out(addr_width),
                "read_data": In(data_width),
                "read_error": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        axi = self.axi
        has_address, has_data = Signal(), Signal()
        m.d.comb += [axi.awready.eq(~has_address), axi.wready.eq(~has_data)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [has_address.eq(1), self.write_address.eq(axi.awaddr)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [has_data.eq(1), self.write_data.eq(axi.wdata), self.write_strobe.eq(axi.wstrb)]
        m.d.comb += self.write.eq(has_address & has_data & ~axi.bvalid)
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(self.write):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                axi.bvalid.eq(1),
                axi.bresp.eq(Mux(self.write_error, Response.SLVERR, Response.OKAY)),
            ]

    def _read(self, m: Module) -> None:
        axi = self.axi
        has_address = Signal()
        m.d.comb += [axi.arready.eq(~has_address), self.read.eq(has_address & ~axi.rvalid)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [has_address.eq(1), self.read_address.eq(axi.araddr)]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(self.read):
            m.d.sync += [
                has_address.eq(0),
                axi.rvalid.eq(1),
                axi.rdata.eq(Mux(self.read_error, 0, self.read_data)),
                axi.rresp.eq(Mux(self.read_error, Response.SLVERR, Response.OKAY)),
            ]
