# SPDX-License-Identifier: Apache-2.0
"""The keeper's start where the memory is not there yet, or goes away meanwhile."""

from dataclasses import replace

from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.config import preset
from respin.rtl.mram.keeper import Keeper
from respin.rtl.mram.keeper_ports import KeeperError, Procedure
from respin.rtl.mram.regions import FIRST_REGION_ROW, TABLE_STARTS, Region, RegionKind, RegionTable

CONFIG = replace(preset("tiny"), watchdog_cycles=1024)
LONG = 2 * CONFIG.watchdog_cycles + 100
"""Cycles after which a sweep has given a row up."""
BACKBONE = Region(kind=RegionKind.BACKBONE, start=FIRST_REGION_ROW, slot_rows=3, locked=True)


class KeeperBench:
    """A keeper and the rows of a formatted memory; they answer while it has power."""

    def __init__(self) -> None:
        self.dut = Keeper(config=CONFIG)
        table = RegionTable(regions=(BACKBONE,)).encode()
        self.rows = {start + i: row for start in TABLE_STARTS for i, row in enumerate(table)}
        self.starts = 0

    async def memory(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        while True:
            _, _, asked, row = await ctx.tick().sample(dut.row_read.valid, dut.row_read.payload.base)
            if asked and ctx.get(dut.power_good):
                ctx.set(dut.row_read.ready, 1)
                await ctx.tick()
                ctx.set(dut.row_read.ready, 0)
                ctx.set(dut.row_data.payload.data.as_value(), int.from_bytes(self.rows.get(row, bytes(32)), "little"))
                ctx.set(dut.row_data.valid, 1)
                await ctx.tick().until(dut.row_data.ready)
                ctx.set(dut.row_data.valid, 0)

    async def count(self, ctx: SimulatorContext) -> None:
        async for _, _, started in ctx.tick().sample(self.dut.started):
            self.starts += started

    def run(self, driver) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(self.memory, background=True)
        simulator.add_process(self.count)
        simulator.add_testbench(driver)
        simulator.run()


def test_nothing_begins_before_power_and_map_are_there() -> None:
    bench = KeeperBench()
    dut = bench.dut

    async def driver(ctx: SimulatorContext) -> None:
        for name in ("memory_ready", "power_good"):
            ctx.set(getattr(dut, name), 1)
            if name == "memory_ready":
                await ctx.tick().repeat(LONG)
                assert not ctx.get(dut.works)
                assert not ctx.get(dut.row_read.valid)
        await ctx.tick().until(dut.idle)
        assert ctx.get(dut.regions.formatted)
        assert ctx.get(dut.regions.regions[0].locked)
        # A march test.
        ctx.set(dut.memory_ready, 0)
        ctx.set(dut.procedure, Procedure.CHECK)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(LONG)
        assert ctx.get(dut.works)
        assert not ctx.get(dut.row_read.valid)
        ctx.set(dut.memory_ready, 1)
        await ctx.tick().until(dut.ended)
        assert ctx.get(dut.error) == KeeperError.CONTENT, "nothing was ever sealed"

    bench.run(driver)
    assert bench.starts == 1


def test_a_start_without_power_begins_again() -> None:
    """A memory that could not be read does not count as virgin, in which nothing would be locked."""
    bench = KeeperBench()
    dut = bench.dut

    async def driver(ctx: SimulatorContext) -> None:
        ctx.set(dut.memory_ready, 1)
        ctx.set(dut.power_good, 1)
        await ctx.tick().until(dut.row_read.valid)
        ctx.set(dut.power_good, 0)
        await ctx.tick().repeat(3 * LONG)
        assert not ctx.get(dut.idle)
        assert not ctx.get(dut.works)
        assert bench.starts == 0
        ctx.set(dut.power_good, 1)
        await ctx.tick().until(dut.idle)
        assert ctx.get(dut.regions.formatted)
        assert ctx.get(dut.regions.regions[0].locked)

    bench.run(driver)
    assert bench.starts == 1


def test_a_table_that_is_torn_meanwhile_unlocks_nothing() -> None:
    """What a damaged copy says must not stay with the guard; the other copy holds."""
    bench = KeeperBench()
    dut = bench.dut

    async def driver(ctx: SimulatorContext) -> None:
        ctx.set(dut.memory_ready, 1)
        ctx.set(dut.power_good, 1)
        await ctx.tick().until(dut.idle)
        first = bytearray(bench.rows[TABLE_STARTS[0]])
        first[13] = 0  # the first region's flags
        bench.rows[TABLE_STARTS[0]] = bytes(first)
        ctx.set(dut.procedure, Procedure.CHECK)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().until(dut.ended)
        assert ctx.get(dut.error) == KeeperError.TABLE
        assert ctx.get(dut.regions.formatted)
        assert ctx.get(dut.regions.regions[0].locked)

    bench.run(driver)
