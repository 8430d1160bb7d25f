# SPDX-License-Identifier: Apache-2.0
"""The whole link: two pins of a serial line on one side, two AXI4-Lite ports on the other."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.link.bridge import LinkBridge
from respin.rtl.link.uart import UartReceiver, UartTransmitter


class UartLink(Component):
    """A host on a serial line reads and writes registers and memory (docs/link.md).

    ``registers`` goes to a machine's ``s_axi``. ``memory`` goes to the memory that the machine's ``m_axi`` reaches,
    too: :class:`respin.rtl.link.memory.SharedMemory` where it is RAM on the chip, or any interconnect.

    Parameters
    ----------
    clock_hz, baud : int
        Of the clock ``sync``, and of the line; :func:`respin.rtl.link.uart.bit_cycles` says what is allowed.
    timeout : int
        Longest wait for a port, in cycles.

    Members
    -------
    rx : In(1)
        From the host; it needs no clock.
    tx : Out(1)
        To the host.
    registers : Out(AxiLite(12, 32))
    memory : Out(AxiLite(32, 32))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(self, *, clock_hz: int, baud: int, timeout: int = 4096) -> None:
        self._receiver = UartReceiver(clock_hz=clock_hz, baud=baud)
        self._transmitter = UartTransmitter(clock_hz=clock_hz, baud=baud)
        self._bridge = LinkBridge(timeout=timeout)
        ports = self._bridge.signature.members
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "registers": ports["registers"],
                "memory": ports["memory"],
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.bridge = bridge = self._bridge
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        connect(m, receiver.o, bridge.i)
        connect(m, bridge.o, transmitter.i)
        connect(m, bridge.registers, flipped(self.registers))
        connect(m, bridge.memory, flipped(self.memory))
        return m
