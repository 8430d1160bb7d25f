# SPDX-License-Identifier: Apache-2.0
"""A plain memory behind the bank pins, an independent row code, and what the MRAM benches share."""

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import BankCommand
from respin.rtl.mram.controller import MramController
from respin.sim.payload import pack, unpack

SEED = int(os.environ.get("RESPIN_SEED", "1"))

_WEIGHT3 = [c for c in range(256) if c.bit_count() == 3]
_WEIGHT5 = [int(f"{0b00011111:08b}"[n:] + f"{0b00011111:08b}"[:n], 2) for n in range(8)]
H_COLUMNS = _WEIGHT3 + _WEIGHT5 + [2**n for n in range(8)]


def encode(word: int) -> int:
    """Codeword of 64 data bits: the check byte is the sum of the columns of its ones."""
    check = 0
    for bit in range(64):
        if word >> bit & 1:
            check ^= H_COLUMNS[bit]
    return word | check << 64


def columns_of(weights: Sequence[int]) -> int:
    """The 288 columns of a row of 32 weights."""
    columns = 0
    for c in range(4):
        word = encode(int.from_bytes(bytes(w & 0xFF for w in weights[8 * c : 8 * c + 8]), "little"))
        for bit in range(72):
            columns |= (word >> bit & 1) << (4 * bit + c)
    return columns


def random_row(rng: random.Random) -> list[int]:
    return [rng.randrange(-128, 128) for _ in range(32)]


@dataclass
class PlainBank:
    """One macro: a plain memory with stuck columns, weak columns that need a stronger pulse, and a clutch that jams.

    ``needs[row]`` maps a column to the lowest pulse index that writes it. ``jam`` holds busy high, without an answer
    to a read in flight. ``log`` keeps every command taken."""

    rows: int
    read_cycles: int = 2
    write_cycles: int = 3
    cells: dict[int, int] = field(default_factory=dict)
    stuck: dict[int, tuple[int, int]] = field(default_factory=dict)
    needs: dict[int, dict[int, int]] = field(default_factory=dict)
    jam: bool = False
    power_up: int = 0
    log: list[tuple] = field(default_factory=list)

    def content(self, row: int) -> int:
        mask, value = self.stuck.get(row, (0, 0))
        return self.cells.get(row, 0) & ~mask | value & mask

    def write(self, row: int, strips: int, wdata: int, pulse: int) -> None:
        driven = sum(0xF << 4 * strip for strip in range(72) if strips >> strip & 1)
        for column, least in self.needs.get(row, {}).items():
            if pulse < least:
                driven &= ~(1 << column)
        self.cells[row] = self.content(row) & ~driven | wdata & driven

    def take(self, command: BankCommand, row: int, strips: int, wdata: int, pulse: int) -> int | None:
        """Carry a command out; returns what a READ delivers."""
        assert row < self.rows
        if command is BankCommand.READ:
            self.log.append(("READ", row))
            return self.content(row)
        self.log.append((command.name, row, strips, pulse))
        if command is BankCommand.SOT_ONLY:
            self.write(row, strips, 0, pulse)
        else:
            self.write(row, strips, wdata, pulse)
        return None

    async def run(self, ctx: SimulatorContext, pins: Any) -> None:
        busy, answer = 0, None
        inputs = pins.cmd, pins.row, pins.strip_mask, pins.wdata, pins.pulse
        cycle = 0
        async for _, _, was_busy, powered, cmd, *operands in ctx.tick().sample(pins.busy, pins.power_good, *inputs):
            cycle += 1
            ctx.set(pins.power_good, cycle > self.power_up)
            ctx.set(pins.rvalid, 0)
            command = BankCommand(cmd)
            if command is not BankCommand.IDLE:
                assert powered, "a command came before the bank had power"
                assert not was_busy, "a command came while the bank was busy"
                answer = self.take(command, *operands)
                busy = self.read_cycles if command is BankCommand.READ else self.write_cycles
                ctx.set(pins.rdata, random.getrandbits(288))  # the latch is the row's until now only
                if busy == 1 and answer is not None and not self.jam:
                    ctx.set(pins.rvalid, 1)
                    ctx.set(pins.rdata, answer)
            elif was_busy and not self.jam:
                busy -= 1
                if busy == 1 and answer is not None:
                    ctx.set(pins.rvalid, 1)
                    ctx.set(pins.rdata, answer)
            ctx.set(pins.busy, busy > 0 or self.jam)


