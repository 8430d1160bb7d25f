# SPDX-License-Identifier: Apache-2.0
"""Event counters: what the read and the write path report in a cycle, added up."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.mram.ports import Counters


class ReadEvents(data.Struct):
    """What happened on the read path in a cycle; each field is added to the field of :class:`Counters` of its name."""

    rows_read: unsigned(1)
    words_corrected: unsigned(3)
    uncorrectable: unsigned(3)
    refused: unsigned(1)
    timeouts: unsigned(1)


class WriteEvents(data.Struct):
    """What happened on the write path in a cycle; each field is added to the field of :class:`Counters` of its name."""

    raw_reads: unsigned(1)
    row_writes: unsigned(1)
    writes_skipped: unsigned(1)
    strips_pulsed: unsigned(5)
    pulses: unsigned(1)
    bits_flipped: signed(10)
    retries: unsigned(1)
    defects_accepted: unsigned(3)
    writes_failed: unsigned(1)
    refused: unsigned(1)
    timeouts: unsigned(1)


class EventCounters(wiring.Component):
    """Adds up the events of both paths.

    Members
    -------
    read_events : In(ReadEvents)
    write_events : In(WriteEvents)
        What happened in this cycle.
    clear : In(1)
        Counting starts anew with the next cycle's events.
    counters : Out(Counters)
        The sums, two cycles later: events come at the end of long paths, and are kept in registers before they are
        added.
    """

    read_events: In(ReadEvents)
    write_events: In(WriteEvents)
    clear: In(1)
    counters: Out(Counters)

    latency = 2

    def elaborate(self, platform) -> Module:
        m = Module()
        read_events, write_events, clear = Signal(ReadEvents), Signal(WriteEvents), Signal()
        m.d.sync += [read_events.eq(self.read_events), write_events.eq(self.write_events), clear.eq(self.clear)]
        sources = [
            (read_events, [name for name, _ in data.Layout.cast(ReadEvents)]),
            (write_events, [name for name, _ in data.Layout.cast(WriteEvents)]),
        ]
        for name, _ in data.Layout.cast(Counters):
            counter = self.counters[name]
            new = sum(events[name] for events, names in sources if name in names)
            m.d.sync += counter.eq(counter + new)
        # A plain reset: it costs nothing, where keeping this cycle's events would cost a LUT a bit.
        with m.If(self.clear | clear):
            m.d.sync += self.counters.as_value().eq(0)
        return m
