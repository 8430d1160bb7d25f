# SPDX-License-Identifier: Apache-2.0
"""What moves data for the sequencer, between a memory, a store, a table and rows that are Python dictionaries."""

import os
import random
from collections.abc import Callable
from typing import Any

from amaranth.sim import Simulator, SimulatorContext
from movers_bench import Rows, carry_out

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.structures import from_bits
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.mram.ports import Outcome
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode
from respin.rtl.sequencer.loader import Loader
from respin.rtl.sequencer.storer import Storer
from respin.rtl.vector.table import QuantiserEntry

SEED = int(os.environ.get("RESPIN_SEED", "1"))
WORD = (1 << 256) - 1


class World(Rows):
    """Everything around a loader or storer, which pauses at random."""

    def __init__(self, dut: Loader | Storer, rng: random.Random) -> None:
        super().__init__(dut, rng)
        self.memory: dict[int, int] = {32 * i: rng.getrandbits(256) for i in range(512)}
        self.given: list[dict[str, int]] = []
        self.broken: dict[int, DmaError] = {}
        self.store: dict[int, int] = {}
        self.table: dict[int, int] = {}

    async def reader(self, ctx: SimulatorContext) -> None:
        """The DMA's reading side."""
        while True:
            command = await self.take(ctx, self.dut.memory.command)
            addresses = range(command.address, command.address + command.bytes, 32)
            error = next((self.broken[at] for at in addresses if at in self.broken), DmaError.NONE)
            words = [{"data": self.memory[at], "last": at == addresses[-1]} for at in addresses]
            if error == DmaError.REFUSED:
                words = []
            self.given += words[:-1]
            while self.given:
                await ctx.tick()
            # The last word and the status come in any order.
            self.given += words[-1:]
            if self.rng.random() < 0.5:
                for _ in range(30):
                    await ctx.tick()
            await self.give(ctx, self.dut.memory.status, {"error": error})

    async def words(self, ctx: SimulatorContext) -> None:
        """Words on their way from the DMA."""
        while True:
            await ctx.tick()
            if self.given:
                await self.give(ctx, self.dut.memory.words, self.given[0])
                self.given.pop(0)

    async def writer(self, ctx: SimulatorContext) -> None:
        """Its writing side; a command that times out takes some words only."""
        while True:
            command = await self.take(ctx, self.dut.memory.command)
            addresses = range(command.address, command.address + command.bytes, 32)
            error = next((self.broken[at] for at in addresses if at in self.broken), DmaError.NONE)
            for at in addresses if error != DmaError.TIMEOUT else addresses[: len(addresses) // 2]:
                self.memory[at] = await self.take(ctx, self.dut.memory.words)
            await self.give(ctx, self.dut.memory.status, {"error": error})

    async def store_writes(self, ctx: SimulatorContext) -> None:
        while True:
            word = await self.take(ctx, self.dut.store_write)
            self.store[word.addr] = word.data

    async def store_reads(self, ctx: SimulatorContext) -> None:
        while True:
            asked = await self.take(ctx, self.dut.store_read)
            for at in range(asked.base, asked.base + asked.count):
                await self.give(ctx, self.dut.store_data, self.store[at])

    async def table_writes(self, ctx: SimulatorContext) -> None:
        ctx.set(self.dut.table_write.ready, 1)
        while True:
            _, _, valid, written = await ctx.tick().sample(self.dut.table_write.valid, self.dut.table_write.payload)
            if valid:
                self.table[written.index] = written.entry


Process = Callable[[SimulatorContext], Any]


def simulate(dut: Any, bench: Process, *background: Process) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    for process in background:
        simulator.add_testbench(process, background=True)
    simulator.run()


def loading(bench: Callable[[SimulatorContext, Loader, World], Any]) -> None:
    dut = Loader()
    world = World(dut, random.Random(SEED))

    async def with_world(ctx: SimulatorContext) -> None:
        await bench(ctx, dut, world)

    simulate(
        dut, with_world, world.reader, world.words, world.store_writes, world.table_writes, world.row_reads,
        world.row_writes,
    )  # fmt: skip


def entry_of(memory: dict[int, int], address: int, number: int) -> int:
    return memory[address + 32 * (number // 2)] >> (128 * (number % 2)) & ((1 << 72) - 1)


def test_loads_of_any_shape() -> None:
    async def bench(ctx: SimulatorContext, dut: Loader, world: World) -> None:
        for _ in range(12):
            rows, words = world.rng.randrange(1, 5), world.rng.randrange(1, 9)
            pitch, base = 32 * world.rng.randrange(0, 12), world.rng.randrange(500)
            step = world.rng.randrange(words, 20)
            body = {"address": 64, "pitch": pitch, "base": base, "base_pitch": step, "words": words, "rows": rows}
            world.store.clear()
            assert await carry_out(ctx, dut, Descriptor(opcode=Opcode.LOAD, body=body)) == (ErrorCode.NONE, 0)
            want = {
                base + row * step + word: world.memory[64 + row * pitch + 32 * word]
                for row in range(rows) for word in range(words)
            }  # fmt: skip
            assert world.store == want

    loading(bench)


def test_table_and_biases() -> None:
    async def bench(ctx: SimulatorContext, dut: Loader, world: World) -> None:
        for count in (1, 2, 5, 31, 32, 33, 64, 71):
            world.table.clear()
            body = {"address": 96, "index": 40, "count": count}
            assert await carry_out(ctx, dut, Descriptor(opcode=Opcode.TABLE, body=body)) == (ErrorCode.NONE, 0)
            assert world.table == {40 + i: entry_of(world.memory, 96, i) for i in range(count)}
            world.table.clear()
            shift = world.rng.randrange(25)
            body |= {"row": 7, "shift": shift}
            assert await carry_out(ctx, dut, Descriptor(opcode=Opcode.BIASES, body=body)) == (ErrorCode.NONE, 0)
            assert sorted(world.table) == list(range(40, 40 + count))
            for i in range(count):
                before = from_bits(QuantiserEntry, entry_of(world.memory, 96, i))
                weight = world.rows[7 + i // 32] >> (8 * (i % 32)) & 0xFF
                weight -= weight << 1 & 0x100
                bias = (before["bias"] + (weight << shift) + (1 << 31)) % (1 << 32) - (1 << 31)
                assert from_bits(QuantiserEntry, world.table[40 + i]) == {**before, "bias": bias}, i

    loading(bench)


def test_rows_are_written_one_by_one() -> None:
    async def bench(ctx: SimulatorContext, dut: Loader, world: World) -> None:
        rows = Descriptor(opcode=Opcode.ROWS, body={"address": 320, "row": 5, "count": 9})
        world.outcomes = {6: Outcome.DEFECT}
        assert await carry_out(ctx, dut, rows) == (ErrorCode.NONE, 0)
        assert [world.rows[5 + i] for i in range(9)] == [world.memory[320 + 32 * i] for i in range(9)]
        before = dict(world.rows)
        world.outcomes = {7: Outcome.FAILED}
        world.memory = {at: word ^ WORD for at, word in world.memory.items()}
        assert await carry_out(ctx, dut, rows) == (ErrorCode.ROW, Outcome.FAILED.value)
        assert [row for row in before if world.rows[row] != before[row]] == [5, 6]
        world.outcomes = {}
        assert await carry_out(ctx, dut, rows) == (ErrorCode.NONE, 0)

    loading(bench)


def test_errors_end_what_is_under_way_and_nothing_else() -> None:
    async def bench(ctx: SimulatorContext, dut: Loader, world: World) -> None:
        load = {"address": 0, "pitch": 64, "base": 0, "base_pitch": 2, "words": 2, "rows": 6}
        for error in (DmaError.SLVERR, DmaError.REFUSED):
            world.broken = {192: error}
            world.store.clear()
            got = await carry_out(ctx, dut, Descriptor(opcode=Opcode.LOAD, body=load))
            assert got == (ErrorCode.DMA, error.value)
            assert max(world.store) < 8
            world.broken = {}
            assert await carry_out(ctx, dut, Descriptor(opcode=Opcode.LOAD, body=load)) == (ErrorCode.NONE, 0)
            assert len(world.store) == 12
        world.beyond = {8}
        biases = Descriptor(opcode=Opcode.BIASES, body={"address": 96, "index": 0, "count": 40, "row": 7})
        assert await carry_out(ctx, dut, biases) == (ErrorCode.ROW, UNCORRECTABLE_ROW)
        world.beyond = set()
        assert await carry_out(ctx, dut, biases) == (ErrorCode.NONE, 0)

    loading(bench)


def test_stores_of_any_shape_and_their_errors() -> None:
    dut = Storer()
    world = World(dut, random.Random(SEED))
    world.store = {at: world.rng.getrandbits(256) for at in range(600)}

    async def bench(ctx: SimulatorContext) -> None:
        for number in range(12):
            rows, words = world.rng.randrange(1, 5), world.rng.randrange(1, 9)
            pitch, base = 32 * world.rng.randrange(words, 12), world.rng.randrange(400)
            step = world.rng.randrange(0, 20)
            body = {"address": 64, "pitch": pitch, "base": base, "base_pitch": step, "words": words, "rows": rows}
            store = Descriptor(opcode=Opcode.STORE, body=body)
            if number % 3 == 2:
                error = world.rng.choice([DmaError.SLVERR, DmaError.TIMEOUT])
                world.broken = {64: error}
                assert await carry_out(ctx, dut, store) == (ErrorCode.DMA, error.value)
                world.broken = {}
            before = dict(world.memory)
            assert await carry_out(ctx, dut, store) == (ErrorCode.NONE, 0)
            for row in range(rows):
                for word in range(words):
                    before[64 + row * pitch + 32 * word] = world.store[base + row * step + word]
            assert world.memory == before

    simulate(dut, bench, world.writer, world.store_reads)
