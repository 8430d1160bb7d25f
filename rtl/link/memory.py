# SPDX-License-Identifier: Apache-2.0
"""RAM on the chip as the external memory of a machine, reached by its DMA and by the link."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, Signature

from respin.rtl.host.axi import Axi4, AxiLite, Response, require_data_bits, require_int
from respin.rtl.host.dma_ports import ADDRESS_BITS
from respin.rtl.link.protocol import WORD_BYTES

_LINK_BITS = 8 * WORD_BYTES


class RamPort(Signature):
    """The port of a synchronous RAM with byte enables, seen from who uses it.

    In each cycle the bytes in ``strobe`` are written; ``read_data`` is the content of the address of the cycle before,
    of any meaning after a write.

    Parameters
    ----------
    data_bits : int
        Bits of a word.
    address_bits : int
        Bits of an address, which counts words.
    """

    def __init__(self, data_bits: int, address_bits: int) -> None:
        super().__init__(
            {
                "address": Out(address_bits),
                "write_data": Out(data_bits),
                "strobe": Out(data_bits // 8),
                "read_data": In(data_bits),
            }
        )


def ram_address_bits(data_bits: int, size: int) -> int:
    """Bits of a word's address; raises TypeError or ValueError for a RAM that cannot be."""
    require_data_bits(data_bits)
    require_int("size", size, 4096, 1 << ADDRESS_BITS - 1)
    if size & (size - 1):
        raise ValueError(f"size must be a power of two, not {size!r}")
    return (8 * size // data_bits).bit_length() - 1


class Ram(Component):
    """A RAM with byte enables that synthesis makes of block RAM; a board with other memory has its own.

    Parameters
    ----------
    data_bits : int
        Bits of a word: 32, 64, 128 or 256.
    size : int
        Bytes: a power of two, at least 4096.

    Members
    -------
    port : In(RamPort(data_bits, address_bits))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(self, *, data_bits: int, size: int) -> None:
        bits = ram_address_bits(data_bits, size)
        self._memory = Memory(shape=unsigned(data_bits), depth=1 << bits, init=[])
        super().__init__({"port": In(RamPort(data_bits, bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = self._memory
        write, read, port = self._memory.write_port(granularity=8), self._memory.read_port(), self.port
        m.d.comb += [
            write.addr.eq(port.address),
            write.data.eq(port.write_data),
            write.en.eq(port.strobe),
            read.addr.eq(port.address),
            port.read_data.eq(read.data),
        ]
        return m


class SharedMemory(Component):
    """Lets a machine's DMA and the link into one RAM with one port, a burst at a time.

    The link comes first: it asks for a word now and then. Reads and writes of the DMA take turns. Addresses past the
    end get DECERR; nothing is written there, and what is read there has no meaning. Bursts are of type INCR and
    of whole beats, as the DMA's are.

    Latency: 2 cycles from an address to its first beat. Throughput: a beat a cycle, and 3 cycles between bursts.

    Parameters
    ----------
    data_bits : int
        Bits of a beat and of a word of the RAM: a configuration's ``axi_bits``.
    size : int
        Bytes of the RAM: a power of two, at least 4096.

    Members
    -------
    dma : In(Axi4(data_bits, 32, 1))
        For a machine's ``m_axi``.
    link : In(AxiLite(32, 32))
        For ``memory`` of a :class:`respin.rtl.link.link.UartLink`.
    ram : Out(RamPort(data_bits, address_bits))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 2

    def __init__(self, *, data_bits: int, size: int) -> None:
        address_bits = ram_address_bits(data_bits, size)
        self._size_bits = size.bit_length() - 1
        self._lane_bits = self._size_bits - address_bits
        self._lanes = data_bits // _LINK_BITS
        super().__init__(
            {
                "dma": In(Axi4(data_bits, ADDRESS_BITS, 1)),
                "link": In(AxiLite(ADDRESS_BITS, _LINK_BITS)),
                "ram": Out(RamPort(data_bits, address_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        dma, link, ram = self.dma, self.link, self.ram
        word = Signal.like(ram.address, reset_less=True)
        left, number, outside, wrote = Signal(8), Signal(1), Signal(), Signal()
        lane = Signal(range(self._lanes))
        answer = Mux(outside, Response.DECERR, Response.OKAY)
        m.d.comb += [
            ram.address.eq(word),
            dma.rid.eq(number),
            dma.bid.eq(number),
            dma.rlast.eq(left == 0),
            *(port.rresp.eq(answer) for port in (dma, link)),
            *(port.bresp.eq(answer) for port in (dma, link)),
            dma.rdata.eq(ram.read_data),
            link.rdata.eq(ram.read_data.word_select(lane, _LINK_BITS)),
            ram.write_data.eq(dma.wdata),
        ]

        def choose(address: Signal, following: str) -> None:
            m.d.sync += [
                word.eq(address[self._lane_bits :]),
                lane.eq(address[2 : self._lane_bits]),
                outside.eq(address[self._size_bits :] != 0),
            ]
            m.next = following

        with m.FSM():
            with m.State("Choose"):
                with m.If(link.arvalid):
                    choose(link.araddr, "Read a word")
                with m.Elif(link.awvalid & link.wvalid):
                    choose(link.awaddr, "Write a word")
                with m.Elif(dma.arvalid & (wrote | ~dma.awvalid)):
                    choose(dma.araddr, "Begin to read")
                with m.Elif(dma.awvalid):
                    choose(dma.awaddr, "Begin to write")
            with m.State("Read a word"):
                m.d.comb += link.arready.eq(1)
                m.next = "Answer a word's read"
            with m.State("Answer a word's read"):
                m.d.comb += link.rvalid.eq(1)
                with m.If(link.rready):
                    m.next = "Choose"
            with m.State("Write a word"):
                m.d.comb += [
                    link.awready.eq(1),
                    link.wready.eq(1),
                    ram.write_data.eq(link.wdata.replicate(self._lanes)),
                    ram.strobe.eq(Mux(outside, 0, link.wstrb << (lane << 2))),
                ]
                m.next = "Answer a word's write"
            with m.State("Answer a word's write"):
                m.d.comb += link.bvalid.eq(1)
                with m.If(link.bready):
                    m.next = "Choose"
            with m.State("Begin to read"):
                m.d.comb += dma.arready.eq(1)
                m.d.sync += [left.eq(dma.arlen), number.eq(dma.arid), wrote.eq(0)]
                m.next = "Read a burst"
            with m.State("Read a burst"):
                m.d.comb += dma.rvalid.eq(1)
                with m.If(dma.rready):
                    m.d.comb += ram.address.eq(word + 1)
                    m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "Choose"
            with m.State("Begin to write"):
                m.d.comb += dma.awready.eq(1)
                m.d.sync += [number.eq(dma.awid), wrote.eq(1)]
                m.next = "Write a burst"
            with m.State("Write a burst"):
                m.d.comb += dma.wready.eq(1)
                with m.If(dma.wvalid):
                    m.d.comb += ram.strobe.eq(Mux(outside, 0, dma.wstrb))
                    m.d.sync += word.eq(word + 1)
                    with m.If(dma.wlast):
                        m.next = "Answer a burst"
            with m.State("Answer a burst"):
                m.d.comb += dma.bvalid.eq(1)
                with m.If(dma.bready):
                    m.next = "Choose"
        return m
