# SPDX-License-Identifier: Apache-2.0
"""Benches of the bank controller on the array model: every row, status, cell and counter equals the golden model's."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from mram_cases import CONFIGS, MAINTAINED, case

from respin.golden.memory import Outcome
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.ports import Counters, ErrorKind, ErrorRecord, ReadRow, WriteKind, WriteRequest, WriteStatus
from respin.sim import tables
from respin.sim.array import Statistics
from respin.sim.banks import Backdoor
from respin.sim.defects import to_integers
from respin.sim.payload import unpack
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = (CONFIGS | MAINTAINED)[os.environ.get("MRAM_CONFIG", "mram_tiny")]
FAULTS = os.environ.get("MRAM_FAULTS", "none")


class Bench:
    """The controller with its drivers and monitors, and the golden model beside it."""

    def __init__(self, dut, *, stall: float = 0.0) -> None:
        self.dut = dut
        self.case = case(CONFIG, FAULTS)
        self.golden = self.case.golden()
        self.random = random.Random(seed())
        start_clock(dut)
        self.jobs = StreamDriver(dut, "read", ReadJob, idle=stall)
        self.rows = StreamMonitor(dut, "rows", ReadRow, stall=stall)
        self.requests = StreamDriver(dut, "write", WriteRequest, idle=stall)
        self.statuses = StreamMonitor(dut, "written", WriteStatus, stall=stall)
        self.board = Scoreboard("memory")
        for name in ("backdoor_op", "backdoor_bank", "backdoor_row", "backdoor_wdata", "clear"):
            getattr(dut, name).value = 0

    async def start(self) -> None:
        self.dut.backdoor_op.value = Backdoor.LOAD
        await reset(self.dut)
        self.dut.backdoor_op.value = Backdoor.RELOAD
        await cycles_of(self.dut, 1)
        self.dut.backdoor_op.value = Backdoor.CLEAR
        await cycles_of(self.dut, 1)
        self.dut.backdoor_op.value = Backdoor.NONE

    def counters(self) -> dict[str, int]:
        return unpack(Counters, int(self.dut.counters.value))

    def error(self, name: str) -> tuple[ErrorKind, int]:
        record = unpack(ErrorRecord, int(getattr(self.dut, name).value))
        return ErrorKind(record["kind"]), record["row"]

    async def quiet(self) -> None:
        while not int(self.dut.idle.value):
            await RisingEdge(self.dut.clk)
        await cycles_of(self.dut, 2)

    async def read(self, base: int, count: int, tiles: int = 1, repeats: int = 1) -> None:
        """A read job, compared row by row."""
        job = {"base": base, "count": count, "tiles": tiles, "repeats": repeats}
        expected = []
        for row in (base + r * count + i for r in range(repeats) for _ in range(tiles) for i in range(count)):
            before = self.golden.counters.uncorrectable
            weights = self.golden.read_rows(np.array([row]))[0]
            expected.append({"data": weights.tolist(), "uncorrectable": self.golden.counters.uncorrectable > before})
        await self.jobs.send(job)
        self.board.check(expected, await self.rows.collect(len(expected)))

    async def write(self, row: int, weights: np.ndarray) -> None:
        result = self.golden.write(row, weights)
        self.requests.put({"kind": WriteKind.WRITE.value, "row": row, "data": weights.tolist()})
        expected = {"outcome": int(result.outcome), "defects": result.defects, "retries": result.retries}
        self.board.check([expected], [await self.statuses.get()])

    async def raw_read(self, row: int) -> None:
        columns = self.golden.raw_read(row)
        self.requests.put({"kind": WriteKind.RAW_READ.value, "row": row})
        await RisingEdge(self.dut.clk)
        while not int(self.dut.written__valid.value):
            await RisingEdge(self.dut.clk)
        shown = int(self.dut.raw_columns.value)
        outcome = (await self.statuses.get())["outcome"]
        if columns is None:
            assert outcome == Outcome.REFUSED
        else:
            self.board.check(to_integers(columns[None]), [shown])

    async def raw_write(self, row: int, columns: np.ndarray, strips: np.ndarray, pulse: int) -> None:
        outcome = self.golden.raw_write(row, columns, strips, pulse)
        codewords = columns.reshape(72, 4).T
        packed = np.packbits(codewords, axis=1, bitorder="little")
        request = {
            "kind": WriteKind.RAW_WRITE.value,
            "row": row,
            "data": packed[:, :8].reshape(-1).view(np.int8).tolist(),
            "check": packed[:, 8].tolist(),
            "mask": int.from_bytes(np.packbits(strips, bitorder="little").tobytes(), "little"),
            "pulse": pulse,
        }
        self.requests.put(request)
        assert (await self.statuses.get())["outcome"] == outcome

    async def check_state(self) -> None:
        """Counters and every cell equal golden's; the macros saw no forbidden command."""
        await self.quiet()
        assert self.counters() == dict(zip(self.counters(), self.golden.counters.words(), strict=True))
        assert not int(self.dut.protocol_error.value)
        strips = commands = 0
        names = list(Statistics.__dataclass_fields__)
        for bank in range(CONFIG.banks):
            self.dut.backdoor_bank.value = bank
            cells = []
            for row in range(CONFIG.mram_rows):
                self.dut.backdoor_row.value = row
                await RisingEdge(self.dut.clk)
                await RisingEdge(self.dut.clk)
                cells.append(int(self.dut.backdoor_rdata.value))
            expected = self.golden.banks[bank].visible(np.arange(CONFIG.mram_rows))
            self.board.check(to_integers(expected), cells)
            words = int(self.dut.statistics.value)
            statistics = {name: words >> 32 * i & 0xFFFFFFFF for i, name in enumerate(names)}
            strips += statistics["strips_pulsed"]
            commands += statistics["commands"]
        found = self.counters()
        assert found["strips_pulsed"] == strips
        assert found["pulses"] + found["raw_reads"] + found["rows_read"] == commands

    def new_content(self, row: int) -> np.ndarray:
        """What a write may bring: the same, a small step of a few weights, anything, extremes."""
        now = self.golden.contents(row, 1)[0]
        step = np.array([self.random.choice((0, 0, 0, -1, 1)) for _ in range(32)])
        anything = np.array([self.random.randrange(-128, 128) for _ in range(32)])
        extreme = np.full(32, self.random.choice((-128, -127, -1, 0, 127)))
        choice = self.random.choice((now, now + step, now + step, anything, extreme))
        return choice.clip(-128, 127).astype(np.int8)


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.6])
async def equals_golden(dut, stall):
    """Any sequence of requests; each waits for the one before, as the golden model does."""
    bench = Bench(dut, stall=stall)
    await bench.start()
    total = CONFIG.total_rows
    for _ in range(120):
        row = bench.random.randrange(total)
        action = bench.random.choice(("read", "read", "write", "write", "write", "write", "raw_read", "raw_write"))
        if action == "read":
            count = bench.random.randint(1, 16)
            repeats = bench.random.randint(1, 2)
            base = bench.random.randint(0, total - repeats * count)
            await bench.read(base, count, bench.random.randint(1, 2), repeats)
        elif action == "write":
            await bench.write(row, bench.new_content(row))
        elif action == "raw_read":
            await bench.raw_read(row)
        else:
            bits = [bench.random.getrandbits(1) for _ in range(288)]
            strips = [bench.random.random() < 0.1 for _ in range(72)]
            columns = np.array(bits, dtype=np.uint8)
            await bench.raw_write(row, columns, np.array(strips, dtype=np.uint8), bench.random.randrange(16))
    await bench.read(0, total)
    await bench.check_state()
    bench.dut._log.info("compared %d values; %s", bench.board.compared, bench.counters())
    if FAULTS == "many":
        found = bench.counters()
        assert all(found[name] for name in ("uncorrectable", "retries", "defects_accepted", "writes_failed")), found


