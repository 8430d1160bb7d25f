# SPDX-License-Identifier: Apache-2.0
"""Benches of the depthwise unit, on the configuration named by the environment."""

import json
import os

import cocotb
import numpy as np
from cocotb.utils import get_sim_time
from imc_model import DepthwiseCase, random_depthwise, row_bits, word_bits

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.imc.depthwise import SUMS, DepthwiseOrder
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = AcceleratorConfig(**json.loads(os.environ["ACCELERATOR_CONFIG"]))
JOBS = 5


async def play(dut, jobs, *, idle=0.0, stall=0.0):
    """Run jobs back to back and compare their results; return the cycles until the last one."""
    cases = [DepthwiseCase(seed=seed() * 1000 + number, **job) for number, job in enumerate(jobs)]
    start_clock(dut)
    order = StreamDriver(dut, "order", DepthwiseOrder, idle=idle)
    rows = StreamDriver(dut, "rows", idle=idle, seed_offset=1)
    words = StreamDriver(dut, "words", idle=idle, seed_offset=2)
    results = StreamMonitor(dut, "results", SUMS, stall=stall, seed_offset=3)
    board = Scoreboard("results")
    await reset(dut)
    began = get_sim_time("ns")
    for case in cases:
        order.put(case.order)
        rows.put(*map(row_bits, case.rows))
        words.put(*map(word_bits, case.words))
    for case in cases:
        board.check(case.results, await results.collect(len(case.results)))
    cycles = (get_sim_time("ns") - began) // 10
    await cycles_of(dut, 3)
    assert dut.idle.value == 1
    return cycles


def random_jobs(number):
    """Kernels of every size, gone about in every way, back to back."""
    rng = np.random.default_rng([seed(), number])
    return [random_depthwise(rng, CONFIG.depthwise_taps) for _ in range(JOBS)]


@cocotb.test
async def jobs_back_to_back(dut):
    await play(dut, random_jobs(1))


@cocotb.test
async def jobs_under_back_pressure(dut):
    await play(dut, random_jobs(2), idle=0.3, stall=0.6)


@cocotb.test
async def largest_kernels(dut):
    shapes = [(4, 15), (15, 4), (1, 15), (15, 1), (1, 1)]
    most = CONFIG.depthwise_taps
    await play(dut, [{"kh": kh, "kw": kw, "outputs": 1, "taps": min(kw, most), "blocks": 2} for kh, kw in shapes])


@cocotb.test
async def extremes(dut):
    """The largest sums that there are."""
    corners = [("high", 0), ("opposed", 0), ("low", 1), ("opposed", 1)]
    kernel = {"kh": 8, "kw": 8, "outputs": 1}
    await play(dut, [kernel | {"corner": corner, "signed": is_signed} for corner, is_signed in corners])


@cocotb.test
async def a_word_takes_its_beats(dut):
    job = {"kh": 3, "kw": 3, "outputs": 4, "oh": 4, "blocks": 4, "taps": min(3, CONFIG.depthwise_taps)}
    beats = BLOCK // CONFIG.depthwise_lanes
    loading = 9 + 8  # the rows of the first block, the last word's way to its result, the bench
    words = len(DepthwiseCase(seed=0, **job).words)
    assert await play(dut, [job]) <= words * beats + beats + loading
