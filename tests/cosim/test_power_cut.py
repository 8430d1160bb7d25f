# SPDX-License-Identifier: Apache-2.0
"""Power goes in a cycle of a procedure on regions and slots: start-up finds the old state or the new one.

The default tests cut in some cycles; ``./nox -s powercut`` in every one (``--every-cycle``).
"""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from respin.cli.machine import compiled_machine
from respin.firmware_model.machine import Machine
from respin.firmware_model.memory import Memory, MemoryState
from respin.golden.memory.secded import decode, encode
from respin.rtl.config import preset
from respin.rtl.mram.keeper_ports import KeeperError, Procedure
from respin.rtl.mram.regions import (
    FIRST_REGION_ROW,
    TABLE_ROWS,
    TABLE_STARTS,
    Region,
    RegionError,
    RegionKind,
    RegionTable,
    SlotHeader,
    SlotState,
    content_crc,
)
from respin.sim.compiled import CompiledMachine, drive
from respin.sim.runner import seed

CONFIG = preset("tiny")
ROWS = 2
"""Content rows of a slot."""
CUTS = 12
"""Cycles that power is cut in, of each procedure, in the default tests."""
GOES_ON = 5
"""After each of as many cuts a training is begun and committed."""
BACKBONE = Region(kind=RegionKind.BACKBONE, start=FIRST_REGION_ROW, slot_rows=1 + ROWS, locked=True)
TASK = Region(kind=RegionKind.TASK, start=BACKBONE.end, slot_rows=1 + ROWS, slots=2, task=7)
OTHER = Region(kind=RegionKind.TASK, start=TASK.end, slot_rows=1 + ROWS, slots=2, task=9)
TABLE = RegionTable(regions=(BACKBONE, TASK, OTHER), sequence=4, active_task=7)
USED = OTHER.end
RNG = np.random.default_rng(seed())
CONTENT = RNG.integers(-128, 128, (5, ROWS, 32), dtype=np.int8)
"""What the backbone holds, versions 1 and 2 of the task, what its working slot holds, and the other task."""


def _bytes(rows: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in rows]


def _slot(array: np.ndarray, region: Region, slot: int, version: int, rows: np.ndarray) -> None:
    """Put a committed slot into an array of rows."""
    header = SlotHeader(
        version=version, state=SlotState.COMMITTED, content_rows=ROWS, content_crc=content_crc(_bytes(rows)),
        task=region.task,
    )  # fmt: skip
    first = region.slot_start(slot)
    array[first] = np.frombuffer(header.encode(), dtype=np.int8)
    array[first + 1 : first + 1 + ROWS] = rows


def formatted() -> np.ndarray:
    """Rows of a memory with a backbone, two versions of the active task, and one of another."""
    array = np.zeros((USED, 32), dtype=np.int8)
    for start in TABLE_STARTS:
        array[start : start + TABLE_ROWS] = [np.frombuffer(row, dtype=np.int8) for row in TABLE.encode()]
    _slot(array, BACKBONE, 0, 1, CONTENT[0])
    _slot(array, TASK, 0, 1, CONTENT[1])
    _slot(array, TASK, 1, 2, CONTENT[2])
    _slot(array, OTHER, 0, 3, CONTENT[4])
    return array


def virgin() -> np.ndarray:
    """Rows of a memory whose first copy of the table is staged; what lies there otherwise was another memory's."""
    array = formatted()
    array[TABLE_STARTS[1] : TABLE_STARTS[1] + TABLE_ROWS] = CONTENT[0, 0]
    array[TABLE_ROWS - 1, -4:] ^= 0x55
    return array


class Bench:
    """A machine, and what it is asked for."""

    def __init__(self, machine: CompiledMachine) -> None:
        self.machine = machine
        self.memory = Memory(Machine(CONFIG, machine))

    def start(self, array: np.ndarray, prepare: Callable[["Bench"], None]) -> None:
        """Begin with these rows, after a reset."""
        self.machine.put_cells_without_writing(0, encode(array))
        self.machine.reset()
        self.state()
        prepare(self)

    def state(self) -> MemoryState:
        return drive(self.memory.state())

    def cut(self, procedure: Procedure, region: int, cycle: int) -> bool:
        """Cut the power in a cycle of a procedure; returns whether it had not ended before."""
        drive(self.memory.start(procedure, region))
        self.machine.step(cycle)
        under_way = not drive(self.memory.machine.read_field("IRQ_STATUS", "memory"))
        self.machine.cut_power()
        return under_way

    def rows(self, region: Region, slot: int) -> np.ndarray:
        """Content of a slot, as it lies in the array."""
        first = region.slot_start(slot) + 1
        return decode(self.machine.cells()[first : first + ROWS]).weights

    def holds(self, region: Region, slot: int, rows: np.ndarray) -> bool:
        return bool((self.rows(region, slot) == rows).all())

    def task(self) -> tuple[int, int] | None:
        """Version of the active task and the number of its content; none if it has no whole slot."""
        state = self.state()
        if not state.committed:
            return None
        found = [number for number in range(1, 4) if self.holds(TASK, state.slot, CONTENT[number])]
        assert len(found) == 1, "content of two versions"
        return state.version, found[0]


