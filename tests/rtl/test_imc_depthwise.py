# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit against numpy: extremes, loop orders, back-pressure, and cycles."""

from dataclasses import replace
from typing import Any

import imc_bench
import pytest
from amaranth.hdl import Value
from imc_model import CORNERS, DepthwiseCase, row_bits, word_bits

from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.imc.depthwise import SUMS, DepthwiseUnit
from respin.sim.payload import unpack
from respin.sim.runner import seed


def configured(depthwise_lanes: int) -> AcceleratorConfig:
    return replace(preset("tiny"), name="depthwise", depthwise_lanes=depthwise_lanes)


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
        imc_bench.feed(dut.job, [case.job for case in cases], idle, seed()),
        imc_bench.feed(dut.rows, rows, idle, seed() + 1),
        imc_bench.feed(dut.words, words, idle, seed() + 2),
    ]
    imc_bench.simulate(dut, [watch, *feeds], clock)
    assert [unpack(SUMS, bits) for bits in got] == expected
    return marks[2] - marks[0]


def case(number: int, **job: Any) -> DepthwiseCase:
    return DepthwiseCase(seed=seed() * 1000 + number, **job)


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("is_signed", [0, 1])
@pytest.mark.parametrize("lanes", [4, 32])
def test_extremes(corner: str, is_signed: int, lanes: int) -> None:
    run(configured(lanes), [case(1, blocks=1, taps=9, items=2, signed=is_signed, corner=corner)])


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
def test_jobs_of_every_kind_back_to_back_under_back_pressure(lanes: int) -> None:
    jobs = [
        {"blocks": 3, "taps": 9, "items": 2, "signed": 1},
        {"blocks": 1, "taps": 1, "items": 5},
        {"blocks": 4, "taps": 1, "items": 1},
        {"blocks": 1, "taps": 64, "items": 1},
        {"blocks": 2, "taps": 25, "items": 1},
    ]
    cases = [case(number, **job) for number, job in enumerate(jobs)]
    for idle, stall in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.7), (0.3, 0.5)):
        run(configured(lanes), cases, idle=idle, stall=stall)


@pytest.mark.parametrize("lanes", [8, 32])
def test_a_word_takes_its_beats_and_nothing_more(lanes: int) -> None:
    """Three blocks without a gap: the rows of the next one load behind."""
    config = configured(lanes)
    work = case(1, blocks=3, taps=9, items=4)
    cycles = run(config, [work])
    assert cycles <= len(work.words) * 32 // lanes + DepthwiseUnit(config=config).latency + 2


def test_latency() -> None:
    for lanes in (4, 32):
        dut = DepthwiseUnit(config=configured(lanes))
        work = case(1, blocks=1, taps=1, items=1)
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
        feeds = [imc_bench.feed(dut.job, [work.job], 0, 0), imc_bench.feed(dut.rows, rows, 0, 0)]
        imc_bench.simulate(dut, [bench, *feeds])
        assert seen == [dut.latency]


def test_the_configuration_is_checked() -> None:
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 3"):
        DepthwiseUnit(config=3)
