# SPDX-License-Identifier: Apache-2.0
"""What a study says, in rows: the page and the Markdown tables show the same ones.

A study is what :func:`respin.golden.learn.study.describe` returns. It may lack any of its keys, as one read from an
older file does, and what rests on a missing one is left out. These may join it:

- ``memory``, of :func:`respin.golden.learn.study.measure_memory`;
- ``continual``: what :func:`respin.golden.learn.study.follow` returns, by scenario;
- ``labels``, of :func:`respin.golden.learn.labels.label_efficiency`;
- ``command`` (a line or its words) and ``versions`` (else those of this process).
"""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from respin.gen.versions import commit, package_version, versions
from respin.golden.learn.saturation import KINDS

Study = dict[str, Any]

PACKAGES = ("torch", "numpy", "numba", "scikit-learn")
"""Whose versions the figures may depend on."""
MEGABYTE = 1e6
SATURATION_NOTED = 2**-10
"""Share of a tensor at its limit from which on its scale is tight."""
KIND_TITLES = tuple(KINDS.values())
"""Of the columns of saturation."""
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


def methods_of(study: Study) -> dict[str, Method]:
    """How each method that a study names is shown, by its name."""
    described: dict[str, Any] = study.get("methods") or {}
    compared = [(row["of"], row["against"]) for row in study.get("differences") or []]
    continual = [scenario.get("methods") or {} for scenario in (study.get("continual") or {}).values()]
    labels = [row["methods"] for rows in (study.get("labels") or {}).values() for row in rows]
    accuracy = (study.get("accuracy") or {}).values()
    parts = (described, *accuracy, study.get("memory") or {}, *compared, *continual, *labels)
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
    """What the study is of."""
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
    if any(task.get("held_out") for task in given):
        rows.append(("tested on held-out training images", shown("held_out")))
    return [row for row in [*rows, ("seeds", str(seeds_of(study) or ""))] if row[1]]


def _square(side: str) -> str:
    return f"{side} × {side}" if side.isdigit() else side


def versions_of(study: Study) -> dict[str, str]:
    """Versions of what the figures may depend on: those of this process unless the study has some."""
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
    """Bytes of a training step, and of what each task keeps for itself, a row for each method."""
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


_WRITES = ("strips", "gray_strips", "bytes", "weights")


def scenario_rows(name: str, given: dict[str, Any], methods: dict[str, Method]) -> dict[str, Any]:
    """A row for each method: its measures, and its accuracy matrix, of shares."""
    found = given.get("methods") or {}
    keys = ("average", "deviation", "backward_transfer", "forgetting", "storage_bytes_per_task")
    return {
        "name": name,
        "tasks": [str(task) for task in given.get("tasks") or []],
        "rows": [
            {"method": methods[method], "matrix": row.get("rows") or [], **{key: row.get(key) for key in keys}}
            for method, row in found.items()
        ],
    }


def saturation_rows(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each method on each task, a cell for each kind of tensor: the largest share, or None."""
    rows = []
    for task, found in (study.get("saturation") or {}).items():
        for name, kinds in found.items():
            cells = [(kinds.get(kind) or {}).get("share") for kind in KINDS]
            if name in methods and any(cell is not None for cell in cells):
                rows.append({"method": methods[name], "task": tasks.get(task, task), "cells": cells})
    return rows


def label_tables(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A table for each task: images a class and in all, and for each method its accuracy with each of those."""
    found = []
    for task, rows in (study.get("labels") or {}).items():
        names = [name for name in methods if any(name in row["methods"] for row in rows)]
        found.append(
            {
                "task": tasks.get(task, task),
                "counts": [row["images_a_class"] for row in rows],
                "images": [row["images"] for row in rows],
                "rows": [
                    {"method": methods[name], "cells": [_label_cell(row["methods"].get(name)) for row in rows]}
                    for name in names
                ],
            }
        )
    return found


def _label_cell(cell: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if cell is None else {**cell, "count": len(cell["seeds"])}


def command_of(study: Study) -> str | None:
    """The command line."""
    command = study.get("command")
    return command if command is None or isinstance(command, str) else shlex.join(command)
