# SPDX-License-Identifier: Apache-2.0
"""Transfers wait in order, are counted until they end, and are dropped after an error."""

import os
import random

from amaranth.sim import Simulator, SimulatorContext

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.structures import from_bits
from respin.rtl.sequencer.descriptor import DESCRIPTOR, Opcode
from respin.rtl.sequencer.errors import ErrorCode
from respin.rtl.sequencer.transfer_queue import MOST_PENDING, TransferQueue

SEED = int(os.environ.get("RESPIN_SEED", "1"))
TRANSFERS = 60


def transfer(number: int) -> Descriptor:
    body = {"address": 32 * number, "pitch": 64, "base": number, "base_pitch": 3, "words": 5, "rows": 1 + number % 7}
    return Descriptor(opcode=[Opcode.LOAD, Opcode.STORE][number % 2], body=body)


def simulate(bench) -> None:
    dut = TransferQueue()
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)

    async def with_dut(ctx: SimulatorContext) -> None:
        await bench(ctx, dut)

    simulator.add_testbench(with_dut)
    simulator.run()


def offer(ctx: SimulatorContext, dut: TransferQueue, number: int) -> None:
    ctx.set(dut.descriptor.as_value(), int.from_bytes(transfer(number).pack(), "little"))
    ctx.set(dut.index, 100 + number)
    ctx.set(dut.push, 1)


def test_each_begins_once_in_order_and_counts_until_it_ends() -> None:
    async def bench(ctx: SimulatorContext, dut: TransferQueue) -> None:
        rng = random.Random(SEED)
        pushed = begun = ended = left = most = 0
        ctx.set(dut.idle, 1)
        while ended < TRANSFERS:
            assert ctx.get(dut.pending) == pushed - ended
            assert ctx.get(dut.full) == (pushed - ended == MOST_PENDING)
            most = max(most, pushed - ended)
            ctx.set(dut.push, 0)
            pushing = pushed < TRANSFERS and not ctx.get(dut.full) and rng.random() < 0.4
            if pushing:
                offer(ctx, dut, pushed)
            starts = ctx.get(dut.start)
            if starts:
                assert left == 0
                given = from_bits(DESCRIPTOR, ctx.get(dut.transfer.as_value()))
                want = transfer(begun)
                assert (given["header"]["opcode"], given["transfer"]) == (want.opcode.value, want.body)
            ends = left == 0 and begun > ended
            await ctx.tick()
            pushed, ended = pushed + pushing, ended + ends
            if starts:
                assert ctx.get(dut.current) == 100 + begun
                begun, left = begun + 1, rng.choice([1, 2, 9, 30])
            else:
                left = max(left - 1, 0)
            ctx.set(dut.idle, left == 0)
        assert most == MOST_PENDING

    simulate(bench)


def test_nothing_begins_after_an_error_and_stop_drops_what_waits() -> None:
    async def bench(ctx: SimulatorContext, dut: TransferQueue) -> None:
        ctx.set(dut.idle, 1)
        for number in range(3):
            offer(ctx, dut, number)
            starts = ctx.get(dut.start)
            await ctx.tick()
            if starts:
                ctx.set(dut.idle, 0)
        ctx.set(dut.push, 0)
        await ctx.tick()
        ctx.set(dut.error, ErrorCode.DMA)
        ctx.set(dut.idle, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.start)
        assert ctx.get(dut.pending) == 2
        ctx.set(dut.stop, 1)
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(dut.pending) == 0
        ctx.set(dut.stop, 0)
        ctx.set(dut.error, ErrorCode.NONE)
        offer(ctx, dut, 7)
        await ctx.tick()
        ctx.set(dut.push, 0)
        assert ctx.get(dut.start)
        assert from_bits(DESCRIPTOR, ctx.get(dut.transfer.as_value()))["transfer"] == transfer(7).body

    simulate(bench)
