# SPDX-License-Identifier: Apache-2.0
"""What a board has beside its machine: a serial line to the host, and RAM that both reach."""

from collections.abc import Callable

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.link.link import UartLink
from respin.rtl.link.memory import Ram, SharedMemory


class LinkedMemory(Component):
    """A :class:`UartLink` and a RAM, which a machine's DMA shares with it.

    Parameters
    ----------
    clock_hz, baud, timeout : int
        As of :class:`UartLink`.
    data_bits, size : int
        Of the RAM, as of :class:`SharedMemory`.
    ram : callable
        Makes the RAM for ``data_bits`` and ``size``: :class:`Ram`, or one of a chip's own cells with the same port.

    Members
    -------
    rx : In(1), tx : Out(1)
        The serial line.
    registers : Out(AxiLite(12, 32))
        For a machine's ``s_axi``.
    dma : In(Axi4(data_bits, 32, 1))
        For a machine's ``m_axi``.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(
        self, *, clock_hz: int, baud: int, data_bits: int, size: int, ram: Callable[..., Component] = Ram,
        timeout: int = 4096,
    ) -> None:  # fmt: skip
        self._link = UartLink(clock_hz=clock_hz, baud=baud, timeout=timeout)
        self._shared = SharedMemory(data_bits=data_bits, size=size)
        self._ram = ram(data_bits=data_bits, size=size)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "registers": self._link.signature.members["registers"],
                "dma": self._shared.signature.members["dma"],
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.shared = shared = self._shared
        m.submodules.ram = ram = self._ram
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        connect(m, link.registers, flipped(self.registers))
        connect(m, link.memory, shared.link)
        connect(m, flipped(self.dma), shared.dma)
        connect(m, shared.ram, ram.port)
        return m
