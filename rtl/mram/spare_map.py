# SPDX-License-Identifier: Apache-2.0
"""The spare map as it lies in memory: pages of one row, each kept twice.

Page ``p`` holds the entries of spares ``8p .. 8p + 7``. Its copies are rows ``usable_rows + 2p`` and the next one;
spare ``n`` is row ``first_spare_row + n``. Of two whole copies the one with the higher sequence number holds; where no
copy is whole, none of the page's spares is used."""

import zlib
from dataclasses import dataclass

from amaranth.hdl import unsigned
from amaranth.lib import data

from respin.rtl.config import PAGE_SPARES

PAGE_BYTES = 32
CRC_BYTES = 28
"""Bytes of a page that its CRC protects: all that come before it."""


class MapEntry(data.Struct):
    """One spare: ``used`` for row ``row`` of its bank, ``bad``, or free where neither is set."""

    row: unsigned(22)
    used: unsigned(1)
    bad: unsigned(1)


class PageLayout(data.Struct):
    """A row of the spare map; ``crc`` is the CRC-32 (as of zlib) of the 28 bytes before it."""

    entries: data.ArrayLayout(MapEntry, PAGE_SPARES)
    sequence: unsigned(32)
    crc: unsigned(32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page's content: ``rows[i]`` is the row of its bank that spare ``i`` stands for, None if none does; ``bad``
    are the spares that failed."""

    rows: tuple[int | None, ...] = (None,) * PAGE_SPARES
    bad: frozenset[int] = frozenset()
    sequence: int = 0

    def to_bytes(self) -> bytes:
        """Encode a page as the 32 bytes of its row."""
        entries = b"".join(
            ((row or 0) | (row is not None) << 22 | (number in self.bad) << 23).to_bytes(3, "little")
            for number, row in enumerate(self.rows)
        )
        protected = entries + self.sequence.to_bytes(4, "little")
        return protected + zlib.crc32(protected).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, row: bytes) -> "Page | None":
        """Decode a row; None if it is no whole copy of a page."""
        if zlib.crc32(row[:CRC_BYTES]) != int.from_bytes(row[CRC_BYTES:], "little"):
            return None
        entries = [int.from_bytes(row[3 * i : 3 * i + 3], "little") for i in range(PAGE_SPARES)]
        return cls(
            rows=tuple(entry & (1 << 22) - 1 if entry >> 22 & 1 else None for entry in entries),
            bad=frozenset(i for i, entry in enumerate(entries) if entry >> 23 & 1),
            sequence=int.from_bytes(row[24:CRC_BYTES], "little"),
        )
