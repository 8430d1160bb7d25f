# SPDX-License-Identifier: Apache-2.0
"""A job that has been begun, until its report is taken."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.jobs import Job
from respin.rtl.ports import Report
from respin.rtl.sequencer.ports import INDEX_BITS


class JobSlot(Component):
    """Holds the job of a slot of the accelerator, so that the sequencer goes on with other descriptors.

    Latency: a job reaches the accelerator in the cycle after it was taken. The next one is taken in the cycle in which
    the report is.

    Members
    -------
    job : In(stream(Job)), index : In(24)
        What comes in, and the number of its descriptor.
    busy : Out(1)
        A job is held.
    current : Out(24)
        Its number.
    held : Out(stream(Job)), report : In(stream(Report))
        The accelerator's slot.
    ended : Out(stream(Report))
        The report of the job held.
    """

    job: In(stream.Signature(Job))
    index: In(INDEX_BITS)
    busy: Out(1)
    current: Out(INDEX_BITS)
    held: Out(stream.Signature(Job))
    report: In(stream.Signature(Report))
    ended: Out(stream.Signature(Report))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Signal(Job)
        leaves = self.ended.valid & self.ended.ready
        m.d.comb += [
            self.held.payload.eq(job),
            self.held.valid.eq(self.busy),
            self.ended.payload.eq(self.report.payload),
            self.ended.valid.eq(self.report.valid),
            self.report.ready.eq(self.ended.ready),
            self.job.ready.eq(~self.busy | leaves),
        ]
        with m.If(leaves):
            m.d.sync += self.busy.eq(0)
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [job.eq(self.job.payload), self.current.eq(self.index), self.busy.eq(1)]
        return m
