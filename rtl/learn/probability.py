# SPDX-License-Identifier: Apache-2.0
"""How likely a weight is to move, from the magnitude of its gradient."""

from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.learn.scales import GRADIENT_BITS

PROBABILITY_BITS = 16
SHIFT_BITS = 6


class StepProbability(wiring.Component):
    """``p = min(65535, (magnitude << 16) >> shift)`` for ``width`` magnitudes a cycle.

    Latency: ``latency`` cycles in which ``en`` is high: one shifts and saturates, and what is left waits for the random
    numbers. Throughput: ``width`` a cycle.

    Parameters
    ----------
    width:
        Magnitudes taken side by side.
    latency:
        Enabled cycles from magnitude to probability, at least 1.

    Members
    -------
    shift : In(6)
        Held while magnitudes are under way.
    en : In(1)
    magnitudes : In(ArrayLayout(32, width))
    probabilities : Out(ArrayLayout(16, width))

    Raises
    ------
    TypeError, ValueError
        For a parameter of the wrong type or out of range.
    """

    def __init__(self, *, width: int, latency: int) -> None:
        for name, value in (("width", width), ("latency", latency)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self._width = width
        self.latency = latency
        super().__init__({
            "shift": In(SHIFT_BITS),
            "en": In(1),
            "magnitudes": In(data.ArrayLayout(unsigned(GRADIENT_BITS), width)),
            "probabilities": Out(data.ArrayLayout(unsigned(PROBABILITY_BITS), width)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waiting = [Signal.like(self.probabilities, name=f"probabilities{stage}") for stage in range(self.latency)]
        m.d.comb += self.probabilities.eq(waiting[-1])
        for lane in range(self._width):
            scaled = Signal(GRADIENT_BITS + PROBABILITY_BITS, name=f"scaled{lane}")
            m.d.comb += scaled.eq((self.magnitudes[lane] << PROBABILITY_BITS) >> self.shift)
            with m.If(self.en):
                m.d.sync += waiting[0][lane].eq(
                    Mux(scaled[PROBABILITY_BITS:].any(), (1 << PROBABILITY_BITS) - 1, scaled)
                )
        with m.If(self.en):
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(waiting)]
        return m
