# SPDX-License-Identifier: Apache-2.0
"""What stands before the bank controller: locks of regions, and which slot the active task's rows lie in."""

from dataclasses import dataclass, field

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import Outcome, WriteRequest, WriteStatus
from respin.rtl.mram.regions import FIRST_REGION_ROW


def region_row(config: AcceleratorConfig) -> unsigned:
    """Shape of a row's address, and of the one after the last."""
    return unsigned(exact_log2(config.total_rows) + 1)


def regions_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the chip knows of the memory's regions.

    ``formatted``: there is a region table; without one every row may be written and none is moved. ``maintenance``:
    the keeper has the memory, nothing is refused or moved. ``bare``: it takes rows as they lie in the banks, whatever
    spares stand for. ``regions``: of each region its rows from ``start`` up to ``end``, left out, whether it is
    ``locked``, and whether it has two slots. ``active``: whether a task is active, its region's number, first row and
    rows of a slot. ``slot``: where its rows lie. ``training``: that slot is a working one.
    """
    row = region_row(config)
    region = data.StructLayout({"start": row, "end": row, "locked": 1, "paired": 1})
    return data.StructLayout({
        "formatted": 1,
        "maintenance": 1,
        "bare": 1,
        "regions": data.ArrayLayout(region, config.regions),
        "active": data.StructLayout({"valid": 1, "region": 4, "start": row, "slot_rows": row}),
        "slot": 1,
        "training": 1,
    })


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is kept of a write that was ``judged``: whether it is refused, ``locked``, and the ``row`` that it goes to.

    ``closed`` and ``target`` are what these two must be, by the region table as it is.
    """

    judged: Signal = field(default_factory=lambda: Signal(name="judged"))
    locked: Signal = field(default_factory=lambda: Signal(name="locked"))
    row: Signal = field(default_factory=lambda: Signal(ROW_ADDRESS_BITS, name="row"))
    closed: Signal = field(default_factory=lambda: Signal(name="closed"))
    target: Signal = field(default_factory=lambda: Signal(ROW_ADDRESS_BITS, name="target"))


class Guard(Component):
    """Refuses writes into what is locked, and moves the active task's rows into the slot that is in use.

    Rows in jobs are those of slot 0. A read job whose first row lies there reads the slot in use. Of writes those are
    refused that go to the tables at the memory's start, to the first row of a region (its header), into a locked
    region, and into a region with two slots unless it is the active task's and trained: then they go to the working
    slot.

    Latency: a write waits a cycle for its verdict where there is a region table, reads none.

    Parameters
    ----------
    config : AcceleratorConfig
        ``regions``, ``banks`` and ``mram_rows`` are used.

    Members
    -------
    regions : In(regions_layout(config))
    read : In(stream(ReadJob)), write : In(stream(WriteRequest)), written : Out(stream(WriteStatus))
        From those who use the memory.
    inner_read : Out(stream(ReadJob)), inner_write : Out(stream(WriteRequest)), inner_written : In(stream(WriteStatus))
        To the bank controller.
    clear : In(1), refusals : Out(32)
        Writes refused since reset or ``clear``.

    Attributes
    ----------
    verdict : Verdict
        On the write that waits.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self.verdict = Verdict()
        super().__init__({
            "regions": In(regions_layout(config)),
            "read": In(stream.Signature(ReadJob)),
            "write": In(stream.Signature(WriteRequest)),
            "written": Out(stream.Signature(WriteStatus)),
            "inner_read": Out(stream.Signature(ReadJob)),
            "inner_write": Out(stream.Signature(WriteRequest)),
            "inner_written": In(stream.Signature(WriteStatus)),
            "clear": In(1),
            "refusals": Out(32),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._watch = Signal()
        m.d.comb += self._watch.eq(self.regions.formatted & ~self.regions.maintenance)
        self._guard_reads(m)
        self._guard_writes(m)
        return m

    def _in_active(self, row: Value) -> Value:
        """Whether a row is one of the active task's, as jobs name them."""
        active = self.regions.active
        return active.valid & (row >= active.start) & (row < active.start + active.slot_rows)

    def _offset(self, row: Value) -> Value:
        """What a row is moved by."""
        moved = self._watch & self.regions.slot & self._in_active(row)
        return Mux(moved, self.regions.active.slot_rows, 0)

    def _guard_reads(self, m: Module) -> None:
        job = self.read.payload
        m.d.comb += [
            self.inner_read.payload.eq(job),
            self.inner_read.payload.base.eq(job.base + self._offset(job.base[: region_row(self.config).width])),
            self.inner_read.valid.eq(self.read.valid),
            self.read.ready.eq(self.inner_read.ready),
        ]

    def _guard_writes(self, m: Module) -> None:
        request, regions = self.write.payload, self.regions
        verdict, refused = self.verdict, Signal()
        judged, locked, row = verdict.judged, verdict.locked, verdict.row
        m.d.sync += self.refusals.eq(Mux(self.clear, 0, self.refusals + refused))
        asked = request.row[: region_row(self.config).width]  # what lies past the last row the controller refuses
        closed, in_training = asked < FIRST_REGION_ROW, regions.training & self._in_active(asked)
        for number, region in enumerate(regions.regions):
            trained = in_training & (regions.active.region == number)
            inside = (asked >= region.start) & (asked < region.end)
            closed |= inside & (region.locked | (region.paired & ~trained) | (asked == region.start))
        m.d.comb += [verdict.closed.eq(closed), verdict.target.eq(request.row + self._offset(asked))]
        with m.If(self._watch & self.write.valid & ~judged):
            m.d.sync += [judged.eq(1), locked.eq(verdict.closed), row.eq(verdict.target)]
        with m.Elif(self.write.ready):
            m.d.sync += judged.eq(0)

        m.d.comb += self.inner_write.payload.eq(request)
        with m.If(self._watch):
            m.d.comb += self.inner_write.payload.row.eq(row)
        with m.If(self._watch & judged & locked):
            m.d.comb += [
                self.written.payload.outcome.eq(Outcome.LOCKED),
                self.written.valid.eq(1),
                self.write.ready.eq(self.written.ready),
                refused.eq(self.written.ready),
            ]
        with m.Elif(~self._watch | judged):
            m.d.comb += [
                self.inner_write.valid.eq(self.write.valid),
                self.write.ready.eq(self.inner_write.ready),
                self.written.payload.eq(self.inner_written.payload),
                self.written.valid.eq(self.inner_written.valid),
                self.inner_written.ready.eq(self.written.ready),
            ]
