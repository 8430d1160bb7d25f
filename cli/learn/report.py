# SPDX-License-Identifier: Apache-2.0
"""The study's report: one self-contained HTML page with the comparison's tables and pictures.

A study is what :func:`respin.golden.learn.study.describe` returns. It may lack any of its keys, as one read from an
older file does, and what rests on a missing one is left out. These may join it:

- ``memory``, of :func:`respin.golden.learn.study.measure_memory`;
- ``continual``: for each scenario ``tasks`` and ``methods``, for each of these ``rows`` of the accuracy matrix (means
  over the seeds), ``average``, its ``deviation``, ``backward_transfer`` and ``forgetting``, all shares, and
  ``storage_bytes_per_task``;
- ``command`` (a line or its words) and ``versions`` (else those of this process).
"""

import io
import math
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from respin.gen.versions import commit, package_version, versions
from respin.golden.learn.study import ENDURANCE, TASKS_A_DAY

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

Study = dict[str, Any]
Markup = jinja2.utils.markupsafe.Markup

PACKAGES = ("torch", "numpy", "numba", "scikit-learn")
"""Whose versions the figures may depend on."""
MEGABYTE = 1e6
INCHES = 10.4
"""Width of a full figure: the page's, so that letters have the size they are given."""
TASKS_IN_A_ROW = 4
"""Of learning curves."""
LABEL_LETTERS = 22
"""In a line of a label beside a scatter plot."""
DECIMAL_UP_TO = 6
"""Tasks up to which a matrix's cells have room for a decimal."""
COLOURS = {
    "rep-net": "#1d5a9e",
    "rep-net-float": "#3f97d3",
    "head": "#3f8f4f",
    "bias": "#c05a1c",
    "bias-float": "#dd8a35",
    "full-float": "#7d4aa0",
    "linear": "#777777",
}
"""Of the methods that Respin has: what trains decides on the hue, float32 is the lighter one."""
SPARE_COLOURS = ("#b0306a", "#0f8a8a", "#8c6d1f", "#4b4b9e", "#a03030", "#5c7a29")
STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "svg.hashsalt": "respin",
    # A task may be a folder of any name.
    "text.parse_math": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """How a method is shown, in every table and picture alike; what is not in INT8 is dashed and has open markers."""

    name: str
    title: str
    colour: str
    integer: bool

    @property
    def line(self) -> str | tuple[float, tuple[float, float]]:
        """Style of its lines."""
        return "-" if self.integer else (0, (4, 1.6))

    @property
    def face(self) -> str:
        """Colour inside its markers."""
        return self.colour if self.integer else "white"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a method must reach against another.

    Parameters
    ----------
    of, against:
        Which ones.
    mean, task:
        What the lower bound of the difference must be above, in points: on the mean of the tasks, and on each.
    above:
        Share of the tasks on which that bound must be above 0.
    """

    of: str
    against: str
    mean: float
    task: float
    above: float = 0.0


TARGETS = (
    Target(of="rep-net", against="rep-net-float", mean=-1.0, task=-2.0),
    Target(of="rep-net", against="linear", mean=0.0, task=-0.5, above=0.75),
)


def write_report(path: Path, study: Study) -> None:
    """Write the page of ``study``, whole or not at all."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["signed"] = signed
    environment.filters["megabytes"] = lambda count: "–" if count is None else f"{count / MEGABYTE:.2f}"
    with plt.rc_context(STYLE):
        page = environment.get_template("report.html").render(_page(study))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _page(study: Study) -> dict[str, Any]:
    """What the template shows; a part that the study does not have is empty."""
    methods, tasks = _methods(study), _tasks(study)
    differences = _differences(study, methods, tasks)
    command = study.get("command")
    return {
        "title": _title(study),
        "conditions": _conditions(study, tasks),
        "differences": differences,
        "figures": _headline_figures(study, methods, tasks, differences),
        "methods": list(methods.values()),
        "tasks": tasks,
        "accuracy": _accuracy_rows(study, methods, tasks),
        "seeds": _seeds(study),
        "curves": list(_learning_curves(_runs(study, methods), study, methods, tasks)),
        "with_curves": {name for row in _runs(study, methods).values() for name in row},
        "chosen": _chosen_settings(study, methods, tasks),
        "memory": _memory_rows(study, methods),
        "memory_figure": _memory_figure(study, methods),
        "wear": _wear_rows(study, methods),
        "wear_figure": _wear_figure(study, methods),
        "endurance": _power_of_ten(ENDURANCE),
        "tasks_a_day": TASKS_A_DAY,
        "continual": [_scenario(name, given, methods) for name, given in (study.get("continual") or {}).items()],
        "licences": study.get("licences") or {},
        "versions": _versions(study),
        "command": command if command is None or isinstance(command, str) else shlex.join(command),
    }


