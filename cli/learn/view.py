# SPDX-License-Identifier: Apache-2.0
"""What a study's reports show, as numbers and words: shared by the page and the Markdown tables.

A study is what :func:`respin.golden.learn.study.describe` returns. It may lack any of its keys, as one read from an
older file does, and what rests on a missing one is left out. These may join it:

- ``memory``, of :func:`respin.golden.learn.study.measure_memory`;
- ``continual``, of :func:`respin.golden.learn.study.follow`, by scenario;
- ``labels``, of :func:`respin.golden.learn.study.label_efficiency`;
- ``command`` (a line or its words) and ``versions`` (else those of this process).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from respin.gen.versions import commit, package_version, versions
from respin.golden.learn.saturation import KINDS

Study = dict[str, Any]

PACKAGES = ("torch", "numpy", "numba", "scikit-learn")
"""Whose versions the figures may depend on."""
MEGABYTE = 1e6
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


TARGETS = (
    Target(of="rep-net", against="rep-net-float", mean=-1.0, task=-2.0),
    Target(of="rep-net", against="linear", mean=0.0, task=-0.5, above=0.75),
)


def methods_of(study: Study) -> dict[str, Method]:
    """How every method that the study names is shown."""
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


def tasks_of(study: Study) -> dict[str, str]:
    """Titles of the tasks: of a folder its name, if that is clear."""
    tasks = list(study.get("accuracy") or {}) or [task["dataset"] for task in study.get("conditions") or []]
    short = Counter(Path(task).name for task in tasks)
    return {task: Path(task).name if short[Path(task).name] == 1 else task for task in tasks}


def seeds_of(study: Study) -> int:
    """Seeds of a method, the most of any; 0 where nothing was run."""
    cells = [cell for row in (study.get("accuracy") or {}).values() for cell in row.values()]
    return max((len(cell.get("seeds") or [None]) for cell in cells), default=0)


def title_of(study: Study) -> str:
    """A title that names the backbones."""
    backbones = dict.fromkeys(task["backbone"] for task in study.get("conditions") or [])
    return f"Learning beside a frozen {' and '.join(backbones) or 'backbone'}"


def conditions_of(study: Study, tasks: dict[str, str]) -> list[tuple[str, str]]:
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
    return [row for row in [*rows, ("seeds", str(seeds_of(study) or ""))] if row[1]]


def _square(side: str) -> str:
    return f"{side} × {side}" if side.isdigit() else side


def versions_of(study: Study) -> dict[str, str]:
    """Versions and commit: the study's own, or those of this process."""
    if "versions" in study:
        return dict(study["versions"])
    found = versions() | {name: version for name in PACKAGES if (version := package_version(name))}
    made = commit()
    return found | ({"commit": made["sha"] + (", changed since" if made["changed"] else "")} if made else {})


def signed(value: float | None, sign: str = "+") -> str:
    """Return ``value`` with its sign (``sign=""``: only if negative); a bound that one seed does not have is a dash."""
    if value is None:
        return "–"
    text = f"{value:{sign}.2f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "\u2212")


def accuracy_rows(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each method, a cell for each task and the mean; the best of each column is marked."""
    accuracy = study.get("accuracy") or {}
    columns = [accuracy[task] for task in tasks if task in accuracy]
    if len(columns) > 1 and study.get("means"):
        columns.append(study["means"])
    best = [max(cell["mean"] for cell in column.values()) if column else None for column in columns]
    rows, seeds = [], seeds_of(study)
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


def difference_groups(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
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
        groups.append({**group, "counted": _counted(target, rows), "scale": Scale.of(rows)})
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
class Scale:
    """Where points (of accuracy) lie on the bars of a group of differences, 0 to ``width``."""

    low: float
    high: float
    width: int = 240

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> "Scale":
        """A scale on which all bounds of ``rows`` fit."""
        keys = ("mean", "lower", "upper", "limit")
        values = [0.0, *(row[key] for row in rows for key in keys if row[key] is not None)]
        room = 0.06 * (max(values) - min(values)) or 1.0
        return cls(low=min(values) - room, high=max(values) + room)

    def place(self, value: float) -> float:
        """Where ``value`` lies."""
        return round((value - self.low) / (self.high - self.low) * self.width, 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the round values."""
        values = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(self.low, self.high)
        inside = [float(value) for value in values if self.low < value < self.high]
        return [(self.place(value), f"{value:+g}".replace("-", "\u2212") if value else "0") for value in inside]


def headline_figures(
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


def chosen_settings(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
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


def memory_rows(study: Study, methods: dict[str, Method]) -> list[dict[str, Any]]:
    """A row of bytes for each method whose memory is known."""
    memory = study.get("memory") or {}
    keys = ("published", "system", "mram", "task")
    return [{"method": methods[name], **{key: figures.get(key) for key in keys}} for name, figures in memory.items()]


def wear_rows(study: Study, methods: dict[str, Method]) -> list[dict[str, Any]]:
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


def saturation_rows(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each method and task: of each kind of tensor, the one that saturated most and its share."""
    return [
        {
            "method": methods[name],
            "task": title,
            "cells": [{"title": title_, **found[kind]} if kind in found else None for kind, title_ in KINDS.items()],
        }
        for task, title in tasks.items()
        for name, found in ((study.get("saturation") or {}).get(task) or {}).items()
        if name in methods
    ]


def label_rows(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each task and method: accuracy by the images a class that it was trained on."""
    rows = []
    for task, points in (study.get("labels") or {}).items():
        names = dict.fromkeys(name for point in points for name in point["methods"] if name in methods)
        for name in names:
            cells = {point["images_a_class"]: point["methods"].get(name) for point in points}
            rows.append({"method": methods[name], "task": tasks.get(task, task), "cells": cells})
    return rows
