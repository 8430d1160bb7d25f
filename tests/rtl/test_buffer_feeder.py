# SPDX-License-Identifier: Apache-2.0
"""Rows and words of the weight-gradient pass against index arithmetic, and whether they keep the engine busy."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from buffer_bench import Bench, chooser
from buffer_reference import feed_rows, feed_words, random_store, random_window, to_planes

from respin.rtl.buffer.feeder import GradientFeeder
from respin.rtl.buffer.window import Window
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.interfaces import StoreRead, row_stream, word_stream
from respin.rtl.jobs import FeedJob, WindowJob

WORDS = 1024
ONCE = {"pad": 0, "repeats": 1, "advance": 0}


class FedWindow(Component):
    """A window and a feeder, as the gradient pass connects them."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        super().__init__({
            "window_job": In(stream.Signature(WindowJob)), "feed_job": In(stream.Signature(FeedJob)),
            "activations": Out(StoreRead()), "errors": Out(StoreRead()),
            "rows": Out(row_stream()), "words": Out(word_stream()),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.window = window = Window(config=self.config)
        m.submodules.feeder = feeder = GradientFeeder(config=self.config)
        connect(m, window.words, feeder.window)
        for mine, inner in (
            (self.window_job, window.job), (self.feed_job, feeder.job), (self.activations, window.read),
            (self.errors, feeder.read), (self.rows, feeder.rows), (self.words, feeder.words),
        ):  # fmt: skip
            connect(m, flipped(mine), inner)
        return m


def always(rows, words):
    return True


def run(config, jobs, name, *, refuse=0.0, stalls=(0.0, 0.0), engine=(always, always), every=1):
    dut = FedWindow(config)
    bench = Bench(dut, name)
    store = random_store(bench.random, WORDS)
    for port in (dut.activations, dut.errors):
        bench.store(port, store, refuse=refuse)
    bench.source(dut.window_job, [window for window, _ in jobs])
    bench.source(dut.feed_job, [feed for _, feed in jobs])
    expected_rows = [row for _, feed in jobs for row in feed_rows(feed, store, config.slices)]
    expected_words = [to_planes(word) for window, feed in jobs for word in feed_words(feed, window, store)]
    row_gate, word_gate = engine
    rows, _ = bench.sink(dut.rows, len(expected_rows), stall=stalls[0], gate=lambda: row_gate(rows, words))  # fmt: skip
    words, word_cycles = bench.sink(dut.words, len(expected_words), stall=stalls[1], every=every,
                                    gate=lambda: word_gate(rows, words))  # fmt: skip
    bench.run()
    assert rows == expected_rows
    assert words == expected_words
    return word_cycles


def engine(slices, words_of_a_block, *, latch_ahead):
    """What an engine takes: rows of one block, or of two, ahead of its words; words once their rows are there."""

    def take_row(rows, words):
        return len(rows) // slices <= len(words) // words_of_a_block + latch_ahead

    def take_word(rows, words):
        return len(rows) // slices > len(words) // words_of_a_block

    return take_row, take_word


def random_jobs(random, slices, count):
    jobs = []
    for _ in range(count):
        window = random_window(random, WORDS, tile=32, repeats=False)
        window["steps"] = min(window["steps"], 3)
        pixels = window["n"] * window["oh"] * window["ow"]
        feed = {"base": random.randint(0, WORDS - pixels), "pixels": pixels, "steps": window["steps"],
                "lane0": random.randrange(0, 33 - slices), "bias": random.randrange(2)}  # fmt: skip
        jobs.append((window, feed))
    return jobs


@pytest.mark.parametrize("slices", [4, 32])
@pytest.mark.parametrize(("refuse", "stalls"), [(0.0, (0.0, 0.0)), (0.5, (0.3, 0.6)), (0.2, (0.0, 0.9))])
def test_random_jobs(slices, refuse, stalls):
    config = AcceleratorConfig(name="test", slices=slices, vector_width=4, transposers=8)
    jobs = random_jobs(chooser(f"jobs {slices} {refuse} {stalls}"), slices, 2)
    run(config, jobs, "random", refuse=refuse, stalls=stalls)


@pytest.mark.parametrize("latch_ahead", [0, 1])
def test_an_engine_that_waits_for_its_rows_is_never_locked_out(latch_ahead):
    config = AcceleratorConfig(name="test", slices=4, vector_width=4, transposers=4)
    window = {"base": 0, "block_stride": 128, "n": 2, "h": 7, "w": 7, "oh": 5, "ow": 5, "kh": 3, "kw": 3,
              "dilation_x": 1, "stride": 1, "pad_y": 0, "pad_x": 0, "block0": 1, "ky0": 1, "kx0": 2, "steps": 5,
              "tile": 32, **ONCE}  # fmt: skip
    feed = {"base": 600, "pixels": 50, "lane0": 8, "steps": 5, "bias": 1}
    run(config, [(window, feed)], "locked", refuse=0.3, stalls=(0.5, 0.5),
        engine=engine(4, 161, latch_ahead=latch_ahead))  # fmt: skip


@pytest.mark.parametrize("name", ["default", "large"])
@pytest.mark.parametrize(("kernel", "steps", "bias"), [(1, 2, 0), (1, 2, 1), (3, 7, 1)])
def test_the_engine_is_kept_busy(name, kernel, steps, bias):
    """64 channels of input; M*P products of 8-bit words take 8/P cycles a word."""
    config = preset(name)
    every = 8 // config.pixels
    pad = kernel // 2
    window = {"base": 0, "block_stride": 160, "n": 1, "h": 6, "w": 16, "oh": 6, "ow": 16, "kh": kernel, "kw": kernel,
              "dilation_x": 1, "stride": 1, "pad_y": pad, "pad_x": pad, "block0": 0, "ky0": 0, "kx0": 0,
              "steps": steps, "tile": 32, **ONCE}  # fmt: skip
    feed = {"base": 400, "pixels": 96, "lane0": 0, "steps": steps, "bias": bias}
    words_of_a_block = 32 * steps + bias
    cycles = run(config, [(window, feed)], "busy", every=every,
                 engine=engine(config.slices, words_of_a_block, latch_ahead=1))  # fmt: skip
    assert cycles[0] == GradientFeeder(config=config).latency
    gaps = np.diff(cycles)
    # The buffer fills during the first block; from then on the engine is busy.
    steady = gaps[words_of_a_block:]
    assert every * len(steady) / steady.sum() >= 0.99


def test_config_is_checked():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 'default'"):
        GradientFeeder(config="default")
