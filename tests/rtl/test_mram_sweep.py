# SPDX-License-Identifier: Apache-2.0
"""A memory that does not answer: no sweep waits for ever."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from respin.rtl.config import preset
from respin.rtl.mram.keeper import Keeper
from respin.rtl.mram.sweep import Sweep

CONFIG = replace(preset("tiny"), watchdog_cycles=1024)


@pytest.mark.parametrize("asked", [False, True])
def test_a_sweep_ends(asked: bool) -> None:
    """Rows are never taken, or never come."""
    dut = Sweep(config=CONFIG)

    async def bench(ctx) -> None:
        ctx.set(dut.order.source, 5)
        ctx.set(dut.order.count, 3)
        ctx.set(dut.order.reads, 1)
        ctx.set(dut.row_read.ready, asked)
        ctx.set(dut.go, 1)
        waited = 0
        while not ctx.get(dut.done):
            await ctx.tick()
            waited += 1
            assert waited < 2 * CONFIG.watchdog_cycles + 10
        assert waited > CONFIG.watchdog_cycles, "the controller tells of its own waits first"
        assert ctx.get(dut.failed)
        assert ctx.get(dut.row) == 5

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("component", [Keeper, Sweep])
def test_parameters_are_checked(component: type) -> None:
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 3"):
        component(config=3)
