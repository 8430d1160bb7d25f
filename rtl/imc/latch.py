# SPDX-License-Identifier: Apache-2.0
"""The row latches: the rows in use and, behind them, the rows of the next step."""

from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.interfaces import row_stream


class RowLatches(Component):
    """M active rows and M shadow rows, which fill from a stream while the active ones are used.

    Rows arrive in the order of the slices. ``full`` says in the cycle of the last of M that they may be taken in the
    next one or later; ``take`` makes them the active ones, and lets the shadow accept rows again in the same cycle.

    Weights leave in offset binary (``w + 128``), K of each row: beat ``b`` holds weights ``b*K .. b*K+K-1``.

    Throughput: one row a cycle. Latency: none but the latch.

    Parameters
    ----------
    config:
        ``lanes`` and ``slices``.

    Members
    -------
    rows : In(stream of ROW)
    full : Out(1)
        The shadow holds M rows in the next cycle.
    take : In(1)
        Make them the active ones; in the cycle after one with ``full``, or later.
    beat : In(range(beats))
        Which part of the active rows is at ``weights``, in the same cycle.
    weights : Out(array of M arrays of K unsigned(8))
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "rows": In(row_stream()),
            "full": Out(1),
            "take": In(1),
            "beat": In(range(config.beats)),
            "weights": Out(data.ArrayLayout(data.ArrayLayout(unsigned(8), config.lanes), config.slices)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        row_bits = 8 * ROW_WEIGHTS
        arriving = Cat(Cat(weight[:7], ~weight[7]) for weight in self.rows.payload)
        slot = Signal(range(config.slices))
        held, completing = Signal(), Signal()

        m.d.comb += [
            self.rows.ready.eq(~held | self.take),
            completing.eq(self.rows.valid & self.rows.ready & (slot == config.slices - 1)),
            self.full.eq((held & ~self.take) | completing),
        ]
        with m.If(self.take):
            m.d.sync += held.eq(0)
        with m.If(self.rows.valid & self.rows.ready):
            m.d.sync += [slot.eq(slot + 1), held.eq(completing)]
        for index in range(config.slices):
            shadow = Signal(row_bits, name=f"shadow_{index}", reset_less=True)
            active = Signal(row_bits, name=f"active_{index}", reset_less=True)
            with m.If(self.rows.valid & self.rows.ready & (slot == index)):
                m.d.sync += shadow.eq(arriving)
            with m.If(self.take):
                m.d.sync += active.eq(shadow)
            beats = Array(active.word_select(beat, 8 * config.lanes) for beat in range(config.beats))
            m.d.comb += self.weights[index].as_value().eq(beats[self.beat])
        return m
