# SPDX-License-Identifier: Apache-2.0
"""Regions and slots: every procedure, what it refuses, what the guard lets through, and what start-up finds."""

import random
from dataclasses import replace
from functools import cache

import pytest
from keeper_bench import Host, KeeperBench
from mram_bench import SEED

from respin.rtl.mram.keeper_ports import EVERYTHING, KeeperError, Procedure
from respin.rtl.mram.ports import Outcome
from respin.rtl.mram.regions import (
    FIRST_REGION_ROW,
    TABLE_ROWS,
    TABLE_STARTS,
    Region,
    RegionKind,
    RegionTable,
    SlotHeader,
    SlotState,
    content_crc,
)

ROWS = 3
"""Content rows of a slot."""
BACKBONE = Region(kind=RegionKind.BACKBONE, start=FIRST_REGION_ROW, slot_rows=1 + ROWS)
TASK = Region(kind=RegionKind.TASK, start=BACKBONE.end + 1, slot_rows=1 + ROWS, slots=2, task=7)
OTHER = Region(kind=RegionKind.TASK, start=TASK.end, slot_rows=1 + ROWS, slots=2, task=8)
TABLE = RegionTable(regions=(BACKBONE, TASK, OTHER), sequence=0, active_task=7)
RNG = random.Random(SEED)


def content() -> list[bytes]:
    return [RNG.randbytes(32) for _ in range(ROWS)]


async def fill(host: Host, region: Region, rows: list[bytes]) -> set[Outcome]:
    return {await host.write(region.start + 1 + at, row) for at, row in enumerate(rows)}


async def rows_of(host: Host, region: Region) -> list[bytes]:
    return [await host.read(region.start + 1 + at) for at in range(ROWS)]


async def header(host: Host, region: Region, slot: int) -> SlotHeader:
    """The header that a slot has."""
    return SlotHeader.decode(await host.read(region.slot_start(slot)))


@cache
def formatted_cells() -> dict[int, int]:
    """Cells after FORMAT."""
    bench = KeeperBench()
    bench.stage(TABLE)

    async def form(host: Host) -> None:
        await host.ready()
        assert not host.get(host.keeper.regions.formatted)
        assert await host.do(Procedure.FORMAT) is KeeperError.NONE
        assert host.get(host.keeper.regions.formatted)

    bench.run(form)
    return bench.cells[0]


def formatted() -> KeeperBench:
    bench = KeeperBench()
    bench.cells[0].update(formatted_cells())
    return bench


def test_a_virgin_memory_locks_nothing() -> None:
    bench = KeeperBench()

    async def run(host: Host) -> None:
        await host.ready()
        assert await host.write(0, b"\7" * 32) is Outcome.OK
        assert await host.read(0) == b"\7" * 32
        for procedure in (Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK, Procedure.LOCK, Procedure.CHECK):
            assert await host.do(procedure) is KeeperError.UNFORMATTED
        assert await host.do(Procedure.START) is KeeperError.ORDER
        assert await host.do(Procedure.FORMAT) is KeeperError.TABLE, "there is none"

    bench.run(run)


def test_format_seals_both_copies() -> None:
    bench = formatted()

    async def look(host: Host) -> None:
        await host.ready()
        copies = [[await host.read(first + at) for at in range(TABLE_ROWS)] for first in TABLE_STARTS]
        assert copies[0] == copies[1] == replace(TABLE, sequence=1).encode()
        assert await host.do(Procedure.FORMAT) is KeeperError.ORDER
        assert host.get(host.keeper.whole) == 0
        assert host.get(host.keeper.version) == host.get(host.keeper.committed) == 0

    bench.run(look)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(TABLE, regions=tuple(replace(OTHER, start=20 + 8 * i, task=7 + i) for i in range(5))),
        replace(TABLE, regions=(replace(TASK, start=57),)),
        replace(TABLE, regions=(replace(TASK, slot_rows=1),)),
        replace(TABLE, regions=(replace(TASK, start=1 << 30),)),
    ],
    ids=["too many regions", "past the last row", "no content", "no such row"],
)
def test_format_refuses_a_table_that_does_not_fit(wrong: RegionTable) -> None:
    bench = KeeperBench()
    bench.stage(wrong)

    async def form(host: Host) -> None:
        await host.ready()
        assert await host.do(Procedure.FORMAT) is KeeperError.TABLE
        assert not host.get(host.keeper.regions.formatted)

    bench.run(form)