def nothing(bench: Bench) -> None:
    """As after a reset."""


def trained(bench: Bench) -> None:
    """The working slot of the task holds its third content."""
    drive(bench.memory.begin())
    first = TASK.slot_start(bench.state().slot) + 1
    bench.machine.put_cells_without_writing(first, encode(CONTENT[3]))


def unlocked(bench: Bench) -> None:
    """Erasing is allowed."""
    drive(bench.memory.unlock_erase())


OLD = (2, 2)
CASES = {
    "begin": (formatted, nothing, Procedure.BEGIN, 1, {OLD}),
    "commit": (formatted, trained, Procedure.COMMIT, 1, {OLD, (3, 3)}),
    "rollback": (formatted, nothing, Procedure.ROLLBACK, 1, {OLD, (1, 1)}),
    "lock": (formatted, nothing, Procedure.LOCK, 1, {OLD}),
    "activate": (formatted, nothing, Procedure.ACTIVATE, 2, {OLD}),
    "erase": (formatted, unlocked, Procedure.ERASE, 1, {OLD, None}),
    "format": (virgin, nothing, Procedure.FORMAT, 0, {None}),
}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(compiled_machine(CONFIG))


def test_a_cut_strip_ends_with_random_bits(bench):
    """What is cut is a pulse: without this, the other tests would say nothing."""
    bench.start(formatted(), nothing)
    before = bench.machine.cells()[:USED]
    torn = 0
    for cycle in range(200, 440, 8):
        bench.start(formatted(), nothing)
        bench.cut(Procedure.BEGIN, 1, cycle)
        after = decode(bench.machine.cells()[:USED])
        torn += bool(after.uncorrectable.any())
        rest = [*range(TASK.start), *range(TASK.slot_start(1), USED)]
        assert (bench.machine.cells()[rest] == before[rest]).all(), "rows that it does not write"
    assert torn, "no row was beyond correction after any cut"


@pytest.mark.parametrize("name", CASES)
def test_old_or_new_and_never_mixed(bench, name, request):
    make, prepare, procedure, region, allowed = CASES[name]
    bench.start(make(), prepare)
    first = bench.machine.cycles
    drive(bench.memory.start(procedure, region))
    drive(bench.machine.wait_interrupt())
    length = bench.machine.cycles - first
    assert drive(bench.memory.machine.read_field("MEMORY_STATUS", "error")) == KeeperError.NONE.value
    every = request.config.getoption("--every-cycle")
    cycles = range(length) if every else sorted(random.Random(seed()).sample(range(length), CUTS))
    seen = set()
    for number, cycle in enumerate(cycles):
        bench.start(make(), prepare)
        under_way = bench.cut(procedure, region, cycle)
        state, where = bench.state(), f"{name}, seed {seed()}, cycle {cycle} of {length}"
        if name == "format":
            assert state.whole == (), where
            seen.add(state.formatted)
            assert under_way or state.formatted, where
            if not state.formatted:
                continue
        assert state.formatted, where
        copies = [rows_or_none(bench, start) for start in TABLE_STARTS]
        table = RegionTable.newest([rows for rows in copies if rows is not None])
        assert [replace(one, locked=False, finished=False) for one in table.regions] == [
            replace(one, locked=False) for one in TABLE.regions
        ], where  # fmt: skip
        if name == "format":
            continue
        assert state.training is False, where
        assert {0, 2} <= set(state.whole), where
        assert bench.holds(BACKBONE, 0, CONTENT[0]), where
        assert bench.holds(OTHER, 0, CONTENT[4]), where
        assert [table.regions[number].locked for number in (0, 2)] == [True, False], where
        if table.active_task == TASK.task:
            found = bench.task()
            assert found in allowed, where
            seen.add((found, table.regions[1].locked))
        else:
            seen.add(table.active_task)
            assert (procedure, state.version) == (Procedure.ACTIVATE, 3), where
        if number % GOES_ON == 0 and table.active_task == TASK.task and not table.regions[1].locked:
            trained(bench)
            drive(bench.memory.commit())
            bench.machine.reset()
            assert bench.task() == ((found or (0, 0))[0] + 1, 3), where
    if every:
        assert len(seen) == (1 if name == "begin" else 2), f"{name} has other ends: {seen}"


def rows_or_none(bench: Bench, start: int) -> list[bytes] | None:
    """A copy of the table, if it is whole."""
    decoded = decode(bench.machine.cells()[start : start + TABLE_ROWS])
    rows = _bytes(decoded.weights)
    try:
        RegionTable.decode(rows)
    except RegionError:
        return None
    return None if decoded.uncorrectable.any() else rows
