# SPDX-License-Identifier: Apache-2.0
"""Which strips are pulsed together."""

from itertools import zip_longest

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import STRIPS
from respin.rtl.mram.popcount import popcount
from respin.rtl.mram.secded import DATA_BITS

PULSE_GROUPS: tuple[tuple[int, ...], ...] = (
    *(tuple(i for i in range(DATA_BITS) if i % 8 // 2 == pair) for pair in range(4)),
    tuple(range(DATA_BITS, STRIPS)),
)
"""Strips that share a pulse, at most 16, which bounds the macro's current: two bit significances of every weight
each, since a small step of a weight mostly changes its low bits; and the check bits."""


class PulseGroups(wiring.Component):
    """Goes through the groups that have a strip to be pulsed, lowest first; the others take no time.

    Members
    -------
    strips : In(72)
        Strips to be pulsed; they must not change while groups are left.
    start : In(1)
        The groups of ``strips`` are all to be gone through, from the next cycle on.
    advance : In(1)
        The group in hand has been pulsed.
    left : Out(1)
        There is a group in hand.
    mask : Out(72)
        Its strips.
    count : Out(5)
        How many they are.
    """

    strips: In(STRIPS)
    start: In(1)
    advance: In(1)
    left: Out(1)
    mask: Out(STRIPS)
    count: Out(range(max(map(len, PULSE_GROUPS)) + 1))

    latency = 1

    def elaborate(self, platform) -> Module:
        m = Module()
        groups_left = Signal(len(PULSE_GROUPS))
        group = Signal(len(PULSE_GROUPS))
        lanes = zip_longest(*PULSE_GROUPS)
        m.d.comb += [
            group.eq(groups_left & -groups_left),
            self.left.eq(groups_left.any()),
            # All groups but one are masked out, so they may share the counter's inputs.
            self.count.eq(popcount(Cat(self.mask[i] for i in lane if i is not None).any() for lane in lanes)),
        ]
        for members, chosen in zip(PULSE_GROUPS, group, strict=True):
            m.d.comb += [self.mask[i].eq(self.strips[i] & chosen) for i in members]
        with m.If(self.start):
            m.d.sync += groups_left.eq(Cat(Cat(self.strips[i] for i in members).any() for members in PULSE_GROUPS))
        with m.Elif(self.advance):
            m.d.sync += groups_left.eq(groups_left & ~group)
        return m