def test_training_commits_and_rolls_back() -> None:
    bench, versions = formatted(), [content() for _ in range(4)]

    async def train(host: Host) -> None:
        await host.ready()
        keeper = host.keeper
        assert await fill(host, TASK, versions[0]) == {Outcome.LOCKED}, "training has not begun"
        assert await host.do(Procedure.COMMIT) is KeeperError.ORDER
        assert await host.do(Procedure.ROLLBACK) is KeeperError.CONTENT, "there is no version"
        for number, rows in enumerate(versions[:3]):
            assert await host.do(Procedure.BEGIN) is KeeperError.NONE
            assert await host.do(Procedure.BEGIN) is KeeperError.ORDER
            if number:
                assert await rows_of(host, TASK) == versions[number - 1]
            assert await fill(host, TASK, rows) == {Outcome.OK}
            assert await host.write(TASK.start, rows[0]) is Outcome.LOCKED, "the header"
            assert await host.write(TASK.slot_start(1) + 1, rows[0]) is Outcome.LOCKED, "no row of a job"
            assert await host.do(Procedure.COMMIT) is KeeperError.NONE
            assert await rows_of(host, TASK) == rows
            assert (host.get(keeper.version), host.get(keeper.regions.slot)) == (number + 1, number % 2)
            assert await host.do(Procedure.CHECK, 1) is KeeperError.NONE
        assert await header(host, TASK, 1) == SlotHeader(
            version=2, state=SlotState.COMMITTED, content_rows=ROWS, content_crc=content_crc(versions[1]), task=7
        )
        # What is not committed is dropped.
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, versions[3]) == {Outcome.OK}
        assert await host.do(Procedure.ROLLBACK) is KeeperError.NONE
        assert await rows_of(host, TASK) == versions[2]
        assert await host.do(Procedure.ROLLBACK) is KeeperError.CONTENT, "its slot was trained"
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await host.do(Procedure.COMMIT) is KeeperError.NONE
        assert await fill(host, TASK, versions[3]) == {Outcome.LOCKED}

    async def again(host: Host) -> None:
        await host.ready()
        assert host.get(host.keeper.version) == 4
        assert host.get(host.keeper.whole) == 0b010
        assert await rows_of(host, TASK) == versions[2]
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, versions[3]) == {Outcome.OK}
        assert await host.do(Procedure.COMMIT) is KeeperError.NONE
        assert await host.do(Procedure.ROLLBACK) is KeeperError.NONE
        assert (host.get(host.keeper.version), await rows_of(host, TASK)) == (4, versions[2])
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, versions[1]) == {Outcome.OK}

    async def after_a_cut(host: Host) -> None:
        await host.ready()
        assert not host.get(host.keeper.regions.training)
        assert (host.get(host.keeper.version), await rows_of(host, TASK)) == (4, versions[2])

    for part in (train, again, after_a_cut):
        bench.run(part)


