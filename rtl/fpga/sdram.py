# SPDX-License-Identifier: Apache-2.0
"""A board's SDRAM as external memory, reached by a machine's DMA and by the link."""

from amaranth.hdl import ClockSignal, Instance, IOPort, Module, ResetSignal
from amaranth.lib.wiring import Component, In, Out, Signature, connect, flipped

from respin.rtl.fpga.fence import AddressFence
from respin.rtl.host.axi import Axi4, AxiLite, Burst, require_data_bits
from respin.rtl.host.dma_ports import ADDRESS_BITS

CONTROLLER = "respin_sdram"
"""Module of the controller (:mod:`respin.gen.fpga.sdram`)."""
SDRAM_BYTES = 1 << 25
"""A chip of 16 bits, 4 banks of 8192 rows of 512 columns."""
SDRAM_PINS = {"a": 13, "ba": 2, "cs_n": 1, "cke": 1, "ras_n": 1, "cas_n": 1, "we_n": 1, "dm": 2}
"""Pins of the chip besides its clock and its data, with their bits, as the controller drives them."""
DATA_PINS = 16
_LINK_BITS = 32


class SdramPins(Signature):
    """:data:`SDRAM_PINS`, seen from the controller."""

    def __init__(self) -> None:
        super().__init__({name: Out(width) for name, width in SDRAM_PINS.items()})


class Sdram(Component):
    """The SDRAM behind LiteDRAM's controller, with a port for a machine's DMA and one for the link.

    Addresses past the end get DECERR. The data pins are a port of the top module, ``sdram_dq``. The chip's clock is
    not among its pins here: it must rise a quarter of a cycle after this one's.

    Latency: some 10 cycles from an address to its first beat. Throughput: LiteDRAM's, a beat in two cycles with beats
    of 32 bits.

    Parameters
    ----------
    data_bits : int
        Bits of a beat of ``dma``: a configuration's ``axi_bits``.

    Members
    -------
    dma : In(Axi4(data_bits, 32, 1))
        For a machine's ``m_axi``.
    link : In(AxiLite(32, 32))
        For ``memory`` of a :class:`respin.rtl.link.link.UartLink`.
    pins : Out(SdramPins())
    ready : Out(1)
        The chip has been powered up; nothing may be asked for before.

    Raises
    ------
    TypeError, ValueError
        If ``data_bits`` is no width of an AXI4 port.
    """

    def __init__(self, *, data_bits: int) -> None:
        require_data_bits(data_bits)
        self._data_bits = data_bits
        super().__init__(
            {
                "dma": In(Axi4(data_bits, ADDRESS_BITS, 1)),
                "link": In(AxiLite(ADDRESS_BITS, _LINK_BITS)),
                "pins": Out(SdramPins()),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dma = dma = AddressFence(data_bits=self._data_bits, size=SDRAM_BYTES)
        m.submodules.link = link = AddressFence(data_bits=_LINK_BITS, size=SDRAM_BYTES)
        connect(m, flipped(self.dma), dma.port)
        for name, member in self.link.signature.members.items():
            inner, outer = getattr(link.port, name), getattr(self.link, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        # A burst of one beat of 4 bytes.
        m.d.comb += [
            link.port.wlast.eq(1), link.port.awsize.eq(2), link.port.arsize.eq(2),
            link.port.awburst.eq(Burst.INCR), link.port.arburst.eq(Burst.INCR),
        ]  # fmt: skip
        ports: dict[str, object] = {}
        for name, fence in (("dma", dma), ("link", link)):
            for member, description in fence.memory.signature.members.items():
                if member[2:] not in ("lock", "cache", "prot", "qos"):
                    # What the fence gives is the controller's input.
                    ports[f"{'i' if description.flow == Out else 'o'}_{name}_{member}"] = getattr(fence.memory, member)
        m.submodules.controller = Instance(
            CONTROLLER,
            i_clk=ClockSignal(), i_rst=ResetSignal(), o_ready=self.ready,
            io_dq=IOPort(DATA_PINS, name="sdram_dq"),
            **{f"o_{name}": getattr(self.pins, name) for name in SDRAM_PINS},
            **ports,
        )  # fmt: skip
        return m
