# SPDX-License-Identifier: Apache-2.0
"""The transposer against numpy's transpose, and its pace by cycle counts."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from buffer_bench import Bench, chooser
from buffer_reference import random_store, to_planes

from respin.rtl.buffer.transposer import Exchange, Transposer
from respin.rtl.config import AcceleratorConfig


def run(planes, blocks, *, idle=0.0, stall=0.0, every=1):
    dut = Transposer(config=AcceleratorConfig(name="test", transposers=planes))
    bench = Bench(dut, f"transposer {planes}")
    pixels = random_store(bench.random, 32 * blocks)
    channels = pixels.reshape(blocks, 32, 32).transpose(0, 2, 1).reshape(-1, 32)
    taken = bench.source(dut.i, [to_planes(word) for word in pixels], idle=idle)
    words, cycles = bench.sink(dut.o, len(channels), stall=stall, every=every)
    bench.run()
    assert words == [to_planes(word) for word in channels]
    return dut, taken, cycles


@pytest.mark.parametrize("planes", [1, 2, 4, 8])
def test_blocks_without_a_gap(planes):
    dut, taken, cycles = run(planes, 5)
    passes = 8 // planes
    assert cycles == [dut.latency + passes * number for number in range(len(cycles))]
    assert np.diff(taken).tolist() == [passes] * (len(taken) - 1)


@pytest.mark.parametrize("planes", [2, 8])
@pytest.mark.parametrize(("idle", "stall"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.8), (0.9, 0.3)])
def test_back_pressure(planes, idle, stall):
    run(planes, 4, idle=idle, stall=stall)


def test_a_slow_consumer_holds_the_blocks_back():
    _, _, cycles = run(8, 3, every=7)
    assert np.diff(cycles).tolist() == [7] * 95


def test_exchange():
    dut = Exchange(planes=2)
    random = chooser("exchange")
    simulator = Simulator(dut)

    async def bench(ctx):
        for index in range(32):
            lanes = [random.getrandbits(1) for _ in range(64)]
            ctx.set(dut.i, sum(bit << lane for lane, bit in enumerate(lanes)))
            ctx.set(dut.index, index)
            assert ctx.get(dut.o) == sum(lanes[lane ^ index] << lane for lane in range(64))

    simulator.add_testbench(bench)
    simulator.run()


def test_config_is_checked():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not None"):
        Transposer(config=None)
