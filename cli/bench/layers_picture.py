# SPDX-License-Identifier: Apache-2.0
"""A picture of where a network's cycles go."""

from pathlib import Path
from typing import Any

from respin.cli.operation_bars import operation_bars

COLOURS = {
    "convolution": "#4477aa",
    "depthwise": "#ee6677",
    "gather": "#ccbb44",
    "loss": "#aa3377",
    "gradient": "#228833",
}
NAMED = 4
"""The tallest bars get their names."""


def draw(rows: list[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw a bar for each operation, in their order: its cycles by unit, and of them the ideal ones."""
    everything = sum(row["cycles"] for row in rows)
    ideal = [row["ideal_cycles"] for row in rows]
    tallest = sorted(range(len(rows)), key=lambda number: -rows[number]["cycles"])[:NAMED]
    with operation_bars(path, title=title) as axes:
        for unit, colour in COLOURS.items():
            places = [number for number, row in enumerate(rows) if row["unit"] == unit]
            if places:
                heights = [rows[place]["cycles"] for place in places]
                label = f"{unit}, {sum(heights) / everything:.0%} of the cycles"
                axes.bar(places, heights, width=0.9, color=colour, label=label)
        axes.bar(range(len(rows)), ideal, width=0.4, color="black", label="ideal: MACs over peak")
        for place in tallest:
            top = (place, rows[place]["cycles"])
            axes.annotate(rows[place]["case"], top, (3, 2), textcoords="offset points", size=8)
