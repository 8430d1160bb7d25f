# SPDX-License-Identifier: Apache-2.0
"""Pages of the spare map as a host would read and write them (docs/memory.md)."""

import zlib
from dataclasses import dataclass

from respin.rtl.config import PAGE_SPARES
from respin.rtl.mram.spare_map import CRC_BYTES


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
