# SPDX-License-Identifier: Apache-2.0
"""Several readers on one AXI4 port."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import ceil_log2

from respin.rtl.host.axi import Axi4Read, Response, require_int
from respin.rtl.host.dma_ports import ADDRESS_BITS
from respin.rtl.vector.skid import SkidBuffer


class ReadArbiter(Component):
    """Shares the read channels among clients, burst by burst, in turn.

    A client's number is the identifier of its bursts, so that data finds its way back in whatever order bursts are
    answered. Data comes to all clients through one register: a client that does not take its data holds up the others,
    until its own watchdog has it taken and dropped.

    Latency: 1 cycle from a client's address to the bus, 1 from data to the client. Throughput: an address in 2 cycles,
    a beat a cycle.

    Parameters
    ----------
    clients : int
        How many: 1..16.
    data_bits : int
        Bits of a beat: 32, 64, 128 or 256.

    Members
    -------
    clients : In(Axi4Read(data_bits)).array(clients)
        Their own identifiers are ignored.
    axi : Out(Axi4Read(data_bits, 32, id_bits))
        ``id_bits``: as many as the clients' numbers need, at least 1.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 1

    def __init__(self, *, clients: int, data_bits: int) -> None:
        require_int("clients", clients, 1, 16)
        self.id_bits = max(1, ceil_log2(clients))
        self.count = clients
        super().__init__(
            {
                "clients": In(Axi4Read(data_bits)).array(clients),
                "axi": Out(Axi4Read(data_bits, ADDRESS_BITS, self.id_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._addresses(m)
        self._data(m)
        return m

    def _addresses(self, m: Module) -> None:
        axi = self.axi
        granted, owner = Signal(), Signal(range(self.count))
        m.d.comb += axi.arid.eq(owner)
        with m.Switch(owner):
            for number, client in enumerate(self.clients):
                with m.Case(number):
                    m.d.comb += [
                        getattr(axi, name).eq(getattr(client, name))
                        for name in ("araddr", "arlen", "arsize", "arburst", "arlock", "arcache", "arprot", "arqos")
                    ]
                    m.d.comb += [axi.arvalid.eq(granted & client.arvalid), client.arready.eq(granted & axi.arready)]
        # A grant lasts until its address is taken: an address that is offered stays.
        with m.If(granted):
            m.d.sync += granted.eq(~(axi.arvalid & axi.arready))
        with m.Else():
            with m.Switch(owner):
                for number in range(self.count):
                    with m.Case(number):
                        # The last assignment counts: the client after the last owner is asked first.
                        for distance in range(self.count, 0, -1):
                            other = (number + distance) % self.count
                            with m.If(self.clients[other].arvalid):
                                m.d.sync += [granted.eq(1), owner.eq(other)]

    def _data(self, m: Module) -> None:
        axi = self.axi
        layout = data.StructLayout({"id": self.id_bits, "data": len(axi.rdata), "resp": Response, "last": 1})
        m.submodules.skid = skid = SkidBuffer(layout)
        m.d.comb += [
            skid.i.valid.eq(axi.rvalid),
            skid.i.payload.id.eq(axi.rid),
            skid.i.payload.data.eq(axi.rdata),
            skid.i.payload.resp.eq(axi.rresp),
            skid.i.payload.last.eq(axi.rlast),
            axi.rready.eq(skid.i.ready),
        ]
        # Data that is nobody's is dropped, lest it block the way for good.
        m.d.comb += skid.o.ready.eq(1)
        for number, client in enumerate(self.clients):
            mine = skid.o.payload.id == number
            m.d.comb += [
                client.rdata.eq(skid.o.payload.data),
                client.rresp.eq(skid.o.payload.resp),
                client.rlast.eq(skid.o.payload.last),
                client.rvalid.eq(skid.o.valid & mine),
            ]
            with m.If(mine):
                m.d.comb += skid.o.ready.eq(client.rready)
