# SPDX-License-Identifier: Apache-2.0
"""Answers what is asked of addresses that do not exist."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import Axi4, Response, require_int
from respin.rtl.host.dma_ports import ADDRESS_BITS

_OUTSTANDING = 16
"""Bursts that may be under way in each direction."""


class AddressFence(Component):
    """Lets bursts to addresses below ``size`` through, and answers others with DECERR: it reads 0 and writes nothing.

    A burst counts by its first address; none crosses 4 KB. One that is turned away waits for those before it in its
    direction, and those after it wait for its answer, so answers come in order.

    Latency: 0 cycles. Throughput: a beat a cycle; 2 cycles more for a burst that is turned away.

    Parameters
    ----------
    data_bits : int
        Bits of a beat.
    size : int
        Bytes there are: a power of two from 4096 on.

    Members
    -------
    port : In(Axi4(data_bits, 32, 1))
    memory : Out(Axi4(data_bits, 32, 1))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 0

    def __init__(self, *, data_bits: int, size: int) -> None:
        require_int("size", size, 4096, 1 << ADDRESS_BITS - 1)
        if size & (size - 1):
            raise ValueError(f"size must be a power of two, not {size!r}")
        self._size_bits = size.bit_length() - 1
        axi = Axi4(data_bits, ADDRESS_BITS, 1)
        super().__init__({"port": In(axi), "memory": Out(axi)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, memory = self.port, self.memory
        for name, member in port.signature.members.items():
            # Seen from the memory: what it is given, and what it gives.
            given, gives = (memory, port) if member.flow == In else (port, memory)
            m.d.comb += getattr(given, name).eq(getattr(gives, name))
        self._reads(m)
        self._writes(m)
        return m

    def _under_way(self, m: Module, name: str, begun: Signal, ended: Signal) -> Signal:
        count = Signal(range(_OUTSTANDING + 1), name=name)
        m.d.sync += count.eq(count + begun - ended)
        return count

    def _reads(self, m: Module) -> None:
        port, memory = self.port, self.memory
        begun, ended = memory.arvalid & memory.arready, memory.rvalid & memory.rready & memory.rlast
        count = self._under_way(m, "reads", begun, ended)
        left, number = Signal(8), Signal(1)
        outside = port.araddr[self._size_bits :] != 0
        with m.FSM(name="read"):
            with m.State("Pass"):
                with m.If(outside | (count == _OUTSTANDING)):
                    m.d.comb += [memory.arvalid.eq(0), port.arready.eq(0)]
                with m.If(port.arvalid & outside & (count == 0)):
                    m.d.comb += port.arready.eq(1)
                    m.d.sync += [left.eq(port.arlen), number.eq(port.arid)]
                    m.next = "Refuse"
            with m.State("Refuse"):
                m.d.comb += [
                    memory.arvalid.eq(0), port.arready.eq(0), port.rvalid.eq(1), port.rid.eq(number),
                    port.rdata.eq(0), port.rresp.eq(Response.DECERR), port.rlast.eq(left == 0),
                ]  # fmt: skip
                with m.If(port.rready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.next = "Pass"

    def _writes(self, m: Module) -> None:
        port, memory = self.port, self.memory
        begun, ended = memory.awvalid & memory.awready, memory.bvalid & memory.bready
        count = self._under_way(m, "writes", begun, ended)
        # Bursts whose address has gone through and whose last beat has not: beats wait for their address.
        data = self._under_way(m, "bursts", begun, memory.wvalid & memory.wready & memory.wlast)
        number = Signal(1)
        outside = port.awaddr[self._size_bits :] != 0
        with m.FSM(name="write"):
            with m.State("Pass"):
                with m.If(outside | (count == _OUTSTANDING)):
                    m.d.comb += [memory.awvalid.eq(0), port.awready.eq(0)]
                with m.If(data == 0):
                    m.d.comb += [memory.wvalid.eq(0), port.wready.eq(0)]
                with m.If(port.awvalid & outside & (count == 0)):
                    m.d.comb += port.awready.eq(1)
                    m.d.sync += number.eq(port.awid)
                    m.next = "Drop"
            with m.State("Drop"):
                m.d.comb += [memory.awvalid.eq(0), port.awready.eq(0), memory.wvalid.eq(0), port.wready.eq(1)]
                with m.If(port.wvalid & port.wlast):
                    m.next = "Refuse"
            with m.State("Refuse"):
                m.d.comb += [
                    memory.awvalid.eq(0), port.awready.eq(0), memory.wvalid.eq(0), port.wready.eq(0),
                    port.bvalid.eq(1), port.bid.eq(number), port.bresp.eq(Response.DECERR),
                ]  # fmt: skip
                with m.If(port.bready):
                    m.next = "Pass"
