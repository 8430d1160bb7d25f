# SPDX-License-Identifier: Apache-2.0
"""The row addresses of a read job."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import COUNT, ReadJob


class RowWalk(wiring.Component):
    """Walks a :class:`ReadJob`: ``count`` rows ``tiles`` times, then the next ``count`` rows, ``repeats`` times.

    One address a cycle, and one cycle before each repeat in which its range is checked; the first address two cycles
    after the job. A job without rows ends at once.

    Parameters
    ----------
    config : AcceleratorConfig
        ``total_rows`` and ``usable_rows`` are used.

    Members
    -------
    maintenance : In(1)
        Rows past ``usable_rows`` may be read too.
    jobs : In(stream.Signature(ReadJob))
        Taken when the one before has been walked.
    rows : Out(stream.Signature(unsigned))
        Global row addresses, in range.
    refused : Out(1)
        A repeat reaches past the last row: the rest of the job is dropped in this cycle.
    start : Out(24)
        First row of the current repeat.
    idle : Out(1)
        No job is being walked.

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    latency = 2

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._limit = min(config.total_rows, 1 << ROW_ADDRESS_BITS)
        self._usable = min(config.usable_rows, self._limit)
        super().__init__(
            {
                "jobs": In(stream.Signature(ReadJob)),
                "maintenance": In(1),
                "rows": Out(stream.Signature(unsigned(exact_log2(self._limit)))),
                "refused": Out(1),
                "start": Out(ROW_ADDRESS_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        job = Signal(ReadJob)
        row = Signal.like(self.rows.payload)
        rows_left = Signal(COUNT)
        tiles_left = Signal(COUNT)
        m.d.comb += [self.rows.payload.eq(row), self.start.eq(job.base)]

        with m.FSM():
            with m.State("wait for a job"):
                m.d.comb += [self.idle.eq(1), self.jobs.ready.eq(1)]
                m.d.sync += job.eq(self.jobs.payload)
                with m.If(self.jobs.valid):
                    m.next = "check a repeat"

            with m.State("check a repeat"):
                m.d.sync += [row.eq(job.base), rows_left.eq(job.count), tiles_left.eq(job.tiles)]
                with m.If((job.repeats == 0) | (job.tiles == 0) | (job.count == 0)):
                    m.next = "wait for a job"
                with m.Elif(job.base + job.count > Mux(self.maintenance, self._limit, self._usable)):
                    m.d.comb += self.refused.eq(1)
                    m.next = "wait for a job"
                with m.Else():
                    m.next = "walk a repeat"

            with m.State("walk a repeat"):
                m.d.comb += self.rows.valid.eq(1)
                with m.If(self.rows.ready):
                    m.d.sync += [row.eq(row + 1), rows_left.eq(rows_left - 1)]
                    with m.If(rows_left == 1):
                        m.d.sync += [row.eq(job.base), rows_left.eq(job.count), tiles_left.eq(tiles_left - 1)]
                        with m.If(tiles_left == 1):
                            m.d.sync += [job.base.eq(job.base + job.count), job.repeats.eq(job.repeats - 1)]
                            m.next = "check a repeat"
        return m
