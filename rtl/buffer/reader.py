# SPDX-License-Identifier: Apache-2.0
"""Reads a range of store words for the host."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.buffer.fetch import Fetch
from respin.rtl.interfaces import STORE_ADDRESS_BITS, StoreRead
from respin.rtl.ports import WORD_BITS, HostRange


class RangeReader(Component):
    """Reads ``count`` words from ``base`` on, in order.

    Latency: 4 cycles to the first word; throughput: one word a cycle.

    Members
    -------
    ranges : In(stream(HostRange))
        A range of no words reads nothing.
    read : Out(StoreRead)
        The port at the store.
    words : Out(stream(256))
        The words as bits.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "ranges": In(stream.Signature(HostRange)),
                "read": Out(StoreRead()),
                "words": Out(stream.Signature(unsigned(WORD_BITS))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch()
        connect(m, flipped(self.read), fetch.read)
        m.d.comb += [
            self.words.payload.eq(fetch.words.payload),
            self.words.valid.eq(fetch.words.valid),
            fetch.words.ready.eq(self.words.ready),
        ]
        left, address = Signal(STORE_ADDRESS_BITS), Signal(STORE_ADDRESS_BITS)
        m.d.comb += [
            self.ranges.ready.eq(left == 0),
            fetch.requests.valid.eq(left != 0),
            fetch.requests.payload.addr.eq(address),
        ]
        with m.If(self.ranges.ready & self.ranges.valid):
            m.d.sync += [left.eq(self.ranges.payload.count), address.eq(self.ranges.payload.base)]
        with m.Elif(fetch.requests.valid & fetch.requests.ready):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        return m
