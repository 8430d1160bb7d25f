# SPDX-License-Identifier: Apache-2.0
"""Requests for store words in, the words out: hides the store's latency behind a stream."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.interfaces import STORE_ADDRESS_BITS, WORD, StoreRead, word_stream

REQUEST = data.StructLayout({"addr": unsigned(STORE_ADDRESS_BITS), "blank": unsigned(1)})
"""A word of the store, or with ``blank`` a word of padding, which costs no access."""


class Fetch(Component):
    """A stream of requests becomes a stream of words, in order.

    Two registers behind the store take the word that is on its way when the consumer stalls; a request is passed on
    only when one of them will be free for its word. ``words`` is therefore registered (a block RAM's output is late),
    while ``requests.ready`` depends on ``words.ready`` within the cycle.

    Latency: 2 cycles from a request to its word. Throughput: one word a cycle.

    Members
    -------
    requests:
        In(stream of :data:`REQUEST`).
    pad:
        In(8): the byte that every lane of a blank word holds; constant while words are under way.
    read:
        Out(:class:`~respin.rtl.interfaces.StoreRead`): the port at the store.
    words:
        Out(stream of WORD).
    idle:
        Out(1): no word is under way.
    """

    latency = 2

    def __init__(self) -> None:
        super().__init__({
            "requests": In(stream.Signature(REQUEST)),
            "pad": In(8),
            "read": Out(StoreRead()),
            "words": Out(word_stream()),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        head, tail, incoming = Signal(WORD), Signal(WORD), Signal(WORD)
        held = Signal(range(3))  # words in head and tail
        pending = Signal(range(3))  # held, and the one that arrives from the store in this cycle
        arriving, arriving_blank = Signal(), Signal()
        room, issue, taken = Signal(), Signal(), Signal()

        request = self.requests.payload
        m.d.comb += [
            taken.eq(self.words.valid & self.words.ready),
            room.eq((pending != 2) | taken),
            self.read.valid.eq(self.requests.valid & ~request.blank & room),
            self.read.addr.eq(request.addr),
            self.requests.ready.eq(room & (request.blank | self.read.ready)),
            issue.eq(self.requests.valid & self.requests.ready),
            self.words.valid.eq(held != 0),
            self.words.payload.eq(head),
            self.idle.eq(pending == 0),
        ]
        for plane, bit in zip(incoming, self.pad, strict=True):
            m.d.comb += plane.eq(bit.replicate(len(plane)))
        with m.If(~arriving_blank):
            m.d.comb += incoming.eq(self.read.data)

        m.d.sync += [
            arriving.eq(issue),
            arriving_blank.eq(request.blank),
            pending.eq(pending + issue - taken),
            held.eq(held + arriving - taken),
        ]
        with m.If(arriving):
            m.d.sync += tail.eq(incoming)
        with m.If(taken | (held == 0)):
            m.d.sync += head.as_value().eq(Mux(arriving, incoming.as_value(), tail.as_value()))
        return m
