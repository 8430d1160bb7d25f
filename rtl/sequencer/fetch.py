# SPDX-License-Identifier: Apache-2.0
"""Brings one block of 256 bytes, a descriptor or a program's header, and checks its CRC on the way in."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.dma_ports import DmaCommand, DmaError, DmaStatus
from respin.rtl.ports import WORD_BITS
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BITS, DESCRIPTOR_BYTES
from respin.rtl.sequencer.ports import MEMORY_WORD, gives_no_words

CRC_STEP_BITS = 64
"""Bits that enter the CRC in a cycle: more make a wider tree of gates, fewer a longer check."""
_WORDS = DESCRIPTOR_BITS // WORD_BITS
_PARTS = WORD_BITS // CRC_STEP_BITS


class BlockFetch(Component):
    """Reads 256 bytes into a register.

    Latency: 3 cycles more than the DMA's from its command to its status, at least ``latency``. The block holds until
    the next ``start``.

    Members
    -------
    start : In(1)
        Fetch the block at ``address``, which holds until ``done``. Not while one is under way.
    address : In(32)
        A multiple of 256.
    command : Out(stream(DmaCommand)), words : In(stream(MEMORY_WORD)), status : In(stream(DmaStatus))
        The DMA.
    done : Out(1)
        The block is there, or an error; low from the cycle after ``start``.
    error : Out(DmaError)
    good : Out(1)
        Its CRC is right.
    block : Out(2048)
        Byte 0 lowest.
    """

    latency = _WORDS * _PARTS + 3

    command: Out(stream.Signature(DmaCommand))
    words: In(stream.Signature(MEMORY_WORD))
    status: In(stream.Signature(DmaStatus))
    start: In(1)
    address: In(32)
    done: Out(1)
    error: Out(DmaError)
    good: Out(1)
    block: Out(DESCRIPTOR_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.hash = crc = CRC32_ISO_HDLC(data_width=CRC_STEP_BITS).create()
        part, hashing = Signal(range(_PARTS)), Signal()
        left = Signal(range(_WORDS + 1))
        m.d.comb += [
            self.command.payload.address.eq(self.address),
            self.command.payload.bytes.eq(DESCRIPTOR_BYTES),
            self.good.eq(crc.match_detected),
            crc.start.eq(self.start),
            crc.valid.eq(hashing),
            crc.data.eq(self.block[-WORD_BITS:].word_select(part, CRC_STEP_BITS)),
            self.words.ready.eq((left != 0) & (~hashing | (part == _PARTS - 1))),
        ]
        with m.If(hashing):
            m.d.sync += part.eq(part + 1)
            with m.If(part == _PARTS - 1):
                m.d.sync += hashing.eq(0)
        with m.If(self.words.valid & self.words.ready):
            # Words come in at the top and move down: no register needs an address.
            m.d.sync += [
                self.block.eq(Cat(self.block[WORD_BITS:], self.words.payload.data)),
                hashing.eq(1),
                part.eq(0),
                left.eq(left - 1),
            ]

        with m.FSM():
            with m.State("Hold"):
                with m.If(self.start):
                    m.d.sync += [self.done.eq(0), left.eq(_WORDS)]
                    m.next = "Ask"
            with m.State("Ask"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.next = "Take"
            with m.State("Take"):
                # The status may overtake the last word.
                m.d.comb += self.status.ready.eq(1)
                with m.If(self.status.valid):
                    m.d.sync += self.error.eq(self.status.payload.error)
                    m.next = "Finish"
            with m.State("Finish"):
                with m.If(gives_no_words(self.error)):
                    m.d.sync += left.eq(0)
                with m.If((left == 0) & ~hashing):
                    m.d.sync += self.done.eq(1)
                    m.next = "Hold"
        return m
