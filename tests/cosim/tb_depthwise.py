# SPDX-License-Identifier: Apache-2.0
"""Benches of the depthwise unit, on the preset named by the environment."""

import os

import cocotb
from cocotb.utils import get_sim_time
from imc_model import CORNERS, DepthwiseCase, row_bits, word_bits

from respin.rtl.config import BLOCK, preset
from respin.rtl.imc.depthwise import SUMS
from respin.rtl.jobs import DepthwiseJob
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = preset(os.environ["DEPTHWISE_PRESET"])


async def play(dut, jobs, *, idle=0.0, stall=0.0):
    """Run jobs back to back and compare their results; return the cycles until the last one."""
    cases = [DepthwiseCase(seed=seed() * 1000 + number, **job) for number, job in enumerate(jobs)]
    start_clock(dut)
    job = StreamDriver(dut, "job", DepthwiseJob, idle=idle)
    rows = StreamDriver(dut, "rows", idle=idle, seed_offset=1)
    words = StreamDriver(dut, "words", idle=idle, seed_offset=2)
    results = StreamMonitor(dut, "results", SUMS, stall=stall, seed_offset=3)
    board = Scoreboard("results")
    await reset(dut)
    began = get_sim_time("ns")
    for case in cases:
        job.put(case.job)
        rows.put(*map(row_bits, case.rows))
        words.put(*map(word_bits, case.words))
    for case in cases:
        board.check(case.results, await results.collect(len(case.results)))
    cycles = (get_sim_time("ns") - began) // 10
    await cycles_of(dut, 3)
    assert dut.idle.value == 1
    return cycles


MIXED = [
    {"blocks": 3, "taps": 9, "items": 5, "signed": 1},
    {"blocks": 1, "taps": 1, "items": 6},
    {"blocks": 4, "taps": 1, "items": 1, "signed": 1},
    {"blocks": 2, "taps": 25, "items": 2},
    {"blocks": 1, "taps": 64, "items": 1, "signed": 1},
]


@cocotb.test
async def jobs_back_to_back(dut):
    await play(dut, MIXED)


@cocotb.test
async def jobs_under_back_pressure(dut):
    await play(dut, MIXED, idle=0.3, stall=0.6)


@cocotb.test
async def extremes(dut):
    corners = [{"corner": corner, "signed": is_signed} for corner in CORNERS for is_signed in (0, 1)]
    await play(dut, [{"blocks": 1, "taps": 9, "items": 2, **corner} for corner in corners])


@cocotb.test
async def a_word_takes_its_beats(dut):
    job = {"blocks": 4, "taps": 9, "items": 16}
    beats = BLOCK // CONFIG.depthwise_lanes
    loading = 9 + 8  # the rows of the first block, the last word's way to its result, the bench
    assert await play(dut, [job]) <= 4 * 9 * 16 * beats + beats + loading
