# SPDX-License-Identifier: Apache-2.0
"""The units of ``rtl/buffer`` around a real store, with a further reader that takes the store away from them."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.buffer.feeder import GradientFeeder
from respin.rtl.buffer.store import Store
from respin.rtl.buffer.window import Window
from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import STORE_ADDRESS_BITS, WORD, StoreRead, row_stream, word_stream
from respin.rtl.jobs import FeedJob, WindowJob

FILL = data.StructLayout({"addr": unsigned(STORE_ADDRESS_BITS), "data": WORD})


class StoredWindow(Component):
    """A store that can be filled, and a window on it; ``other`` goes first at the store."""

    def __init__(self, *, config: AcceleratorConfig, feeder: bool = False) -> None:
        self.config = config
        self.feeder = feeder
        ports = {
            "fill": In(stream.Signature(FILL)),
            "other": In(StoreRead()),
            "window_job": In(stream.Signature(WindowJob)),
            "words": Out(word_stream()),
            "address_error": Out(1),
        }
        if feeder:
            ports |= {"feed_job": In(stream.Signature(FeedJob)), "rows": Out(row_stream())}
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.store = store = Store(config=self.config, readers=3, writers=1)
        m.submodules.window = window = Window(config=self.config)
        write = store.writes[0]
        m.d.comb += [
            write.valid.eq(self.fill.valid),
            write.addr.eq(self.fill.payload.addr),
            write.data.eq(self.fill.payload.data),
            write.planes.eq(-1),
            write.groups.eq(-1),
            self.fill.ready.eq(write.ready),
            self.address_error.eq(store.address_error),
        ]
        connect(m, flipped(self.other), store.reads[0])
        connect(m, window.read, store.reads[1])
        connect(m, flipped(self.window_job), window.job)
        if self.feeder:
            m.submodules.feeder = feeder = GradientFeeder(config=self.config)
            connect(m, window.words, feeder.window)
            connect(m, feeder.read, store.reads[2])
            connect(m, flipped(self.feed_job), feeder.job)
            connect(m, flipped(self.rows), feeder.rows)
            connect(m, flipped(self.words), feeder.words)
        else:
            connect(m, flipped(self.words), window.words)
        return m
