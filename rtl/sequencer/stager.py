# SPDX-License-Identifier: Apache-2.0
"""Fetches a program's blocks one after the other and holds each, checked, until it is taken."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.sequencer.check import DescriptorCheck
from respin.rtl.sequencer.descriptor import DESCRIPTOR, DESCRIPTOR_BYTES
from respin.rtl.sequencer.errors import ErrorCode
from respin.rtl.sequencer.fetch import BlockFetch
from respin.rtl.sequencer.ports import INDEX_BITS, MemoryRead


class Stager(Component):
    """The stage before the sequencer: the next descriptor is fetched and checked while the one before it runs.

    Latency: :class:`BlockFetch`'s and :class:`DescriptorCheck`'s for each descriptor; with two job slots the longer of
    the two, as one is fetched while the one before it is checked and held. A header has no fields that are checked
    here, only its CRC.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    base : In(32)
        Address of the program's header; holds.
    count : In(24)
        Its descriptors; holds.
    row_first, row_end : In(25)
        As :class:`DescriptorCheck`'s.
    fetch_header, restart : In(1)
        Fetch the header, or the descriptors from the first one on. Only while ``valid`` or ``idle``.
    take : In(1)
        Go on to the next descriptor, while ``valid``; after the last one it does nothing more.
    stop : In(1)
        Do not begin with another block.
    idle : Out(1)
        Nothing is under way, and no block is held.
    valid : Out(1)
        A block is held, or what was wrong with it.
    index : Out(24)
        Its number.
    error : Out(ErrorCode), info : Out(8)
        What is wrong with it. For a header only DMA and CRC.
    descriptor : Out(DESCRIPTOR)
    memory : Out(MemoryRead())

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._check = DescriptorCheck(config=config)
        self._ahead = config.job_slots == 2
        super().__init__({
            "base": In(32),
            "count": In(INDEX_BITS),
            "row_first": In(ROW_ADDRESS_BITS + 1),
            "row_end": In(ROW_ADDRESS_BITS + 1),
            "fetch_header": In(1),
            "restart": In(1),
            "take": In(1),
            "stop": In(1),
            "idle": Out(1),
            "valid": Out(1),
            "index": Out(INDEX_BITS),
            "error": Out(ErrorCode),
            "info": Out(8),
            "descriptor": Out(DESCRIPTOR),
            "memory": Out(MemoryRead()),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = BlockFetch()
        m.submodules.check = check = self._check
        connect(m, fetch.command, flipped(self.memory.command))
        connect(m, flipped(self.memory.words), fetch.words)
        connect(m, flipped(self.memory.status), fetch.status)
        header, full, released = Signal(), Signal(), Signal()  # the block fetched: a header; there; taken over
        address, number = Signal(32), Signal(INDEX_BITS)  # of the block fetched
        block = Signal(DESCRIPTOR)
        if self._ahead:
            with m.If(full & released):
                m.d.sync += block.eq(fetch.block)
        else:
            m.d.comb += block.eq(fetch.block)
        m.d.comb += [
            fetch.address.eq(address),
            check.descriptor.eq(block),
            check.row_first.eq(self.row_first),
            check.row_end.eq(self.row_end),
            check.last.eq(self.index + 1 == self.count),
            check.restart.eq(self.restart),
            self.descriptor.eq(block),
        ]
        begins, waits = Signal(), Signal()  # an address that is asked for holds
        m.d.comb += begins.eq((self.fetch_header | self.restart) & waits)
        with m.If(begins):
            m.d.sync += [self.index.eq(0), number.eq(0), header.eq(self.fetch_header)]
            m.d.sync += address.eq(Mux(self.fetch_header, self.base, self.base + DESCRIPTOR_BYTES))

        empty = Signal()
        with m.FSM(name="fetcher") as fetcher:
            with m.State("Idle"):
                m.d.comb += waits.eq(1)
                with m.If(begins):
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += fetch.start.eq(~self.stop)
                m.next = "Wait for the block"
                with m.If(self.stop):
                    m.next = "Idle"
            with m.State("Wait for the block"), m.If(fetch.done):
                m.next = "Full"
            with m.State("Full"):
                m.d.comb += [full.eq(1), waits.eq(1)]
                with m.If(released):
                    m.d.sync += [number.eq(number + 1), address.eq(address + DESCRIPTOR_BYTES)]
                    m.next = "Fetch"
                    with m.If(header | (number + 1 == self.count)):
                        m.next = "Idle"
                with m.If(self.stop):
                    m.next = "Idle"
                with m.If(begins):
                    m.next = "Fetch"
        m.d.comb += self.idle.eq(fetcher.ongoing("Idle") & empty)

        with m.FSM(name="holder"):
            with m.State("Empty"):
                m.d.comb += empty.eq(1)
                with m.If(full & ~self.stop & ~begins):
                    m.d.comb += released.eq(int(self._ahead))
                    m.d.sync += [self.error.eq(ErrorCode.NONE), self.info.eq(0)]
                    m.next = "Hold"
                    with m.If(fetch.error != DmaError.NONE):
                        m.d.sync += [self.error.eq(ErrorCode.DMA), self.info.eq(fetch.error)]
                    with m.Elif(~fetch.good):
                        m.d.sync += self.error.eq(ErrorCode.CRC)
                    with m.Elif(~header):
                        m.d.comb += check.start.eq(1)
                        m.next = "Wait for the check"
            with m.State("Wait for the check"), m.If(check.done):
                m.d.sync += [self.error.eq(check.error), self.info.eq(check.info)]
                m.next = "Hold"
            with m.State("Hold"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.take):
                    m.d.comb += released.eq(int(not self._ahead))
                    m.d.sync += self.index.eq(self.index + 1)
                with m.If(self.take | begins | self.stop):
                    m.next = "Empty"
        return m
