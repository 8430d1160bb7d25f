# SPDX-License-Identifier: Apache-2.0
"""The bytes of a serial line: 8 data bits, no parity, one stop bit, the lowest bit first."""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import require_int

MINIMUM_BIT_CYCLES = 8
"""Fewest cycles of a bit in which its middle is found and looked at three times."""
_LARGEST_ERROR = 0.02
"""Sender and receiver may be off by half a bit in ten, and each gets less than half of that."""

RECEIVED = data.StructLayout({"data": 8, "error": 1})
"""A byte, and whether its stop bit was missing."""


def bit_cycles(clock_hz: int, baud: int) -> int:
    """Return how many cycles of the clock a bit takes.

    Raises
    ------
    TypeError
        If one of them is no integer.
    ValueError
        If the clock is too slow, or meets the rate by no number of cycles within 2 %.
    """
    require_int("clock_hz", clock_hz, 1, 1_000_000_000)
    require_int("baud", baud, 1, 1_000_000_000)
    cycles = round(clock_hz / baud)
    if cycles < MINIMUM_BIT_CYCLES:
        raise ValueError(f"baud must be at most clock_hz / {MINIMUM_BIT_CYCLES} ({clock_hz // 8}), not {baud}")
    if abs(clock_hz / cycles / baud - 1) > _LARGEST_ERROR:
        raise ValueError(f"baud must be within 2 % of clock_hz / {cycles} ({clock_hz / cycles:.0f}), not {baud}")
    return cycles


class UartReceiver(Component):
    """Bytes out of a serial line.

    Each bit is looked at three times, in its middle and an eighth of it before and after; two of three count. A start
    bit that is none by then is noise and is forgotten. After a byte without stop bit the line must rise before another
    one may begin.

    Latency: 2 cycles from the line, and half a bit and an eighth from the middle of the stop bit's begin to the byte.
    Throughput: what the line has.

    Parameters
    ----------
    clock_hz, baud : int
        Of the clock ``sync``, and of the line; :func:`bit_cycles` says what is allowed.

    Members
    -------
    rx : In(1)
        The line; it needs no clock.
    o : Out(stream(RECEIVED, always_ready))

    Raises
    ------
    TypeError, ValueError
        As :func:`bit_cycles`.
    """

    def __init__(self, *, clock_hz: int, baud: int) -> None:
        self._cycles = bit_cycles(clock_hz, baud)
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(RECEIVED, always_ready=True))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        level, before = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, level, init=1)
        m.d.sync += before.eq(level)
        # A falling edge is seen half a cycle late on average.
        middle, apart = (self._cycles - 1) // 2, self._cycles // 8
        at = Signal(range(self._cycles))
        first, second, bit = Signal(), Signal(), Signal()
        m.d.comb += bit.eq((first & second) | (first & level) | (second & level))
        # Start bit and byte move down through the bits, and before them a one that tells how many have come.
        bits, receiving = Signal(10), Signal()
        m.d.comb += [self.o.payload.data.eq(bits[2:]), self.o.payload.error.eq(~bit)]
        with m.If(receiving):
            m.d.sync += at.eq(at + 1)
            with m.If(at == self._cycles - 1):
                m.d.sync += at.eq(0)
            with m.If(at == middle - apart):
                m.d.sync += first.eq(level)
            with m.If(at == middle):
                m.d.sync += second.eq(level)
            with m.If(at == middle + apart):
                m.d.sync += bits.eq(Cat(bits[1:], bit))
                with m.If(bits[0]):
                    m.d.comb += self.o.valid.eq(1)
                    m.d.sync += receiving.eq(0)
                with m.If((bits[:9] == 0) & bit):
                    m.d.sync += receiving.eq(0)
        with m.Elif(before & ~level):
            m.d.sync += [receiving.eq(1), at.eq(1), bits.eq(1 << 9)]
        return m


class UartTransmitter(Component):
    """Bytes onto a serial line.

    Latency: 1 cycle from a byte to its start bit. Throughput: a byte in ten bits and a cycle.

    Parameters
    ----------
    clock_hz, baud : int
        As for :class:`UartReceiver`.

    Members
    -------
    i : In(stream(8))
    tx : Out(1)
        The line, from a register.

    Raises
    ------
    TypeError, ValueError
        As :func:`bit_cycles`.
    """

    def __init__(self, *, clock_hz: int, baud: int) -> None:
        self._cycles = bit_cycles(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self._cycles))
        bits = Signal(10, init=1)  # on the line is the lowest one; the stop bit is the highest, and stays
        waiting, sending = Signal(), Signal()
        m.d.comb += [
            self.tx.eq(bits[0]),
            waiting.eq(left != 0),
            sending.eq(bits[1:] != 0),
            self.i.ready.eq(~waiting & ~sending),
        ]
        with m.If(waiting):
            m.d.sync += left.eq(left - 1)
        with m.Elif(sending | self.i.valid):
            m.d.sync += left.eq(self._cycles - 1)
        with m.If(~waiting & sending):
            m.d.sync += bits.eq(bits[1:])
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += bits.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1)))
        return m
