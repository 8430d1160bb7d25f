# SPDX-License-Identifier: Apache-2.0
"""The report's page: one self-contained HTML file with its tables and pictures."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from respin.cli.output import write_whole
from respin.cli.span import span

Markup = jinja2.utils.markupsafe.Markup

STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "respin"}
COLOURS = {
    "MRAM reads": "#4477aa", "MRAM writes": "#66ccee", "engine": "#228833", "depthwise": "#ee6677",
    "vector path": "#ccbb44", "update": "#aa3377", "store": "#997700", "external memory": "#882255",
    "background": "#bbbbbb",
}  # fmt: skip
SWINGS = 10
"""Figures in the picture of what the total hangs on; the table has all."""
LESS, MORE = "#3b6ea5", "#c8743a"

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def write_page(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page of a report of :func:`respin.cli.report.model.report`, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"si": si, "number": number, "span": span}
    programs = [
        {**made, "parts_picture": Markup(_parts(made)), "swings_picture": Markup(_swings(made, found["factor"]))}
        for made in found["programs"]
    ]
    page = environment.get_template("page.html").render({**found, "programs": programs})
    write_whole(path, page)


def si(value: float | None, unit: str) -> str:
    """Return a quantity with three digits and a prefix; an en dash for what is not known."""
    if value is None:
        return "–"
    if value == 0:
        return f"0 {unit}"
    scale, prefix = next(((scale, prefix) for scale, prefix in _PREFIXES if abs(value) >= scale), _PREFIXES[-1])
    shown = value / scale
    return f"{shown:,.0f} {prefix}{unit}" if shown >= 1000 else f"{shown:.3g} {prefix}{unit}"


def number(value: float) -> str:
    """Return a count or a figure: whole ones in full, others with three digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def _svg(figure: Figure) -> str:
    """The figure as an inline SVG element, the same bytes for the same figures."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _parts(made: Mapping[str, Any]) -> str:
    """One bar, the parts one after the other."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8.4, 0.9))
        left = 0.0
        for row in made["parts"]:
            if not row["joules"]:
                continue
            share = 100 * row["share"]
            axis.barh([0], [share], left=left, color=COLOURS[row["part"]], label=f"{row['part']} {share:.1f} %")
            left += share
        axis.set_yticks([])
        axis.set_xlim(0, 100)
        axis.set_xlabel("share of the energy (%)")
        axis.spines["left"].set_visible(False)
        axis.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return _svg(figure)


def _swings(made: Mapping[str, Any], factor: float) -> str:
    """The total with each figure moved down and up, the widest on top."""
    swings = made["sensitivity"][:SWINGS]
    total = made["joules"]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8.4, 0.28 * len(swings) + 0.8))
        for place, swing in enumerate(swings):
            for key, colour in (("divided", LESS), ("multiplied", MORE)):
                axis.barh([place], [100 * (swing[key] - total) / total], color=colour, height=0.7)
        axis.set_yticks(range(len(swings)), [f"{swing['name']} ({swing['source']})" for swing in swings])
        axis.invert_yaxis()
        axis.axvline(0, color="black", lw=0.8)
        axis.set_xlabel(f"change of the total (%); blue: the figure divided by {factor:g}, orange: times {factor:g}")
        return _svg(figure)
