# SPDX-License-Identifier: Apache-2.0
"""The read path up to the raw row: which bank reads which row when, and which raw row is to be decoded next."""

from amaranth.hdl import Array, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.walk import RowWalk
from respin.rtl.mram.watchdog import Watchdog


class RowReader(wiring.Component):
    """Reads the rows of jobs ahead, in order, one row a bank.

    A bank is *reserved* for a row from the READ command until the row is decoded; its output latch is the row's buffer.
    The rows' addresses wait in order in a queue, whose front is the row to decode next. Where a write took the bank in
    the meantime the raw row is lost; when it comes to the front it is read again, before any newer row.

    At most one READ is issued a cycle. A bank's next READ follows in the cycle after its row is decoded, so a bank
    whose READ takes N cycles delivers a row each ``N + 1 + 4 / ecc_decoders`` cycles, and B banks together up to a
    row a cycle.

    Parameters
    ----------
    config : AcceleratorConfig
        ``banks``, ``mram_rows`` and ``watchdog_cycles`` are used.

    Members
    -------
    jobs : In(stream.Signature(ReadJob))
        What to read.
    maintenance : In(1)
        Rows past ``usable_rows`` may be read too.
    ready : In(B)
        Bank ``b`` takes a command: powered and not busy.
    rvalid : In(B)
        Bank ``b`` ends a READ.
    blocked : In(B)
        No new READ in bank ``b``.
    taken : In(B)
        A write takes bank ``b`` in this cycle: the raw row in its latch is lost.
    free : In(1)
        The decoder would work on a raw row in this cycle.
    done : In(1)
        The decoder ends the row at the front in this cycle.
    issue : Out(B)
        READ to bank ``b`` in this cycle.
    issue_row : Out(24)
        The row issued, a global address.
    wants : Out(B)
        The bank that the next READ goes to.
    in_use : Out(B)
        A READ is in flight in bank ``b`` or its row is being decoded.
    front, front_mask : Out(24), Out(B)
        Global address of the row to decode next, and its bank.
    present : Out(1)
        Its raw row is in its bank's latch.
    refused : Out(1)
        The rest of a job is dropped: it reaches past the last row.
    timeout : Out(1)
        A wait for a bank has lasted too long: job and reads in flight are dropped.
    error_row : Out(24)
        The row that ``refused`` or ``timeout`` is about.
    idle : Out(1)
        No job, no row in flight.

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        banks = config.banks
        super().__init__(
            {
                "jobs": In(stream.Signature(ReadJob)),
                "maintenance": In(1),
                "ready": In(banks),
                "rvalid": In(banks),
                "blocked": In(banks),
                "taken": In(banks),
                "free": In(1),
                "done": In(1),
                "issue": Out(banks),
                "issue_row": Out(ROW_ADDRESS_BITS),
                "wants": Out(banks),
                "in_use": Out(banks),
                "front": Out(ROW_ADDRESS_BITS),
                "front_mask": Out(banks),
                "present": Out(1),
                "refused": Out(1),
                "timeout": Out(1),
                "error_row": Out(ROW_ADDRESS_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        banks = self._config.banks
        bank_bits = exact_log2(banks)
        walk = RowWalk(config=self._config)
        queue = SyncFIFO(width=len(walk.rows.payload), depth=max(2, banks))
        m.submodules.watchdog = watchdog = Watchdog(cycles=self._config.watchdog_cycles)
        m.submodules.walk = ResetInserter(self.timeout)(walk)
        m.submodules.queue = ResetInserter(self.timeout)(queue)
        connect(m, flipped(self.jobs), walk.jobs)

        reserved = Signal(banks)
        in_flight = Signal(banks)
        present = Signal(banks)
        front_bank = queue.r_data[:bank_bits]
        next_mask = Signal(banks)
        lost = Signal()
        issued = self.issue.any()
        m.d.comb += [
            walk.maintenance.eq(self.maintenance),
            self.front_mask.eq(queue.r_rdy << front_bank),
            next_mask.eq(walk.rows.valid << walk.rows.payload[:bank_bits]),
            self.front.eq(queue.r_data),
            self.present.eq((present & self.front_mask).any()),
            lost.eq(queue.r_rdy & ~((in_flight | present) & self.front_mask).any()),
            self.in_use.eq(in_flight | (present & self.front_mask & self.free.replicate(banks))),
        ]

        with m.If(lost):
            m.d.comb += [self.wants.eq(self.front_mask), self.issue_row.eq(queue.r_data)]
        with m.Else():
            m.d.comb += [self.wants.eq(next_mask & ~reserved), self.issue_row.eq(walk.rows.payload)]
        m.d.comb += [
            self.issue.eq(self.wants & self.ready & ~self.blocked),
            queue.w_data.eq(walk.rows.payload),
            queue.w_en.eq(issued & ~lost),
            walk.rows.ready.eq(queue.w_en),
            queue.r_en.eq(self.done),
        ]

        finished = Signal(banks)
        m.d.comb += finished.eq(self.front_mask & self.done.replicate(banks))
        m.d.sync += [
            reserved.eq((reserved | self.issue) & ~finished),
            in_flight.eq((in_flight & ~self.rvalid) | self.issue),
            present.eq((present | (in_flight & self.rvalid)) & ~finished & ~self.taken),
        ]

        # As of the cycle before: who waits for thousands of cycles need not know at once.
        blocked = Signal.like(self.blocked)
        m.d.sync += blocked.eq(self.blocked)
        awaited = Array((self.wants, self.front_mask))[queue.r_rdy]
        m.d.comb += [
            # A bank that a write holds is waited for under the write's own watchdog.
            watchdog.waiting.eq((awaited & ~blocked).any() & ~self.present & ~(issued & ~queue.r_rdy)),
            self.timeout.eq(watchdog.expired),
            self.refused.eq(walk.refused),
            self.error_row.eq(walk.start),
            self.idle.eq(walk.idle & ~queue.r_rdy & ~self.jobs.valid),
        ]
        with m.If(self.timeout):
            m.d.comb += self.error_row.eq(Array((self.issue_row, queue.r_data))[queue.r_rdy])
            m.d.sync += [reserved.eq(0), in_flight.eq(0), present.eq(0)]
        return m
