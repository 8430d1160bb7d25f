# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit against numpy: extremes, loop orders, back-pressure, and cycles."""

from dataclasses import replace
from typing import Any

import imc_bench
import numpy as np
import pytest
from amaranth.hdl import Value
from imc_model import DepthwiseCase, depthwise_ways, random_depthwise, row_bits, word_bits

from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.imc.depthwise import SUMS, DepthwiseUnit
from respin.sim.payload import unpack
from respin.sim.runner import seed


def configured(lanes: int, taps: int) -> AcceleratorConfig:
    return replace(preset("tiny"), name="depthwise", depthwise_lanes=lanes, depthwise_taps=taps)


def run(config: AcceleratorConfig, cases: list[DepthwiseCase], *, idle: float = 0.0, stall: float = 0.0) -> int:
    """Run jobs back to back, compare every result; return the cycles from the first word to the last result."""
    dut = DepthwiseUnit(config=config)
    rows = [row_bits(row) for case in cases for row in case.rows]
    words = [word_bits(word) for case in cases for word in case.words]
    expected = [result for case in cases for result in case.results]
    got: list[int] = []
    marks: list[int] = []
    limit = 2000 + 40 * (len(rows) + len(words) * 32 // config.depthwise_lanes)

    async def watch(ctx: Any) -> None:
        await imc_bench.drain(dut.results, got, len(expected), stall, seed() + 3, limit)(ctx)
        marks.append(limit)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.idle)

    async def clock(ctx: Any) -> None:
        cycles = 0
        async for _, _, taken in ctx.tick().sample(dut.words.valid & dut.words.ready):
            if taken and not marks:
                marks.append(cycles)
            cycles += 1
            if len(got) == len(expected) and len(marks) == 2:
                marks.append(cycles)

    feeds = [
        imc_bench.feed(dut.order, [case.order for case in cases], idle, seed()),
        imc_bench.feed(dut.rows, rows, idle, seed() + 1),
        imc_bench.feed(dut.words, words, idle, seed() + 2),
    ]
    imc_bench.simulate(dut, [watch, *feeds], clock)
    assert [unpack(SUMS, bits) for bits in got] == expected
    return marks[2] - marks[0]


def case(number: int, **job: Any) -> DepthwiseCase:
    return DepthwiseCase(seed=seed() * 1000 + number, **job)


@pytest.mark.parametrize("is_signed", [0, 1])
@pytest.mark.parametrize(("lanes", "taps"), [(4, 1), (32, 2)])
def test_extremes(is_signed: int, lanes: int, taps: int) -> None:
    """The largest sums that there are."""
    job = {"kh": 8, "kw": 8, "outputs": 1, "taps": taps, "signed": is_signed}
    run(configured(lanes, taps), [case(1, **job, corner=corner) for corner in ("high", "low", "opposed")])


@pytest.mark.parametrize(("lanes", "taps"), [(8, 1), (16, 3)])
def test_random_jobs_back_to_back_under_back_pressure(lanes: int, taps: int) -> None:
    for number, (idle, stall) in enumerate(((0.0, 0.7), (0.3, 0.5))):
        rng = np.random.default_rng([seed(), lanes, number])
        cases = [case(at, **random_depthwise(rng, taps)) for at in range(3)]
        run(configured(lanes, taps), cases, idle=idle, stall=stall)


def test_every_way_of_a_kernel_row_after_every_other() -> None:
    """Any number of taps to a word, side by side and strided: none leaves sums behind."""
    ways = depthwise_ways(5, 4)
    run(configured(16, 4), [case(number, kh=1, kw=5, outputs=2, oh=2, **way) for number, way in enumerate(ways)])


@pytest.mark.parametrize(("lanes", "taps"), [(8, 1), (32, 3)])
def test_a_word_takes_its_beats_and_nothing_more(lanes: int, taps: int) -> None:
    """Three blocks without a gap: the rows of the next one load behind."""
    config = configured(lanes, taps)
    work = case(1, blocks=3, kh=3, kw=3, outputs=4, oh=2, taps=taps)
    cycles = run(config, [work])
    assert cycles <= len(work.words) * 32 // lanes + DepthwiseUnit(config=config).latency + 6


def test_latency() -> None:
    for lanes, taps in ((4, 1), (32, 3)):
        dut = DepthwiseUnit(config=configured(lanes, taps))
        work = case(1, kh=1, kw=1, outputs=1)
        seen: list[int] = []

        async def bench(ctx: Any, dut: Any = dut, work: Any = work, seen: list[int] = seen) -> None:
            await ctx.tick().repeat(4)
            ctx.set(Value.cast(dut.words.payload), word_bits(work.words[0]))
            ctx.set(dut.words.valid, 1)
            await ctx.tick().until(dut.words.ready)
            ctx.set(dut.words.valid, 0)
            cycles = 1
            while not ctx.get(dut.results.valid):
                await ctx.tick()
                cycles += 1
            seen.append(cycles)

        rows = [row_bits(row) for row in work.rows]
        feeds = [imc_bench.feed(dut.order, [work.order], 0, 0), imc_bench.feed(dut.rows, rows, 0, 0)]
        imc_bench.simulate(dut, [bench, *feeds])
        assert seen == [dut.latency]


def test_the_configuration_is_checked() -> None:
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 3"):
        DepthwiseUnit(config=3)
