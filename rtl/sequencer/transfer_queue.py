# SPDX-License-Identifier: Apache-2.0
"""Transfers that have been begun, in their order, until their unit has ended them."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.sequencer.descriptor import DESCRIPTOR, WAIT_COUNT
from respin.rtl.sequencer.errors import ErrorCode
from respin.rtl.sequencer.ports import INDEX_BITS

MOST_PENDING = (1 << WAIT_COUNT.width) - 1
"""Transfers that a unit has under way or before it at most: as many as a descriptor can let go on."""


class TransferQueue(Component):
    """Hands transfers to a :class:`Loader` or :class:`Storer` one after the other, so that the sequencer goes on.

    After an error nothing more is handed over; ``stop`` drops what waits.

    Latency: 1 cycle from ``push`` to ``start`` where the unit is idle, and 1 cycle from one transfer's end to the next
    one's start.

    Members
    -------
    descriptor : In(DESCRIPTOR), index : In(24)
        What comes in, and its number in the program; only opcode and body are kept.
    push : In(1)
        Take it; not while ``full``.
    full : Out(1)
    pending : Out(3)
        How many have not ended.
    stop : In(1)
        Drop those that have not begun.
    transfer : Out(DESCRIPTOR), start : Out(1)
        The unit's ``descriptor`` and ``start``.
    idle : In(1), error : In(ErrorCode)
        The unit's.
    current : Out(24)
        The number of the transfer that began last.
    """

    descriptor: In(DESCRIPTOR)
    index: In(INDEX_BITS)
    push: In(1)
    full: Out(1)
    pending: Out(WAIT_COUNT)
    stop: In(1)
    transfer: Out(DESCRIPTOR)
    start: Out(1)
    idle: In(1)
    error: In(ErrorCode)
    current: Out(INDEX_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # LOAD's and STORE's body is the longest of those that come here.
        kept = Cat(self.descriptor.header.opcode, self.descriptor.transfer, self.index)
        m.submodules.waiting = waiting = SyncFIFO(width=len(kept), depth=MOST_PENDING)
        index = Signal(INDEX_BITS)
        given = Cat(self.transfer.header.opcode, self.transfer.transfer, index)
        under_way, ended, dropped = Signal(), Signal(), Signal()
        m.d.comb += [
            waiting.w_data.eq(kept),
            waiting.w_en.eq(self.push),
            given.eq(waiting.r_data),
            self.full.eq(self.pending == MOST_PENDING),
            self.start.eq(waiting.r_rdy & self.idle & (self.error == ErrorCode.NONE) & ~self.stop),
            dropped.eq(waiting.r_rdy & self.stop),
            waiting.r_en.eq(self.start | dropped),
            ended.eq(under_way & self.idle),
        ]
        m.d.sync += self.pending.eq(self.pending + self.push - ended - dropped)
        with m.If(self.start):
            m.d.sync += [under_way.eq(1), self.current.eq(index)]
        with m.Elif(self.idle):
            m.d.sync += under_way.eq(0)
        return m
