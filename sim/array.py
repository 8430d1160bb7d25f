# SPDX-License-Identifier: Apache-2.0
"""One SAS-MRAM bank in Python: the twin of ``verilog/sas_mram_bank.v``, equal to it bit for bit with the same table."""

from dataclasses import asdict, dataclass
from enum import IntEnum

import numpy as np

from respin.rtl.config import ROW_COLUMNS, STRIPS
from respin.sim import tables
from respin.sim.defects import HIGH, LOW, STUCK, VALUE, no_defects
from respin.sim.device import PULSE_ENTRIES
from respin.sim.draws import MADE, Draws, Kind
from respin.sim.reliability import STATIC_CLASSES

_POSITION = np.arange(ROW_COLUMNS) % 4
_PLACES = np.array([1, 2, 4, 8])


class Command(IntEnum):
    """The values of the pins ``cmd``."""

    IDLE = 0
    READ = 1
    WRITE_SAS = 2
    SOT_ONLY = 3
    STT_ONLY = 4


@dataclass(slots=True)
class Statistics:
    """What happened in a bank, in the order of the Verilog model's ``statistics``, least significant word first."""

    commands: int = 0
    reads: int = 0
    strips_pulsed: int = 0
    cells_changed: int = 0
    write_errors: int = 0
    read_errors: int = 0
    disturbed: int = 0
    lost: int = 0
    scrambled: int = 0
    protocol_errors: int = 0


class ProtocolError(ValueError):
    """A command that the macro's contract forbids."""


