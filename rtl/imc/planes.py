# SPDX-License-Identifier: Apache-2.0
"""Streams a group's bit-planes, top one first, as soon as rows, accumulators and results allow."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import PLANES, AcceleratorConfig
from respin.rtl.imc.gather import group_layout, place_layout

READ_TO_WRITE = 2
"""Cycles from the read of an entry of partial sums to its write; a read sees it from the cycle after on."""

DRAIN_SLOT = 4
"""While sums drain, at least one of so many cycles leaves the accumulators' read port to them."""


def plane_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One plane of a group (K lanes of it) with the flags of :class:`respin.rtl.imc.dot.DotArray`; 0 if there is none.

    ``beat`` names the part of the rows it meets, ``place`` the place of its group.
    """
    return data.StructLayout({
        "bits": data.ArrayLayout(unsigned(config.lanes), config.pixels),
        "beat": range(config.beats),
        "negate": unsigned(1),
        "plane_end": unsigned(1),
        "last": unsigned(1),
        "place": place_layout(config),
    })  # fmt: skip


class PlaneStreamer(Component):
    """Takes a group and puts one bit-plane, or one beat of it, at ``plane`` in each cycle.

    A group waits before its first plane, never inside: for the rows of a new step; for its half of the accumulators to
    be drained, with a new tile; for its entry, if that was last updated less than three cycles ago (tiles of one or
    two groups of one or two planes); and for a free read slot for results that drain (streams of one plane).

    Throughput: ``bits * beats`` cycles a group, without gaps between groups, steps, tiles and jobs. Latency: a plane is
    at ``plane`` two cycles after its turn, and ``take_rows`` pulses in the cycle before the first one of a step.

    Parameters
    ----------
    config:
        ``lanes``, ``pixels``, ``acc_depth``.

    Members
    -------
    groups : In(stream of group_layout)
    rows_full : In(1)
        The rows of the next step are there.
    take_rows : Out(1)
        They are in use from the next cycle on.
    drained : In(2)
        Pulses when a half has been read out.
    draining : In(1)
        Results wait to be read.
    plane : Out(plane_layout)
    reserved : Out(2)
        Halves with a tile in them, from its first plane until it is drained.
    waiting : Out(1)
        A group is here.
    busy, starved_rows, stalled : Out(1)
        What this cycle is: a plane goes, a group waits for rows, or for one of the other reasons.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "groups": In(stream.Signature(group_layout(config))),
            "rows_full": In(1),
            "take_rows": Out(1),
            "drained": In(2),
            "draining": In(1),
            "plane": Out(plane_layout(config)),
            "reserved": Out(2),
            "waiting": Out(1),
            "busy": Out(1),
            "starved_rows": Out(1),
            "stalled": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        group = Signal(group_layout(config))
        place = group.place
        plane = Signal(range(PLANES))
        beat = Signal(range(config.beats))
        fresh, top, plane_end, last = Signal(), Signal(), Signal(), Signal()

        m.d.comb += [
            top.eq(plane == place.bits - 1),
            plane_end.eq(beat == config.beats - 1),
            last.eq(plane_end & (plane == 0)),
            self.starved_rows.eq(self.waiting & fresh & place.step_start & ~self.rows_full),
            self.busy.eq(self.waiting & ~self.starved_rows & ~self.stalled),
            self.groups.ready.eq(~self.waiting | (self.busy & last)),
        ]
        with m.If(self.busy):
            m.d.sync += [fresh.eq(0), beat.eq(Mux(plane_end, 0, beat + 1)), plane.eq(plane - plane_end)]
        with m.If(self.groups.ready):
            m.d.sync += [group.eq(self.groups.payload), self.waiting.eq(self.groups.valid)]
            m.d.sync += [fresh.eq(1), plane.eq(self.groups.p.place.bits - 1)]

        new_tile = fresh & place.step_start & place.first_step
        starting = (self.busy & new_tile).replicate(2) & (1 << place.half)
        m.d.sync += [
            self.take_rows.eq(self.busy & fresh & place.step_start),
            self.reserved.eq((self.reserved | starting) & ~self.drained),
        ]
        chosen = Signal(plane_layout(config))
        for bits, planes, valid in zip(chosen.bits, group.words, group.valid, strict=True):
            m.d.sync += bits.eq(Mux(self.busy & valid, Array(planes)[plane].word_select(beat, config.lanes), 0))
        m.d.sync += [
            chosen.beat.eq(beat),
            chosen.negate.eq(self.busy & place.signed & top),
            chosen.plane_end.eq(self.busy & plane_end),
            chosen.last.eq(self.busy & last),
            chosen.place.eq(place),
            self.plane.eq(chosen),
        ]
        half_taken = place.step_start & place.first_step & self.reserved.bit_select(place.half, 1)
        self._stall(m, place, half_taken, chosen, fresh)
        return m

    def _stall(self, m: Module, place: data.View, half_taken: Value, before: data.View, fresh: Signal) -> None:
        """Decide whether a fresh group waits for the accumulators; ``before`` is the plane of the cycle before.

        All but a taken half is known a cycle ahead, which keeps the decision off the critical path.
        """
        following = self.groups.p.place
        ending = self.groups.ready & self.busy
        rereads = self.groups.ready & ~following.first_step
        again = Signal()  # the entry was updated in the cycle before: wait two cycles
        updated = Signal()
        reads = Signal(DRAIN_SLOT - 1)  # whether each of the last cycles ended in a read, the latest in bit 0
        latest_reads = Cat(ending & ~place.first_step, reads)[: DRAIN_SLOT - 1]
        hold = Signal()
        m.d.comb += [
            updated.eq(rereads & ending & (following.entry == place.entry)),
            self.stalled.eq(self.waiting & fresh & ~self.starved_rows & (hold | half_taken)),
        ]
        m.d.sync += [
            again.eq(updated),
            reads.eq(latest_reads),
            hold.eq(
                updated
                | again
                | (rereads & before.last & (following.entry == before.place.entry))
                | (self.draining & latest_reads.all())
            ),
        ]
