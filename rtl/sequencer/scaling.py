# SPDX-License-Identifier: Apache-2.0
"""Keeps the scales that training has measured in MRAM rows, and brings them back from there."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import EXPONENT, ReadJob
from respin.rtl.learn.scales import ErrorScale, LargestGradient
from respin.rtl.learn.table import TablePort
from respin.rtl.mram.ports import ReadRow, WriteStatus, landed
from respin.rtl.ports import WORD_BITS, HostRow
from respin.rtl.sequencer.descriptor import DESCRIPTOR, Opcode
from respin.rtl.sequencer.edges import Measured
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode


class TensorScaling(data.Struct):
    """What is kept of a tensor id, 64 bits of a row; all 0 where nothing was measured.

    ``shift``: of its errors. ``exponent``: with which they came in when that was measured. ``order``: binary order of
    its largest gradient.
    """

    exponent: EXPONENT
    order: signed(EXPONENT.width + 1)
    shift: unsigned(6)
    has_exponent: unsigned(1)
    has_order: unsigned(1)
    has_shift: unsigned(1)
    reserved: unsigned(22)


TENSORS_IN_ROW = WORD_BITS // Shape.cast(TensorScaling).width
"""Tensor ids whose scaling a row holds."""


def scaling_rows(config: AcceleratorConfig) -> int:
    """Rows that the scaling of all tensor ids takes."""
    return -(-config.tensor_ids // TENSORS_IN_ROW)


class ScalingRows(Component):
    """Carries out SAVE and RESTORE: between the tables of what training measured and MRAM rows.

    Tensor id ``i`` is number ``i % 4`` of row ``row + i // 4``, as a :class:`TensorScaling`.

    Throughput: 9 cycles and a verified write for each row of a SAVE, 5 and a read for each of a RESTORE.

    Parameters
    ----------
    config : AcceleratorConfig
        ``tensor_ids`` counts.

    Members
    -------
    descriptor : In(DESCRIPTOR)
        What to do; taken over with ``start``.
    start : In(1)
        Only while ``idle``, and while no job is under way.
    stop : In(1)
        End after the row under way.
    idle : Out(1)
    moves : Out(1)
        Something moved in this cycle, or an MRAM row is being written, which the bank controller bounds.
    error : Out(ErrorCode), info : Out(8)
        How the last one ended; hold from its end to the next ``start``.
    errors : Out(TablePort(ErrorScale))
    measured : Out(TablePort(Measured))
    gradients : Out(TablePort(LargestGradient))
        The tables.
    row_write : Out(stream(HostRow)), row_written : In(stream(WriteStatus))
    row_read : Out(stream(ReadJob)), row_data : In(stream(ReadRow))

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._rows = scaling_rows(config)
        super().__init__({
            "descriptor": In(DESCRIPTOR),
            "start": In(1),
            "stop": In(1),
            "idle": Out(1),
            "moves": Out(1),
            "error": Out(ErrorCode),
            "info": Out(8),
            "errors": Out(TablePort(ErrorScale)),
            "measured": Out(TablePort(Measured)),
            "gradients": Out(TablePort(LargestGradient)),
            "row_write": Out(stream.Signature(HostRow)),
            "row_written": In(stream.Signature(WriteStatus)),
            "row_read": Out(stream.Signature(ReadJob)),
            "row_data": In(stream.Signature(ReadRow)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._restores, self._row, self._left = Signal(), Signal(ROW_ADDRESS_BITS), Signal(range(self._rows + 1))
        place = Signal(range(TENSORS_IN_ROW))
        content = Signal(data.ArrayLayout(TensorScaling, TENSORS_IN_ROW))
        last = place == TENSORS_IN_ROW - 1
        access, ready = self._connect_tables(m, content[place], place)
        found = self._found(m)
        m.d.comb += [
            self.row_write.payload.row.eq(self._row),
            self.row_write.payload.data.eq(content),
            self.row_read.payload.of_row(self._row),
        ]
        with m.FSM():
            with m.State("Idle"):
                body = self.descriptor.scaling
                m.d.comb += self.idle.eq(1)
                m.d.sync += [
                    self._restores.eq(self.descriptor.header.opcode == Opcode.RESTORE),
                    self._row.eq(body.row),
                    self._left.eq(self._rows),
                    place.eq(0),
                ]
                with m.If(self.start):
                    m.d.sync += [self.error.eq(ErrorCode.NONE), self.info.eq(0)]
                    self._begin_row(m, self.descriptor.header.opcode == Opcode.RESTORE)
            with m.State("Look up"):
                m.d.comb += access.eq(1)
                with m.If(ready):
                    m.next = "Keep"
            with m.State("Keep"):
                m.d.comb += self.moves.eq(1)
                m.d.sync += [content[place].eq(found), place.eq(place + 1)]
                m.next = "Look up"
                with m.If(last):
                    m.next = "Write"
            with m.State("Write"):
                self._write(m)
            with m.State("Read"):
                m.d.comb += self.row_read.valid.eq(1)
                with m.If(self.row_read.ready):
                    m.d.comb += self.moves.eq(1)
                    m.next = "Take"
            with m.State("Take"):
                m.d.comb += self.row_data.ready.eq(1)
                m.d.sync += content.eq(self.row_data.payload.data)
                with m.If(self.row_data.valid):
                    m.next = "Set"
                    with m.If(self.row_data.payload.uncorrectable):
                        m.d.sync += [self.error.eq(ErrorCode.ROW), self.info.eq(UNCORRECTABLE_ROW)]
                        m.next = "Idle"
            with m.State("Set"):
                m.d.comb += access.eq(1)
                with m.If(ready):
                    m.d.comb += self.moves.eq(1)
                    m.d.sync += place.eq(place + 1)
                    with m.If(last):
                        self._end_row(m)
        return m

    def _connect_tables(self, m: Module, entry: Value, place: Value) -> tuple[Signal, Value]:
        """Give all tables the same access; returns what asks for it, and whether all of them let it."""
        access = Signal()
        number = self._rows - self._left
        ports = (self.errors, self.measured, self.gradients)
        for port in ports:
            m.d.comb += [port.valid.eq(access), port.write.eq(self._restores), port.id.eq(Cat(place, number))]
        m.d.comb += [
            self.errors.entry_valid.eq(entry.has_shift),
            self.errors.entry.shift.eq(entry.shift),
            self.measured.entry_valid.eq(entry.has_exponent),
            self.measured.entry.exponent.eq(entry.exponent),
            self.gradients.entry_valid.eq(entry.has_order),
            self.gradients.entry.order.eq(entry.order),
        ]
        # A read or a write that not all of them take is done again, to the same effect.
        return access, Cat(port.ready for port in ports).all()

    def _found(self, m: Module) -> Signal:
        """What the tables say of the tensor looked up."""
        found = Signal(TensorScaling)
        for port, name in ((self.measured, "exponent"), (self.gradients, "order"), (self.errors, "shift")):
            m.d.comb += [
                found[name].eq(Mux(port.read_valid, port.read_entry[name], 0)),
                found[f"has_{name}"].eq(port.read_valid),
            ]
        m.d.comb += found.reserved.eq(0)
        return found

    def _begin_row(self, m: Module, restores: Value) -> None:
        m.next = "Look up"
        with m.If(restores):
            m.next = "Read"

    def _end_row(self, m: Module) -> None:
        """To the next row, or the end."""
        m.d.sync += [self._row.eq(self._row + 1), self._left.eq(self._left - 1)]
        self._begin_row(m, self._restores)
        with m.If((self._left == 1) | self.stop):
            m.next = "Idle"

    def _write(self, m: Module) -> None:
        """Write a row; the status may come in the very cycle in which the request is taken."""
        written, asked = self.row_written, Signal()
        outcome = written.payload.outcome
        m.d.comb += [self.row_write.valid.eq(~asked), written.ready.eq(1), self.moves.eq(1)]
        with m.If(self.row_write.ready):
            m.d.sync += asked.eq(1)
        with m.If(written.valid):
            m.d.sync += asked.eq(0)
            self._end_row(m)
            with m.If(~landed(outcome)):
                m.d.sync += [self.error.eq(ErrorCode.ROW), self.info.eq(outcome)]
                m.next = "Idle"
