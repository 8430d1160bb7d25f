# SPDX-License-Identifier: Apache-2.0
"""The products of a vector job's extents, worked out once before it starts."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.jobs import VectorJob
from respin.rtl.vector.multiplier import SerialMultiplier

PLANE_BITS = 18
"""Bits of ``h * w``."""
TENSOR_BITS = PLANE_BITS + 12
"""Bits of ``map_h * w * channels``."""


class MapConstants(Component):
    """Distances between the elements of a job's map, in elements.

    Latency: 6 cycles plus the bit lengths of ``h``, ``step_y`` and ``y0``; for a stochastic job 4 more and those of
    ``map_h`` and ``channels``.

    Members
    -------
    job: In(VectorJob)
    start: In(1)
        Work them out for ``job``, which has to hold.
    ready: Out(1)
        They are there. Low from the cycle after ``start``.
    image: Out(18)
        ``h * w``: from an image to the next in the store.
    plane: Out(18)
        ``map_h * w``: from a channel to the next in the tensor; without meaning unless the job is stochastic.
    plane_ready: Out(1)
        High for a cycle when ``plane`` is there, of a stochastic job.
    row: Out(22)
        ``w * step_y``: from a row of outputs to the next.
    origin: Out(18)
        ``w * y0 + x0``: the first output.
    tensor: Out(30)
        ``map_h * w * channels``: from an image to the next in the tensor; without meaning unless the job is stochastic.
    """

    job: In(VectorJob)
    start: In(1)
    ready: Out(1)
    image: Out(PLANE_BITS)
    plane: Out(PLANE_BITS)
    plane_ready: Out(1)
    row: Out(PLANE_BITS + 4)
    origin: Out(PLANE_BITS)
    tensor: Out(TENSOR_BITS)

    def elaborate(self, platform) -> Module:
        m = Module()
        job = self.job
        m.submodules.multiplier = multiplier = SerialMultiplier(width=TENSOR_BITS, factor_width=len(job.channels))
        product = multiplier.product
        steps: list[tuple[str, Value, Value, Signal, Value]] = [
            # The first two are for random numbers alone.
            ("PLANE", job.w, job.map_h, self.plane, product),
            ("TENSOR", self.plane, job.channels, self.tensor, product),
            ("IMAGE", job.w, job.h, self.image, product),
            ("ROW", job.w, job.step_y, self.row, product),
            ("ORIGIN", job.w, job.y0, self.origin, product + job.x0),
        ]
        with m.FSM() as fsm:
            with m.State("READY"):
                m.d.comb += self.ready.eq(1)
                with m.If(self.start):
                    m.next = "MULTIPLY IMAGE"
                    with m.If(job.stochastic):
                        m.next = "MULTIPLY PLANE"
            for number, (name, a, b, result, value) in enumerate(steps):
                with m.State(f"MULTIPLY {name}"):
                    m.d.comb += [multiplier.a.eq(a), multiplier.b.eq(b), multiplier.start.eq(1)]
                    m.next = f"STORE {name}"
                with m.State(f"STORE {name}"), m.If(~multiplier.busy):
                    m.d.sync += result.eq(value)
                    m.next = f"MULTIPLY {steps[number + 1][0]}" if number + 1 < len(steps) else "READY"
        m.d.comb += self.plane_ready.eq(fsm.ongoing("MULTIPLY TENSOR"))
        return m
