# SPDX-License-Identifier: Apache-2.0
"""A small memory with regions in the compiled machine, and what a host asks of it."""

from collections.abc import Callable

import numpy as np

from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.machine import Machine, ProgramError
from respin.firmware_model.memory import Memory, MemoryState, ProcedureError
from respin.golden.memory.secded import decode, encode
from respin.rtl.config import preset
from respin.rtl.mram.keeper_ports import KeeperError, Procedure
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
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.errors import ErrorCode
from respin.sim.compiled import CompiledMachine, drive
from respin.sim.runner import seed

CONFIG = preset("tiny")
ROWS = 2
"""Content rows of a slot."""
BACKBONE = Region(kind=RegionKind.BACKBONE, start=FIRST_REGION_ROW, slot_rows=1 + ROWS, locked=True)
TASK = Region(kind=RegionKind.TASK, start=BACKBONE.end, slot_rows=1 + ROWS, slots=2, task=7)
OTHER = Region(kind=RegionKind.TASK, start=TASK.end, slot_rows=1 + ROWS, slots=2, task=9)
TABLE = RegionTable(regions=(BACKBONE, TASK, OTHER), sequence=4, active_task=7)
USED = OTHER.end
RNG = np.random.default_rng(seed())
CONTENT = RNG.integers(-128, 128, (5, ROWS, 32), dtype=np.int8)
"""What the backbone holds, versions 1 and 2 of the task, what its working slot holds, and the other task."""


def as_bytes(rows: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in rows]


def _slot(array: np.ndarray, region: Region, slot: int, version: int, rows: np.ndarray) -> None:
    """Put a committed slot into an array of rows."""
    header = SlotHeader(
        version=version, state=SlotState.COMMITTED, content_rows=ROWS, content_crc=content_crc(as_bytes(rows)),
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
        self.memory = Memory(Machine(machine.config, machine))

    def start(self, array: np.ndarray, prepare: Callable[["Bench"], None] = lambda _: None) -> None:
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

    def do(self, procedure: Procedure, region: int = 0) -> KeeperError:
        """Carry a procedure out; returns how it ended."""
        try:
            drive(self.memory._do(procedure, region))
        except ProcedureError as error:
            return error.error
        return KeeperError.NONE

    def write(self, row: int, content: np.ndarray) -> Outcome:
        """Write rows (n, 32) from ``row`` on by a program."""
        rows = {"row": row, "count": len(content)}
        made = [
            Descriptor(opcode=Opcode.ROWS, body={"address": 0x1000, **rows}), Descriptor(opcode=Opcode.END)
        ]  # fmt: skip
        drive(self.machine.write_memory(0x1000, content.tobytes()))
        program = pack_program(self.machine.config, made, row_first=row, row_count=len(content))
        drive(self.machine.write_memory(0, program))
        try:
            drive(self.memory.machine.run(0, len(made)))
        except ProgramError as error:
            if error.code is not ErrorCode.ROW:
                raise
            return Outcome(error.info)
        return Outcome.OK

    def table(self) -> RegionTable:
        """The region table, both copies of which must be the same."""
        copies = [decode(self.machine.cells()[start : start + TABLE_ROWS]).weights for start in TABLE_STARTS]
        assert (copies[0] == copies[1]).all()
        return RegionTable.decode(as_bytes(copies[0]))
