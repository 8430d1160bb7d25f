# SPDX-License-Identifier: Apache-2.0
"""Window and gradient feeder on a store: random jobs with rows and words taken at different paces."""

import random

import cocotb
from buffer_reference import feed_rows, feed_words, random_window, to_word
from buffer_stimuli import CONFIG, disturb, filled_store

from respin.rtl.interfaces import ROW
from respin.rtl.jobs import FeedJob, WindowJob
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of

JOBS = 2 if cocotb.SIM_NAME.startswith("Icarus") else 6


def _jobs(chooser):
    window = random_window(chooser, CONFIG.store_words, tile=32, repeats=False)
    window["steps"] = min(window["steps"], 3)
    pixels = window["n"] * window["oh"] * window["ow"]
    feed = {
        "base": chooser.randint(0, CONFIG.store_words - pixels), "pixels": pixels, "steps": window["steps"],
        "lane0": chooser.randrange(0, 33 - CONFIG.slices), "bias": chooser.randrange(2),
    }  # fmt: skip
    return window, feed


@cocotb.test()
@cocotb.parametrize(load=[0.0, 0.5], stalls=[(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.5, 0.5)])
async def rows_and_words_of_random_jobs(dut, load, stalls):
    chooser = random.Random(f"{seed()} {load} {stalls}")
    store = await filled_store(dut, chooser)
    window_jobs = StreamDriver(dut, "window_job", WindowJob, idle=0.3)
    feed_jobs = StreamDriver(dut, "feed_job", FeedJob, idle=0.3, seed_offset=1)
    rows_sink = StreamMonitor(dut, "rows", ROW, stall=stalls[0])
    words_sink = StreamMonitor(dut, "words", stall=stalls[1], seed_offset=1)
    disturb(dut, load)
    rows, words = Scoreboard("rows"), Scoreboard("words")
    for _ in range(JOBS):
        window, feed = _jobs(chooser)
        window_jobs.put(window)
        feed_jobs.put(feed)
        expected = feed_rows(feed, store, CONFIG.slices)
        rows.check(expected, await rows_sink.collect(len(expected)))
        expected = [to_word(word) for word in feed_words(feed, window, store)]
        words.check(expected, await words_sink.collect(len(expected)))
    await cycles_of(dut, 100)
    assert (len(rows_sink.values), len(words_sink.values)) == (rows.compared, words.compared)
    assert (window_jobs.accepted, feed_jobs.accepted) == (JOBS, JOBS)
    assert not dut.address_error.value
