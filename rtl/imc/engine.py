# SPDX-License-Identifier: Apache-2.0
"""The dot-product engine: latched rows times streamed bit-planes, summed over the steps of a tile."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.imc.accumulator import Accumulator
from respin.rtl.imc.dot import DotArray
from respin.rtl.imc.gather import GroupGather
from respin.rtl.imc.latch import RowLatches
from respin.rtl.imc.planes import READ_TO_WRITE, PlaneStreamer
from respin.rtl.interfaces import result_layout, row_stream, word_stream
from respin.rtl.jobs import EngineJob


class EngineCounters(data.Struct):
    """Cycles while jobs have words to come or to stream; together the time of a run of jobs up to its last plane."""

    busy: unsigned(32)
    starved_rows: unsigned(32)
    starved_words: unsigned(32)
    stalled: unsigned(32)


class Engine(Component):
    """``M x P`` dot products of K lanes a cycle, one bit-plane of the streamed operand at a time (docs/engine.md).

    Arithmetic: for each item of a tile and slice ``m``, the sum over steps and 32 channels of
    ``row[m][channel] * word[channel]``, exact as long as it fits int32. Rows are int8; of the words the low ``bits``
    planes count, as signed or unsigned number.

    Throughput: ``bits * beats`` cycles for each group of P words; no gaps between groups, steps, tiles and jobs while
    rows and words are there and results are taken. Results leave at most every other cycle, while the next tile
    accumulates. A step of fewer than M cycles waits for its M rows.

    Latency: the first result is there ``latency`` cycles after the last word of its tile was accepted, if nothing else
    waits, plus ``bits * beats`` cycles for its planes.

    Parameters
    ----------
    config:
        ``lanes``, ``slices``, ``pixels``, ``acc_depth``.

    Members
    -------
    job : In(stream of EngineJob)
        Accepted while the sums of the one before still stream and drain. Every count at least 1; ``tile`` at most
        ``acc_depth * P``.
    rows : In(stream of ROW)
        M rows for each step of each tile; they may arrive before their job.
    words : In(stream of WORD)
    results : Out(stream of result_layout)
        One entry for each group of each tile, in order. Streams past a tile's end hold 0 in its last entry.
    idle : Out(1)
        Nothing is left of any job.
    counters : Out(EngineCounters)
    clear : In(1)
        Zeroes the counters.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self._dot = DotArray(slices=config.slices, pixels=config.pixels, lanes=config.lanes, beats=config.beats)
        self.latency = 6 + self._dot.latency
        super().__init__(
            {
                "job": In(stream.Signature(EngineJob)),
                "rows": In(row_stream()),
                "words": In(word_stream()),
                "results": Out(stream.Signature(result_layout(config))),
                "idle": Out(1),
                "counters": Out(EngineCounters),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.gather = gather = GroupGather(config=config)
        m.submodules.latches = latches = RowLatches(config=config)
        m.submodules.streamer = streamer = PlaneStreamer(config=config)
        m.submodules.dot = dot = self._dot
        sum_bits = dot.sums[0][0].shape().width
        m.submodules.accumulator = accumulator = Accumulator(config=config, sum_bits=sum_bits)

        connect(m, flipped(self.job), gather.job)
        connect(m, flipped(self.words), gather.words)
        connect(m, flipped(self.rows), latches.rows)
        connect(m, gather.groups, streamer.groups)
        connect(m, accumulator.results, flipped(self.results))
        plane = streamer.plane
        m.d.comb += [
            streamer.rows_full.eq(latches.full),
            latches.take.eq(streamer.take_rows),
            latches.beat.eq(plane.beat),
            dot.weights.eq(latches.weights),
            dot.bits.eq(plane.bits),
            dot.negate.eq(plane.negate),
            dot.plane_end.eq(plane.plane_end),
            dot.last.eq(plane.last),
            accumulator.sums.eq(dot.sums),
            streamer.drained.eq(accumulator.drained),
            streamer.draining.eq(accumulator.draining),
        ]

        update, place = plane.last, plane.place
        for stage in range(dot.latency - READ_TO_WRITE):
            later, later_place = Signal(name=f"update_{stage}"), Signal.like(place, name=f"place_{stage}")
            m.d.sync += [later.eq(update), later_place.eq(place)]
            update, place = later, later_place
        m.d.comb += [accumulator.update.eq(update), accumulator.place.eq(place)]

        working = gather.active | gather.groups.valid | streamer.waiting
        m.d.comb += self.idle.eq(~working & ~streamer.reserved.any() & accumulator.empty)
        reasons = {
            "busy": streamer.busy,
            "starved_rows": streamer.starved_rows,
            "starved_words": working & ~streamer.waiting,
            "stalled": streamer.stalled,
        }
        for name, reason in reasons.items():
            with m.If(self.clear):
                m.d.sync += self.counters[name].eq(0)
            with m.Elif(reason):
                m.d.sync += self.counters[name].eq(self.counters[name] + 1)
        return m
