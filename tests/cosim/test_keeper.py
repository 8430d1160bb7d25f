# SPDX-License-Identifier: Apache-2.0
"""Regions and slots: every procedure, what it refuses, what the guard lets through, and what start-up finds."""

from dataclasses import replace

import numpy as np
import pytest
from region_bench import BACKBONE, CONFIG, CONTENT, OTHER, ROWS, TABLE, TASK, USED, Bench, as_bytes, formatted, virgin
from spare_page import Page

from respin.cli.machine import compiled_machine
from respin.firmware_model.machine import Machine
from respin.firmware_model.memory import Memory, ProcedureError
from respin.golden.memory.secded import decode, encode
from respin.rtl.mram.keeper_ports import EVERYTHING, KeeperError, Procedure
from respin.rtl.mram.ports import Outcome
from respin.rtl.mram.regions import (
    TABLE_STARTS,
    Region,
    RegionError,
    RegionTable,
    SlotHeader,
    SlotState,
    content_crc,
)
from respin.sim.compiled import drive

BLANK = np.zeros((USED, 32), dtype=np.int8)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(compiled_machine(CONFIG))


def test_a_virgin_memory_locks_nothing(bench):
    bench.start(BLANK)
    assert not bench.state().formatted
    assert bench.write(0, CONTENT[0]) is Outcome.OK
    for procedure in (Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK, Procedure.LOCK, Procedure.CHECK):
        assert bench.do(procedure) is KeeperError.UNFORMATTED
    assert bench.do(Procedure.START) is KeeperError.ORDER, "it is for a reset"
    assert bench.do(Procedure.FORMAT) is KeeperError.TABLE, "there is none"


def test_format_seals_both_copies_and_clears_headers(bench):
    bench.start(virgin())
    drive(bench.memory.format(replace(TABLE, sequence=0), scratch=0))
    assert bench.table() == replace(TABLE, sequence=1)
    state = bench.state()
    assert (state.formatted, state.whole, state.committed, state.version) == (True, (), False, 0)
    with pytest.raises(ProcedureError, match="format: ORDER"):
        drive(bench.memory.format(TABLE, scratch=0))
    bench.machine.reset()
    assert bench.state() == state


def _unchecked(*regions: Region) -> RegionTable:
    """A table that a driver would not make."""
    table = RegionTable(regions=(), sequence=TABLE.sequence)
    object.__setattr__(table, "regions", regions)
    return table


def _paired(region: Region) -> Region:
    object.__setattr__(region, "slots", 2)
    return region


@pytest.mark.parametrize(
    "wrong",
    [
        replace(TABLE, regions=tuple(replace(OTHER, start=20 + 8 * i, task=7 + i) for i in range(5))),
        replace(TABLE, regions=(replace(TASK, slot_rows=1),)),
        replace(TABLE, regions=(replace(TASK, start=1 << 30),)),
        replace(TABLE, regions=(replace(TASK, start=CONFIG.usable_rows - 2 * TASK.slot_rows + 1),)),
        _unchecked(BACKBONE, replace(TASK, start=BACKBONE.end - 1)),
        _unchecked(TASK, BACKBONE),
        _unchecked(BACKBONE, TASK, _paired(replace(BACKBONE, start=TASK.end))),
    ],
    ids=[
        "too many regions", "no content", "no such row", "past the last row", "one in another", "out of order",
        "two slots of a backbone",
    ],
)
def test_format_refuses_a_table_that_does_not_fit(bench, wrong):
    array = BLANK.copy()
    array[: len(wrong.encode())] = [np.frombuffer(row, dtype=np.int8) for row in wrong.encode()]
    array[7, -1] ^= 1  # unsealed
    bench.start(array)
    assert bench.do(Procedure.FORMAT) is KeeperError.TABLE
    assert not bench.state().formatted