# What a study has.


def _methods(study: Study) -> dict[str, Method]:
    described: dict[str, Any] = study.get("methods") or {}
    compared = [(row["of"], row["against"]) for row in study.get("differences") or []]
    continual = [scenario.get("methods") or {} for scenario in (study.get("continual") or {}).values()]
    parts = (described, *(study.get("accuracy") or {}).values(), study.get("memory") or {}, *compared, *continual)
    names = dict.fromkeys(name for part in parts for name in part)
    spare = [name for name in names if name not in COLOURS]
    return {
        name: Method(
            name=name,
            title=described.get(name, {}).get("title", name),
            colour=COLOURS.get(name) or SPARE_COLOURS[spare.index(name) % len(SPARE_COLOURS)],
            integer=described.get(name, {}).get("arithmetic", "int8") == "int8",
        )
        for name in names
    }


def _tasks(study: Study) -> dict[str, str]:
    """Titles of the tasks: of a folder its name, if that is clear."""
    tasks = list(study.get("accuracy") or {}) or [task["dataset"] for task in study.get("conditions") or []]
    short = Counter(Path(task).name for task in tasks)
    return {task: Path(task).name if short[Path(task).name] == 1 else task for task in tasks}


def _seeds(study: Study) -> int:
    """Seeds of a method, the most of any; 0 where nothing was run."""
    cells = [cell for row in (study.get("accuracy") or {}).values() for cell in row.values()]
    return max((len(cell.get("seeds") or [None]) for cell in cells), default=0)


def _title(study: Study) -> str:
    backbones = dict.fromkeys(task["backbone"] for task in study.get("conditions") or [])
    return f"Learning beside a frozen {' and '.join(backbones) or 'backbone'}"


def _conditions(study: Study, tasks: dict[str, str]) -> list[tuple[str, str]]:
    """What all methods shared; where tasks differ, the most frequent value and what is otherwise."""
    given = study.get("conditions") or []

    def shown(key: str) -> str:
        values = {tasks.get(task["dataset"], task["dataset"]): f"{task[key]:,}" for task in given if key in task}
        if not values:
            return ""
        usual = Counter(values.values()).most_common(1)[0][0]
        others = ", ".join(f"{name}: {value}" for name, value in values.items() if value != usual)
        return f"{usual} ({others})" if others else usual

    rows = [("image, pixels", _square(shown("size")))] if given else []
    keys = {"train_images": "training images", "chosen_on": "of them for choices", "epochs": "epochs", "batch": "batch"}
    rows += [(title, shown(key)) for key, title in keys.items() if given]
    return [row for row in [*rows, ("seeds", str(_seeds(study) or ""))] if row[1]]


def _square(side: str) -> str:
    return f"{side} × {side}" if side.isdigit() else side


def _versions(study: Study) -> dict[str, str]:
    if "versions" in study:
        return dict(study["versions"])
    found = versions() | {name: version for name in PACKAGES if (version := package_version(name))}
    made = commit()
    return found | ({"commit": made["sha"] + (", changed since" if made["changed"] else "")} if made else {})


# Tables.


def signed(value: float | None, sign: str = "+") -> str:
    """Return ``value`` with its sign (``sign=""``: only if negative); a bound that one seed does not have is a dash."""
    if value is None:
        return "–"
    text = f"{value:{sign}.2f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "\u2212")


