# SPDX-License-Identifier: Apache-2.0
"""Index maps against division: every source range of every map that the operators use, and of others."""

import random

import pytest
from amaranth.sim import Simulator

from respin.rtl.vector.axis import AxisWalker
from respin.sim.runner import seed


def maps() -> list[tuple[dict, int]]:
    """Maps with the extent of their source."""
    rng = random.Random(seed())
    listed = [({"num": 1, "den": 1, "add": 0, "span": 0}, 511)]
    for source in (1, 3, 7, 511):
        for target in (1, 2, 5, 7, 300):
            listed.append(({"num": source, "den": target, "add": 0, "span": 0}, source))
            listed.append(({"num": target, "den": source, "add": source - 1, "span": 1}, target))
        listed.append(({"num": source, "den": 1, "add": 0, "span": 1}, source))
    for _ in range(40):
        span = rng.randrange(2)
        fields = {"num": rng.randrange(64), "den": rng.randint(1, 40), "add": rng.randrange(90), "span": span}
        listed.append((fields, rng.randint(1, 60)))
    return listed


async def settle(ctx, dut: AxisWalker) -> None:
    for _ in range(600):
        if ctx.get(dut.ready):
            return
        await ctx.tick()
    pytest.fail("the range is not there")


def test_ranges_equal_division() -> None:
    dut = AxisWalker()

    async def bench(ctx):
        for fields, extent in maps():
            ctx.set(dut.map, fields)
            ctx.set(dut.extent, extent)
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            for i in range(24):
                await settle(ctx, dut)
                start = min((i * fields["num"] + fields["add"]) // fields["den"], extent)
                end = ((i + 1) * fields["num"] + fields["add"]) // fields["den"] if fields["span"] else start + 1
                want = range(start, min(end, extent))
                got = [] if ctx.get(dut.empty) else list(range(ctx.get(dut.start), ctx.get(dut.stop)))
                assert got == list(want), (fields, extent, i)
                ctx.set(dut.advance, 1)
                await ctx.tick()
                ctx.set(dut.advance, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_a_step_of_one_element_takes_two_cycles() -> None:
    dut = AxisWalker()

    async def bench(ctx):
        ctx.set(dut.map, {"num": 1, "den": 1, "add": 0, "span": 0})
        ctx.set(dut.extent, 100)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        await settle(ctx, dut)
        for i in range(50):
            assert ctx.get(dut.ready) == 1
            assert ctx.get(dut.start) == i
            ctx.set(dut.advance, 1)
            await ctx.tick()
            assert ctx.get(dut.start) == i + 1
            ctx.set(dut.advance, 0)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
