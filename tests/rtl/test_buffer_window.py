# SPDX-License-Identifier: Apache-2.0
"""The window's words, order, padding and pace against index arithmetic."""

import pytest
from buffer_bench import Bench, chooser
from buffer_reference import PADDING, random_store, random_window, to_planes, window_addresses, window_words

from respin.rtl.buffer.window import Window
from respin.rtl.config import preset

WORDS = 512
CONV3 = {
    "base": 7, "block_stride": 40, "n": 2, "h": 4, "w": 5, "oh": 4, "ow": 5, "kh": 3, "kw": 3, "dilation_x": 1,
    "stride": 1, "pad_y": 1, "pad_x": 1, "pad": 0x5A, "block0": 0, "ky0": 0, "kx0": 0, "steps": 18, "tile": 32,
    "repeats": 1, "advance": 0,
}  # fmt: skip


def run(jobs, name, *, stall=0.0, refuse=0.0):
    """Run jobs one after the other; return the words' cycles and the bench."""
    dut = Window(config=preset("tiny"))
    bench = Bench(dut, name)
    store = random_store(bench.random, WORDS)
    bench.store(dut.read, store, refuse=refuse)
    bench.source(dut.job, jobs)
    expected = [to_planes(word) for job in jobs for word in window_words(job, store)]
    words, cycles = bench.sink(dut.words, len(expected), stall=stall)
    bench.run()
    assert words == expected
    return cycles, bench


@pytest.mark.parametrize(("stall", "refuse"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.6, 0.4)])
def test_random_geometries(stall, refuse):
    random = chooser(f"window {stall} {refuse}")
    run([random_window(random, WORDS) for _ in range(8)], "random", stall=stall, refuse=refuse)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tile": 1, "steps": 9},
        {"tile": 1, "steps": 5, "ky0": 1, "kx0": 2, "repeats": 2, "advance": 1},
        {"tile": 1, "steps": 9, "dilation_x": 2, "pad_x": 3},
        {"tile": 7, "stride": 2, "oh": 2, "ow": 3, "block0": 3},
        {"kh": 1, "kw": 1, "pad_y": 0, "pad_x": 0, "steps": 1, "tile": 3},
        {"kh": 1, "kw": 1, "pad_y": -2, "pad_x": -1, "oh": 2, "ow": 4, "steps": 2, "tile": 1, "repeats": 4},
        {"h": 1, "w": 1, "oh": 1, "ow": 1, "pad_y": 0, "pad_x": 0, "kh": 1, "kw": 1, "steps": 4, "tile": 1},
    ],
)
def test_a_word_in_every_cycle(change):
    job = CONV3 | change
    cycles, bench = run([job, job], "pace")
    count = len(cycles) // 2
    for first in (cycles[:count], cycles[count:]):
        assert first == list(range(first[0], first[0] + count))
    largest = max(job["h"], job["stride"], job["kh"] - 1, abs(job["ky0"] - job["pad_y"]), job["block0"])
    assert cycles[0] == 5 + largest.bit_length()
    assert cycles[count] - cycles[count - 1] == cycles[0] + 2
    assert bench.reads == 2 * int((window_addresses(job) != PADDING).sum())


@pytest.mark.parametrize(("images", "start"), [(2, 13), (1, 7)])
def test_longest_start(images, start):
    """The height of the map takes its bits only where there is a next image."""
    cycles, _ = run([CONV3 | {"h": 255, "w": 1, "n": images, "ow": 1, "steps": 3, "base": 0}], "start")
    assert cycles[0] == start


def test_largest_map():
    """Coordinates and addresses at the ends of their ranges, on the port itself."""
    job = CONV3 | {"base": 1000, "n": 1, "h": 511, "w": 511, "oh": 35, "ow": 35, "stride": 15, "pad_y": 31,
                   "pad_x": -32, "kh": 15, "kw": 15, "steps": 2, "ky0": 14, "kx0": 14, "block_stride": 261_121,
                   "tile": 1225, "block0": 2}  # fmt: skip
    dut = Window(config=preset("tiny"))
    bench = Bench(dut, "largest")
    bench.source(dut.job, [job])
    addresses = []

    async def watch(ctx):
        ctx.set(dut.read.ready, 1)
        while True:
            _, _, valid, address = await ctx.tick().sample(dut.read.valid, dut.read.addr)
            if valid:
                addresses.append(address)

    bench.simulator.add_testbench(watch, background=True)
    bench.sink(dut.words, 2 * 1225)
    bench.run()
    expected = window_addresses(job)
    assert addresses == (expected[expected != PADDING] % (1 << 20)).tolist()


def test_config_is_checked():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 3"):
        Window(config=3)
