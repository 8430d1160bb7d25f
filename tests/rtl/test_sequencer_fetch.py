# SPDX-License-Identifier: Apache-2.0
"""Blocks on their way in: order of bytes, CRC, errors of the DMA."""

import os
import random

from amaranth.sim import Simulator, SimulatorContext

from respin.firmware_model.descriptors import seal
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.sequencer.fetch import BlockFetch

SEED = int(os.environ.get("RESPIN_SEED", "1"))


async def answer(ctx: SimulatorContext, dut: BlockFetch, block: bytes, error: DmaError, rng: random.Random) -> None:
    """One command's words and status, with random pauses."""
    ctx.set(dut.command.ready, 1)
    await ctx.tick().until(dut.command.valid)
    ctx.set(dut.command.ready, 0)
    words = [block[at : at + 32] for at in range(0, 256, 32)]
    if error in (DmaError.TIMEOUT, DmaError.REFUSED):
        words = words[: rng.randrange(8)]
    ended = False
    for number, word in enumerate(words):
        await ctx.tick().repeat(rng.randrange(1, 4))
        if number == 7 and (ended := rng.random() < 0.5):  # the status may overtake the last word
            await end(ctx, dut, error, rng)
        ctx.set(dut.words.payload.data, int.from_bytes(word, "little"))
        ctx.set(dut.words.valid, 1)
        await ctx.tick().until(dut.words.ready)
        ctx.set(dut.words.valid, 0)
    if not ended:
        await end(ctx, dut, error, rng)


async def end(ctx: SimulatorContext, dut: BlockFetch, error: DmaError, rng: random.Random) -> None:
    """A command's status."""
    await ctx.tick().repeat(rng.randrange(1, 4))
    ctx.set(dut.status.payload.error, error)
    ctx.set(dut.status.valid, 1)
    await ctx.tick().until(dut.status.ready)
    ctx.set(dut.status.valid, 0)


def test_blocks_come_in_whole_or_are_told() -> None:
    dut, rng = BlockFetch(), random.Random(SEED)

    async def bench(ctx: SimulatorContext) -> None:
        for number in range(120):
            block = bytearray(seal(rng.randbytes(256)))
            flipped = number % 3 == 1
            if flipped:
                block[rng.randrange(256)] ^= 1 << rng.randrange(8)
            error = rng.choice(list(DmaError)) if number % 3 == 2 else DmaError.NONE
            ctx.set(dut.address, 256 * number)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.done)
            assert ctx.get(dut.command.payload) == {"address": 256 * number, "bytes": 256}
            await answer(ctx, dut, bytes(block), error, rng)
            for _ in range(8):
                if ctx.get(dut.done):
                    break
                await ctx.tick()
            assert ctx.get(dut.done)
            assert ctx.get(dut.error) == error
            if error == DmaError.NONE:
                assert ctx.get(dut.good) == (not flipped)
                assert ctx.get(dut.block) == int.from_bytes(block, "little")

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