def _accuracy_rows(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each method, a cell for each task and the mean; the best of each column is marked."""
    accuracy = study.get("accuracy") or {}
    columns = [accuracy[task] for task in tasks if task in accuracy]
    if len(columns) > 1 and study.get("means"):
        columns.append(study["means"])
    best = [max(cell["mean"] for cell in column.values()) if column else None for column in columns]
    rows, seeds = [], _seeds(study)
    for name, method in methods.items():
        cells = [
            {"count": seeds, **column[name], "best": column[name]["mean"] == top} if name in column else None
            for column, top in zip(columns, best, strict=True)
        ]
        if any(cells):
            rows.append({"method": method, "cells": cells})
    return rows


def _verdict(lower: float | None, limit: float | None) -> str:
    if limit is None:
        return ""
    return "not decidable: one seed" if lower is None else "met" if lower > limit else "not met"


def _limit_text(limit: float | None) -> str:
    if limit is None:
        return ""
    return f"above {limit:.1f}".replace("-", "\u2212") if limit else "above 0"


def _differences(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A group for each two methods: rows with bounds, targets and verdicts, and the scale of their bars."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in study.get("differences") or []:
        pairs.setdefault((row["of"], row["against"]), []).append(row)
    groups = []
    for (of, against), found in pairs.items():
        target = next((t for t in TARGETS if (t.of, t.against) == (of, against)), None)
        # With one task its mean says the same again.
        several = sum(row["task"] != "mean" for row in found) > 1
        rows = []
        for row in found:
            mean = row["task"] == "mean"
            limit = (target.mean if mean or not several else target.task) if target else None
            if mean and not several and len(found) > 1:
                continue
            title = f"mean of {len(tasks)} tasks" if mean else tasks.get(row["task"], row["task"])
            judged = {"limit": limit, "target": _limit_text(limit), "verdict": _verdict(row["lower"], limit)}
            rows.append({**row, **judged, "is_mean": mean, "title": title})
        group = {"of": methods[of], "against": methods[against], "rows": rows, "several": several}
        groups.append({**group, "counted": _counted(target, rows), "scale": _Scale.of(rows)})
    return groups


def _counted(target: Target | None, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """On how many tasks a method is above another, if that is a target."""
    lowers = [row["lower"] for row in rows if not row["is_mean"]]
    if target is None or not target.above or len(lowers) < 2:
        return None
    needed = math.ceil(target.above * len(lowers))
    above = None if None in lowers else sum(lower > 0 for lower in lowers)
    return {
        "title": f"above 0 on {needed} of {len(lowers)} tasks",
        "count": None if above is None else f"{above} of {len(lowers)}",
        "verdict": "not decidable: one seed" if above is None else "met" if above >= needed else "not met",
    }


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
        values = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        inside = [float(value) for value in values if self.low < value < self.high]
        return [(self.place(value), f"{value:+g}".replace("-", "\u2212") if value else "0") for value in inside]


def _headline_figures(
    study: Study, methods: dict[str, Method], tasks: dict[str, str], differences: Sequence[dict[str, Any]]
) -> list[tuple[str, str]]:
    """The few figures that stand large at the top, each with what it is."""
    means = study.get("means") or {}
    first = differences[0]["of"].name if differences else max(means, key=lambda name: means[name]["mean"], default=None)
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


def _chosen_settings(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each method, a cell for each task: its settings, with the seeds that they were chosen for."""
    rows = []
    for name, method in methods.items():
        cells = []
        for task in tasks:
            counts = Counter(((study.get("accuracy") or {}).get(task, {}).get(name) or {}).get("settings") or [])
            total = counts.total()
            cells.append([s if count == total else f"{s}: {count} of {total}" for s, count in counts.most_common()])
        if any(cells):
            rows.append({"method": method, "cells": cells})
    return rows


# Figures.


def _svg(figure: Figure, label: str) -> Markup:
    """The figure as an inline SVG element, the same bytes for the same figure, without a word of other places."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", bbox_inches="tight", metadata=nothing)
    plt.close(figure)
    svg = text.getvalue()
    # HTML knows the namespaces of an inline element.
    svg = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :])
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(label)}"', 1))


def _curve(runs: Sequence[Sequence[Sequence[float]]], column: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Steps, mean and standard deviation over the seeds, at the steps of the shortest run."""
    shortest = np.array(min(runs, key=lambda run: run[-1][0]), dtype=float)
    steps = shortest[:, 0]
    values = [np.interp(steps, *np.array(run, dtype=float)[:, [0, column]].T) for run in runs]
    spread = np.std(values, axis=0, ddof=1) if len(values) > 1 else np.zeros_like(steps)
    return steps, np.mean(values, axis=0), spread


Runs = dict[str, dict[str, list[Sequence[Sequence[float]]]]]
"""Curves of the seeds by task and method, of those that have any."""


def _runs(study: Study, methods: dict[str, Method]) -> Runs:
    found = {
        task: {name: [run for run in row.get(name, {}).get("curves") or [] if run] for name in methods}
        for task, row in (study.get("accuracy") or {}).items()
    }
    return {task: {name: runs for name, runs in row.items() if runs} for task, row in found.items()}


def _learning_curves(runs: Runs, study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> Iterator[Markup]:
    """Loss and share right of the tasks that have any, some to a figure."""
    shown = [task for task in runs if runs[task]]
    batches = {task["dataset"]: task.get("batch") for task in study.get("conditions") or []}
    for start in range(0, len(shown), TASKS_IN_A_ROW):
        part = shown[start : start + TASKS_IN_A_ROW]
        width = INCHES * min(1, 0.25 + 0.25 * len(part))
        figure, axes = plt.subplots(2, len(part), figsize=(width, 4.6), squeeze=False, sharex="col")
        for column, task in enumerate(part):
            _task_curves(axes[:, column], runs[task], methods, batches.get(task))
            axes[0, column].set_title(tasks[task])
        axes[0, 0].set_ylabel("loss, nats")
        axes[1, 0].set_ylabel("training images right, %")
        figure.align_ylabels(axes[:, 0])
        figure.tight_layout(w_pad=1.2)
        yield _svg(figure, f"Loss and share of training images right over training: {', '.join(part)}")


def _task_curves(axes: Sequence[Axes], runs: dict[str, Any], methods: dict[str, Method], batch: int | None) -> None:
    for axis, column, factor in zip(axes, (1, 2), (1, 100), strict=True):
        for name, curves in runs.items():
            steps, mean, spread = _curve(curves, column)
            seen, look = steps * (batch or 1), methods[name]
            axis.plot(seen, factor * mean, color=look.colour, ls=look.line, lw=1.5)
            # A band says nothing where a share cannot go.
            low, high = (np.clip(factor * (mean + s * spread), 0, 100 if column == 2 else None) for s in (-1, 1))
            axis.fill_between(seen, low, high, color=look.colour, alpha=0.16, lw=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[0].set_ylim(bottom=0)
    axes[1].set_xlabel("training images seen" if batch else "training steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """A method's place in a scatter plot, and its standard deviation upwards and downwards."""

    method: Method
    x: float
    y: float
    spread: float


def _points(study: Study, methods: dict[str, Method], figures: dict[str, float]) -> list[_Point]:
    """Mean accuracy over what ``figures`` has for each method."""
    means = study.get("means") or {}
    return [
        _Point(method=methods[name], x=x, y=means[name]["mean"], spread=means[name].get("deviation") or 0.0)
        for name, x in figures.items()
        if name in means and name in methods and x is not None
    ]


def _scatter(axis: Axes, points: Sequence[_Point], *, log: bool = False) -> None:
    for point in points:
        look = point.method
        style = {"marker": "o" if look.integer else "s", "ms": 7, "mfc": look.face, "mew": 1.6}
        axis.errorbar(point.x, point.y, yerr=point.spread, color=look.colour, elinewidth=1.2, capsize=2.5, **style)
    values = [point.x for point in points]
    if log and min(values) > 0 and max(values) / min(values) > 20:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.15)
    else:
        axis.set_xlim(0, 1.12 * max(values) or 1)
        axis.xaxis.set_major_locator(MaxNLocator(4))


def _settle(axis: Axes) -> None:
    """Let the accuracies, of all axes that share them, span two points at least: less is no difference to show."""
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, (low + high) / 2 - 1), max(high, (low + high) / 2 + 1))


def _spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Ascending ``places`` moved apart to at least ``gap``, as little as that takes."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        # Two groups that overlap become one around the middle of its members.
        while len(groups) > 1:
            before, last = groups[-2:]
            if np.mean(last) - np.mean(before) >= gap * (len(before) + len(last)) / 2:
                break
            groups[-2:] = [before + last]
    return [float(np.mean(g)) + gap * (i - (len(g) - 1) / 2) for g in groups for i in range(len(g))]


def _label_beside(axis: Axes, points: Sequence[_Point]) -> None:
    """Name the points at the right, where no label can lie on another or on a point."""
    to_axes = axis.transData + axis.transAxes.inverted()
    ordered = sorted(points, key=lambda point: point.y)
    places = _spread_out([to_axes.transform((point.x, point.y))[1] for point in ordered], 0.135)
    for point, place in zip(ordered, places, strict=True):
        axis.annotate(
            textwrap.fill(point.method.title, LABEL_LETTERS),
            xy=(point.x, point.y),
            xytext=(1.06, place),
            textcoords="axes fraction",
            color=point.method.colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": point.method.colour, "alpha": 0.45, "lw": 0.8, "shrinkB": 5},
        )


def _memory_rows(study: Study, methods: dict[str, Method]) -> list[dict[str, Any]]:
    memory = study.get("memory") or {}
    keys = ("published", "system", "mram")
    return [{"method": methods[name], **{key: figures.get(key) for key in keys}} for name, figures in memory.items()]


def _memory_figure(study: Study, methods: dict[str, Method]) -> Markup | None:
    memory = study.get("memory") or {}
    panels = []
    for key, title in (("published", "by the published rule, all methods"), ("system", "this system's peak, INT8")):
        given = {name: figures[key] / MEGABYTE for name, figures in memory.items() if figures.get(key) is not None}
        if points := _points(study, methods, given):
            panels.append((title, points))
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(INCHES / 2 * len(panels), 3.1), squeeze=False, sharey=True)
    # Labels stand between the panels.
    figure.subplots_adjust(wspace=0.8, left=0.06, right=0.84 if len(panels) > 1 else 0.7)
    for axis, (title, points) in zip(axes[0], panels, strict=True):
        _scatter(axis, points)
        axis.set_title(title, loc="left")
        axis.set_xlabel("memory of a training step, MB")
        axis.set_ylabel("test accuracy, %")
        axis.tick_params(labelleft=True)
    _settle(axes[0, 0])
    for axis, (_, points) in zip(axes[0], panels, strict=True):
        _label_beside(axis, points)
    return _svg(figure, "Memory of a training step against test accuracy")