@cocotb.test()
async def the_dead_strip_is_repaired_by_the_code(dut):
    """Rows on it are written with their defects accepted, and read back right, every codeword corrected."""
    bench = Bench(dut)
    await bench.start()
    row = 3 * CONFIG.banks
    for weights in (np.full(32, 85, np.int8), np.full(32, -86, np.int8), bench.case.weights[0]):
        await bench.write(row, weights)
        await bench.read(row, 1, tiles=3)
    await bench.check_state()
    if FAULTS == "some":
        assert bench.counters()["defects_accepted"] > 0


@cocotb.test()
async def requests_out_of_range_are_refused(dut):
    bench = Bench(dut)
    await bench.start()
    total = CONFIG.total_rows
    for row in (total, total + 1, 2**24 - 1):
        await bench.write(row, bench.case.weights[0])
        await bench.raw_read(row)
        assert bench.error("write_error") == (ErrorKind.REFUSED, row)
    await bench.read(total - 1, 1)
    for job in ({"base": total, "count": 1}, {"base": 2**24 - 1, "count": 2**16 - 1}, {"base": 1, "count": total}):
        await bench.jobs.send({"tiles": 1, "repeats": 1, **job})
        await bench.quiet()
        assert bench.error("read_error") == (ErrorKind.REFUSED, job["base"])
        bench.golden.counters.refused += 1
    await bench.jobs.send({"base": 0, "count": 5, "tiles": 0, "repeats": 1})
    await bench.check_state()
    assert len(bench.rows.values) == 1


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.6])
async def reads_and_writes_overlap(dut, stall):
    """Long jobs over rows that nobody writes, writes in between: all rows right, both sides go on to the end."""
    bench = Bench(dut, stall=stall)
    await bench.start()
    total, half = CONFIG.total_rows, CONFIG.total_rows // 2
    tiles = 30
    bench.jobs.put({"base": 0, "count": half, "tiles": tiles, "repeats": 1})
    content = {}
    for number in range(40):
        row = bench.random.randrange(half, total)
        content[row] = bench.new_content(row)
        bench.requests.put({"kind": WriteKind.WRITE.value, "row": row, "data": content[row].tolist()})
        outcome = (await bench.statuses.get(cycles=5000))["outcome"]
        assert outcome == Outcome.OK, number
    finished_first = bench.jobs.accepted and len(bench.rows.values) < tiles * half
    rows = await bench.rows.collect(tiles * half, cycles=40_000)
    expected = [{"data": weights.tolist(), "uncorrectable": 0} for weights in bench.case.weights[:half]]
    bench.board.check(expected * tiles, rows)
    assert finished_first, "the writes waited for the whole read job"
    for row, weights in content.items():
        await bench.jobs.send({"base": row, "count": 1, "tiles": 1, "repeats": 1})
        bench.board.check([{"data": weights.tolist(), "uncorrectable": 0}], [await bench.rows.get()])
    assert not int(dut.protocol_error.value)


