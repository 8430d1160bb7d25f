# SPDX-License-Identifier: Apache-2.0
"""What went wrong in the memory, in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from respin.rtl.mram.ports import ErrorRecord

LOG_DEPTH = 16
SOURCES = 3


class ErrorLog(wiring.Component):
    """A queue of error records that the host reads; what finds it full is lost, and said to be.

    Members
    -------
    new : In(3)
        Source ``i`` has a new error in ``records[i]``, which stays there until the next one. Several cycles lie between
        two errors of sources 1 and 2; source 0 comes first.
    records : In(ErrorRecord).array(3)
    errors : Out(stream.Signature(ErrorRecord))
        Errors, the oldest first.
    overflow : Out(1)
        An error was lost since ``clear``.
    clear : In(1)
        The overflow is forgotten.
    """

    new: In(SOURCES)
    records: In(ErrorRecord).array(SOURCES)
    errors: Out(stream.Signature(ErrorRecord))
    overflow: Out(1)
    clear: In(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.queue = queue = SyncFIFO(width=ErrorRecord.as_shape().size, depth=LOG_DEPTH)
        waiting = Signal(SOURCES)
        pending = Signal(SOURCES)
        first = Signal(SOURCES)
        m.d.comb += [
            pending.eq(waiting | self.new),
            first.eq(pending & -pending),
            queue.w_en.eq(pending.any()),
            self.errors.payload.eq(queue.r_data),
            self.errors.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.errors.ready),
        ]
        m.d.sync += waiting.eq(pending & ~first)
        for source in range(SOURCES):
            with m.If(first[source]):
                m.d.comb += queue.w_data.eq(self.records[source])
        with m.If(self.clear):
            m.d.sync += self.overflow.eq(0)
        with m.If(queue.w_en & ~queue.w_rdy):
            m.d.sync += self.overflow.eq(1)
        return m