def test_a_driver_says_what_does_not_fit(bench):
    bench.start(BLANK)
    with pytest.raises(RegionError, match="the memory has 2044"):
        drive(bench.memory.format(replace(TABLE, regions=(replace(TASK, start=1 << 20),)), scratch=0))
    many = RegionTable(regions=tuple(replace(OTHER, start=20 + 8 * number, task=number) for number in range(5)))
    with pytest.raises(RegionError, match="the table has 5 regions, the machine keeps 4 apart"):
        drive(bench.memory.format(many, scratch=0))
    with pytest.raises(ValueError, match="region must be in 0..15, not 16"):
        drive(bench.memory.lock(16))
    without = Machine(replace(CONFIG, regions=0), bench.machine)
    with pytest.raises(ValueError, match="the machine must have regions, and its configuration says 0"):
        Memory(without)


def test_a_march_test_needs_a_memory_without_a_table(bench):
    """It would overwrite what is locked."""

    def march() -> int:
        drive(bench.memory.machine.write_fields("CONTROL", "march"))
        return drive(bench.memory.machine.read_field("UPKEEP_STATE", "marching"))

    bench.start(formatted())
    assert not march()
    assert bench.holds(BACKBONE, 0, CONTENT[0])
    bench.start(BLANK)
    assert march()


def test_training_commits_and_rolls_back(bench):
    array = formatted()
    array[TASK.start : TASK.end] = 0
    bench.start(array)
    first = TASK.start + 1
    assert bench.write(first, CONTENT[1]) is Outcome.LOCKED, "training has not begun"
    assert bench.do(Procedure.COMMIT) is KeeperError.ORDER
    assert bench.do(Procedure.ROLLBACK) is KeeperError.CONTENT, "there is no version"
    for number in (1, 2, 3):
        assert bench.do(Procedure.BEGIN) is KeeperError.NONE
        assert bench.do(Procedure.BEGIN) is KeeperError.ORDER
        assert bench.do(Procedure.ACTIVATE, 2) is KeeperError.ORDER
        slot = bench.state().slot
        if number > 1:
            assert bench.holds(TASK, slot, CONTENT[number - 1])
        assert bench.write(first, CONTENT[number]) is Outcome.OK
        assert bench.holds(TASK, slot, CONTENT[number])
        assert bench.write(TASK.start, CONTENT[0, :1]) is Outcome.LOCKED, "the header"
        assert bench.write(TASK.slot_start(1) + 1, CONTENT[0]) is Outcome.LOCKED, "no row of a job"
        assert bench.do(Procedure.COMMIT) is KeeperError.NONE
        assert bench.task() == (number, number)
        assert bench.write(first, CONTENT[0]) is Outcome.LOCKED
        assert bench.do(Procedure.CHECK, 1) is KeeperError.NONE
    header = decode(bench.machine.cells()[TASK.slot_start(1)][None]).weights[0].tobytes()
    assert SlotHeader.decode(header) == SlotHeader(
        version=2, state=SlotState.COMMITTED, content_rows=ROWS, content_crc=content_crc(as_bytes(CONTENT[2])), task=7
    )
    # What is not committed is dropped, by a rollback and by a reset.
    for drop in (lambda: bench.do(Procedure.ROLLBACK), bench.machine.reset):
        assert bench.do(Procedure.BEGIN) is KeeperError.NONE
        assert bench.write(first, CONTENT[0]) is Outcome.OK
        drop()
        assert (bench.task(), bench.state().training) == ((3, 3), False)
        assert bench.do(Procedure.ROLLBACK) is KeeperError.CONTENT, "its slot was trained"
    assert bench.do(Procedure.BEGIN) is KeeperError.NONE
    assert bench.write(first, CONTENT[2]) is Outcome.OK
    assert bench.do(Procedure.COMMIT) is KeeperError.NONE
    assert bench.task() == (4, 2)
    assert bench.do(Procedure.ROLLBACK) is KeeperError.NONE
    assert bench.task() == (3, 3)
    bench.machine.reset()
    assert bench.task() == (3, 3)


