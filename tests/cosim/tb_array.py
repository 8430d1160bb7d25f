# SPDX-License-Identifier: Apache-2.0
"""Benches of the Verilog bank model: the same commands go to it and to its Python twin, everything is compared.

The environment names the folder with the table and the defects, and the number of random commands.
"""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge

from respin.sim.array import Bank, Command
from respin.sim.banks import Backdoor, dumped_cells
from respin.sim.defects import from_integers, to_integers
from respin.sim.runner import seed
from respin.sim.streams import cycles_of, reset, start_clock
from respin.sim.tables import STRIP_LIMIT, plain_table

ROWS = 24
BANK = 3
WRITES = (Command.WRITE_SAS, Command.SOT_ONLY, Command.STT_ONLY)


def _folder():
    return Path(os.environ["ARRAY_FOLDER"])


def _twin():
    table, defects = _folder() / "table.npy", _folder() / "defects.npy"
    return Bank(
        ROWS,
        bank=BANK,
        table=np.load(table) if table.exists() else plain_table(),
        defects=np.load(defects) if defects.exists() else None,
    )


def _row(chooser):
    return from_integers([chooser.choice([0, (1 << 288) - 1, chooser.getrandbits(288), chooser.getrandbits(288)])])[0]


def _mask(chooser, limit):
    strips = np.zeros(72, dtype=np.uint8)
    strips[chooser.sample(range(72), chooser.choice([0, 1, min(limit, 16), limit]))] = 1
    return strips


def _number(bits):
    return sum(int(bit) << place for place, bit in enumerate(bits))


async def _start(dut):
    for name in ("cmd", "row", "strip_mask", "wdata", "pulse", "test_mode"):
        getattr(dut, name).value = 0
    for name in ("backdoor_op", "backdoor_row", "backdoor_wdata"):
        getattr(dut, name).value = 0
    start_clock(dut)
    await reset(dut)
    await backdoor(dut, Backdoor.CLEAR)
    assert (int(dut.power_good.value), int(dut.busy.value), int(dut.protocol_error.value)) == (1, 0, 0)


async def backdoor(dut, operation):
    dut.backdoor_op.value = operation
    await cycles_of(dut, 1)
    dut.backdoor_op.value = Backdoor.NONE
    await cycles_of(dut, 1)


def _drive(dut, command, row, strips, wdata, pulse):
    dut.cmd.value = command
    dut.row.value = row
    dut.strip_mask.value = _number(strips)
    dut.wdata.value = _number(wdata)
    dut.pulse.value = pulse


async def issue(dut, command, row, strips, wdata, pulse):
    """Give one command; return (its row if it was a READ, the cycles it kept the bank busy)."""
    _drive(dut, command, row, strips, wdata, pulse)
    await RisingEdge(dut.clk)
    dut.cmd.value = Command.IDLE
    # What is not sampled with the command must not matter.
    dut.row.value = ROWS - 1 - row
    dut.strip_mask.value = 0
    dut.wdata.value = 0
    dut.pulse.value = 15 - pulse
    result, busy = None, 0
    while True:
        await RisingEdge(dut.clk)
        if not dut.busy.value:
            assert not dut.rvalid.value
            return result, busy
        busy += 1
        if dut.rvalid.value:
            assert result is None, "rvalid is high for one cycle"
            result = int(dut.rdata.value)
            at = busy
        elif result is None:
            assert int(dut.rdata.value) == (1 << 288) - 1, "nothing to be read before rvalid"
        assert result is None or at == busy, "rvalid comes in the last busy cycle"


async def visible_rows(dut):
    rows = []
    for row in range(ROWS):
        dut.backdoor_row.value = row
        await ReadOnly()
        rows.append(int(dut.backdoor_rdata.value))
        await RisingEdge(dut.clk)
    return rows


def statistics(dut):
    word = int(dut.statistics.value)
    return [word >> 32 * index & 0xFFFFFFFF for index in range(10)]


async def compare(dut, twin):
    assert await visible_rows(dut) == to_integers(np.array([twin.visible(row) for row in range(ROWS)]))
    assert statistics(dut) == twin.counters()
    assert not dut.protocol_error.value


@cocotb.test()
async def does_what_the_python_bank_does(dut):
    await _start(dut)
    await backdoor(dut, Backdoor.RELOAD)
    await backdoor(dut, Backdoor.LOAD)
    twin = _twin()
    limit = int(twin.table[STRIP_LIMIT])
    chooser = random.Random(seed())
    await compare(dut, twin)
    row, strips = 0, _mask(chooser, limit)
    for number in range(int(os.environ["ARRAY_COMMANDS"])):
        command = chooser.choice([Command.READ, *WRITES])
        # Often the same row and strips again: a program after its erase, a retry, a read of what was written.
        if chooser.random() < 0.5:
            row = chooser.randrange(ROWS)
        if chooser.random() < 0.5:
            strips = _mask(chooser, limit)
        wdata, pulse = _row(chooser), chooser.randrange(16)
        expected = twin.command(command, row, strips, wdata, pulse)
        seen, busy = await issue(dut, command, row, strips, wdata, pulse)
        assert seen == (None if expected is None else _number(expected)), f"command {number}: {command!r} of row {row}"
        assert busy == twin.cycles(command, pulse), f"command {number}: {command!r} with pulse {pulse}"
        if number % 100 == 50:
            twin.age()
            await backdoor(dut, Backdoor.AGE)
    await compare(dut, twin)