def _wear_rows(study: Study, methods: dict[str, Method]) -> list[dict[str, Any]]:
    """Writes of learning a task, means over the tasks; years are those of the task that wears most."""
    rows = []
    for name, method in methods.items():
        cells = [row[name].get("wear") for row in (study.get("accuracy") or {}).values() if name in row]
        worn = [wear for wear in cells if wear]
        if worn:
            mean = {key: sum(wear[key] for wear in worn) / len(worn) for key in worn[0] if all(key in w for w in worn)}
            years = min((wear["years"] for wear in worn if "years" in wear), default=None)
            most = max((wear["most"] for wear in worn if "most" in wear), default=None)
            rows.append({"method": method, "years": years, "most": most, **{k: mean.get(k) for k in _WRITES}})
    return rows


_WRITES = ("strips", "bytes", "weights")


def _wear_figure(study: Study, methods: dict[str, Method]) -> Markup | None:
    rows = _wear_rows(study, methods)
    panels = []
    for key, title, unit in (
        ("strips", "strips pulsed for a task", ""),
        ("bytes", "bytes written for a task", "B"),
        ("years", "years of endurance", ""),
    ):
        points = _points(study, methods, {row["method"].name: row[key] for row in rows})
        if points:
            panels.append((title, unit, points))
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(INCHES, 2.9), squeeze=False, sharey=True)
    figure.subplots_adjust(wspace=0.14, left=0.06, right=0.84)
    for axis, (title, unit, points) in zip(axes[0], panels, strict=True):
        _scatter(axis, points, log=True)
        axis.xaxis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))
        axis.set_xlabel(title)
    axes[0, 0].set_ylabel("test accuracy, %")
    _settle(axes[0, 0])
    _label_beside(axes[0, -1], panels[-1][2])
    return _svg(figure, "Writes and endurance against test accuracy")