def test_locks(bench):
    array = formatted()
    for start in TABLE_STARTS:
        rows = replace(TABLE, regions=(replace(BACKBONE, locked=False), TASK, OTHER)).encode()
        array[start : start + len(rows)] = [np.frombuffer(row, dtype=np.int8) for row in rows]
    bench.start(array)
    drive(bench.memory.machine.write_fields("CONTROL", "clear_counters"))
    for row in (0, TABLE_STARTS[1], BACKBONE.start):
        assert bench.write(row, CONTENT[0, :1]) is Outcome.LOCKED
    assert bench.write(BACKBONE.start + 1, CONTENT[3]) is Outcome.OK
    assert bench.write(USED, CONTENT[0]) is Outcome.OK, "rows of no region"
    assert bench.do(Procedure.CHECK, 0) is KeeperError.CONTENT, "it was written after it was sealed"
    assert bench.do(Procedure.LOCK, 0) is KeeperError.NONE
    assert bench.state().whole == (0, 1, 2)
    assert bench.write(BACKBONE.start + 1, CONTENT[0]) is Outcome.LOCKED
    assert bench.holds(BACKBONE, 0, CONTENT[3])
    assert bench.do(Procedure.LOCK, 0) is KeeperError.LOCKED
    assert bench.do(Procedure.LOCK, 3) is KeeperError.REGION
    assert bench.do(Procedure.ACTIVATE, 0) is KeeperError.REGION
    assert bench.do(Procedure.BEGIN) is KeeperError.NONE
    assert bench.do(Procedure.LOCK, 1) is KeeperError.ORDER, "it is trained"
    assert bench.do(Procedure.COMMIT) is KeeperError.NONE
    assert bench.do(Procedure.LOCK, 1) is KeeperError.NONE
    assert bench.do(Procedure.BEGIN) is KeeperError.LOCKED
    assert bench.do(Procedure.ERASE, 0) is KeeperError.LOCKED
    assert drive(bench.memory.machine.read("WRITES_LOCKED")) == 4
    assert bench.task() == (3, 2)
    table = bench.table()
    assert table.sequence == TABLE.sequence + 2
    flags = [(region.locked, region.finished) for region in table.regions]
    assert flags == [(True, False), (True, True), (False, False)]
    assert bench.do(Procedure.ACTIVATE, 2) is KeeperError.NONE
    assert bench.state().version == 3
    assert bench.do(Procedure.BEGIN) is KeeperError.NONE
    assert bench.write(OTHER.start + 1, CONTENT[0]) is Outcome.OK
    assert bench.write(TASK.start + 1, CONTENT[0]) is Outcome.LOCKED


@pytest.mark.parametrize("slot", [0, 1])
def test_damaged_content_is_found(bench, slot):
    """A row that is whole to its code and is not what was committed."""
    array = formatted()
    damaged = TASK.slot_start(slot) + ROWS
    array[damaged, 5] += 1
    bench.start(array)
    assert bench.task() == ((2, 2) if slot == 0 else (1, 1))
    bench.start(formatted())
    bench.machine.put_cells_without_writing(damaged, encode(array[damaged][None]))
    bad = slot == 1
    assert bench.do(Procedure.CHECK, 1) is (KeeperError.CONTENT if bad else KeeperError.NONE)
    assert bench.do(Procedure.ROLLBACK) is (KeeperError.NONE if bad else KeeperError.CONTENT)
    assert bench.task() == ((1, 1) if bad else (2, 2))
    bench.start(formatted())
    bench.machine.put_cells_without_writing(damaged, encode(array[damaged][None]))
    assert bench.do(Procedure.BEGIN) is (KeeperError.CONTENT if bad else KeeperError.NONE)


def test_a_row_beyond_correction(bench):
    bench.start(formatted())
    row = TASK.slot_start(1) + 1
    cells = bench.machine.cells()[row][None].copy()
    cells[0, [0, 4]] ^= 1  # two bits of one codeword
    bench.machine.put_cells_without_writing(row, cells)
    with pytest.raises(ProcedureError, match=f"begin: ROW, row {row}"):
        drive(bench.memory.begin())
    assert not bench.state().training


@pytest.mark.parametrize("copy", [0, 1])
def test_one_copy_of_the_table_is_enough(bench, copy):
    array = formatted()
    array[TABLE_STARTS[copy] + 3, 9] ^= 1
    bench.start(array)
    assert bench.task() == (2, 2)
    drive(bench.memory.activate(2))
    assert bench.table().active_task == OTHER.task
    array[TABLE_STARTS[1 - copy] + 3, 9] ^= 1
    bench.start(array)
    assert not bench.state().formatted


