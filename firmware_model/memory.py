# SPDX-License-Identifier: Apache-2.0
"""Drives the memory's regions and slots: format, begin, commit, roll back, lock, check, erase."""

from dataclasses import dataclass

from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.emitter import WORD_BYTES
from respin.firmware_model.machine import Machine
from respin.rtl.mram.keeper_ports import ERASE_KEY, EVERYTHING, KeeperError, Procedure
from respin.rtl.mram.regions import MAX_REGIONS, TABLE_ROWS, TABLE_STARTS, RegionError, RegionTable
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode

_CRC_BYTES = 4
_READS_A_ROW = 64
"""Reads of a register within which the machine is done with a row, whatever it does with it: each takes it some
cycles."""


class ProcedureError(Exception):
    """A procedure on the memory ended early.

    Parameters
    ----------
    procedure:
        Which one.
    error:
        Why.
    row:
        The row that it is about, for ROW.
    """

    def __init__(self, procedure: Procedure, error: KeeperError, row: int) -> None:
        self.procedure, self.error, self.row = procedure, error, row
        at = f", row {row}" if error is KeeperError.ROW else ""
        super().__init__(f"{procedure.name.lower()}: {error.name}{at}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryState:
    """What the machine knows of its memory.

    Parameters
    ----------
    formatted:
        There is a region table.
    committed, version:
        Whether the active task has a whole slot, and of which version.
    training:
        It has a working slot.
    slot:
        The slot that its rows lie in.
    unlocked:
        Erasing is allowed.
    whole:
        Numbers of the regions with a whole slot.
    """

    formatted: bool
    committed: bool
    version: int
    training: bool
    slot: int
    unlocked: bool
    whole: tuple[int, ...]


class Memory:
    """The regions of a machine's memory.

    Parameters
    ----------
    machine:
        The machine; its configuration must have ``regions``.

    Raises
    ------
    ValueError
        If it has none.
    """

    def __init__(self, machine: Machine) -> None:
        if not machine.config.regions:
            raise ValueError("the machine must have regions, and its configuration says 0")
        self.machine = machine

    async def state(self) -> MemoryState:
        """Return what the machine knows, once start-up, or a procedure under way, has come to its end.

        Raises
        ------
        TimeoutError
            If it does not: start-up waits until all banks have power.
        """
        read = self.machine.read_field
        for _ in range(_READS_A_ROW * self.machine.config.total_rows):
            if await read("MEMORY_STATUS", "ready"):
                break
        else:
            raise TimeoutError("the memory is not ready: its start-up waits until all banks have power")
        whole = await self.machine.read("MEMORY_WHOLE")
        return MemoryState(
            formatted=bool(await read("MEMORY_STATUS", "formatted")),
            committed=bool(await read("MEMORY_STATUS", "committed")),
            version=await self.machine.read("MEMORY_VERSION"),
            training=bool(await read("MEMORY_STATUS", "training")),
            slot=await read("MEMORY_STATUS", "slot"),
            unlocked=bool(await read("MEMORY_STATUS", "unlocked")),
            whole=tuple(number for number in range(MAX_REGIONS) if whole >> number & 1),
        )

    async def format(self, table: RegionTable, *, scratch: int) -> None:
        """Give a memory without a region table one; no region holds anything then.

        Parameters
        ----------
        table:
            Its regions; the machine counts its ``sequence`` up.
        scratch:
            Address of room in external memory, a multiple of 256, for a program and the table: 1280 bytes.

        Raises
        ------
        RegionError
            If the regions do not fit the memory, or are more than the machine keeps apart.
        ProcedureError
            If there is a table already, or this one is not for the machine.
        """
        config, transport = self.machine.config, self.machine.transport
        table.check_fits(config.usable_rows)
        if len(table.regions) > config.regions:
            raise RegionError(f"the table has {len(table.regions)} regions, the machine keeps {config.regions} apart")
        content = b"".join(table.encode())
        # Without its seal, which is the machine's to set, it is none after a power cut.
        unsealed = content[:-_CRC_BYTES] + bytes(byte ^ 0xFF for byte in content[-_CRC_BYTES:])
        state = await self.state()
        if not state.formatted:
            rows = {"row": TABLE_STARTS[0], "count": TABLE_ROWS}
            made = [
                Descriptor(opcode=Opcode.ROWS, body={"address": scratch + 3 * DESCRIPTOR_BYTES, **rows}),
                Descriptor(opcode=Opcode.END),
            ]
            program = pack_program(config, made, row_first=rows["row"], row_count=rows["count"])
            await transport.write_memory(scratch, program + unsealed + bytes(-len(unsealed) % WORD_BYTES))
            await self.machine.run(scratch, len(made))
        await self._do(Procedure.FORMAT)

    async def begin(self) -> None:
        """Open a working slot for the active task: a copy of what is committed, if anything is."""
        await self._do(Procedure.BEGIN)

    async def commit(self) -> None:
        """Make the working slot the active task's state."""
        await self._do(Procedure.COMMIT)

    async def rollback(self) -> None:
        """Drop the working slot; without one go back to the version before, if that is still whole."""
        await self._do(Procedure.ROLLBACK)

    async def lock(self, region: int) -> None:
        """Seal a region and lock it for good; a task's last commit is what stays, and it is finished."""
        await self._do(Procedure.LOCK, region)

    async def activate(self, region: int) -> None:
        """Make the task of a region the active one."""
        await self._do(Procedure.ACTIVATE, region)

    async def check(self, region: int) -> None:
        """Compare the content of a region with its CRC."""
        await self._do(Procedure.CHECK, region)

    async def unlock_erase(self) -> None:
        """Allow erasing until a program starts; only before anything else is asked of a machine after a reset."""
        await self.machine.write("MEMORY_KEY", ERASE_KEY)

    async def erase(self, region: int | None = None) -> None:
        """Overwrite a region and read it back, or everything: the memory is as one that was never formatted then."""
        await self._do(Procedure.ERASE, EVERYTHING if region is None else region)

    async def start(self, procedure: Procedure, region: int = 0) -> None:
        """Ask for a procedure and do not wait for its end."""
        if not 0 <= region <= EVERYTHING:
            raise ValueError(f"region must be in 0..{EVERYTHING}, not {region!r}")
        await self.machine.write("IRQ_ENABLE", 0)
        await self.machine.write_fields("IRQ_STATUS", "memory")
        await self.machine.write_fields("IRQ_ENABLE", "memory")
        fields = {"procedure": procedure.value, "region": region, "start": 1}
        await self.machine.write_values("MEMORY_COMMAND", fields)

    async def _do(self, procedure: Procedure, region: int = 0) -> None:
        await self.start(procedure, region)
        await self.machine.transport.wait_interrupt()
        await self.machine.write_fields("IRQ_STATUS", "memory")
        error = KeeperError(await self.machine.read_field("MEMORY_STATUS", "error"))
        if error is not KeeperError.NONE:
            raise ProcedureError(procedure, error, await self.machine.read("MEMORY_ROW"))