@cocotb.test()
async def a_bank_that_does_not_answer_ends_requests(dut):
    """A macro slower than the watchdog looks stuck: requests end with TIMEOUT; once it answers again all is well."""
    bench = Bench(dut)
    await bench.start()
    path = Path(os.environ["MRAM_FOLDER"]) / "table.hex"
    slow = bench.case.table.copy()
    slow[tables.READ_CYCLES] = 3 * CONFIG.watchdog_cycles
    row = CONFIG.banks
    try:
        tables.write_table(slow, path)
        dut.backdoor_op.value = Backdoor.RELOAD
        await cycles_of(dut, 1)
        dut.backdoor_op.value = Backdoor.NONE
        await cycles_of(dut, 1)
    finally:
        tables.write_table(bench.case.table, path)
    bench.requests.put({"kind": WriteKind.WRITE.value, "row": row, "data": [1] * 32})
    assert (await bench.statuses.get())["outcome"] == 4
    await cycles_of(dut, 1)
    assert bench.error("write_error") == (ErrorKind.TIMEOUT, row)
    await bench.jobs.send({"base": row, "count": 2, "tiles": 1, "repeats": 1})
    await bench.quiet()
    assert bench.error("read_error") == (ErrorKind.TIMEOUT, row)
    assert bench.counters()["timeouts"] == 2
    dut.backdoor_op.value = Backdoor.RELOAD
    await cycles_of(dut, 1)
    dut.backdoor_op.value = Backdoor.NONE
    await cycles_of(dut, 4 * CONFIG.watchdog_cycles)
    dut.clear.value = 1
    await cycles_of(dut, 1)
    dut.clear.value = 0
    bench.golden.banks[0].commands = 0
    await bench.read(row, 1)
    await bench.write(row, bench.case.weights[1])
    await bench.quiet()
    assert bench.counters() == dict(zip(bench.counters(), bench.golden.counters.words(), strict=True))
