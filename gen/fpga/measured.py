# SPDX-License-Identifier: Apache-2.0
"""What the presets need of each family, as this flow measured it, to say which one would fit."""

import tomllib
from pathlib import Path

from respin.gen.fpga.boards import BOARDS, Board

MEASURED = Path(__file__).parent / "measured.toml"
"""Written by hand from reports; docs/fpga.md shows the same figures."""


def measured() -> dict[str, dict[str, dict[str, int]]]:
    """Return what presets need, by family and preset."""
    table: dict[str, dict[str, dict[str, int]]] = tomllib.loads(MEASURED.read_text(encoding="utf-8"))
    return table


def fitting(board: Board) -> str:
    """Return which preset, of those measured, fits ``board``, or else on which board the smallest does."""
    table = measured()
    fits = [
        preset
        for preset, needed in table.get(board.family, {}).items()
        if all(count <= board.resources[kind] for kind, count in needed.items())
    ]
    if fits:
        return f"what fits it: {', '.join(fits)}"
    elsewhere = [
        f"{preset} on {other.name}"
        for other in BOARDS.values()
        for preset, needed in table.get(other.family, {}).items()
        if all(count <= other.resources[kind] for kind, count in needed.items())
    ]
    if elsewhere:
        return f"no preset was measured to fit it; what fits: {', '.join(elsewhere)}"
    return "no preset was measured to fit it; --link-only does"