class Bench:
    """A controller with its banks, driven by payloads as dictionaries and lists."""

    component: type = MramController

    def __init__(self, config: AcceleratorConfig, **bank: Any) -> None:
        self.config = config
        self.dut = self.component(config=config)
        self.banks = [PlainBank(rows=config.mram_rows, **bank) for _ in range(config.banks)]
        self.rng = random.Random(SEED)
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-8)
        for bank_model, pins in zip(self.banks, self.dut.banks, strict=True):
            self.simulator.add_process(self._process(bank_model, pins))
        self.cycle = 0

    @staticmethod
    def _process(bank: PlainBank, pins: Any) -> Callable[[SimulatorContext], Awaitable[None]]:
        async def process(ctx: SimulatorContext) -> None:
            await bank.run(ctx, pins)

        return process

    def store(self, row: int, weights: Sequence[int], errors: Sequence[int] = ()) -> None:
        """Put an encoded row into its bank, with wrong columns."""
        columns = columns_of(weights)
        for column in errors:
            columns ^= 1 << column
        self.banks[row % self.config.banks].cells[row // self.config.banks] = columns

    def columns(self, row: int) -> int:
        return self.banks[row % self.config.banks].content(row // self.config.banks)

    def run(self, *benches: Callable[[SimulatorContext], Awaitable[None]], cycles: int = 20_000) -> None:
        """Run until all benches have ended; none may need more than ``cycles``."""
        left = len(benches)

        def counted(bench: Callable[[SimulatorContext], Awaitable[None]]) -> Callable:
            async def process(ctx: SimulatorContext) -> None:
                nonlocal left
                await bench(ctx)
                left -= 1

            return process

        async def limit(ctx: SimulatorContext) -> None:
            while left:
                await ctx.tick()
                self.cycle += 1
                assert self.cycle < cycles, "the benches do not end"

        for bench in benches:
            self.simulator.add_testbench(counted(bench))
        self.simulator.add_testbench(limit)
        self.simulator.run()

    async def _offer(self, ctx: SimulatorContext, port: Any, payload: dict) -> None:
        bits = pack(port.p.shape(), payload)
        ctx.set(port.p.as_value(), bits)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)

    async def read(self, ctx: SimulatorContext, base: int, count: int, tiles: int = 1, repeats: int = 1) -> None:
        """Offer a read job until it is taken."""
        await self._offer(ctx, self.dut.read, {"base": base, "count": count, "tiles": tiles, "repeats": repeats})

    async def rows(self, ctx: SimulatorContext, count: int, stall: float = 0.0) -> list[tuple[list[int], int]]:
        """Take rows, with back-pressure; returns weights and flag of each."""
        taken = []
        port = self.dut.rows
        while len(taken) < count:
            ctx.set(port.ready, self.rng.random() >= stall)
            _, _, valid, ready, bits = await ctx.tick().sample(port.valid, port.ready, port.p.as_value())
            if valid and ready:
                row = unpack(port.p.shape(), bits)
                taken.append((row["data"], row["uncorrectable"]))
        ctx.set(port.ready, 0)
        return taken

    async def write(self, ctx: SimulatorContext, row: int, **fields: Any) -> dict:
        """Make a request and return its status, and the raw columns with it."""
        port = self.dut.write
        kind = fields.pop("kind", 0)
        ctx.set(port.p.as_value(), pack(port.p.shape(), {"row": row, "kind": kind, **fields}))
        ctx.set(port.valid, 1)
        ctx.set(self.dut.written.ready, 1)
        written = self.dut.written
        sample = ctx.tick().sample(written.p.as_value(), self.dut.raw_columns).until(written.valid)
        bits, columns = await sample
        ctx.set(port.valid, 0)
        ctx.set(written.ready, 0)
        return unpack(written.p.shape(), bits) | {"columns": columns}

    def counters(self, ctx: SimulatorContext) -> dict[str, int]:
        port = self.dut.counters
        return unpack(port.shape(), ctx.get(port.as_value()))

    def nonzero(self, ctx: SimulatorContext) -> dict[str, int]:
        return {name: value for name, value in self.counters(ctx).items() if value}

    def error(self, ctx: SimulatorContext, name: str) -> tuple[int, int]:
        record = getattr(self.dut, name)
        return ctx.get(record.as_value()) & 15, ctx.get(record.row)


def pairs(count: int) -> list[tuple[int, int]]:
    return list(combinations(range(count), 2))
