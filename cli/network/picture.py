# SPDX-License-Identifier: Apache-2.0
"""A picture of where a program's cycles went."""

from pathlib import Path
from typing import Any

from respin.cli.network.account import PARTS
from respin.cli.operation_bars import operation_bars

COLOURS = ("#4477aa", "#66ccee", "#228833", "#dddddd", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb")


def draw(rows: list[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw a bar for each operation, in their order: its cycles by what they were spent on."""
    bottom = [0] * len(rows)
    everything = sum(row["cycles"] for row in rows)
    with operation_bars(path, title=title) as axes:
        for part, colour in zip(PARTS, COLOURS, strict=True):
            heights = [max(row[part], 0) for row in rows]
            label = f"{part.replace('_', ' ')}, {sum(row[part] for row in rows) / everything:.1%} of the cycles"
            axes.bar(range(len(rows)), heights, bottom=bottom, width=0.9, color=colour, label=label)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
