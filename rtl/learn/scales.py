# SPDX-License-Identifier: Apache-2.0
"""Scales that follow what training steps have measured: of errors a shift, of weight steps the largest gradient."""

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import EXPONENT, TENSOR_ID
from respin.rtl.learn.table import TablePort, TensorTable

MAGNITUDE_BITS = 48
"""Bits of the largest magnitude of a tensor of errors: int32 sums times 16-bit multipliers."""
ERROR_BITS = 7
"""Magnitude bits of an int8 error in -127..127."""
COUNT_BITS = 24
"""Bits of the number of nonzero entries of a gradient."""
GRADIENT_BITS = 32
"""Bits of the magnitude of an entry, 2^31 included."""
SUM_BITS = COUNT_BITS + GRADIENT_BITS
LARGEST_TO_MEAN = 8
"""A gradient counts as no smaller than its largest entry times 2^-8."""


def bit_length(value: Value) -> Value:
    """Bits needed for an unsigned value: 0 for 0."""
    bits = len(value)
    if bits == 1:
        return value
    half = 1 << (bits - 1).bit_length() - 1
    low, high = value[:half], value[half:]
    return Mux(high.any(), bit_length(high) + half, bit_length(low))


class ErrorScale(data.Struct):
    """The shift with which a tensor's errors are rounded."""

    shift: unsigned(6)


class ErrorMeasure(data.Struct):
    """The largest magnitude that a tensor of errors had before shifting, over a batch."""

    tensor: TENSOR_ID
    maximum: unsigned(MAGNITUDE_BITS)


