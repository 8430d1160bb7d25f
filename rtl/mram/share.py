# SPDX-License-Identifier: Apache-2.0
"""Two readers of the memory's rows: their jobs take turns, piece by piece."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import ReadRow


class RowShare(Component):
    """Lets two units read rows at the same time, though the memory takes one job after the other.

    Each reader's job is cut into pieces of as many rows as the reader takes without a pause once it takes the first
    one: the rows of an engine's step, of a depthwise unit's block. A piece goes to the memory when its reader would
    take a row, and only when the piece before it has been delivered: so no reader's rows ever stand in the other one's
    way. Where both want one they take turns.

    Latency: 2 cycles more than the memory's from a job to its first row, and the memory's from piece to piece.

    Parameters
    ----------
    pieces : sequence of int
        Rows of a piece of each reader at most; 0: of as many as the job's ``count``.

    Members
    -------
    jobs : In(stream(ReadJob)).array(2)
        What each reader is to get; taken over.
    rows : Out(stream(ReadRow)).array(2)
        Its rows.
    memory : Out(stream(ReadJob)), memory_rows : In(stream(ReadRow))
        The memory.
    idle : Out(2)
        The reader's job has been delivered.
    """

    def __init__(self, *, pieces: Sequence[int]) -> None:
        self._pieces = tuple(pieces)
        super().__init__({
            "jobs": In(stream.Signature(ReadJob)).array(2),
            "rows": Out(stream.Signature(ReadRow)).array(2),
            "memory": Out(stream.Signature(ReadJob)),
            "memory_rows": In(stream.Signature(ReadRow)),
            "idle": Out(2),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wants, pieces = Signal(2), [Signal(ReadJob, name=f"piece_{number}") for number in range(2)]
        begin = Signal(2)
        turn, whose = Signal(), Signal()  # the reader that goes first; the one whose piece is under way
        asked, left = Signal(), Signal.like(pieces[0].count)  # the memory has the piece; its rows that are to come
        delivered = self.memory_rows.valid & self.memory_rows.ready
        under_way = asked | (left != 0)
        for number, most in enumerate(self._pieces):
            wanting = self._walk(m, number, most, pieces[number], begin[number])
            m.d.comb += wants[number].eq(wanting & self.rows[number].ready)
            m.d.comb += self.idle[number].eq(~wanting & ~(under_way & (whose == number)))
            m.d.comb += [
                self.rows[number].payload.eq(self.memory_rows.payload),
                self.rows[number].valid.eq(self.memory_rows.valid & (left != 0) & (whose == number)),
            ]
        chosen = Mux(wants.all(), turn, wants[1])
        m.d.comb += [
            self.memory.payload.as_value().eq(Array(piece.as_value() for piece in pieces)[whose]),
            self.memory.valid.eq(asked),
            self.memory_rows.ready.eq((left != 0) & Array(rows.ready for rows in self.rows)[whose]),
        ]
        with m.If(~under_way & wants.any()):
            m.d.sync += [asked.eq(1), whose.eq(chosen), turn.eq(~chosen)]
        with m.If(asked & self.memory.ready):
            m.d.comb += begin.eq(1 << whose)
            m.d.sync += [asked.eq(0), left.eq(self.memory.payload.count)]
        with m.If(delivered):
            m.d.sync += left.eq(left - 1)
        return m

    def _walk(self, m: Module, number: int, most: int, piece: Signal, begin: Signal) -> Signal:
        """Walk a reader's job piece by piece, on with each ``begin``; returns whether there is a piece left."""
        job, offered = Signal(ReadJob, name=f"job_{number}"), self.jobs[number]
        walking, done = Signal(name=f"walking_{number}"), Signal.like(job.count, name=f"done_{number}")
        rest = Signal.like(job.count, name=f"rest_{number}")
        m.d.comb += [
            rest.eq(job.count - done),
            piece.base.eq(job.base + done),
            piece.count.eq(Mux(rest > most, most, rest) if most else rest),
            piece.tiles.eq(1),
            piece.repeats.eq(1),
            offered.ready.eq(~walking),
        ]
        with m.If(~walking & offered.valid):
            empty = Cat(offered.payload[name] == 0 for name in ("count", "tiles", "repeats")).any()
            m.d.sync += [job.eq(offered.payload), walking.eq(~empty), done.eq(0)]
        tiles = Signal.like(job.tiles, name=f"tiles_{number}")  # passes that have been made
        with m.If(begin):
            m.d.sync += done.eq(done + piece.count)
            with m.If(piece.count == rest):
                m.d.sync += [done.eq(0), tiles.eq(tiles + 1)]
                with m.If(tiles + 1 == job.tiles):
                    m.d.sync += [tiles.eq(0), job.base.eq(job.base + job.count), job.repeats.eq(job.repeats - 1)]
                    with m.If(job.repeats == 1):
                        m.d.sync += walking.eq(0)
        return walking
