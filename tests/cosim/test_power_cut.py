# SPDX-License-Identifier: Apache-2.0
"""Power goes in a cycle of a procedure on regions and slots: start-up finds the old state or the new one.

The default tests cut in some cycles of a small memory; ``./nox -s powercut`` in every one (``--every-cycle``), and in
random ones of the memory of ``default`` (``--cut-preset default --cuts 40``).
"""

import random
from dataclasses import replace

import pytest
from region_bench import BACKBONE, CONTENT, OTHER, TABLE, TASK, USED, Bench, as_bytes, formatted, virgin

from respin.cli.machine import compiled_machine
from respin.golden.memory.secded import decode, encode
from respin.rtl.config import preset
from respin.rtl.mram.keeper_ports import KeeperError, Procedure
from respin.rtl.mram.regions import TABLE_ROWS, TABLE_STARTS, RegionError, RegionTable
from respin.sim.compiled import drive
from respin.sim.runner import seed

GOES_ON = 5
"""After each of as many cuts a training is begun and committed."""


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
def bench(pytestconfig) -> Bench:
    return Bench(compiled_machine(preset(pytestconfig.getoption("--cut-preset"))))


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
    cuts = length if every else request.config.getoption("--cuts")
    cycles = sorted(random.Random(seed()).sample(range(length), cuts))
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
    rows = as_bytes(decoded.weights)
    try:
        RegionTable.decode(rows)
    except RegionError:
        return None
    return None if decoded.uncorrectable.any() else rows
