# SPDX-License-Identifier: Apache-2.0
"""Benches of gather and vector unit together: each operator of the store's tensors against golden."""

import os
import random

import cocotb
from gather_cases import IDENTITY, OPERATORS, TABLE_ENTRIES, Builder
from vector_bench import CONFIG, VectorBench

from respin.rtl.vector.sources import GatherOrder
from respin.sim.runner import seed
from respin.sim.streams import StreamDriver, reset


def draw_table(rng: random.Random) -> list[dict]:
    """Entries of unsigned tensors."""
    return [
        {"bias": rng.randint(-20000, 20000), "mult": rng.randrange(65536), "shift": rng.randint(14, 24),
         "lo": rng.randint(0, 9), "hi": rng.randint(9, 255)}
        for _ in range(TABLE_ENTRIES)
    ]  # fmt: skip


async def run(bench: VectorBench, port: StreamDriver, table: list[dict], case) -> None:
    case.put_sources(bench.store)
    await bench.run(case.vector, port, case.order)
    case.check_golden()


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.4], operator=OPERATORS)
async def operator_equals_golden(dut, pause, operator):
    bench = VectorBench(dut, ["read", "mask"], pause)
    port = StreamDriver(dut, "order", GatherOrder)
    await reset(dut)
    rng = random.Random(f"{seed()} {pause} {operator.__name__}")
    for _ in range(int(os.environ["RESPIN_CASES"])):
        table = draw_table(rng)
        await bench.load_table(table)
        await run(bench, port, table, operator(Builder(rng, table)))


@cocotb.test()
async def an_element_in_each_cycle(dut):
    """A merge of two tensors reads a word of each for V channels; nothing waits in between."""
    bench = VectorBench(dut, ["read", "mask"])
    port = StreamDriver(dut, "order", GatherOrder)
    await reset(dut)
    rng = random.Random(seed())
    table = draw_table(rng)
    build = Builder(rng, table)
    shape = (2, 64, 6, 6)
    tensors = [build.tensor(shape, signed=True) for _ in range(2)]
    case = build.case(shape, tensors, [build.source(tensor, y=IDENTITY, x=IDENTITY) for tensor in tensors], shift=1)
    await run(bench, port, table, case)
    sums = 2 * 64 * 36 // CONFIG.vector_width
    assert bench.store.reads == 2 * sums
    assert bench.events["busy"] == sums
    # The vector unit waits for the second element of each sum, a cycle at each pixel, a few at each row of each image.
    pixels, rows = 2 * 2 * 36, 2 * 2 * 6
    assert bench.events["starved"] <= sums + pixels + 8 * rows + 20
