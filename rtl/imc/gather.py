# SPDX-License-Identifier: Apache-2.0
"""The engine's loop nest: words come in, groups of P words go out, each with its place in the nest."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import WORD, word_stream
from respin.rtl.jobs import EngineJob


def place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where a group belongs: its entry, the stream's number format, and the loops that begin or end with it."""
    return data.StructLayout(
        {
            "entry": range(config.acc_depth),
            "half": unsigned(1),
            "bits": unsigned(4),
            "signed": unsigned(1),
            "step_start": unsigned(1),
            "step_end": unsigned(1),
            "first_step": unsigned(1),
            "last_step": unsigned(1),
        }
    )


def group_layout(config: AcceleratorConfig) -> data.StructLayout:
    """P words, the ``count`` first of them valid, and their place."""
    return data.StructLayout(
        {
            "words": data.ArrayLayout(WORD, config.pixels),
            "valid": unsigned(config.pixels),
            "place": place_layout(config),
        }
    )


class GroupGather(Component):
    """Walks ``for repeat: for tile: for step: for item in tile`` and packs the words of P items into a group.

    The last group of a tile may hold fewer words: ``valid`` has a bit for each. Tiles alternate between the two halves
    of the accumulators, across jobs too.

    Throughput: one word a cycle. Latency: a group is at ``groups`` in the cycle after its last word. A job follows the
    last word of the one before it after one cycle.

    Parameters
    ----------
    config:
        ``pixels`` and ``acc_depth``.

    Members
    -------
    job : In(stream of EngineJob)
        Every count at least 1, ``tile`` at most ``acc_depth * P``, ``bits`` in 1..8.
    words : In(stream of WORD)
    groups : Out(stream of group_layout)
    active : Out(1)
        Words of a job are still to come.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__(
            {
                "job": In(stream.Signature(EngineJob)),
                "words": In(word_stream()),
                "groups": Out(stream.Signature(group_layout(config))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups = self.groups
        job = Signal(EngineJob)
        accepted = Signal()
        slot = Signal(range(config.pixels))
        place = Signal(place_layout(config))
        item_last, group_last = Signal(), Signal()

        m.d.comb += [
            self.job.ready.eq(~self.active),
            self.words.ready.eq(self.active & (~groups.valid | groups.ready)),
            accepted.eq(self.words.valid & self.words.ready),
            group_last.eq(item_last | (slot == config.pixels - 1)),
            place.bits.eq(job.bits),
            place.signed.eq(job.signed),
            place.step_end.eq(item_last),
        ]
        with m.If(groups.ready):
            m.d.sync += groups.valid.eq(0)
        with m.If(accepted):
            m.d.sync += [slot.eq(Mux(group_last, 0, slot + 1)), groups.valid.eq(group_last), groups.p.place.eq(place)]
            for index in range(config.pixels):
                with m.If(slot == index):
                    # Words 0 .. index are in, those after it are of an older group.
                    m.d.sync += [groups.p.words[index].eq(self.words.payload), groups.p.valid.eq((2 << index) - 1)]
        self._walk(m, job, place, accepted, group_last, item_last)
        return m

    def _walk(
        self, m: Module, job: data.View, place: data.View, accepted: Signal, group_last: Signal, item_last: Signal
    ) -> None:
        """Count items, steps, tiles and repeats as words are accepted."""
        repeats = Signal.like(job.repeats)
        steps = Signal.like(job.steps)
        size = Signal.like(job.tile)  # items of this tile
        items = Signal.like(size)  # of them, still to come in this step
        after = Signal.like(job.items)  # items of the repeat after this tile
        next_items, next_size, next_after = Signal.like(after), Signal.like(size), Signal.like(after)

        def start_tile(items_left: Signal, tile: Signal) -> list:
            """Cut the next tile from the items that are left of a repeat."""
            whole = items_left >= tile
            return [next_size.eq(Mux(whole, tile, items_left)), next_after.eq(Mux(whole, items_left - tile, 0))]

        m.d.comb += [
            item_last.eq(items == 1),
            place.last_step.eq(steps == 1),
            next_items.eq(Mux(after == 0, job.items, after)),
        ]
        start = [size.eq(next_size), items.eq(next_size), after.eq(next_after), place.step_start.eq(1)]
        with m.If(~self.active):
            m.d.comb += start_tile(self.job.p.items, self.job.p.tile)
            with m.If(self.job.valid):
                m.d.sync += [job.eq(self.job.payload), repeats.eq(self.job.p.repeats), steps.eq(self.job.p.steps)]
                m.d.sync += [self.active.eq(1), place.first_step.eq(1), *start]
        with m.Else():
            m.d.comb += start_tile(next_items, job.tile)
        with m.If(accepted):
            m.d.sync += items.eq(items - 1)
            with m.If(group_last):
                m.d.sync += [place.entry.eq(place.entry + 1), place.step_start.eq(0)]
            with m.If(item_last):
                m.d.sync += [items.eq(size), steps.eq(steps - 1)]
                m.d.sync += [place.entry.eq(0), place.step_start.eq(1), place.first_step.eq(0)]
                with m.If(place.last_step):
                    m.d.sync += [steps.eq(job.steps), place.first_step.eq(1), place.half.eq(~place.half), *start]
                    with m.If(after == 0):
                        m.d.sync += [repeats.eq(repeats - 1), self.active.eq(repeats != 1)]
