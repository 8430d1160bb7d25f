# SPDX-License-Identifier: Apache-2.0
"""Banks out of block RAM against a plain model: rows, cycles, what stays in the output latch, and errors on purpose."""

import random

import pytest
from amaranth.sim import Simulator, SimulatorContext
from mram_bench import SEED

from respin.rtl.config import ROW_COLUMNS, STRIPS
from respin.rtl.fpga.bank import PULSES, BankErrors, BankTiming, BlockRamBank
from respin.rtl.fpga.clock import Clock
from respin.rtl.interfaces import BankCommand

ROWS = 16
TIMING = BankTiming(read=2, write=tuple(tuple(3 + kind + pulse % 3 for pulse in range(PULSES)) for kind in range(3)))


def columns(strips: int) -> int:
    return sum(0xF << 4 * strip for strip in range(STRIPS) if strips >> strip & 1)


def written(command: BankCommand, old: int, strips: int, data: int) -> int:
    mask = columns(strips)
    kept = old if command is BankCommand.STT_ONLY else old & ~mask
    return kept if command is BankCommand.SOT_ONLY else kept | (data & mask)


async def give(
    ctx: SimulatorContext, bank: BlockRamBank, command: BankCommand, row: int, **pins: int
) -> tuple[int, int]:
    """Give a command; the cycles that the bank is busy, and the cycle of ``rvalid``, 0 if there is none."""
    for name, value in {"cmd": command, "row": row, **pins}.items():
        ctx.set(getattr(bank.pins, name), value)
    assert not ctx.get(bank.pins.busy)
    await ctx.tick()
    ctx.set(bank.pins.cmd, BankCommand.IDLE)
    busy = valid = 0
    while ctx.get(bank.pins.busy):
        busy += 1
        if ctx.get(bank.pins.rvalid):
            assert not valid
            valid = busy
        await ctx.tick()
    return busy, valid


def run(bank: BlockRamBank, testbench) -> None:
    simulator = Simulator(bank)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


def test_commands_in_any_order() -> None:
    bank = BlockRamBank(rows=ROWS, timing=TIMING)
    rng = random.Random(SEED)

    async def testbench(ctx: SimulatorContext) -> None:
        cells, latch = [0] * ROWS, None
        for _ in range(200):
            command = rng.choice([command for command in BankCommand if command is not BankCommand.IDLE])
            row, pulse = rng.randrange(ROWS), rng.randrange(PULSES)
            strips, data = rng.getrandbits(STRIPS), rng.getrandbits(ROW_COLUMNS)
            for _ in range(rng.randrange(3)):
                await ctx.tick()
            if latch is not None:
                assert ctx.get(bank.pins.rdata) == latch
            busy, valid = await give(ctx, bank, command, row, strip_mask=strips, wdata=data, pulse=pulse)
            if command is BankCommand.READ:
                assert (busy, valid) == (TIMING.read, TIMING.read)
                latch = cells[row]
                assert ctx.get(bank.pins.rdata) == latch
            else:
                assert (busy, valid) == (TIMING.write[command.value - 2][pulse], 0)
                cells[row], latch = written(command, cells[row], strips, data), None

    run(bank, testbench)


def test_a_read_error_is_one_column_of_that_read() -> None:
    bank = BlockRamBank(rows=ROWS, errors=BankErrors(read=0.25))

    async def testbench(ctx: SimulatorContext) -> None:
        data = random.Random(SEED).getrandbits(ROW_COLUMNS)
        await give(ctx, bank, BankCommand.WRITE_SAS, 3, strip_mask=(1 << STRIPS) - 1, wdata=data)
        wrong = 0
        for _ in range(400):
            await give(ctx, bank, BankCommand.READ, 3)
            difference = (ctx.get(bank.pins.rdata) ^ data).bit_count()
            assert difference <= 1
            wrong += difference
        assert 60 < wrong < 140

    run(bank, testbench)


def test_a_write_error_leaves_one_strip_as_it_was() -> None:
    bank = BlockRamBank(rows=ROWS, errors=BankErrors(write=0.25))
    every = (1 << STRIPS) - 1

    async def testbench(ctx: SimulatorContext) -> None:
        missed, before = 0, 0
        for time in range(400):
            data = -(time % 2) & ((1 << ROW_COLUMNS) - 1)
            await give(ctx, bank, BankCommand.WRITE_SAS, 3, strip_mask=every, wdata=data)
            await give(ctx, bank, BankCommand.READ, 3)
            found = ctx.get(bank.pins.rdata)
            wrong = [strip for strip in range(STRIPS) if (found ^ data) >> 4 * strip & 0xF]
            assert len(wrong) <= 1
            assert all((found ^ before) >> 4 * strip & 0xF == 0 for strip in wrong)
            missed, before = missed + len(wrong), found
        assert 60 < missed < 140

    run(bank, testbench)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlockRamBank(rows=1), "rows must be at least 2, not 1"),
        (lambda: BankTiming(read=0), "a command must take 1..65535 cycles, not 0"),
        (lambda: BankTiming(write=((1,),)), "write must have 16 pulses of 3 commands"),
        (lambda: BankErrors(read=0.7), r"read must be in 0..0.5, not 0.7"),
        (lambda: Clock(pin_mhz=25, mhz=60, pll=True), "clock must be one of 25, 50, 75, .* MHz, not 60"),
        (lambda: Clock(pin_mhz=12, mhz=48), "clock must be one of 12 MHz, not 48"),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