def test_the_newer_copy_holds(bench):
    for copy in (0, 1):
        array = formatted()
        newer = RegionTable(regions=TABLE.regions, sequence=TABLE.sequence + 1, active_task=OTHER.task).encode()
        array[TABLE_STARTS[copy] : TABLE_STARTS[copy] + len(newer)] = [np.frombuffer(row, np.int8) for row in newer]
        bench.start(array)
        assert bench.state().version == 3


def test_erase_reaches_what_spares_have_replaced(bench):
    """A region's rows as they lay before a spare took them, and as the spare has them; a failed spare with the rest."""
    first = CONFIG.first_spare_row
    page = Page(rows=(BACKBONE.start + 1, OTHER.start + 1, *[None] * 6), bad=frozenset({1}), sequence=1).to_bytes()
    array = formatted()
    stale, left = CONTENT[1, :1], CONTENT[2, :1]

    def lies(row: int, weights: np.ndarray) -> bool:
        return bool((decode(bench.machine.cells()[row][None]).weights == weights).all())

    def prepare(_: Bench) -> None:
        held = array[BACKBONE.start + 1][None]
        for row, weights in ((BACKBONE.start + 1, stale), (first, held), (first + 1, left)):
            bench.machine.put_cells_without_writing(row, encode(weights))
        for copy in range(2):
            bench.machine.put_cells_without_writing(CONFIG.usable_rows + copy, encode(_row(page)))
        bench.machine.reset()
        assert bench.state().whole == (0, 1, 2), "the spare's content counts"

    bench.start(array, prepare)
    drive(bench.memory.unlock_erase())
    drive(bench.memory.erase(1))
    assert lies(BACKBONE.start + 1, stale), "it is another region's"
    drive(bench.memory.erase(0))
    cells = bench.machine.cells()
    assert not cells[BACKBONE.start : BACKBONE.end].any()
    assert not cells[first].any()
    assert lies(first + 1, left)
    assert bench.state().whole == (2,)
    drive(bench.memory.erase(2))
    assert not bench.machine.cells()[first + 1].any(), "it was to be a row's of this region"

    bench.start(array, prepare)
    drive(bench.memory.unlock_erase())
    drive(bench.memory.erase())
    cells = bench.machine.cells()
    assert not cells[: CONFIG.usable_rows].any()
    assert not cells[first:].any()
    assert all(lies(CONFIG.usable_rows + copy, _row(page)) for copy in range(2)), "spares stay where they are"
    assert not bench.state().formatted
    for row in range(CONFIG.usable_rows, CONFIG.total_rows):
        bench.machine.put_cells_without_writing(row, encode(BLANK[:1]))


def _row(content: bytes) -> np.ndarray:
    """A row's bytes as weights (1, 32)."""
    return np.frombuffer(content, dtype=np.int8)[None]


def test_secure_erase(bench):
    bench.start(formatted())
    bench.write(USED, CONTENT[0])
    drive(bench.memory.unlock_erase())
    with pytest.raises(ProcedureError, match="erase: LOCKED"):
        drive(bench.memory.erase(0))  # a program came before the key
    bench.start(formatted())
    drive(bench.memory.unlock_erase())
    drive(bench.memory.erase(0))
    assert not bench.machine.cells()[BACKBONE.start : BACKBONE.end].any()
    assert bench.state().whole == (1, 2)
    assert bench.task() == (2, 2)
    assert bench.state().unlocked
    assert bench.write(BACKBONE.start + 1, CONTENT[0]) is Outcome.OK, "it is no longer locked"
    assert not bench.state().unlocked, "a program has started"

    bench.start(formatted())
    bench.machine.put_cells_without_writing(USED, encode(CONTENT[0]))
    drive(bench.memory.unlock_erase())
    drive(bench.memory.erase())
    assert not bench.machine.cells().any()
    assert not bench.state().formatted
    assert bench.do(Procedure.ERASE, EVERYTHING) is KeeperError.NONE
