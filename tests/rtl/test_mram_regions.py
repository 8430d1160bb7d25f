# SPDX-License-Identifier: Apache-2.0
"""Region table and slot headers: the pinned bytes, their way there and back, and what is refused."""

import random
import zlib
from dataclasses import replace

import pytest
from amaranth.lib import data
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from mram_bench import SEED

from respin.rtl.config import REGION_ROWS, preset
from respin.rtl.mram import regions
from respin.rtl.mram.regions import Region, RegionError, RegionKind, RegionTable, SlotHeader, SlotState

BACKBONE = Region(kind=RegionKind.BACKBONE, start=16, slot_rows=1000, locked=True)
TASK = Region(kind=RegionKind.TASK, start=1016, slot_rows=200, slots=2, task=7)
DONE = Region(kind=RegionKind.TASK, start=1416, slot_rows=100, task=3, locked=True, finished=True)
SPARES = Region(kind=RegionKind.SPARES, start=1516, slot_rows=32)
TABLE = RegionTable(regions=(BACKBONE, TASK, DONE, SPARES), sequence=5, active_task=7)
HEADER = SlotHeader(version=9, state=SlotState.COMMITTED, content_rows=199, content_crc=0x12345678, task=7)


def test_layouts_fill_their_rows() -> None:
    assert data.Layout.cast(regions.TableLayout).size == 8 * 32 * regions.TABLE_ROWS
    assert data.Layout.cast(regions.SlotLayout).size == 8 * 32


def test_a_memory_without_room_for_regions_is_refused() -> None:
    assert REGION_ROWS == regions.FIRST_REGION_ROW + 2
    with pytest.raises(ValueError, match="regions needs 18 rows besides spares and their map, there are 6: raise"):
        replace(preset("tiny"), mram_rows=16, spare_rows=8)
    assert replace(preset("tiny"), mram_rows=16, spare_rows=8, regions=0).usable_rows == 6
    with pytest.raises(ValueError, match="banks \\* mram_rows must be at most 16777216, not 33554432"):
        replace(preset("tiny"), banks=32, mram_rows=1 << 20)


def test_the_bytes_of_the_table_are_pinned() -> None:
    rows = TABLE.encode()
    assert [len(row) for row in rows] == [32] * 8
    raw = b"".join(rows)
    assert raw[:12] == b"RSPN" + bytes([1, 4]) + (7).to_bytes(2, "little") + (5).to_bytes(4, "little")
    assert raw[12:28] == bytes([1, 1, 0xFF, 0xFF, 16, 0, 0, 0, 0xE8, 3, 0, 0, 1, 0, 0, 0])
    assert raw[28:44] == bytes([2, 0, 7, 0, 0xF8, 3, 0, 0, 200, 0, 0, 0, 2, 0, 0, 0])
    assert raw[44:46] == bytes([2, 3])
    assert raw[76:252] == bytes(176)
    assert raw[252:] == zlib.crc32(raw[:252]).to_bytes(4, "little")


def test_the_bytes_of_a_slot_header_are_pinned() -> None:
    row = HEADER.encode()
    assert row[:20] == b"SLOT" + bytes([9, 0, 0, 0, 7, 0, 2, 1, 199, 0, 0, 0, 0x78, 0x56, 0x34, 0x12])
    assert row[20:28] == bytes(8)
    assert row[28:] == zlib.crc32(row[:28]).to_bytes(4, "little")


def test_there_and_back() -> None:
    assert RegionTable.decode(TABLE.encode()) == TABLE
    assert SlotHeader.decode(HEADER.encode()) == HEADER


def test_the_crc_is_the_one_hardware_has() -> None:
    rows = [random.Random(SEED).randbytes(32) for _ in range(3)]
    assert regions.content_crc(rows) == CRC32_ISO_HDLC(data_width=8).compute(b"".join(rows))


def test_every_flipped_bit_is_noticed() -> None:
    raw = b"".join(TABLE.encode())
    for bit in random.Random(SEED).sample(range(8 * len(raw)), 200):
        wrong = bytearray(raw)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RegionError, match=r"magic number|CRC"):
            RegionTable.decode([wrong])


def test_the_newest_whole_copy_holds() -> None:
    older, newer = TABLE.encode(), RegionTable(regions=(BACKBONE,), sequence=6).encode()
    broken = [b"\0" * 32, *newer[1:]]
    assert RegionTable.newest([older, newer]).sequence == 6
    assert RegionTable.newest([newer, older]).sequence == 6
    assert RegionTable.newest([older, broken]).sequence == 5
    with pytest.raises(RegionError, match=r"no copy of the region table is whole: .*magic number 0x00000000"):
        RegionTable.newest([broken, broken])


def test_another_format_is_refused() -> None:
    raw = bytearray(HEADER.encode())
    raw[11] = 2
    raw[28:] = zlib.crc32(raw[:28]).to_bytes(4, "little")
    with pytest.raises(RegionError, match="slot header: format 2 is not 1"):
        SlotHeader.decode(bytes(raw))


def test_slots_and_size() -> None:
    assert [TASK.slot_start(slot) for slot in (0, 1)] == [1016, 1216]
    assert TASK.end == 1416
    TABLE.check_fits(1548)
    with pytest.raises(RegionError, match="the regions need 1548 rows, the memory has 1547"):
        TABLE.check_fits(1547)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": RegionKind.FREE}, "kind must not be FREE"),
        ({"start": 15}, r"start must be in 16\.\.4294967295, not 15"),
        ({"slot_rows": 0}, "slot_rows must be in 1"),
        ({"slots": 3}, r"slots must be in 1\.\.2, not 3"),
        ({"slots": 2}, "slots must be 1 but for a TASK region, not 2"),
        ({"task": 1}, "task must be given for a TASK region and for no other, not 1"),
    ],
)
def test_a_wrong_region_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Region(**({"kind": RegionKind.BACKBONE, "start": 16, "slot_rows": 8} | fields))


def test_a_wrong_table_is_refused() -> None:
    with pytest.raises(ValueError, match="must follow one another: one ends at 1016, the next one starts at 1000"):
        RegionTable(regions=(BACKBONE, Region(kind=RegionKind.SPARES, start=1000, slot_rows=1)))
    with pytest.raises(ValueError, match="regions must be at most 15, not 16"):
        RegionTable(regions=tuple(Region(kind=RegionKind.SPARES, start=i, slot_rows=1) for i in range(16, 32)))
    with pytest.raises(ValueError, match="active_task must be the task of a region, not 2"):
        RegionTable(regions=(BACKBONE,), active_task=2)
    with pytest.raises(TypeError, match="state must be a SlotState, not 1"):
        SlotHeader(version=1, state=1, content_rows=1, content_crc=0)
    with pytest.raises(ValueError, match="region table has 256 bytes, not 32"):
        RegionTable.decode([bytes(32)])
