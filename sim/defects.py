# SPDX-License-Identifier: Apache-2.0
"""Static defects of a bank: stuck cells, dead strips and rows, cells that read weakly. Drawn once, then the same."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from respin.rtl.config import ROW_COLUMNS, STRIPS

STUCK, VALUE, HIGH, LOW = range(4)
"""Planes of a defect map: a stuck cell, what it is stuck at, a cell of high resistance, one of low resistance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DefectRates:
    """How often static defects are drawn.

    Parameters
    ----------
    stuck_cells:
        Share of MTJs stuck at a random state.
    dead_strips:
        Share of strips of which all four MTJs are stuck at random states.
    weak_cells:
        Share of MTJs in each of the two weak classes (``reliability.weak_fraction(device)`` for a device).
    dead_rows:
        Share of rows of which all MTJs are stuck at random states.
    """

    stuck_cells: float = 0.0
    dead_strips: float = 0.0
    weak_cells: float = 0.0
    dead_rows: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("stuck_cells", 1.0), ("dead_strips", 1.0), ("weak_cells", 0.5), ("dead_rows", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be in 0..{most:g}, not {getattr(self, name)!r}")


def no_defects(rows: int) -> np.ndarray:
    """A map without defects: ``uint8[rows, 4, 288]``, plane by plane STUCK, VALUE, HIGH, LOW."""
    return np.zeros((rows, 4, ROW_COLUMNS), dtype=np.uint8)


def draw_defects(rows: int, *, bank: int, seed: int, rates: DefectRates) -> np.ndarray:
    """Draw a bank's defect map; the same seed and bank give the same map."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, bank])))
    dead = np.repeat(generator.random((rows, STRIPS)) < rates.dead_strips, 4, axis=1)
    stuck = dead | (generator.random((rows, ROW_COLUMNS)) < rates.stuck_cells)
    value = generator.random((rows, ROW_COLUMNS)) < 0.5
    deviation = generator.random((rows, ROW_COLUMNS))
    stuck |= generator.random((rows, 1)) < rates.dead_rows
    defects = no_defects(rows)
    defects[:, STUCK] = stuck
    defects[:, VALUE] = stuck & value
    defects[:, HIGH] = deviation > 1 - rates.weak_cells
    defects[:, LOW] = deviation < rates.weak_cells
    return defects


def stick(defects: np.ndarray, row: int, column: int, value: int) -> None:
    """Add a stuck cell to a map."""
    defects[row, STUCK, column] = 1
    defects[row, VALUE, column] = value


def kill_strip(defects: np.ndarray, row: int, strip: int, pattern: int) -> None:
    """Add a dead strip to a map, its four MTJs stuck at the bits of ``pattern``."""
    for place in range(4):
        stick(defects, row, 4 * strip + place, pattern >> place & 1)


def to_integers(bits: np.ndarray) -> list[int]:
    """Rows of bits as integers; bit ``k`` of an integer is column ``k``."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def from_integers(values: list[int]) -> np.ndarray:
    """The inverse of :func:`to_integers`, for rows of 288 columns."""
    packed = np.array([list(value.to_bytes(ROW_COLUMNS // 8, "little")) for value in values], dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1, ROW_COLUMNS // 8), axis=1, bitorder="little")


def write_rows(bits: np.ndarray, path: Path) -> None:
    """Write rows of bits as a ``$readmemh`` file, one row a line."""
    digits = bits.shape[-1] // 4
    path.write_text("".join(f"{value:0{digits}x}\n" for value in to_integers(bits)), encoding="ascii")


def read_rows(path: Path) -> np.ndarray:
    """Read what ``$writememh`` made of a bank's cells."""
    lines = [line for line in path.read_text(encoding="ascii").split("\n") if line and not line.startswith("//")]
    return from_integers([int(line, 16) for line in lines if not line.startswith("@")])


def write_defects(defects: np.ndarray, path: Path) -> None:
    """Write a map as the ``$readmemh`` file that the Verilog model takes; only rows with a defect are listed."""
    flat = defects.reshape(len(defects), -1)
    rows = np.flatnonzero(flat.any(axis=1))
    values = to_integers(flat[rows])
    path.write_text(
        "".join(f"@{row:x} {value:0288x}\n" for row, value in zip(rows, values, strict=True)), encoding="ascii"
    )
