# SPDX-License-Identifier: Apache-2.0
"""Benches of the maintained memory: remapping, scrubbing, march test and start, cell by cell as golden's."""

import cocotb
import numpy as np
from cocotb.triggers import ReadOnly, RisingEdge
from tb_mram import CONFIG, FAULTS, Bench

from respin.golden.memory import Outcome
from respin.rtl.mram.ports import ErrorKind, ErrorRecord
from respin.rtl.mram.upkeep import CareCounters, MemoryState
from respin.sim.banks import Backdoor
from respin.sim.defects import to_integers
from respin.sim.payload import unpack
from respin.sim.streams import cycles_of

ROWS = CONFIG.usable_rows
SCRUB_INTERVAL = 600
"""Cycles in which the scrubber is done with any row, so that it stops where it is told to."""


class MemoryBench(Bench):
    """The memory; its own commands at the start are not in its counters."""

    async def start(self) -> None:
        dut = self.dut
        for name in ("scrub_interval", "march", "errors__ready"):
            getattr(dut, f"upkeep__{name}").value = 0
        dut.bare.value = 0
        await self.power_up(Backdoor.LOAD, Backdoor.RELOAD, Backdoor.CLEAR)

    async def power_up(self, *operations: Backdoor) -> None:
        """Reset, with operations of the bench's backdoor before it ends; then wait until the memory is ready."""
        dut = self.dut
        dut.rst.value = 1
        for operation in (*operations, Backdoor.NONE):
            dut.backdoor_op.value = operation
            await cycles_of(dut, 1)
        dut.rst.value = 0
        self.golden.start()
        while not self.state()["ready"]:
            await RisingEdge(dut.clk)
        await cycles_of(dut, 1)

    def state(self) -> dict[str, int]:
        return unpack(MemoryState, int(self.dut.upkeep__state.value))

    def care(self) -> dict[str, int]:
        return unpack(CareCounters, int(self.dut.upkeep__care.value))

    async def errors(self) -> list[tuple[ErrorKind, int]]:
        """Take all errors out of the log."""
        found = []
        while int(self.dut.upkeep__errors__valid.value):
            record = unpack(ErrorRecord, int(self.dut.upkeep__errors__payload.value))
            found.append((ErrorKind(record["kind"]), record["row"]))
            self.dut.upkeep__errors__ready.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.upkeep__errors__ready.value = 0
            await RisingEdge(self.dut.clk)
        return found

    async def check_cells(self) -> None:
        await self.quiet()
        for bank in range(CONFIG.banks):
            self.dut.backdoor_bank.value = bank
            cells = []
            for row in range(CONFIG.mram_rows):
                self.dut.backdoor_row.value = row
                await ReadOnly()
                cells.append(int(self.dut.backdoor_rdata.value))
                await RisingEdge(self.dut.clk)
            expected = self.golden.banks[bank].visible(np.arange(CONFIG.mram_rows))
            self.board.check(to_integers(expected), cells)

    async def check_state(self) -> None:
        await self.check_cells()
        assert self.counters() == dict(zip(self.counters(), self.golden.counters.words(), strict=True))
        spares = self.golden.spares
        assert self.state()["spares_left"] == spares.entries.count(0)
        assert self.state()["map_failed"] == spares.failed
        assert not int(self.dut.protocol_error.value)


@cocotb.test()
async def equals_golden(dut):
    """Any sequence of requests, and power-ups between them."""
    bench = MemoryBench(dut, stall=0.3)
    await bench.start()
    for number in range(100):
        row = bench.random.choice((5 * CONFIG.banks, bench.random.randrange(ROWS)))
        action = bench.random.choice(("read", "write", "write", "write", "raw_read", "start"))
        if action == "read":
            count = bench.random.randint(1, min(16, ROWS))
            await bench.read(bench.random.randint(0, ROWS - count), count)
        elif action == "write":
            await bench.write(row, bench.new_content(row))
        elif action == "raw_read":
            await bench.raw_read(row)
        elif number % 3 == 0:
            await bench.quiet()
            counted = bench.golden.counters
            bench.golden.cut_power(busy=[False] * CONFIG.banks)
            await bench.power_up(Backdoor.CUT)
            bench.golden.counters = type(counted)()
    await bench.read(0, ROWS)
    await bench.check_state()
    spares = bench.golden.spares
    if FAULTS == "rows":
        assert any(entry >> 22 & 1 for entry in spares.entries), "no row was remapped"


