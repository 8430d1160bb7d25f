# SPDX-License-Identifier: Apache-2.0
"""Benches of the engine, on the preset named by the environment: jobs back to back against numpy."""

import os

import cocotb
from cocotb.triggers import RisingEdge
from imc_model import CORNERS, EngineCase, row_bits, word_bits

from respin.rtl.config import preset
from respin.rtl.imc.engine import EngineCounters
from respin.rtl.interfaces import result_layout
from respin.rtl.jobs import EngineJob
from respin.sim.payload import unpack
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = preset(os.environ["ENGINE_PRESET"])
SMALL = CONFIG.beats > 1


def _case(number, **job):
    return EngineCase(seed=seed() * 1000 + number, slices=CONFIG.slices, pixels=CONFIG.pixels, **job)


class Bench:
    """The engine with its streams; ``run`` plays jobs and compares their results."""

    def __init__(self, dut, *, idle=0.0, stall=0.0):
        self.dut = dut
        dut.clear.value = 0
        start_clock(dut)
        self.job = StreamDriver(dut, "job", EngineJob, idle=idle)
        self.rows = StreamDriver(dut, "rows", idle=idle, seed_offset=1)
        self.words = StreamDriver(dut, "words", idle=idle, seed_offset=2)
        self.results = StreamMonitor(dut, "results", result_layout(CONFIG), stall=stall, seed_offset=3)
        self.board = Scoreboard("results")

    async def run(self, cases):
        await reset(self.dut)
        for case in cases:
            self.job.put(case.job)
            self.rows.put(*map(row_bits, case.rows))
            self.words.put(*map(word_bits, case.words))
        for case in cases:
            self.board.check(case.results, await self.results.collect(len(case.results)))
        await cycles_of(self.dut, 3)
        assert self.dut.idle.value == 1
        planes = sum(case.plane_cycles(CONFIG.beats) for case in cases)
        counters = self.counters()
        assert counters["busy"] == planes
        return counters

    def counters(self):
        return unpack(EngineCounters, int(self.dut.counters.value))


def _mixed_jobs():
    jobs = [
        {"items": 7, "tile": 3, "steps": 2, "repeats": 2, "signed": 1},
        {"items": 5, "tile": 5, "steps": 3, "bits": 1},
        {"items": 1, "tile": 1, "steps": 4, "bits": 1, "signed": 1},
        {"items": 4, "tile": 2, "steps": 1, "bits": 5, "signed": 1},
        {"items": 2, "tile": 2, "steps": 5, "bits": 2},
    ]
    return [_case(number, **job) for number, job in enumerate(jobs)]


@cocotb.test
async def jobs_back_to_back(dut):
    await Bench(dut).run(_mixed_jobs())


@cocotb.test
async def jobs_under_back_pressure(dut):
    await Bench(dut, idle=0.3, stall=0.6).run(_mixed_jobs())


@cocotb.test
async def extremes(dut):
    jobs = [{"corner": corner, "signed": is_signed} for corner in CORNERS for is_signed in (0, 1)]
    await Bench(dut).run([_case(number, items=2, tile=2, steps=2, **job) for number, job in enumerate(jobs)])


@cocotb.test
async def every_number_format(dut):
    formats = [{"bits": bits, "signed": is_signed} for bits in range(1, 9) for is_signed in (0, 1)]
    await Bench(dut).run([_case(number, items=3, tile=3, steps=2, **job) for number, job in enumerate(formats)])


@cocotb.test
async def the_longest_reduction(dut):
    """1,280 channels, and 3x3 over 320: no layer of the networks in the docs sums more."""
    await Bench(dut).run([_case(1, items=2, tile=2, steps=90, corner="low", signed=1)])


@cocotb.test
async def a_whole_tile_of_accumulators(dut):
    tile = CONFIG.acc_depth * CONFIG.pixels
    await Bench(dut, stall=0.2).run([_case(1, items=2 * tile, tile=tile, steps=2, bits=2)])


@cocotb.test
async def steady_state_is_all_planes(dut):
    """A 3x3 convolution over 32 channels: from the first plane to the last one at least 99 % of the cycles stream."""
    tile = 4 * CONFIG.pixels if SMALL else 16 * CONFIG.pixels
    counters = await Bench(dut).run([_case(1, items=4 * tile, tile=tile, steps=9)])
    filling = CONFIG.slices + CONFIG.pixels + 2
    waiting = sum(counters.values()) - counters["busy"]
    assert waiting <= filling
    assert counters["busy"] >= 0.99 * (sum(counters.values()) - filling)


@cocotb.test
async def counters_tell_what_was_missing(dut):
    bench = Bench(dut)
    await reset(dut)
    case = _case(1, items=1, tile=1, steps=1)
    bench.job.put(case.job)
    await cycles_of(dut, 40)
    assert bench.counters()["starved_words"] >= 30
    bench.words.put(*map(word_bits, case.words))
    await cycles_of(dut, 40)
    assert bench.counters()["starved_rows"] >= 30
    bench.rows.put(*map(row_bits, case.rows))
    bench.board.check(case.results, await bench.results.collect(1))
    dut.clear.value = 1
    await RisingEdge(dut.clk)
    dut.clear.value = 0
    await RisingEdge(dut.clk)
    assert set(bench.counters().values()) == {0}