@cocotb.test()
async def keeps_cells_over_reset_and_counts_on(dut):
    await _start(dut)
    await backdoor(dut, Backdoor.RELOAD)
    await backdoor(dut, Backdoor.LOAD)
    twin = _twin()
    chooser = random.Random(seed() + 1)
    strips = _mask(chooser, 16)
    for _ in range(3):
        wdata = _row(chooser)
        twin.write_sas(5, strips, wdata, 0)
        await issue(dut, Command.WRITE_SAS, 5, strips, wdata, 0)
        await reset(dut)
        await cycles_of(dut, 2)
    await compare(dut, twin)


@cocotb.test()
async def loses_power_as_the_python_bank_does(dut):
    """Cut in any cycle of a command or after it: strips under a pulse end with random bits, the rest is as it was."""
    await _start(dut)
    await backdoor(dut, Backdoor.RELOAD)
    await backdoor(dut, Backdoor.LOAD)
    twin = _twin()
    limit = int(twin.table[STRIP_LIMIT])
    chooser = random.Random(seed() + 3)
    row, strips = 0, _mask(chooser, limit)
    for number in range(60):
        command = chooser.choice([Command.READ, *WRITES, Command.SOT_ONLY])
        if chooser.random() < 0.7:
            row, strips = chooser.randrange(ROWS), _mask(chooser, limit)
        wdata, pulse = _row(chooser), chooser.randrange(16)
        busy = twin.cycles(command, pulse)
        at = chooser.choice([1, busy, busy + 1, chooser.randint(1, busy + 1)])
        twin.command(command, row, strips, wdata, pulse)
        twin.cut_power(busy=at <= busy)
        _drive(dut, command, row, strips, wdata, pulse)
        await RisingEdge(dut.clk)
        dut.cmd.value = Command.IDLE
        if at > 1:
            await cycles_of(dut, at - 1)
        dut.backdoor_op.value = Backdoor.CUT
        # A command that comes with the cut finds no power.
        _drive(dut, command, row, strips, wdata, pulse)
        await RisingEdge(dut.clk)
        dut.cmd.value = Command.IDLE
        await cycles_of(dut, chooser.randint(1, 3))
        assert (int(dut.power_good.value), int(dut.busy.value), int(dut.rvalid.value)) == (0, 0, 0)
        dut.backdoor_op.value = Backdoor.NONE
        await cycles_of(dut, 2)
        assert dut.power_good.value
        assert await visible_rows(dut) == to_integers(np.array([twin.visible(each) for each in range(ROWS)])), number
    await compare(dut, twin)


@cocotb.test()
async def pokes_dumps_and_reloads(dut):
    await _start(dut)
    await backdoor(dut, Backdoor.LOAD)
    twin = _twin()
    chooser = random.Random(seed() + 2)
    for row in range(ROWS):
        twin.cells[row] = _row(chooser)
        dut.backdoor_row.value = row
        dut.backdoor_wdata.value = _number(twin.cells[row])
        await backdoor(dut, Backdoor.POKE)
    await compare(dut, twin)
    await backdoor(dut, Backdoor.DUMP)
    assert (dumped_cells(_folder(), BANK) == twin.cells).all()
    # From the same table the same faults come again.
    seen = []
    for _ in range(2):
        await backdoor(dut, Backdoor.RELOAD)
        seen.append((await issue(dut, Command.READ, 7, [0] * 72, [0] * 288, 0))[0])
    twin.load_table(twin.table)
    first = twin.read(7)
    twin.load_table(twin.table)
    assert seen == [_number(first), _number(twin.read(7))]


@cocotb.test()
async def ignores_and_flags_what_the_contract_forbids(dut):
    await _start(dut)
    await backdoor(dut, Backdoor.RELOAD)
    await backdoor(dut, Backdoor.LOAD)
    twin = _twin()
    limit = int(twin.table[STRIP_LIMIT])
    forbidden = [(5, 0, 1), (7, 0, 1), (Command.READ, ROWS, 0), (Command.WRITE_SAS, ROWS + 3, 1)]
    if limit < 72:
        forbidden.append((Command.WRITE_SAS, 0, limit + 1))
    for count, (command, row, strips) in enumerate(forbidden, start=1):
        dut.cmd.value = command
        dut.row.value = row
        dut.strip_mask.value = (1 << strips) - 1
        await RisingEdge(dut.clk)
        dut.cmd.value = Command.IDLE
        await cycles_of(dut, 2)
        assert (int(dut.busy.value), int(dut.protocol_error.value), statistics(dut)[9]) == (0, 1, count)
        await reset(dut)
        await cycles_of(dut, 2)
        assert not dut.protocol_error.value
    # A command while busy.
    expected = _number(twin.read(1))
    dut.cmd.value = Command.READ
    dut.row.value = 1
    await RisingEdge(dut.clk)
    dut.row.value = 2
    await RisingEdge(dut.clk)
    dut.cmd.value = Command.IDLE
    await cycles_of(dut, twin.cycles(Command.READ))
    assert (int(dut.rdata.value), int(dut.protocol_error.value)) == (expected, 1)
    assert statistics(dut)[:2] == [1, 1]
