# SPDX-License-Identifier: Apache-2.0
"""What stands around a part of the sequencer that moves data: streams that pause at random, and rows that are a Python
dictionary."""

import random
from typing import Any

from amaranth.sim import SimulatorContext

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.structures import from_bits
from respin.rtl.interfaces import ROW
from respin.rtl.mram.ports import Outcome
from respin.rtl.sequencer.errors import ErrorCode

ROWS = 60


class Rows:
    """The MRAM rows of ``dut``, with what shall go wrong with them.

    Parameters
    ----------
    dut:
        It has the streams ``row_write``, ``row_written``, ``row_read`` and ``row_data``.
    rng:
        For pauses and what rows hold.
    """

    def __init__(self, dut: Any, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng
        self.rows: dict[int, int] = {row: rng.getrandbits(256) for row in range(ROWS)}
        self.beyond: set[int] = set()
        self.outcomes: dict[int, Outcome] = {}

    async def pause(self, ctx: SimulatorContext) -> None:
        """Let a few cycles go by, or none."""
        for _ in range(self.rng.choice([0, 0, 1, 3])):
            await ctx.tick()

    async def take(self, ctx: SimulatorContext, port: Any) -> Any:
        """Take what a stream offers."""
        await self.pause(ctx)
        ctx.set(port.ready, 1)
        valid = False
        while not valid:
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        ctx.set(port.ready, 0)
        return payload

    async def give(self, ctx: SimulatorContext, port: Any, payload: Any) -> None:
        """Offer something to a stream until it is taken."""
        await self.pause(ctx)
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        ready = False
        while not ready:
            _, _, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def row_reads(self, ctx: SimulatorContext) -> None:
        """Answer read jobs of one row each."""
        while True:
            asked = await self.take(ctx, self.dut.row_read)
            assert asked.count == asked.tiles == asked.repeats == 1
            row = {"data": from_bits(ROW, self.rows[asked.base]), "uncorrectable": asked.base in self.beyond}
            await self.give(ctx, self.dut.row_data, row)

    async def row_writes(self, ctx: SimulatorContext) -> None:
        """The status comes in the cycle in which the row is taken, or later."""
        while True:
            await ctx.tick()
            if not ctx.get(self.dut.row_write.valid):
                continue
            row = ctx.get(self.dut.row_write.payload)
            await self.pause(ctx)
            outcome = self.outcomes.get(row.row, Outcome.OK)
            if outcome in (Outcome.OK, Outcome.DEFECT):
                self.rows[row.row] = row.data
            if self.rng.random() < 0.5:
                await self.take(ctx, self.dut.row_write)
                await self.give(ctx, self.dut.row_written, {"outcome": outcome})
                continue
            ctx.set(self.dut.row_written.payload.outcome, outcome)
            ctx.set(self.dut.row_written.valid, 1)
            ctx.set(self.dut.row_write.ready, 1)
            await ctx.tick()
            ctx.set(self.dut.row_write.ready, 0)
            ctx.set(self.dut.row_written.valid, 0)


async def carry_out(ctx: SimulatorContext, dut: Any, descriptor: Descriptor) -> tuple[ErrorCode, int]:
    """Start a descriptor and wait for its end."""
    ctx.set(dut.descriptor.as_value(), int.from_bytes(descriptor.pack(), "little"))
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    # Nothing may be read of it any more.
    ctx.set(dut.descriptor.as_value(), (1 << 2048) - 1)
    for _ in range(20_000):
        if ctx.get(dut.idle):
            return ctx.get(dut.error), ctx.get(dut.info)
        await ctx.tick()
    raise AssertionError(f"{descriptor.line()} does not end")