@cocotb.test()
async def scrubs_as_golden(dut):
    """Ageing between passes; rows are read one after the other, repaired in place or moved."""
    bench = MemoryBench(dut)
    await bench.start()
    chosen = np.random.default_rng(bench.random.randrange(1 << 30))
    for _ in range(2):
        for row in range(CONFIG.first_spare_row):
            # Wrong columns on one strip, on several, in one codeword: what a scrubber may meet.
            bank, local = row % CONFIG.banks, bench.golden.spares.place(row) // CONFIG.banks
            cells = bench.golden.banks[bank].cells
            columns = [[], [4 * 7 + 1], [8, 9, 10, 11], [4 * 3, 4 * 9 + 1], [4 * 3, 4 * 9]][chosen.integers(5)]
            cells[local, columns] ^= 1
            dut.backdoor_bank.value = bank
            dut.backdoor_row.value = local
            dut.backdoor_wdata.value = to_integers(cells[local][None])[0]
            dut.backdoor_op.value = Backdoor.POKE
            await cycles_of(dut, 1)
            dut.backdoor_op.value = Backdoor.NONE
        before = bench.care()["rows_scrubbed"]
        dut.upkeep__scrub_interval.value = SCRUB_INTERVAL
        while bench.care()["rows_scrubbed"] != before + CONFIG.first_spare_row:
            await RisingEdge(dut.clk)
        dut.upkeep__scrub_interval.value = 0
        for row in range(CONFIG.first_spare_row):
            bench.golden.scrub(row)
        await cycles_of(dut, SCRUB_INTERVAL)
        await bench.check_state()
    care = bench.care()
    assert care["rows_repaired"]
    assert care["rows_remapped"]


@cocotb.test()
async def marches_as_golden(dut):
    """Rows that fail the test go to spares; the log names the defects; all rows are 0 in the end."""
    bench = MemoryBench(dut)
    await bench.start()
    dut.upkeep__march.value = 1
    await cycles_of(dut, 1)
    dut.upkeep__march.value = 0
    await cycles_of(dut, 1)
    assert bench.state()["marching"]
    while bench.state()["marching"]:
        await RisingEdge(dut.clk)
    bench.golden.march()
    await bench.check_state()
    found = await bench.errors()
    if FAULTS == "none":
        assert not found
        assert not bench.golden.contents(0, ROWS).any()
    else:
        assert {kind for kind, _ in found} >= {ErrorKind.DEFECT, ErrorKind.REMAPPED}


@cocotb.test()
async def rows_past_the_content_are_refused(dut):
    bench = MemoryBench(dut)
    await bench.start()
    for row in (ROWS, CONFIG.first_spare_row, CONFIG.total_rows - 1):
        await bench.write(row, bench.case.weights[0])
        await cycles_of(dut, 2)
        assert (await bench.errors())[-1:] == [(ErrorKind.REFUSED, row)]
        await bench.jobs.send({"base": row, "count": 1, "tiles": 1, "repeats": 1})
        await bench.quiet()
        bench.golden.counters.refused += 1
    await bench.write(ROWS - 1, bench.case.weights[0])
    await bench.check_state()


@cocotb.test()
async def the_log_overflows(dut):
    bench = MemoryBench(dut)
    await bench.start()
    await bench.errors()
    for row in range(20):
        bench.requests.put({"row": CONFIG.total_rows + row, "kind": 0})
        assert (await bench.statuses.get())["outcome"] == Outcome.REFUSED
    await cycles_of(dut, 2)
    assert int(dut.upkeep__overflow.value)
    assert await bench.errors() == [(ErrorKind.REFUSED, CONFIG.total_rows + row) for row in range(16)]
    dut.clear.value = 1
    await cycles_of(dut, 1)
    dut.clear.value = 0
    await cycles_of(dut, 1)
    assert not int(dut.upkeep__overflow.value)
