# SPDX-License-Identifier: Apache-2.0
"""The engine against numpy: number formats, loop orders, extremes, back-pressure, and cycles."""

from dataclasses import replace
from typing import Any

import imc_bench
import pytest
from amaranth.hdl import Value
from imc_model import CORNERS, EngineCase, row_bits, word_bits

from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.imc.engine import Engine
from respin.rtl.interfaces import result_layout
from respin.sim.payload import unpack
from respin.sim.runner import seed

COUNTERS = ("busy", "starved_rows", "starved_words", "stalled")


def configured(*, lanes: int = 32, pixels: int = 1, slices: int = 4) -> AcceleratorConfig:
    return replace(preset("tiny"), name="engine", lanes=lanes, pixels=pixels, slices=slices, vector_width=2)


def run(config: AcceleratorConfig, cases: list[EngineCase], *, idle: float = 0.0, stall: float = 0.0) -> dict[str, int]:
    """Run jobs back to back, compare every result, return the counters after the last one."""
    dut = Engine(config=config)
    rows = [row_bits(row) for case in cases for row in case.rows]
    words = [word_bits(word) for case in cases for word in case.words]
    expected = [result for case in cases for result in case.results]
    got: list[int] = []
    counted: dict[str, int] = {}
    limit = 2000 + 40 * (len(rows) + len(words) * 8 * config.beats)

    async def watch(ctx: Any) -> None:
        await imc_bench.drain(dut.results, got, len(expected), stall, seed() + 3, limit)(ctx)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.idle)
        counted.update({name: ctx.get(dut.counters[name]) for name in COUNTERS})
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert ctx.get(Value.cast(dut.counters)) == 0

    feeds = [
        imc_bench.feed(dut.job, [case.job for case in cases], idle, seed()),
        imc_bench.feed(dut.rows, rows, idle, seed() + 1),
        imc_bench.feed(dut.words, words, idle, seed() + 2),
    ]
    imc_bench.simulate(dut, [watch], *feeds)
    layout = result_layout(config)
    assert [unpack(layout, bits) for bits in got] == expected
    assert counted["busy"] == sum(case.plane_cycles(config.beats) for case in cases)
    return counted


def case(config: AcceleratorConfig, number: int, **job: Any) -> EngineCase:
    return EngineCase(seed=seed() * 1000 + number, slices=config.slices, pixels=config.pixels, **job)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("is_signed", [0, 1])
def test_every_number_format(bits: int, is_signed: int) -> None:
    config = configured(lanes=16)
    run(config, [case(config, bits, items=3, tile=3, steps=2, bits=bits, signed=is_signed)])


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("is_signed", [0, 1])
@pytest.mark.parametrize("lanes", [8, 32])
def test_extremes(corner: str, is_signed: int, lanes: int) -> None:
    config = configured(lanes=lanes)
    run(config, [case(config, 1, items=2, tile=2, steps=3, signed=is_signed, corner=corner)])


@pytest.mark.parametrize("pixels", [1, 2, 4])
@pytest.mark.parametrize(
    ("items", "tile", "steps", "repeats"), [(1, 1, 1, 1), (7, 3, 2, 2), (13, 5, 3, 1), (12, 4, 1, 3), (9, 16, 4, 2)]
)
def test_loops_and_ragged_tiles(pixels: int, items: int, tile: int, steps: int, repeats: int) -> None:
    config = configured(pixels=pixels)
    run(config, [case(config, items, items=items, tile=tile, steps=steps, repeats=repeats, bits=3)])


@pytest.mark.parametrize("pixels", [1, 2])
def test_jobs_of_every_kind_back_to_back_under_back_pressure(pixels: int) -> None:
    config = configured(pixels=pixels)
    jobs = [
        {"items": 5, "tile": 2, "steps": 2, "bits": 1},
        {"items": 1, "tile": 1, "steps": 6, "bits": 1},
        {"items": 3, "tile": 3, "steps": 3, "bits": 2, "signed": 1},
        {"items": 4, "tile": 1, "steps": 1, "bits": 1, "signed": 1, "repeats": 3},
        {"items": 6, "tile": 4, "steps": 2, "bits": 8, "signed": 1},
    ]
    cases = [case(config, number, **job) for number, job in enumerate(jobs)]
    for idle, stall in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.7), (0.3, 0.5)):
        run(config, cases, idle=idle, stall=stall)


def test_an_entry_updated_every_cycle_is_never_read_too_early() -> None:
    config = configured()
    for tile in (1, 2, 3, 4):
        run(config, [case(config, tile, items=tile * 2, tile=tile, steps=9, bits=bits) for bits in (1, 2, 3)])


def test_the_longest_reduction_fills_the_accumulators() -> None:
    """Every product extreme, and more steps than any layer of the networks in the docs."""
    config = configured()
    run(config, [case(config, 1, items=1, tile=1, steps=150, corner="low", signed=1)])


@pytest.mark.parametrize(("lanes", "pixels"), [(32, 1), (8, 1), (32, 4)])
@pytest.mark.parametrize("bits", [8, 4])
def test_steady_state_has_no_gaps(lanes: int, pixels: int, bits: int) -> None:
    """From the first plane to the last one: nothing but planes, once rows and words are ahead."""
    config = configured(lanes=lanes, pixels=pixels)
    tile = 8 * pixels
    counted = run(config, [case(config, 1, items=4 * tile, tile=tile, steps=9, bits=bits)])
    # Before the first plane the first rows and words come in.
    assert counted["starved_rows"] + counted["starved_words"] <= config.slices + pixels + 2
    assert counted["stalled"] == 0


def test_one_plane_a_cycle_keeps_up_but_for_drained_results() -> None:
    config = configured()
    tile = 24
    work = case(config, 1, items=3 * tile, tile=tile, steps=6, bits=1)
    counted = run(config, [work])
    assert counted["stalled"] <= work.plane_cycles(1) // 10
    assert counted["starved_rows"] + counted["starved_words"] <= config.slices + 3


def test_latency() -> None:
    config = configured()
    dut = Engine(config=config)
    work = case(config, 1, items=1, tile=1, steps=1, bits=8)
    seen: list[int] = []

    async def bench(ctx: Any) -> None:
        ctx.set(dut.results.ready, 1)
        await ctx.tick().repeat(config.slices + 2)
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
    imc_bench.simulate(dut, [bench], *feeds)
    assert seen == [dut.latency + 8]


def test_the_configuration_is_checked() -> None:
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 3"):
        Engine(config=3)
