# SPDX-License-Identifier: Apache-2.0
"""What a board with SDRAM has beside its machine: a serial line to the host, and the chip, which both reach."""

from amaranth.hdl import DomainRenamer, Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.fpga.sdram import Sdram, SdramPins
from respin.rtl.link.link import UartLink


class LinkedSdram(Component):
    """A :class:`UartLink` and an :class:`Sdram`, which a machine's DMA shares with it.

    The SDRAM is in the clock domain ``power_up``: that of ``sync``, whose reset ends before ``ready`` rises, while the
    reset of ``sync`` ends after it.

    Parameters
    ----------
    clock_hz, baud, timeout : int
        As of :class:`UartLink`.
    data_bits : int
        As of :class:`Sdram`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The serial line.
    registers : Out(AxiLite(12, 32))
        For a machine's ``s_axi``.
    dma : In(Axi4(data_bits, 32, 1))
        For a machine's ``m_axi``.
    pins : Out(SdramPins()), ready : Out(1)
        The SDRAM's.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(self, *, clock_hz: int, baud: int, data_bits: int, timeout: int = 4096) -> None:
        self._link = UartLink(clock_hz=clock_hz, baud=baud, timeout=timeout)
        self._sdram = Sdram(data_bits=data_bits)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "registers": self._link.signature.members["registers"],
                "dma": self._sdram.signature.members["dma"],
                "pins": Out(SdramPins()),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        sdram = self._sdram
        m.submodules.sdram = DomainRenamer("power_up")(sdram)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx), self.ready.eq(sdram.ready)]
        connect(m, link.registers, flipped(self.registers))
        connect(m, link.memory, sdram.link)
        connect(m, flipped(self.dma), sdram.dma)
        connect(m, sdram.pins, flipped(self.pins))
        return m
