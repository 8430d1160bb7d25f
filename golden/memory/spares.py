# SPDX-License-Identifier: Apache-2.0
"""Which spare row stands for which row, and the rows of memory that keep it (docs/memory.md, Spares)."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

from respin.rtl.config import PAGE_SPARES, ROW_WEIGHTS, AcceleratorConfig

_USED, _BAD = 1 << 22, 1 << 23
_PROTECTED = ROW_WEIGHTS - 4


class SpareMap:
    """The map of one memory.

    ``entries[n]`` is the 24-bit entry of spare ``n``: row of its bank, bit 22 used, bit 23 bad. ``sequence`` is that of
    the last page stored; ``failed``: a copy could not be written.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self.entries = [0] * (config.banks * config.spare_rows)
        self.sequence = 0
        self.failed = False

    def place(self, row: int) -> int:
        """The row that holds what is asked for as ``row``."""
        banks = self._config.banks
        for number in reversed(range(row % banks, len(self.entries), banks)):
            if self.entries[number] >> 22 == 1 and self.entries[number] & (_USED - 1) == row // banks:
                return self._config.first_spare_row + number
        return row

    def places(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """The same for many rows."""
        if not any(self.entries):
            return rows
        return np.array([self.place(row) for row in rows.tolist()], dtype=np.intp)

    def free(self, row: int) -> int | None:
        """The next spare for a row, if its bank has one."""
        banks = self._config.banks
        return next((n for n in range(row % banks, len(self.entries), banks) if not self.entries[n]), None)

    def assign(self, number: int, row: int, *, good: bool) -> None:
        """Spare ``number`` took the content of ``row``, or failed."""
        self.entries[number] = row // self._config.banks | (_USED if good else _BAD)

    def rows_of(self, page: int) -> tuple[int, int]:
        """The rows of a page's two copies."""
        first = self._config.usable_rows + 2 * page
        return first, first + 1

    def encode(self, page: int, sequence: int) -> npt.NDArray[np.int8]:
        """The row of a page, ``int8[32]``."""
        entries = self.entries[PAGE_SPARES * page : PAGE_SPARES * (page + 1)]
        entries = entries + [0] * (PAGE_SPARES - len(entries))
        body = b"".join(struct.pack("<I", entry)[:3] for entry in entries) + struct.pack("<I", sequence)
        return np.frombuffer(body + struct.pack("<I", zlib.crc32(body)), dtype=np.int8)

    def decode(self, row: npt.NDArray[np.int8]) -> tuple[list[int], int] | None:
        """Entries and sequence number of a whole copy, else None."""
        content = row.tobytes()
        if zlib.crc32(content[:_PROTECTED]) != struct.unpack("<I", content[_PROTECTED:])[0]:
            return None
        entries = [int.from_bytes(content[3 * i : 3 * i + 3], "little") for i in range(PAGE_SPARES)]
        return entries, struct.unpack("<I", content[3 * PAGE_SPARES : _PROTECTED])[0]

    def take(self, page: int, entries: list[int]) -> None:
        """Have the entries of a page."""
        start = PAGE_SPARES * page
        count = len(self.entries[start : start + PAGE_SPARES])
        self.entries[start : start + count] = entries[:count]
