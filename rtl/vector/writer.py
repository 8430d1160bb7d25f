# SPDX-License-Identifier: Apache-2.0
"""Finished bytes into words of the store."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.interfaces import WORD, StoreWrite
from respin.rtl.vector.walker import place_layout


class WordWriter(Component):
    """Gathers groups of V bytes into a word and writes it, then, if asked, its mask bits into the mask's word.

    Latency: a word is offered to the store in the cycle after its last group. Throughput: a group a cycle as long as
    the store takes each word, and each mask, in the cycle in which it is offered; a word with a mask takes two writes.

    Parameters
    ----------
    config:
        ``vector_width`` channels in a group, ``slices`` lanes in a group of the store's.

    Members
    -------
    place: In(place_layout(config))
        Where this cycle's group goes.
    bytes, inside: In(ArrayLayout(unsigned(8), V)), In(V)
        Its bytes and mask bits.
    take: In(1)
        Take the group if ``place.valid``. Only while ``ready``.
    ready: Out(1)
    whole: In(1)
        A word holds 32 channels, not only the M of one lane group.
    masks: In(1)
        Write the mask bits too.
    idle: Out(1)
        Nothing is left to be written.
    write: Out(StoreWrite(config))

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "place": In(place_layout(config)),
            "bytes": In(data.ArrayLayout(unsigned(8), config.vector_width)),
            "inside": In(config.vector_width),
            "take": In(1),
            "ready": Out(1),
            "whole": In(1),
            "masks": In(1),
            "idle": Out(1),
            "write": Out(StoreWrite(config)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, write = self._config.vector_width, self.write
        word, mask, place = Signal(WORD), Signal(BLOCK), Signal(self.place.shape())
        word_waits, mask_waits = Signal(), Signal()

        with m.If(write.ready):
            m.d.sync += word_waits.eq(0)
            with m.If(~word_waits):
                m.d.sync += mask_waits.eq(0)
        with m.If(self.take & self.place.valid):
            m.d.sync += [
                place.eq(self.place),
                word_waits.eq(self.place.word_last),
                mask_waits.eq(self.place.word_last & self.masks),
            ]
            for group in range(BLOCK // lanes):
                with m.If(self.place.group == group):
                    span = slice(group * lanes, (group + 1) * lanes)
                    m.d.sync += mask[span].eq(self.inside)
                    m.d.sync += [word[b][span].eq(Cat(byte[b] for byte in self.bytes)) for b in range(PLANES)]

        slices = self._config.slices
        lane_group = Const(1, BLOCK // slices) << (place.group >> (slices // lanes - 1).bit_length())
        m.d.comb += [
            self.idle.eq(~word_waits & ~mask_waits),
            self.ready.eq(self.idle | (write.ready & (word_waits ^ mask_waits))),
            write.valid.eq(word_waits | mask_waits),
            write.addr.eq(Mux(word_waits, place.address, place.mask_address)),
            write.planes.eq(Mux(word_waits, (1 << PLANES) - 1, 1 << place.plane)),
            write.groups.eq(Mux(self.whole, ~0, lane_group)),
        ]
        m.d.comb += [write.data[b].eq(Mux(word_waits, word[b], mask)) for b in range(PLANES)]
        return m
