# SPDX-License-Identifier: Apache-2.0
"""The serial divider against plain integers."""

import os
import random
from collections.abc import Callable

import pytest
from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.vector.divider import Divider

SEED = int(os.environ.get("RESPIN_SEED", "1"))


def test_divider_equals_integer_division() -> None:
    dut = Divider(dividend_bits=20, divisor_bits=12)
    rng = random.Random(SEED)
    cases = [(0, 1), (1 << 20, 1), (0xFFFFF, 1), (0xFFFFF, 0xFFF), (5, 7), (0xFFE, 0xFFF)]
    cases += [(rng.getrandbits(20), rng.randrange(1, 1 << rng.randrange(1, 13))) for _ in range(200)]

    async def bench(ctx: SimulatorContext) -> None:
        for dividend, divisor in cases:
            dividend &= 0xFFFFF
            assert ctx.get(dut.ready)
            ctx.set(dut.dividend, dividend)
            ctx.set(dut.divisor, divisor)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.dividend, 0)
            ctx.set(dut.divisor, 0)
            cycles = 1
            while not ctx.get(dut.ready):
                await ctx.tick()
                cycles += 1
            assert cycles == dut.latency
            assert ctx.get(dut.quotient) == dividend // divisor

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Divider(dividend_bits=0, divisor_bits=3), ValueError, "dividend_bits must be at least 1, not 0"),
        (lambda: Divider(dividend_bits=4, divisor_bits="3"), TypeError, "divisor_bits must be an integer, not '3'"),
    ],
)
def test_bad_parameters_are_refused(build: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()