# Continual learning.


def _scenario(name: str, given: dict[str, Any], methods: dict[str, Method]) -> dict[str, Any]:
    found = given.get("methods") or {}
    keys = ("average", "deviation", "backward_transfer", "forgetting", "storage_bytes_per_task")
    return {
        "name": name.replace("-", " "),
        "figure": _matrices(name, [str(task) for task in given.get("tasks") or []], found, methods),
        "rows": [{"method": methods[method], **{key: row.get(key) for key in keys}} for method, row in found.items()],
    }


def _matrices(scenario: str, tasks: list[str], found: dict[str, Any], methods: dict[str, Method]) -> Markup | None:
    """A heat map for each method, all on one scale; where a row ends early, its later tasks are blank."""
    matrices = {name: _matrix(row["rows"], tasks) for name, row in found.items() if row.get("rows")}
    if not matrices:
        return None
    sides = [matrix.shape for matrix in matrices.values()]
    tall, wide = (max(side) for side in zip(*sides, strict=True))
    titles = [Path(task).name for task in tasks] + [str(number + 1) for number in range(len(tasks), wide)]
    # Cells wide enough for their numbers, and no wider than a third of the page lets them be.
    across = max(1, min(3, int(INCHES / ((0.42 if wide <= DECIMAL_UP_TO else 0.27) * wide + 0.9))))
    down = -(-len(matrices) // across)
    lowest = min(float(np.nanmin(matrix)) for matrix in matrices.values())
    size = (INCHES * min(len(matrices), across) / across, down * (0.34 * tall + 1.1))
    figure, axes = plt.subplots(down, min(len(matrices), across), figsize=size, squeeze=False, layout="constrained")
    for position, (axis, (name, matrix)) in enumerate(zip(axes.flat, matrices.items(), strict=False)):
        axis.imshow(matrix, cmap="Blues", vmin=10 * math.floor(lowest / 10) - 10, vmax=110, aspect="auto")
        axis.set_title(textwrap.fill(methods[name].title, 30), color=methods[name].colour)
        _write_cells(axis, matrix)
        axis.set_xticks(range(wide), titles, rotation=30, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(tall), titles[:tall] if position % across == 0 else [""] * tall)
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        if position % across == 0:
            axis.set_ylabel("after learning")
        if position + across >= len(matrices):
            axis.set_xlabel("tested on")
    for axis in axes.flat[len(matrices) :]:
        axis.set_visible(False)
    return _svg(figure, f"Accuracy after each task, {scenario}")


def _matrix(rows: Sequence[Sequence[float]], tasks: Sequence[str]) -> NDArray[Any]:
    """Shares as percentages, what is not there as NaN."""
    matrix = np.full((len(rows), max(len(tasks), *map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        matrix[number, : len(row)] = [100 * share for share in row]
    return matrix


def _write_cells(axis: Axes, matrix: NDArray[Any]) -> None:
    digits = 1 if matrix.shape[1] <= DECIMAL_UP_TO else 0
    low, high = axis.images[0].get_clim()
    for (i, j), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            colour = "white" if (value - low) / (high - low) > 0.6 else "#222222"
            weight = "bold" if i == j else "normal"
            axis.text(j, i, f"{value:.{digits}f}", ha="center", va="center", color=colour, weight=weight)


def _power_of_ten(value: float) -> Markup:
    power = round(math.log10(value))
    return Markup(f"10<sup>{power}</sup>") if value == 10.0**power else Markup(f"{value:,.0f}")


__all__ = ["TARGETS", "Target", "signed", "write_report"]
