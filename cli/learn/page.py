# SPDX-License-Identifier: Apache-2.0
"""The study's page: one self-contained HTML file with the comparison's tables and pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.ticker import MaxNLocator

from respin.cli.learn import figures
from respin.cli.learn.contents import contents
from respin.cli.learn.tables import KIND_TITLES, MEGABYTE, SATURATION_NOTED, Study, signed
from respin.cli.output import write_whole

Markup = jinja2.utils.markupsafe.Markup


def write_page(path: Path, study: Study) -> None:
    """Write the page of ``study``, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["signed"] = signed
    environment.filters["megabytes"] = lambda count: "–" if count is None else f"{count / MEGABYTE:.2f}"
    with figures.style():
        page = environment.get_template("page.html").render(_page(study))
    write_whole(path, page)


def _page(study: Study) -> dict[str, Any]:
    """What the template shows."""
    shown = contents(study)
    methods, tasks = shown["methods"], shown["tasks"]
    drawn = figures.drawn(methods)
    curves = figures.runs(study, drawn)
    return shown | {
        "drawn": drawn,
        "differences": [{**group, "scale": _Scale.of(group["rows"])} for group in shown["differences"]],
        "variation_scale": _Scale.of(shown["variations"]),
        "figures": _headline_figures(study, shown),
        "methods": list(methods.values()),
        "curves": list(figures.learning_curves(curves, study, drawn, tasks)),
        "with_curves": {name for row in curves.values() for name in row},
        "with_labels": {row["method"].name for table in shown["labels"] for row in table["rows"]},
        "labels_figures": list(figures.label_curves(shown["labels"], drawn)),
        "memory_figure": figures.memory(study, drawn),
        "wear_figure": figures.wear(study, shown["wear"], drawn),
        "endurance": _power_of_ten(shown["endurance"]),
        "kinds": KIND_TITLES,
        "noted": SATURATION_NOTED,
        "continual": [{**given, "figure": figures.matrices(given)} for given in shown["continual"]],
    }


_HALF_DIGIT = 3.5
"""Half the width of a figure on a scale, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """Where points (of accuracy) lie on the bars of a group of differences, 0 to ``width``."""

    low: float
    high: float
    width: int = 240

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> "_Scale":
        keys = ("mean", "lower", "upper", "limit")
        values = [0.0, *(row[key] for row in rows for key in keys if row[key] is not None)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        return cls(low=min(values) - room, high=max(values) + room)

    def place(self, value: float) -> float:
        return round((value - self.low) / (self.high - self.low) * self.width, 1)

    def ticks(self) -> list[tuple[float, str]]:
        ticks = []
        for value in map(float, MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)):
            text = f"{value:+g}".replace("-", "\u2212") if value else "0"
            room = len(text) * _HALF_DIGIT  # without it, at an end, the number would be cut off
            if room <= self.place(value) <= self.width - room:
                ticks.append((self.place(value), text))
        return ticks


def _headline_figures(study: Study, shown: dict[str, Any]) -> list[tuple[str, str]]:
    """The few figures that stand large at the top, each with what it is."""
    methods, tasks, differences = shown["methods"], shown["tasks"], shown["differences"]
    means = study.get("means") or {}
    if differences or shown["variations"]:
        first = differences[0]["of"].name if differences else shown["variations"][0]["against"].name
    else:
        first = max(means, key=lambda name: means[name]["mean"], default=None)
    figures = []
    if first in means:
        where = f"mean of {len(tasks)} tasks" if len(tasks) > 1 else next(iter(tasks.values()), "")
        figures.append((f"{means[first]['mean']:.2f} %", f"test accuracy of {methods[first].title}, {where}"))
    for group in differences[:2]:
        row = group["rows"][-1]
        bound = "one seed, no bound" if row["lower"] is None else f"95 % lower bound {signed(row['lower'])}"
        figures.append((signed(row["mean"]), f"points against {group['against'].title}; {bound}"))
    rows = [row for group in differences for row in (*group["rows"], group["counted"]) if row]
    judged = [row["verdict"] for row in rows if row["verdict"] in ("met", "not met")]
    if judged:
        figures.append((f"{judged.count('met')} of {len(judged)}", "targets met"))
    system = ((study.get("memory") or {}).get(first) or {}).get("system")
    if system is not None:
        figures.append((f"{system / MEGABYTE:.2f} MB", f"peak memory of a training step, {methods[first].title}"))
    return figures


def _power_of_ten(value: float) -> Markup:
    power = round(math.log10(value))
    return Markup(f"10<sup>{power}</sup>") if value == 10.0**power else Markup(f"{value:,.0f}")
