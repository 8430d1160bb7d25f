# SPDX-License-Identifier: Apache-2.0
"""The page's pictures, as inline SVG elements."""

import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from respin.cli.learn.tables import MEGABYTE, Method, Study
from respin.golden.learn.variations import VARIATIONS

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

Markup = jinja2.utils.markupsafe.Markup

INCHES = 10.4
"""Width of a full figure: the page's, so that letters have the size they are given."""
TASKS_IN_A_ROW = 4
"""Of learning curves."""
LABEL_LETTERS = 22
"""In a line of a label beside a scatter plot."""
DECIMAL_UP_TO = 6
"""Tasks up to which a matrix's cells have room for a decimal."""
DRAWN_UP_TO = 8
"""Methods up to which all are drawn; of more, variations of the rules stand in tables alone."""
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


def style() -> AbstractContextManager[None]:
    """Return the context that pictures are drawn in."""
    return plt.rc_context(STYLE)


def drawn(methods: dict[str, Method]) -> dict[str, Method]:
    """Return the methods that pictures show."""
    if len(methods) <= DRAWN_UP_TO:
        return methods
    return {name: method for name, method in methods.items() if name not in VARIATIONS}


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


def runs(study: Study, methods: dict[str, Method]) -> Runs:
    """Return the curves of ``methods``."""
    found = {
        task: {name: [run for run in row.get(name, {}).get("curves") or [] if run] for name in methods}
        for task, row in (study.get("accuracy") or {}).items()
    }
    return {task: {name: runs for name, runs in row.items() if runs} for task, row in found.items()}


def learning_curves(
    runs: Runs, study: Study, methods: dict[str, Method], tasks: dict[str, str]
) -> Iterator[Markup]:
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


def label_curves(tables: Sequence[dict[str, Any]], methods: dict[str, Method]) -> Iterator[Markup]:
    """Accuracy over images a class, a panel for each task, some to a figure."""
    for start in range(0, len(tables), TASKS_IN_A_ROW):
        part = tables[start : start + TASKS_IN_A_ROW]
        width = INCHES * min(1, 0.25 + 0.25 * len(part))
        figure, axes = plt.subplots(1, len(part), figsize=(width, 2.9), squeeze=False)
        for axis, table in zip(axes[0], part, strict=True):
            _task_labels(axis, table, methods)
            axis.set_title(table["task"])
            axis.set_xlabel("training images a class")
        axes[0, 0].set_ylabel("test accuracy, %")
        figure.tight_layout(w_pad=1.2)
        yield _svg(figure, f"Accuracy over images a class: {', '.join(table['task'] for table in part)}")


def _task_labels(axis: Axes, table: dict[str, Any], methods: dict[str, Method]) -> None:
    counts = np.array(table["counts"], dtype=float)
    for row in table["rows"]:
        if row["method"].name not in methods:
            continue
        look = row["method"]
        here = [number for number, cell in enumerate(row["cells"]) if cell is not None]
        mean, spread = (np.array([row["cells"][number][key] for number in here]) for key in ("mean", "deviation"))
        style = {"marker": "o" if look.integer else "s", "ms": 4.5, "mfc": look.face, "mew": 1.3}
        axis.plot(counts[here], mean, color=look.colour, ls=look.line, lw=1.5, **style)
        low, high = (np.clip(mean + sign * spread, 0, 100) for sign in (-1, 1))
        axis.fill_between(counts[here], low, high, color=look.colour, alpha=0.16, lw=0)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(table["counts"], [f"{count:,}" for count in table["counts"]])
    axis.margins(x=0.08)


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


def memory(study: Study, methods: dict[str, Method]) -> Markup | None:
    """Memory of a training step against accuracy; a single method is no comparison."""
    figures_of = {name: row for name, row in (study.get("memory") or {}).items() if name in methods}
    panels = []
    for key, title in (("published", "by the published rule, all methods"), ("system", "this system's peak, INT8")):
        given = {name: figures[key] / MEGABYTE for name, figures in figures_of.items() if figures.get(key) is not None}
        if len(points := _points(study, methods, given)) > 1:
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


def wear(study: Study, rows: Sequence[dict[str, Any]], methods: dict[str, Method]) -> Markup | None:
    """Writes and endurance against accuracy; a single method is no comparison."""
    panels = []
    for key, title, unit in (
        ("strips", "strips pulsed for a task", ""),
        ("bytes", "bytes written for a task", "B"),
        ("years", "years of endurance", ""),
    ):
        points = _points(study, methods, {row["method"].name: row[key] for row in rows})
        if len(points) > 1:
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


def matrices(scenario: dict[str, Any]) -> Markup | None:
    """A heat map for each method, all on one scale; where a row ends early, its later tasks are blank."""
    tasks = scenario["tasks"]
    shown = {row["method"]: _matrix(row["matrix"], tasks) for row in scenario["rows"] if row["matrix"]}
    if not shown:
        return None
    sides = [matrix.shape for matrix in shown.values()]
    tall, wide = (max(side) for side in zip(*sides, strict=True))
    titles = [Path(task).name for task in tasks] + [str(number + 1) for number in range(len(tasks), wide)]
    # Cells wide enough for their numbers, and no wider than a third of the page lets them be.
    across = max(1, min(3, int(INCHES / ((0.42 if wide <= DECIMAL_UP_TO else 0.27) * wide + 0.9))))
    down = -(-len(shown) // across)
    lowest = min(float(np.nanmin(matrix)) for matrix in shown.values())
    size = (INCHES * min(len(shown), across) / across, down * (0.34 * tall + 1.1))
    figure, axes = plt.subplots(down, min(len(shown), across), figsize=size, squeeze=False, layout="constrained")
    for position, (axis, (method, matrix)) in enumerate(zip(axes.flat, shown.items(), strict=False)):
        axis.imshow(matrix, cmap="Blues", vmin=10 * math.floor(lowest / 10) - 10, vmax=110, aspect="auto")
        axis.set_title(textwrap.fill(method.title, 30), color=method.colour)
        _write_cells(axis, matrix)
        axis.set_xticks(range(wide), titles, rotation=30, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(tall), titles[:tall] if position % across == 0 else [""] * tall)
        axis.grid(visible=False)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        if position % across == 0:
            axis.set_ylabel("after learning")
        if position + across >= len(shown):
            axis.set_xlabel("tested on")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    return _svg(figure, f"Accuracy after each task, {scenario['name']}")


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