def test_a_locked_region_can_be_read_and_no_more() -> None:
    bench, rows, task_rows = formatted(), content(), content()

    async def lock(host: Host) -> None:
        await host.ready()
        assert await fill(host, BACKBONE, rows) == {Outcome.OK}
        for row in (0, TABLE_STARTS[1], BACKBONE.start):
            assert await host.write(row, rows[0]) is Outcome.LOCKED
        assert await host.write(BACKBONE.end, rows[0]) is Outcome.OK, "a row of no region"
        assert await host.do(Procedure.LOCK, 0) is KeeperError.NONE
        assert await fill(host, BACKBONE, task_rows) == {Outcome.LOCKED}
        assert await host.do(Procedure.LOCK, 0) is KeeperError.LOCKED
        assert await host.do(Procedure.LOCK, 1) is KeeperError.CONTENT, "nothing is committed"
        assert await host.do(Procedure.LOCK, 3) is KeeperError.REGION
        assert await host.do(Procedure.ACTIVATE, 0) is KeeperError.REGION
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, task_rows) == {Outcome.OK}
        assert await host.do(Procedure.LOCK, 1) is KeeperError.ORDER, "it is trained"
        assert await host.do(Procedure.COMMIT) is KeeperError.NONE
        assert await host.do(Procedure.LOCK, 1) is KeeperError.NONE
        assert await host.do(Procedure.BEGIN) is KeeperError.LOCKED
        assert await host.do(Procedure.ERASE, 0) is KeeperError.LOCKED
        assert host.get(host.dut.guard.refusals) == 3 + ROWS

    async def look(host: Host) -> None:
        await host.ready()
        assert host.get(host.keeper.whole) == 0b011
        table = RegionTable.decode([await host.read(at) for at in range(TABLE_ROWS)])
        assert table.sequence == 3
        assert [(region.locked, region.finished) for region in table.regions] == [
            (True, False), (True, True), (False, False)
        ]  # fmt: skip
        assert await rows_of(host, BACKBONE) == rows
        assert await rows_of(host, TASK) == task_rows
        assert await host.do(Procedure.ACTIVATE, 2) is KeeperError.NONE
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, OTHER, rows) == {Outcome.OK}
        assert await fill(host, TASK, rows) == {Outcome.LOCKED}

    bench.run(lock)
    bench.run(look)


def test_damage_is_found() -> None:
    bench, rows = formatted(), content()

    async def make(host: Host) -> None:
        await host.ready()
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, rows) == {Outcome.OK}
        assert await host.do(Procedure.COMMIT) is KeeperError.NONE
        assert await fill(host, BACKBONE, rows) == {Outcome.OK}
        assert await host.do(Procedure.LOCK, 0) is KeeperError.NONE
        # Three wrong bits of a codeword that its code takes for one, as far as rows go: valid rows of other content.
        bench.put(TASK.start + 2, bytes(32))
        assert await host.do(Procedure.CHECK, 1) is KeeperError.CONTENT
        assert await host.do(Procedure.BEGIN) is KeeperError.CONTENT
        assert await host.do(Procedure.CHECK, 0) is KeeperError.NONE

    async def start(host: Host) -> None:
        await host.ready()
        assert host.get(host.keeper.whole) == 0b001
        assert not host.get(host.keeper.committed)

    bench.run(make)
    bench.put(TABLE_STARTS[1] + 5, bytes(31) + b"\1")
    bench.run(start)


def test_secure_erase() -> None:
    bench, rows = formatted(), content()

    async def erase(host: Host) -> None:
        await host.ready()
        assert await fill(host, BACKBONE, rows) == {Outcome.OK}
        assert await host.do(Procedure.LOCK, 0) is KeeperError.NONE
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE
        assert await fill(host, TASK, rows) == {Outcome.OK}
        assert await host.do(Procedure.COMMIT) is KeeperError.NONE
        host.ctx.set(host.keeper.unlocked, 1)
        assert await host.do(Procedure.ERASE, 0) is KeeperError.NONE
        assert not any(bench.cells[0][row] for row in range(BACKBONE.start, BACKBONE.end))
        assert await rows_of(host, TASK) == rows
        assert host.get(host.keeper.whole) == 0b010
        assert await fill(host, BACKBONE, rows) == {Outcome.OK}, "it is no longer locked"
        assert await host.do(Procedure.ERASE, EVERYTHING) is KeeperError.NONE
        assert not any(bench.cells[0].values())
        assert not host.get(host.keeper.regions.formatted)

    bench.run(erase)


def test_a_memory_that_does_not_answer() -> None:
    """A procedure ends with an error, and the next one runs."""
    bench = formatted()

    async def run(host: Host) -> None:
        await host.ready()
        bench.banks[0].jam = True
        assert await host.do(Procedure.BEGIN) is KeeperError.TABLE
        bench.banks[0].jam = False
        assert await host.do(Procedure.BEGIN) is KeeperError.NONE

    bench.run(run)
