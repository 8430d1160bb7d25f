# SPDX-License-Identifier: Apache-2.0
"""Scales that follow what the last training step measured: of errors a shift, of weight steps L and t."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import TENSOR_ID
from respin.rtl.learn.divider import Divider
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
MEAN_FRACTION_BITS = 8
"""The mean magnitude is kept in units of 1/256, so that the floor max|G| * 2^-8 is max|G| of them."""
RATE_BITS = 16
GROWTH_SHIFT = 4
"""A step's scale is at most 1 + 2^-4 times the one before."""
MULTIPLIER_BITS = 8


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


class StepFactor(data.Struct):
    """What scales a tensor's steps: ``p = min(65535, (|G| * multiplier << 8) >> shift)``; ``shift`` is t + 8."""

    multiplier: unsigned(MULTIPLIER_BITS)
    shift: unsigned(6)


class StepMeasure(data.Struct):
    """Statistics of a tensor's gradient over a step, and the rate of the next one, ``round(2^(16 + mu))``.

    ``total`` and ``maximum`` are of |G|, ``count`` is the number of nonzero entries.
    """

    tensor: TENSOR_ID
    rate: unsigned(RATE_BITS)
    total: unsigned(SUM_BITS)
    count: unsigned(COUNT_BITS)
    maximum: unsigned(GRADIENT_BITS)


class StepScale(wiring.Component):
    """The table of step scales: each step's L and t follow from the gradient of the step before.

    ``mean = max((total << 8) // count, maximum)``, in units of 1/256; ``shift`` is the largest one for which
    ``multiplier = (rate << shift) // mean`` is at most 255. A tensor that has a scale gets no larger one than its
    ``multiplier + (multiplier >> 4)``. A measure without nonzero entries changes nothing.

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
        The tensor of the last lookup has a scale.
    scale : Out(StepFactor)
        Its scale; of no meaning where there is none.
    measure : In(stream(StepMeasure))
    host : In(TablePort(StepFactor))
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
        self._table = TensorTable(shape=StepFactor, ids=config.tensor_ids if ids is None else ids)
        self._divider = Divider(
            dividend_bits=SUM_BITS + MEAN_FRACTION_BITS, divisor_bits=GRADIENT_BITS + MEAN_FRACTION_BITS
        )
        super().__init__({
            "lookup": In(1),
            "tensor": In(TENSOR_ID),
            "valid": Out(1),
            "scale": Out(StepFactor),
            "measure": In(stream.Signature(StepMeasure)),
            "host": In(TablePort(StepFactor)),
            "error": Out(1),
        })

    @property
    def latency(self) -> int:
        """Most cycles from a measure to its scale in the table: two divisions and 64 doublings."""
        return 2 * self._divider.latency + (1 << StepFactor.as_shape()["shift"].width) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self._table
        m.submodules.divider = divider = self._divider
        wiring.connect(m, wiring.flipped(self.host), table.host)
        owner, measured = table.owner, self.measure.payload

        tensor = Signal(TENSOR_ID)
        mean = Signal(GRADIENT_BITS + MEAN_FRACTION_BITS)
        rate = Signal(len(mean) + MULTIPLIER_BITS)
        shift = Signal.like(owner.entry.shift)
        measuring = Signal()
        grown = self._grown(m, owner.read_entry)
        # Both are normalised, so the larger shift is the smaller scale.
        quicker = (grown.shift > shift) | ((grown.shift == shift) & (grown.multiplier < divider.quotient))
        m.d.comb += [
            owner.id.eq(Mux(self.lookup, self.tensor, Mux(measuring, measured.tensor, tensor))),
            owner.valid.eq(self.lookup | measuring),
            owner.entry_valid.eq(1),
            owner.entry.multiplier.eq(divider.quotient),
            owner.entry.shift.eq(shift),
            self.valid.eq(owner.read_valid),
            self.scale.eq(owner.read_entry),
            self.error.eq(owner.error),
        ]

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += [
                    self.measure.ready.eq(owner.ready),
                    divider.dividend.eq(measured.total << MEAN_FRACTION_BITS),
                    divider.divisor.eq(measured.count),
                ]
                m.d.sync += [
                    tensor.eq(measured.tensor),
                    rate.eq(measured.rate),
                    mean.eq(measured.maximum),
                    shift.eq(0),
                ]
                with m.If(self.measure.valid & self.measure.ready & measured.count.any()):
                    m.d.comb += [divider.start.eq(1), measuring.eq(1)]
                    m.next = "Average"
            with m.State("Average"):
                with m.If(divider.ready):
                    with m.If(divider.quotient > mean):
                        m.d.sync += mean.eq(divider.quotient)
                    m.next = "Normalise"
            with m.State("Normalise"):
                # Doubling stops while the quotient still has 8 bits; the bound on the shift is for a rate of 0.
                m.d.comb += [divider.dividend.eq(rate), divider.divisor.eq(mean)]
                with m.If((rate << 1 < mean << MULTIPLIER_BITS) & ~shift.all()):
                    m.d.sync += [rate.eq(rate << 1), shift.eq(shift + 1)]
                with m.Else():
                    m.d.comb += divider.start.eq(1)
                    m.next = "Divide"
            with m.State("Divide"):
                with m.If(divider.ready):
                    m.d.comb += [owner.valid.eq(1), owner.write.eq(1)]
                    with m.If(owner.read_valid & quicker):
                        m.d.comb += owner.entry.eq(grown)
                    with m.If(owner.ready):
                        m.next = "Idle"
        return m

    @staticmethod
    def _grown(m: Module, before: data.View) -> data.View:
        """The largest scale that may follow ``before``."""
        more = Signal(MULTIPLIER_BITS + 1)
        grown = Signal(StepFactor)
        past = more[-1] & before.shift.any()
        m.d.comb += [
            more.eq(before.multiplier + (before.multiplier >> GROWTH_SHIFT)),
            grown.multiplier.eq(Mux(past, more >> 1, Mux(more[-1], before.multiplier, more))),
            grown.shift.eq(before.shift - past),
        ]
        return grown
