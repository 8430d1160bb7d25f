# SPDX-License-Identifier: Apache-2.0
"""Inputs change at both edges of the clock and in between, one at a time and together."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, Timer

from respin.sim.runner import seed
from respin.sim.streams import reset, start_clock


@cocotb.test()
async def inputs_act_at_once(dut):
    rng = random.Random(seed())
    dut.a.value, dut.b.value = 0, 0
    start_clock(dut)
    await reset(dut)
    a = b = total = 0
    for _ in range(500):
        for moment in (None, FallingEdge(dut.clk), Timer(1, "ns")):
            if moment is not None:
                await moment
            if rng.random() < 0.5:
                a = rng.randrange(256)
                dut.a.value = a
            if rng.random() < 0.5:
                b = rng.randrange(2)
                dut.b.value = b
            await ReadOnly()
            y = a ^ 255 * b
            assert int(dut.y.value) == y
            assert int(dut.total.value) == total
        await RisingEdge(dut.clk)
        total = (total + y) % 256