class Bank:
    """A bank of 288-column rows.

    Parameters
    ----------
    rows:
        Rows of the bank.
    bank:
        Its number; banks with the same table draw different faults.
    table:
        Words of :mod:`respin.sim.tables`.
    defects:
        Defect map of :mod:`respin.sim.defects`; none if left out.

    ``cells[row, column]`` is the stored state, before stuck cells are laid over it (:meth:`visible`).
    """

    def __init__(self, rows: int, *, bank: int = 0, table: np.ndarray, defects: np.ndarray | None = None) -> None:
        self.rows = rows
        self.bank = bank
        self.cells = np.zeros((rows, ROW_COLUMNS), dtype=np.uint8)
        self.defects = no_defects(rows) if defects is None else defects
        self.statistics = Statistics()
        self.load_table(table)

    def load_table(self, table: np.ndarray) -> None:
        """Change device, seed or fault rates; commands are counted from 0 again, nothing is erased yet."""
        self.table = table
        self.draws = Draws(int(table[tables.SEED]), self.bank)
        self._made: dict[tuple[int, Kind], np.ndarray] = {}
        self.commands = 0
        self._forget()

    def visible(self, row: int) -> np.ndarray:
        """The states of a row's cells, stuck ones included."""
        stuck, value = self.defects[row, STUCK], self.defects[row, VALUE]
        return np.where(stuck, value, self.cells[row])

    def cycles(self, command: Command, pulse: int = 0) -> int:
        """Cycles for which the bank is busy with a command."""
        if command is Command.READ:
            return int(self.table[tables.READ_CYCLES])
        return int(self.table[tables.WRITE_CYCLES + (command - Command.WRITE_SAS) * 16 + pulse])

    def read(self, row: int) -> np.ndarray:
        """READ: the row with its transient errors; disturbed cells flip after it."""
        command = self._take(row)
        self.statistics.reads += 1
        state = self.visible(row)
        cell_class = self.defects[row, HIGH] + 2 * self.defects[row, LOW]
        limit = self.table[tables.READ_ERROR + cell_class * 8 + _POSITION * 2 + state]
        wrong = self._happens(command, row, Kind.READ, limit)
        self.statistics.read_errors += int(wrong.sum())
        self._disturb(command, row, state)
        return state ^ wrong

    def write_sas(self, row: int, strips: np.ndarray, wdata: np.ndarray, pulse: int) -> None:
        """WRITE_SAS: every MTJ of the masked strips takes its target, or by a write error the opposite."""
        command, pulsed = self._pulse(row, strips)
        if self.table[tables.ERASES]:
            # Where the SOT spin lies along the easy axis, STT does not choose: the pulse erases.
            self._erase(command, row, pulsed, pulse)
            return
        self._store(row, pulsed, self._programmed(command, row, pulsed, wdata, pulse))

    def sot_only(self, row: int, strips: np.ndarray, pulse: int) -> None:
        """SOT_ONLY: erases the masked strips to 0 on geometry y, scrambles them on geometry x."""
        command, pulsed = self._pulse(row, strips)
        if self.table[tables.ERASES]:
            self._erase(command, row, pulsed, pulse)
            self.erased = (row, pulsed)
            return
        self._scramble(command, row, pulsed, Kind.SCRAMBLE)

    def stt_only(self, row: int, strips: np.ndarray, wdata: np.ndarray, pulse: int) -> None:
        """STT_ONLY: writes the 1s of ``wdata`` into masked strips that the last SOT_ONLY has erased; else nothing."""
        command, pulsed = self._pulse(row, strips)
        erased_row, erased = self.erased
        self.erased = (0, np.zeros(ROW_COLUMNS, dtype=bool))
        driven = pulsed & erased & (wdata == 1) & (erased_row == row)
        self._store(row, driven, self._programmed(command, row, driven, wdata, pulse))

    def age(self) -> None:
        """One ageing step of the whole bank: every cell may have lost its state. Counts as a command."""
        command = self.commands
        self._count_command()
        limits = self.table[tables.RETENTION : tables.RETENTION + STATIC_CLASSES]
        if not limits.any():
            return
        for row in range(self.rows):
            lost = self._happens(command, row, Kind.RETENTION, limits[self.static(row, Kind.STABILITY)])
            self.cells[row] ^= lost
            self.statistics.lost += int(lost.sum())

    def command(
        self, command: Command, row: int, strips: np.ndarray, wdata: np.ndarray, pulse: int
    ) -> np.ndarray | None:
        """Take a command as the pins carry it; returns the row of a READ."""
        match command:
            case Command.READ:
                return self.read(row)
            case Command.WRITE_SAS:
                self.write_sas(row, strips, wdata, pulse)
            case Command.SOT_ONLY:
                self.sot_only(row, strips, pulse)
            case Command.STT_ONLY:
                self.stt_only(row, strips, wdata, pulse)
            case _:
                raise ProtocolError(f"command must be READ, WRITE_SAS, SOT_ONLY or STT_ONLY, not {command!r}")
        return None

    def cut_power(self, *, busy: bool) -> None:
        """Take the power away, ``busy`` if the last command is still under way: strips it pulses get random bits."""
        if busy and self._pulsed is not None:
            command, row, pulsed = self._pulsed
            self._scramble(command, row, pulsed, Kind.CUT)
        self._forget()

    def counters(self) -> list[int]:
        """The statistics in the order of the Verilog model."""
        return list(asdict(self.statistics).values())

    def _count_command(self) -> None:
        self.commands += 1
        self.statistics.commands += 1

    def _take(self, row: int) -> int:
        if not 0 <= row < self.rows:
            raise ProtocolError(f"row must be in 0..{self.rows - 1}, not {row!r}")
        command = self.commands
        self._count_command()
        self._pulsed = None
        return command

    def _forget(self) -> None:
        """Nothing is erased, nothing is being pulsed."""
        self.erased = (0, np.zeros(ROW_COLUMNS, dtype=bool))
        self._pulsed: tuple[int, int, np.ndarray] | None = None

    def _pulse(self, row: int, strips: np.ndarray) -> tuple[int, np.ndarray]:
        count = int(np.count_nonzero(strips))
        limit = int(self.table[tables.STRIP_LIMIT])
        if strips.shape != (STRIPS,) or count > limit:
            raise ProtocolError(f"strips must be a mask of {STRIPS} with at most {limit} set, not {count}")
        command = self._take(row)
        self.statistics.strips_pulsed += count
        pulsed = np.repeat(strips.astype(bool), 4)
        self._pulsed = (command, row, pulsed)
        return command, pulsed

    def _disturb(self, command: int, row: int, state: np.ndarray) -> None:
        if not self.table[tables.DISTURB : tables.DISTURB + 2 * STATIC_CLASSES**2].any():
            return
        stable, current = self.static(row, Kind.STABILITY), self.static(row, Kind.CURRENT)
        limit = self.table[tables.DISTURB + (stable * STATIC_CLASSES + current) * 2 + state]
        disturbed = self._happens(command, row, Kind.DISTURB, limit)
        self.cells[row] ^= disturbed
        self.statistics.disturbed += int(disturbed.sum())

    def static(self, row: int, kind: Kind) -> np.ndarray:
        """What a row's MTJs were made with: the static class of each, of stability or of critical current."""
        if (row, kind) not in self._made:
            edges = self.table[tables.STATIC : tables.STATIC + STATIC_CLASSES - 1]
            drawn = self.draws.columns(MADE, row, kind)
            self._made[row, kind] = (drawn[:, None] < edges).sum(axis=1)
        return self._made[row, kind]

    def _happens(self, command: int, row: int, kind: Kind, limit: np.ndarray) -> np.ndarray:
        if not limit.any():
            return np.zeros(ROW_COLUMNS, dtype=np.uint8)
        return (self.draws.columns(command, row, kind) < limit).astype(np.uint8)

    def _programmed(self, command: int, row: int, driven: np.ndarray, wdata: np.ndarray, pulse: int) -> np.ndarray:
        pattern = np.repeat(wdata.reshape(STRIPS, 4) @ _PLACES, 4)
        index = pulse * 128 + pattern * 8 + _POSITION * 2 + self.visible(row)
        index = self.static(row, Kind.CURRENT) * tables.WRITE_ERRORS_OF_CLASS + index
        wrong = self._happens(command, row, Kind.WRITE, self.table[tables.WRITE_ERROR + index])
        self.statistics.write_errors += int((wrong & driven).sum())
        return wdata ^ wrong

    def _erase(self, command: int, row: int, pulsed: np.ndarray, pulse: int) -> None:
        index = self.static(row, Kind.CURRENT) * PULSE_ENTRIES + pulse
        wrong = self._happens(command, row, Kind.ERASE, self.table[tables.ERASE_ERROR + index])
        self.statistics.write_errors += int((wrong & pulsed).sum())
        self._store(row, pulsed, wrong)

    def _scramble(self, command: int, row: int, pulsed: np.ndarray, kind: Kind) -> None:
        self.statistics.scrambled += int(np.count_nonzero(pulsed)) // 4
        self._store(row, pulsed, (self.draws.columns(command, row, kind) >> 31).astype(np.uint8))

    def _store(self, row: int, driven: np.ndarray, target: np.ndarray) -> None:
        before = self.visible(row)
        self.cells[row] = np.where(driven, target, self.cells[row])
        self.statistics.cells_changed += int((before ^ self.visible(row)).sum())
