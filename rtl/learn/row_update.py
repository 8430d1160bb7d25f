# SPDX-License-Identifier: Apache-2.0
"""Read a row, move its weights, write it back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.interfaces import ROW
from respin.rtl.jobs import ReadJob
from respin.rtl.learn.tile_rows import RowChange
from respin.rtl.mram.ports import ReadRow, WriteKind, WriteRequest, WriteStatus, landed

WEIGHT_MAX = 127
"""Trained weights lie in -127..127."""


class RowUpdate(wiring.Component):
    """``w <- clamp(w - u, -127, 127)`` for the weights of a row, in MRAM, for weights in -127..127.

    One row at a time: read, wait for it, write, wait for the outcome. A row with an uncorrectable codeword is not
    written: what was read of it may not be what was learned. Latency: 4 cycles and the controller's. Throughput: as
    the controller.

    Members
    -------
    changes : In(stream(RowChange))
    read : Out(stream(ReadJob))
        One row each.
    rows : In(stream(ReadRow))
    write : Out(stream(WriteRequest))
    written : In(stream(WriteStatus))
    done, uncorrectable, failed : Out(1)
        A row was written, was not because it could not be corrected, was refused or could not be written.
    idle : Out(1)
    """

    changes: In(stream.Signature(RowChange))
    read: Out(stream.Signature(ReadJob))
    rows: In(stream.Signature(ReadRow))
    write: Out(stream.Signature(WriteRequest))
    written: In(stream.Signature(WriteStatus))
    done: Out(1)
    uncorrectable: Out(1)
    failed: Out(1)
    idle: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        change = Signal(RowChange)
        row = Signal(ROW)
        m.d.comb += [
            self.read.payload.of_row(change.row),
            self.write.payload.kind.eq(WriteKind.WRITE),
            self.write.payload.row.eq(change.row),
            self.write.payload.data.eq(row),
        ]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += [self.idle.eq(~self.changes.valid), self.changes.ready.eq(1)]
                m.d.sync += change.eq(self.changes.payload)
                with m.If(self.changes.valid):
                    m.next = "Read"
            with m.State("Read"):
                m.d.comb += self.read.valid.eq(1)
                with m.If(self.read.ready):
                    m.next = "Move"
            with m.State("Move"):
                m.d.comb += self.rows.ready.eq(1)
                for weight, step, moved in zip(self.rows.payload.data, change.steps, row, strict=True):
                    bound = Mux(step.negative, weight == WEIGHT_MAX, weight <= -WEIGHT_MAX)
                    moves = step.moves & ~bound
                    # One adder: +1, -1 or 0.
                    m.d.sync += moved.eq(weight + Cat(moves, (moves & ~step.negative).replicate(7)).as_signed())
                with m.If(self.rows.valid):
                    m.next = "Write"
                    with m.If(self.rows.payload.uncorrectable):
                        m.d.comb += self.uncorrectable.eq(1)
                        m.next = "Idle"
            with m.State("Write"):
                # The status may come in the very cycle in which the request is taken.
                m.d.comb += self.write.valid.eq(1)
                with m.If(self.write.ready):
                    m.next = "Outcome"
                self._finish(m)
            with m.State("Outcome"):
                self._finish(m)
        return m

    def _finish(self, m: Module) -> None:
        """Take the status of the write."""
        good = landed(self.written.payload.outcome)
        m.d.comb += self.written.ready.eq(1)
        with m.If(self.written.valid):
            m.d.comb += [self.done.eq(good), self.failed.eq(~good)]
            m.next = "Idle"
