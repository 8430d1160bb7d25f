# SPDX-License-Identifier: Apache-2.0
"""The maintained memory without power: what cannot be read is not taken for empty, and no request hangs."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import SimulatorContext
from mram_bench import SEED, Bench, columns_of, random_row
from spare_page import Page

from respin.rtl.config import preset
from respin.rtl.mram.memory import MaintainedMemory
from respin.rtl.mram.ports import ErrorKind, Outcome

CONFIG = replace(preset("tiny"), mram_rows=16, spare_rows=2, regions=0, watchdog_cycles=1024)
LATE = 3 * CONFIG.watchdog_cycles
MOVED = 3
"""A row for which the first spare stands."""


class MemoryBench(Bench):
    component = MaintainedMemory


class StoredBench(MemoryBench):
    """A memory whose map was stored before its power came."""

    def __init__(
        self, *, rows: tuple[int | None, ...] = (MOVED, None), bad: frozenset[int] = frozenset(), power_up: int = 0
    ) -> None:
        super().__init__(CONFIG, power_up=power_up)
        rng = random.Random(SEED)
        self.content, stale = random_row(rng), random_row(rng)
        stored = Page(rows=(*rows, *[None] * 6), bad=bad, sequence=5)
        page = [byte - 256 if byte > 127 else byte for byte in stored.to_bytes()]
        for copy in range(2):
            self.store(CONFIG.usable_rows + copy, page)
        self.store(MOVED, stale)
        self.store(CONFIG.first_spare_row, self.content)


def test_the_map_is_read_when_power_comes_late() -> None:
    bench = StoredBench(power_up=LATE)

    async def driver(ctx: SimulatorContext) -> None:
        while not ctx.get(bench.dut.upkeep.state.ready):
            await ctx.tick()
        assert bench.cycle > LATE
        assert ctx.get(bench.dut.upkeep.state.spares_left) == 1
        await bench.read(ctx, MOVED, 1)
        assert await bench.rows(ctx, 1) == [(bench.content, 0)]

    bench.run(driver)


def test_bare_rows_are_those_of_the_banks() -> None:
    """A row that a spare stands for is written where it lay, and so is a spare; requests find what they found."""
    bench = StoredBench()
    dut, rng = bench.dut, random.Random(SEED + 1)
    written = {MOVED: random_row(rng), CONFIG.first_spare_row + 1: random_row(rng)}

    async def driver(ctx: SimulatorContext) -> None:
        while not ctx.get(dut.upkeep.state.ready):
            await ctx.tick()
        ctx.set(dut.bare, 1)
        await ctx.tick()
        for row, weights in written.items():
            assert (await bench.write(ctx, row, data=weights))["outcome"] == Outcome.OK.value
        ctx.set(dut.bare, 0)
        await ctx.tick()
        await bench.read(ctx, MOVED, 1)
        assert await bench.rows(ctx, 1) == [(bench.content, 0)]
        assert (await bench.write(ctx, CONFIG.first_spare_row + 1))["outcome"] == Outcome.REFUSED.value
        (bank,) = bench.banks
        assert all(bank.content(row) == columns_of(weights) for row, weights in written.items())

    bench.run(driver)


@pytest.mark.parametrize(("rows", "bad", "written"), [
    ((MOVED, MOVED), frozenset(), {0}),
    ((MOVED, MOVED), frozenset({0}), {0}),
    ((MOVED, MOVED), frozenset({0, 1}), {0, 1}),
    ((MOVED, 5), frozenset({0, 1}), {0}),
    ((5, MOVED), frozenset(), set()),
])  # fmt: skip
def test_a_bare_row_takes_the_spares_along_that_it_has_left(rows, bad, written) -> None:
    bench = StoredBench(rows=rows, bad=bad)
    dut, rng = bench.dut, random.Random(SEED + 2)
    old, new = [random_row(rng) for _ in rows], random_row(rng)
    for number, weights in enumerate(old):
        bench.store(CONFIG.first_spare_row + number, weights)

    async def driver(ctx: SimulatorContext) -> None:
        while not ctx.get(dut.upkeep.state.ready):
            await ctx.tick()
        ctx.set(dut.bare, 1)
        await ctx.tick()
        assert (await bench.write(ctx, MOVED, data=new))["outcome"] == Outcome.OK.value
        (bank,) = bench.banks
        assert bank.content(MOVED) == columns_of(new)
        for number, weights in enumerate(old):
            held = columns_of(new if number in written else weights)
            assert bank.content(CONFIG.first_spare_row + number) == held, number

    bench.run(driver)


@pytest.mark.parametrize("spare_rows", [0, 2])
def test_requests_without_power_end(spare_rows: int) -> None:
    """And those that come with it are carried out."""
    bench = MemoryBench(replace(CONFIG, spare_rows=spare_rows), power_up=LATE)
    weights = random_row(random.Random(SEED))

    async def driver(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, 2, data=weights)
        assert status["outcome"] == Outcome.TIMEOUT.value
        assert CONFIG.watchdog_cycles < bench.cycle < CONFIG.watchdog_cycles + 10
        await bench.read(ctx, 7, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(bench.dut.idle)
        errors = bench.dut.upkeep.errors
        for row in (2, 7):
            assert (ctx.get(errors.payload.kind), ctx.get(errors.payload.row)) == (ErrorKind.TIMEOUT, row)
            ctx.set(errors.ready, 1)
            await ctx.tick()
            ctx.set(errors.ready, 0)
        while not ctx.get(bench.dut.upkeep.state.ready):
            await ctx.tick()
        assert (await bench.write(ctx, 2, data=weights))["outcome"] == Outcome.OK.value
        await bench.read(ctx, 2, 1)
        assert await bench.rows(ctx, 1) == [(weights, 0)]

    bench.run(driver)


def test_the_map_is_read_again_when_power_goes_meanwhile() -> None:
    bench = StoredBench()
    bank, pins = bench.banks[0], bench.dut.banks[0]

    async def driver(ctx: SimulatorContext) -> None:
        await ctx.tick().until(pins.busy)
        bank.jam, bank.power_up = True, LATE
        await ctx.tick().repeat(LATE)
        bank.jam = False
        while not ctx.get(bench.dut.upkeep.state.ready):
            await ctx.tick()
        assert ctx.get(bench.dut.upkeep.state.spares_left) == 1
        await bench.read(ctx, MOVED, 1)
        assert await bench.rows(ctx, 1) == [(bench.content, 0)]

    bench.run(driver)
