# SPDX-License-Identifier: Apache-2.0
"""A picture of where a network's cycles go."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

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
    figure, axes = pyplot.subplots(figsize=(11, 4), layout="constrained")
    for unit, colour in COLOURS.items():
        places = [number for number, row in enumerate(rows) if row["unit"] == unit]
        if places:
            share = sum(rows[place]["cycles"] for place in places) / sum(row["cycles"] for row in rows)
            heights = [rows[place]["cycles"] for place in places]
            axes.bar(places, heights, width=0.9, color=colour, label=f"{unit}, {share:.0%} of the cycles")
    axes.bar(
        range(len(rows)), [row["ideal_cycles"] for row in rows], width=0.4, color="black", label="ideal: MACs over peak"
    )
    for place in sorted(range(len(rows)), key=lambda number: -rows[number]["cycles"])[:NAMED]:
        axes.annotate(rows[place]["case"], (place, rows[place]["cycles"]), (3, 2), textcoords="offset points", size=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(title=title, xlabel="operation, in the order in which they run", ylabel="cycles")
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
