# SPDX-License-Identifier: Apache-2.0
"""The counters that the host reads and no unit keeps itself."""

from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.registers import COUNTERS

COUNTED = tuple(counter for counter in COUNTERS if counter.step)
"""Counters kept by :class:`HostCounters`."""
STEPS = data.StructLayout({counter.name: counter.step for counter in COUNTED})
"""What each counter grows by in a cycle."""
SUMS = data.StructLayout({counter.name: counter.width for counter in COUNTED})


class HostCounters(Component):
    """Adds up what is to be counted.

    Members
    -------
    add : In(STEPS)
        What to add in this cycle.
    clear : In(1)
        Counting starts anew with the next cycle.
    sums : Out(SUMS)
        The counts, one cycle later; they wrap.
    """

    add: In(STEPS)
    clear: In(1)
    sums: Out(SUMS)

    latency = 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for counter in COUNTED:
            m.d.sync += self.sums[counter.name].eq(self.sums[counter.name] + self.add[counter.name])
        with m.If(self.clear):
            m.d.sync += self.sums.as_value().eq(0)
        return m
