# SPDX-License-Identifier: Apache-2.0
"""Benches of the vector unit: random jobs from every source in every mode, with pauses on every port."""

import os
import random

import cocotb
from vector_bench import CONFIG, WORDS, VectorBench
from vector_cases import TABLE_BASE, draw_case

from respin.rtl.interfaces import result_layout
from respin.rtl.jobs import VectorJob, VectorMode, VectorSource
from respin.rtl.vector.unit import depthwise_layout, gather_layout
from respin.sim.runner import seed
from respin.sim.streams import StreamDriver, reset


class Bench(VectorBench):
    """The vector unit with a driver for each of its sources."""

    def __init__(self, dut, pause: float = 0.0) -> None:
        super().__init__(dut, ["mask"], pause)
        self.job = StreamDriver(dut, "job", VectorJob)
        self.streams = {
            VectorSource.ENGINE: StreamDriver(dut, "engine", result_layout(CONFIG), idle=pause),
            VectorSource.DEPTHWISE: StreamDriver(dut, "depthwise", depthwise_layout(), idle=pause),
            VectorSource.GATHER: StreamDriver(dut, "gather", gather_layout(CONFIG), idle=pause),
        }
        dut.multipliers__en.value = 0

    async def finish(self, case) -> None:
        """Load the case's table and run it."""
        await self.load_table(case.table, TABLE_BASE)
        await self.run(case, self.job, case.job, self.streams[VectorSource(case.job["source"])])


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4])
async def random_jobs(dut, pause):
    bench = Bench(dut, pause)
    await reset(dut)
    rng = random.Random(f"{seed()} {pause}")
    for _ in range(int(os.environ["RESPIN_CASES"])):
        await bench.finish(draw_case(rng, CONFIG, WORDS))


@cocotb.test()
async def every_source_in_every_mode(dut):
    bench = Bench(dut, 0.2)
    await reset(dut)
    rng = random.Random(seed())
    for source in VectorSource:
        for mode in VectorMode:
            await bench.finish(draw_case(rng, CONFIG, WORDS, source=source, mode=mode))


@cocotb.test()
async def a_group_of_channels_in_each_cycle(dut):
    """The store holds up nothing but the masks' words; the driver offers an entry every other cycle."""
    bench = Bench(dut)
    await reset(dut)
    rng = random.Random(seed())
    case = draw_case(rng, CONFIG, WORDS, source=VectorSource.ENGINE, mode=VectorMode.ERROR)
    await bench.finish(case)
    assert bench.events["busy"] == case.sums.size // CONFIG.vector_width
    assert bench.events["stalled"] == 0
    assert bench.events["starved"] <= len(case.entries(CONFIG)) + 1
