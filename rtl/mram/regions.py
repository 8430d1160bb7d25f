# SPDX-License-Identifier: Apache-2.0
"""What lies where in the memory: the region table, the headers of slots, and their encoding.

The layouts are Amaranth structures, so that hardware and software read the same bits. Everything is little-endian;
byte ``i`` of a structure is weight ``i mod 32`` of row ``i div 32``. CRCs are CRC-32 as of zlib
(``amaranth.lib.crc.catalog``: ``CRC32_ISO_HDLC``) and the last four bytes of what they protect."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from respin.rtl.config import ROW_WEIGHTS

TABLE_ROWS = 8
"""Rows of one copy of the region table."""
TABLE_STARTS = (0, TABLE_ROWS)
"""First row of each copy. The copy with the higher sequence number holds if both are whole."""
FIRST_REGION_ROW = TABLE_STARTS[-1] + TABLE_ROWS
"""First row that a region may have."""
MAX_REGIONS = 15
NO_TASK = 0xFFFF
"""Where a task's number stands: none."""
TABLE_MAGIC = int.from_bytes(b"RSPN", "little")
SLOT_MAGIC = int.from_bytes(b"SLOT", "little")
FORMAT = 1
"""Version of these layouts."""


class RegionKind(enum.Enum, shape=unsigned(8)):
    """What a region holds."""

    FREE = 0
    BACKBONE = 1
    TASK = 2
    SPARES = 3


class RegionFlags(data.Struct):
    """``locked``: no write but a repair of the same content. ``finished``: the task is no longer trained."""

    locked: unsigned(1)
    finished: unsigned(1)
    reserved: unsigned(6)


class RegionEntry(data.Struct):
    """One region: ``slots`` slots of ``slot_rows`` rows each from ``start``. A slot is a header row and content rows;
    spares have no headers."""

    kind: RegionKind
    flags: RegionFlags
    task: unsigned(16)
    start: unsigned(32)
    slot_rows: unsigned(32)
    slots: unsigned(8)
    reserved: unsigned(24)


class TableLayout(data.Struct):
    """One copy of the region table."""

    magic: unsigned(32)
    format: unsigned(8)
    regions: unsigned(8)
    active_task: unsigned(16)
    sequence: unsigned(32)
    entries: data.ArrayLayout(RegionEntry, MAX_REGIONS)
    crc: unsigned(32)


class SlotState(enum.Enum, shape=unsigned(8)):
    """Whether a slot's content counts."""

    EMPTY = 0
    WORKING = 1
    COMMITTED = 2


class SlotLayout(data.Struct):
    """The first row of a slot. ``content_crc`` is the CRC-32 of its ``content_rows`` rows after the header. The
    committed slot with the highest ``version`` is the task's state."""

    magic: unsigned(32)
    version: unsigned(32)
    task: unsigned(16)
    state: SlotState
    format: unsigned(8)
    content_rows: unsigned(32)
    content_crc: unsigned(32)
    reserved: unsigned(64)
    crc: unsigned(32)


class RegionError(ValueError):
    """Rows do not hold what they should, or regions do not fit."""


def content_crc(rows: Sequence[bytes]) -> int:
    """Return the CRC-32 of rows."""
    return zlib.crc32(b"".join(rows))


