# SPDX-License-Identifier: Apache-2.0
"""Two readers share the memory's rows: each gets all of its own in order, whatever the other one does."""

import os
import random
from functools import partial

import pytest
from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.mram.share import RowShare

SEED = int(os.environ.get("RESPIN_SEED", "1"))
PIECE = 4
JOBS = 6


def rows_of(job: dict[str, int]) -> list[int]:
    base, count = job["base"], job["count"]
    rows = range(job["repeats"])
    return [base + repeat * count + row for repeat in rows for _ in range(job["tiles"]) for row in range(count)]


def drawn(rng: random.Random, number: int) -> list[dict[str, int]]:
    """Jobs of a reader, some of them without rows; their bases tell readers apart."""
    return [
        {
            "base": 1000 * number + 100 * job,
            "count": rng.choice((0, 1, 3, PIECE, 9)),
            "tiles": rng.randint(1, 3),
            "repeats": rng.randint(1, 2),
        }
        for job in range(JOBS)
    ]


@pytest.mark.parametrize("lazy", [None, 0, 1])
def test_each_reader_gets_its_rows(lazy: int | None) -> None:
    """The memory gives a row now and then; ``lazy`` takes nothing until the other reader has got all."""
    rng = random.Random(SEED)
    jobs = [drawn(rng, number) for number in range(2)]
    wanted = [[row for job in own for row in rows_of(job)] for own in jobs]
    got: list[list[int]] = [[], []]
    dut = RowShare(pieces=(PIECE, 0))

    async def memory(ctx: SimulatorContext) -> None:
        queue: list[int] = []
        while True:
            ready, gives = rng.random() < 0.5, bool(queue) and rng.random() < 0.7
            ctx.set(dut.memory.ready, ready)
            ctx.set(dut.memory_rows.valid, gives)
            if gives:
                ctx.set(dut.memory_rows.payload.data, [queue[0] & 127, queue[0] >> 7, *[0] * 30])
            _, _, asked, piece, taken = await ctx.tick().sample(
                dut.memory.valid, dut.memory.payload, dut.memory_rows.ready
            )
            if asked and ready:
                assert piece.tiles == piece.repeats == 1
                assert piece.base >= 1000 or piece.count <= PIECE
                queue += range(piece.base, piece.base + piece.count)
            if gives and taken:
                queue.pop(0)

    async def reader(ctx: SimulatorContext, number: int) -> None:
        waiting, port, rows = list(jobs[number]), dut.jobs[number], dut.rows[number]
        room = 0  # a reader that takes a row takes the rest of its piece
        while waiting or len(got[number]) < len(wanted[number]) or not ctx.get(dut.idle[number]):
            ctx.set(port.valid, bool(waiting))
            if waiting:
                ctx.set(port.payload, waiting[0])
            other = 1 - number
            rests = lazy == number and len(got[other]) < len(wanted[other])
            room = room or (0 if rests or rng.random() < 0.5 else 1)
            ctx.set(rows.ready, room)
            _, _, taken, valid, row = await ctx.tick().sample(port.ready, rows.valid, rows.payload)
            if waiting and taken:
                waiting.pop(0)
            if valid and room:
                got[number].append(row.data[0] | row.data[1] << 7)
                done = len(got[number]) in ends[number]
                room = 0 if done else 1
        ctx.set(port.valid, 0)

    ends: list[set[int]] = [set(), set()]
    for number, own in enumerate(jobs):
        total = 0
        for job in own:
            for _ in range(job["repeats"] * job["tiles"] if job["count"] else 0):
                step = PIECE if number == 0 else job["count"]
                for done in range(0, job["count"], step):
                    ends[number].add(total + min(done + step, job["count"]))
                total += job["count"]

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(memory, background=True)
    for number in range(2):
        simulator.add_testbench(partial(reader, number=number))
    simulator.run()
    assert got == wanted