class DelayedScales(wiring.Component):
    """The table of error scales: each step's shift follows from the magnitudes of the step before.

    A measure ``A`` makes the tensor's shift ``max(0, bit_length(A) - 7)`` and valid; ``A = 0`` changes nothing. A
    tensor that has no valid shift reads as shift 0: its pass only measures.

    Latency: a lookup shows in the next cycle, a measure is stored in the cycle it is taken. Throughput: one a cycle.

    Parameters
    ----------
    config:
        The accelerator.
    ids:
        Tensor ids that have an entry; the configuration's unless given.

    Members
    -------
    lookup : In(1)
        Looks ``tensor`` up; while the table is cleared after reset nothing is found.
    tensor : In(TENSOR_ID)
    valid : Out(1)
        The tensor of the last lookup has a shift.
    shift : Out(6)
        The shift, 0 where there is none.
    measure : In(stream(ErrorMeasure))
        Waits while there is a lookup.
    host : In(TablePort(ErrorScale))
        Saves and restores the table.
    error : Out(1)
        High in the cycle after a lookup or measure of an id that has no entry.

    Raises
    ------
    TypeError, ValueError
        For a parameter of the wrong type or out of range.
    """

    def __init__(self, *, config: AcceleratorConfig, ids: int | None = None) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self._table = TensorTable(shape=ErrorScale, ids=config.tensor_ids if ids is None else ids)
        super().__init__({
            "lookup": In(1),
            "tensor": In(TENSOR_ID),
            "valid": Out(1),
            "shift": Out(6),
            "measure": In(stream.Signature(ErrorMeasure)),
            "host": In(TablePort(ErrorScale)),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self._table
        wiring.connect(m, wiring.flipped(self.host), table.host)
        owner, measured = table.owner, self.measure.payload
        m.d.comb += [
            self.measure.ready.eq(~self.lookup & owner.ready),
            owner.valid.eq(self.lookup | self.measure.valid & measured.maximum.any()),
            owner.write.eq(~self.lookup),
            owner.id.eq(Mux(self.lookup, self.tensor, measured.tensor)),
            owner.entry_valid.eq(1),
            owner.entry.shift.eq(bit_length(measured.maximum[ERROR_BITS:])),
            self.valid.eq(owner.read_valid),
            self.shift.eq(Mux(owner.read_valid, owner.read_entry.shift, 0)),
            self.error.eq(owner.error),
        ]
        return m


class LargestGradient(data.Struct):
    """The binary order of the largest gradient that a tensor has had, its exponent added."""

    order: signed(EXPONENT.width + 1)


class GradientMeasure(data.Struct):
    """Statistics of a tensor's gradient over a step, in units of 2^exponent.

    ``total`` and ``maximum`` are of |G|, ``count`` is the number of nonzero entries.
    """

    tensor: TENSOR_ID
    exponent: EXPONENT
    total: unsigned(SUM_BITS)
    count: unsigned(COUNT_BITS)
    maximum: unsigned(GRADIENT_BITS)


class StepScales(wiring.Component):
    """The table of the largest gradients: what a step of a tensor is measured against.

    A measure's order is ``max(bit_length(total) - bit_length(count), bit_length(maximum) - 8) + exponent``. The table
    keeps the largest one; a measure without nonzero entries changes nothing.

    Latency: a lookup shows in the next cycle; a measure is stored within ``latency`` cycles. Neither is taken
    meanwhile.

    Parameters
    ----------
    config:
        The accelerator.
    ids:
        Tensor ids that have an entry; the configuration's unless given.

    Members
    -------
    lookup : In(1)
        Looks ``tensor`` up; only while ``measure.ready``.
    tensor : In(TENSOR_ID)
    valid : Out(1)
        The tensor of the last lookup has had a gradient.
    largest : Out(LargestGradient)
        The largest one; of no meaning where there was none.
    measure : In(stream(GradientMeasure))
    host : In(TablePort(LargestGradient))
        Saves and restores the table.
    error : Out(1)
        High in the cycle after a lookup or measure of an id that has no entry.

    Raises
    ------
    TypeError, ValueError
        For a parameter of the wrong type or out of range.
    """

    latency = 4

    def __init__(self, *, config: AcceleratorConfig, ids: int | None = None) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self._table = TensorTable(shape=LargestGradient, ids=config.tensor_ids if ids is None else ids)
        super().__init__({
            "lookup": In(1),
            "tensor": In(TENSOR_ID),
            "valid": Out(1),
            "largest": Out(LargestGradient),
            "measure": In(stream.Signature(GradientMeasure)),
            "host": In(TablePort(LargestGradient)),
            "error": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self._table
        wiring.connect(m, wiring.flipped(self.host), table.host)
        owner, measured = table.owner, self.measure.payload

        tensor = Signal(TENSOR_ID)
        mean, most = Signal(signed(7)), Signal(signed(7))
        exponent = Signal(EXPONENT)
        order = Signal.like(owner.entry.order)
        measuring, larger = Signal(), Signal()
        m.d.comb += [
            owner.id.eq(Mux(self.lookup, self.tensor, Mux(measuring, measured.tensor, tensor))),
            owner.valid.eq(self.lookup | measuring),
            owner.entry_valid.eq(1),
            owner.entry.order.eq(order),
            self.valid.eq(owner.read_valid),
            self.largest.eq(owner.read_entry),
            self.error.eq(owner.error),
        ]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.measure.ready.eq(owner.ready)
                m.d.sync += [
                    tensor.eq(measured.tensor),
                    mean.eq(bit_length(measured.total) - bit_length(measured.count)),
                    most.eq(bit_length(measured.maximum) - LARGEST_TO_MEAN),
                    exponent.eq(measured.exponent),
                ]
                with m.If(self.measure.valid & self.measure.ready & measured.count.any()):
                    m.d.comb += measuring.eq(1)
                    m.next = "Add"
            # A cycle for each step: in one they would be the update unit's longest path.
            with m.State("Add"):
                m.d.sync += order.eq(Mux(mean > most, mean, most) + exponent)
                m.next = "Compare"
            with m.State("Compare"):
                m.d.sync += larger.eq(~owner.read_valid | (order > owner.read_entry.order))
                m.next = "Store"
            with m.State("Store"):
                m.d.comb += [owner.valid.eq(larger), owner.write.eq(larger)]
                m.next = "Idle"
        return m
