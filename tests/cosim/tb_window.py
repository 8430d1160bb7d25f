# SPDX-License-Identifier: Apache-2.0
"""The window on a store: random geometries, back-pressure, another reader in the way."""

import random

import cocotb
from buffer_reference import random_window, to_word, window_words
from buffer_stimuli import CONFIG, disturb, filled_store

from respin.rtl.jobs import WindowJob
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of

JOBS = 40


@cocotb.test()
@cocotb.parametrize(load=[0.0, 0.5], stall=[0.0, 0.6])
async def words_of_random_jobs(dut, load, stall):
    chooser = random.Random(f"{seed()} {load} {stall}")
    store = await filled_store(dut, chooser)
    jobs = StreamDriver(dut, "window_job", WindowJob, idle=0.5)
    sink = StreamMonitor(dut, "words", stall=stall)
    disturb(dut, load)
    board = Scoreboard("words")
    for _ in range(JOBS):
        job = random_window(chooser, CONFIG.store_words)
        expected = [to_word(word) for word in window_words(job, store)]
        jobs.put(job)
        board.check(expected, await sink.collect(len(expected)))
    await cycles_of(dut, 20)
    assert len(sink.values) == board.compared
    assert jobs.accepted == JOBS
    assert not dut.address_error.value


@cocotb.test()
async def one_word_a_cycle_across_every_loop(dut):
    """Back-pressure off: the words of a job come in as many cycles as there are words."""
    chooser = random.Random(seed())
    store = await filled_store(dut, chooser)
    jobs = StreamDriver(dut, "window_job", WindowJob)
    sink = StreamMonitor(dut, "words")
    await cycles_of(dut, 2)
    for _ in range(JOBS):
        job = random_window(chooser, CONFIG.store_words)
        count = len(window_words(job, store))
        before = len(sink.values)
        jobs.put(job)
        await sink.collect(1)
        await cycles_of(dut, count - 1)
        assert len(sink.values) == before + count
        await sink.collect(count - 1)
        await jobs.drain()
