# SPDX-License-Identifier: Apache-2.0
"""Power cuts at every cycle of a scrubbing pass and of a write that goes to a spare, and again in the start after them.

Each trial begins with the same cells. Afterwards all content is as it was, but for a row whose own write was under way,
and both copies of the spare map are whole and equal. POWERCUT_STEP is the distance between the cycles that are tried.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer
from mram_cases import POWERCUT, powercut_case
from spare_page import Page

from respin.golden.memory.secded import decode
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import Outcome, ReadRow, WriteRequest, WriteStatus
from respin.rtl.mram.upkeep import MemoryState
from respin.sim.banks import Backdoor
from respin.sim.defects import from_integers
from respin.sim.payload import pack, unpack
from respin.sim.runner import seed
from respin.sim.streams import PERIOD_NS, cycles_of, start_clock

ROWS, STEP = POWERCUT.usable_rows, int(os.environ["POWERCUT_STEP"])
LONGEST_START = 400
"""Cycles of a start that rewrites a copy of the map, at most."""


class Trials:
    def __init__(self, dut) -> None:
        self.dut = dut
        self.weights = powercut_case().weights
        self.random = random.Random(seed())
        start_clock(dut)
        backdoor = [f"backdoor_{name}" for name in ("op", "bank", "row", "wdata")]
        upkeep = [f"upkeep__{name}" for name in ("scrub_interval", "march", "errors__ready")]
        for name in (*backdoor, *upkeep, "clear", "read__valid", "write__valid"):
            getattr(dut, name).value = 0
        dut.written__ready.value = dut.rows__ready.value = 1

    async def power_up(self, *operations: Backdoor, cut_after: int | None = None) -> None:
        """Reset, with operations of the backdoor before it ends; wait until the memory is ready or the power is cut."""
        dut = self.dut
        dut.rst.value = 1
        for operation in (*operations, Backdoor.NONE):
            dut.backdoor_op.value = operation
            await cycles_of(dut, 1)
        dut.rst.value = 0
        if cut_after is not None:
            await Timer(cut_after * PERIOD_NS, "ns")
            await self.cut()
            return
        for _ in range(LONGEST_START):
            await RisingEdge(dut.clk)
            if unpack(MemoryState, int(dut.upkeep__state.value))["ready"]:
                return
        raise AssertionError("the memory does not start")

    async def cut(self) -> None:
        dut = self.dut
        dut.upkeep__scrub_interval.value = dut.write__valid.value = 0
        await self.power_up(Backdoor.CUT)

    async def contents(self) -> np.ndarray:
        """All rows, as a read job gives them."""
        dut, rows = self.dut, []
        job = {"base": 0, "count": ROWS, "tiles": 1, "repeats": 1}
        dut.read__payload.value = pack(ReadJob, job)
        dut.read__valid.value = 1
        await RisingEdge(dut.clk)
        while not dut.read__ready.value:
            await RisingEdge(dut.clk)
        dut.read__valid.value = 0
        while len(rows) < ROWS:
            await RisingEdge(dut.rows__valid)
            await RisingEdge(dut.clk)
            row = unpack(ReadRow, int(dut.rows__payload.value))
            rows.append([128] * 32 if row["uncorrectable"] else row["data"])
        return np.array(rows)

    async def pages(self) -> list[Page | None]:
        """Both copies of the map, from the cells."""
        copies = []
        for row in (ROWS, ROWS + 1):
            self.dut.backdoor_row.value = row
            await cycles_of(self.dut, 1)
            columns = from_integers([int(self.dut.backdoor_rdata.value)])
            copies.append(Page.from_bytes(decode(columns).weights.tobytes()))
        return copies

    async def check(self, cycle: int, *, except_row: int | None = None) -> Page:
        """What must hold after a cut; returns the map."""
        state = unpack(MemoryState, int(self.dut.upkeep__state.value))
        wrong = np.flatnonzero((await self.contents() != self.weights).any(axis=1)).tolist()
        assert wrong in ([], [except_row]), f"cut after {cycle} cycles: rows {wrong} are lost"
        first, second = await self.pages()
        assert first is not None, f"cut after {cycle} cycles: copy 0 of the map is torn"
        assert first == second, f"cut after {cycle} cycles: {first}, {second}"
        assert not state["map_failed"]
        return first

    def twice(self, cycle: int) -> int | None:
        """In every other trial the power fails again in the start."""
        return self.random.randrange(1, 200) if cycle // STEP % 2 else None


@cocotb.test()
@cocotb.parametrize(damage=["rows", "map"])
async def scrubbing(dut, damage):
    """A row is repaired in place, one moves to a spare, or a copy of the map is restored: no content ever changes."""
    trials = Trials(dut)
    row, columns = powercut_case().damage[damage]
    dut.backdoor_row.value = row
    dut.backdoor_wdata.value = columns
    begin = (Backdoor.LOAD, Backdoor.POKE)
    await trials.power_up(*begin, Backdoor.RELOAD)
    dut.upkeep__scrub_interval.value = 3
    length = 100
    while int(dut.upkeep__care.value) & 0xFFFFFFFF < POWERCUT.first_spare_row:
        length += 1
        await RisingEdge(dut.clk)
    maps = set()
    for cycle in range(1, length, STEP):
        dut.upkeep__scrub_interval.value = 0
        dut.backdoor_row.value = row
        await trials.power_up(*begin)
        dut.upkeep__scrub_interval.value = 3
        await Timer(cycle * PERIOD_NS, "ns")
        again = trials.twice(cycle)
        if again is None:
            await trials.cut()
        else:
            dut.upkeep__scrub_interval.value = 0
            await trials.power_up(Backdoor.CUT, cut_after=again)
        maps.add((await trials.check(cycle)).rows)
    dut._log.info("%d cycles in steps of %d; maps %s", length, STEP, sorted(map(str, maps)))
    assert len(maps) == (2 if damage == "rows" else 1)


@cocotb.test()
async def a_write_that_goes_to_a_spare(dut):
    """Once it is answered, its content holds; before, every other row does."""
    trials = Trials(dut)
    row = 6
    new = ~trials.weights[row]
    request = pack(WriteRequest, {"kind": 0, "row": row, "data": new.tolist()})
    old = trials.weights[row].copy()
    length, cycle, answered = 10_000, 1, 0
    while cycle < length:
        trials.weights[row] = old
        await trials.power_up(Backdoor.LOAD)
        dut.write__payload.value = request
        dut.write__valid.value = 1
        for waited in range(cycle):
            await RisingEdge(dut.clk)
            if dut.written__valid.value:
                dut.write__valid.value = 0
                assert unpack(WriteStatus, int(dut.written__payload.value))["outcome"] == Outcome.OK.value
                trials.weights[row] = new
                answered += 1
                length = min(length, waited + 30)
                break
        dut.write__valid.value = 0
        again = trials.twice(cycle)
        if again is None:
            await trials.cut()
        else:
            await trials.power_up(Backdoor.CUT, cut_after=again)
        page = await trials.check(cycle, except_row=None if (trials.weights[row] == new).all() else row)
        assert page.rows[0] == 5
        cycle += STEP
    dut._log.info("%d cycles in steps of %d, answered in %d", length, STEP, answered)
    assert answered