def _require(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")


def _encode(shape: type[data.Struct], fields: dict[str, object]) -> list[bytes]:
    """Return the rows of a structure, its CRC put in."""
    layout = data.Layout.cast(shape)
    raw = layout.const(fields).as_value().value.to_bytes(layout.size // 8, "little")
    raw = raw[:-4] + zlib.crc32(raw[:-4]).to_bytes(4, "little")
    return [raw[i : i + ROW_WEIGHTS] for i in range(0, len(raw), ROW_WEIGHTS)]


def _decode(shape: type[data.Struct], rows: Sequence[bytes], what: str, magic: int) -> data.Const:
    """Return the structure in ``rows``; raises RegionError unless it is whole and of this format."""
    layout = data.Layout.cast(shape)
    raw = b"".join(rows)
    if len(raw) * 8 != layout.size:
        raise ValueError(f"{what} has {layout.size // 8} bytes, not {len(raw)}")
    fields = layout.from_bits(int.from_bytes(raw, "little"))
    if fields.magic != magic:
        raise RegionError(f"{what}: magic number {fields.magic:#010x} is not {magic:#010x}")
    if fields.crc != zlib.crc32(raw[:-4]):
        raise RegionError(f"{what}: the CRC does not match")
    if fields.format != FORMAT:
        raise RegionError(f"{what}: format {fields.format} is not {FORMAT}")
    return fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One region of the memory.

    Parameters
    ----------
    kind:
        What it holds; not FREE.
    start:
        Its first row.
    slot_rows:
        Rows of a slot, its header included.
    slots:
        1, or 2 for the task that is trained: a working copy beside the committed one.
    task:
        Number of the task; ``NO_TASK`` for the others.
    locked, finished:
        See :class:`RegionFlags`.
    """

    kind: RegionKind
    start: int
    slot_rows: int
    slots: int = 1
    task: int = NO_TASK
    locked: bool = False
    finished: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.kind, RegionKind):
            raise TypeError(f"kind must be a RegionKind, not {self.kind!r}")
        if self.kind is RegionKind.FREE:
            raise ValueError("kind must not be FREE: what is free is not listed")
        _require("start", self.start, FIRST_REGION_ROW, (1 << 32) - 1)
        _require("slot_rows", self.slot_rows, 1, (1 << 32) - 1)
        _require("slots", self.slots, 1, 2)
        _require("task", self.task, 0, NO_TASK)
        if (self.kind is RegionKind.TASK) != (self.task != NO_TASK):
            raise ValueError(f"task must be given for a TASK region and for no other, not {self.task!r}")
        if self.slots == 2 and self.kind is not RegionKind.TASK:
            raise ValueError(f"slots must be 1 but for a TASK region, not {self.slots!r}")

    @property
    def end(self) -> int:
        """The row after its last one."""
        return self.start + self.slots * self.slot_rows

    def slot_start(self, slot: int) -> int:
        """Header row of a slot."""
        _require("slot", slot, 0, self.slots - 1)
        return self.start + slot * self.slot_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionTable:
    """The region table.

    Parameters
    ----------
    regions:
        At most 15, in the order of their rows, none overlapping another.
    sequence:
        Counts the versions of the table.
    active_task:
        The task that is trained, or ``NO_TASK``.
    """

    regions: tuple[Region, ...]
    sequence: int = 1
    active_task: int = NO_TASK

    def __post_init__(self) -> None:
        _require("sequence", self.sequence, 0, (1 << 32) - 1)
        _require("active_task", self.active_task, 0, NO_TASK)
        if len(self.regions) > MAX_REGIONS:
            raise ValueError(f"regions must be at most {MAX_REGIONS}, not {len(self.regions)}")
        if self.active_task != NO_TASK and self.active_task not in (region.task for region in self.regions):
            raise ValueError(f"active_task must be the task of a region, not {self.active_task!r}")
        for before, after in pairwise(self.regions):
            if after.start < before.end:
                raise ValueError(
                    f"regions must follow one another: one ends at {before.end}, the next one starts at {after.start}"
                )

    def check_fits(self, total_rows: int) -> None:
        """Raise RegionError naming the figure if a region reaches past the memory's last row."""
        end = max((region.end for region in self.regions), default=FIRST_REGION_ROW)
        if end > total_rows:
            raise RegionError(f"the regions need {end} rows, the memory has {total_rows}")

    def encode(self) -> list[bytes]:
        """Return the rows of one copy."""
        entries = [
            {
                "kind": region.kind,
                "flags": {"locked": region.locked, "finished": region.finished},
                "task": region.task,
                "start": region.start,
                "slot_rows": region.slot_rows,
                "slots": region.slots,
            }
            for region in self.regions
        ]
        return _encode(
            TableLayout,
            {
                "magic": TABLE_MAGIC,
                "format": FORMAT,
                "regions": len(entries),
                "active_task": self.active_task,
                "sequence": self.sequence,
                "entries": entries,
            },
        )

    @classmethod
    def decode(cls, rows: Sequence[bytes]) -> Self:
        """Return the table that one copy holds; raises RegionError if it is not whole."""
        fields = _decode(TableLayout, rows, "region table", TABLE_MAGIC)
        try:
            regions = tuple(
                Region(
                    kind=RegionKind(entry.kind),
                    start=entry.start,
                    slot_rows=entry.slot_rows,
                    slots=entry.slots,
                    task=entry.task,
                    locked=bool(entry.flags.locked),
                    finished=bool(entry.flags.finished),
                )
                for entry in (fields.entries[i] for i in range(fields.regions))
            )
            return cls(regions=regions, sequence=fields.sequence, active_task=fields.active_task)
        except (ValueError, IndexError) as error:
            raise RegionError(f"region table: {error}") from error

    @classmethod
    def newest(cls, copies: Sequence[Sequence[bytes]]) -> Self:
        """Return the newest whole copy; raises RegionError, saying what is wrong with each, if there is none."""
        tables, problems = [], []
        for rows in copies:
            try:
                tables.append(cls.decode(rows))
            except RegionError as error:
                problems.append(str(error))
        if not tables:
            raise RegionError(f"no copy of the region table is whole: {'; '.join(problems)}")
        return max(tables, key=lambda table: table.sequence)


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotHeader:
    """Header of a slot.

    Parameters
    ----------
    version:
        Counts the commits of the region.
    state:
        Whether the content counts.
    content_rows:
        Rows after the header that the content takes.
    content_crc:
        Their CRC-32.
    task:
        Number of the task; ``NO_TASK`` for the backbone.
    """

    version: int
    state: SlotState
    content_rows: int
    content_crc: int
    task: int = NO_TASK

    def __post_init__(self) -> None:
        if not isinstance(self.state, SlotState):
            raise TypeError(f"state must be a SlotState, not {self.state!r}")
        for name, high in (("version", 32), ("content_rows", 32), ("content_crc", 32), ("task", 16)):
            _require(name, getattr(self, name), 0, (1 << high) - 1)

    def encode(self) -> bytes:
        """Return the header row."""
        fields = {name: getattr(self, name) for name in ("version", "task", "state", "content_rows", "content_crc")}
        [row] = _encode(SlotLayout, {"magic": SLOT_MAGIC, "format": FORMAT, **fields})
        return row

    @classmethod
    def decode(cls, row: bytes) -> Self:
        """Return the header in a row; raises RegionError if it is not whole."""
        fields = _decode(SlotLayout, [row], "slot header", SLOT_MAGIC)
        try:
            return cls(
                version=fields.version,
                state=SlotState(fields.state),
                content_rows=fields.content_rows,
                content_crc=fields.content_crc,
                task=fields.task,
            )
        except ValueError as error:
            raise RegionError(f"slot header: {error}") from error
