# SPDX-License-Identifier: Apache-2.0
"""The study's report: one self-contained HTML page with the comparison's tables and pictures."""

import math
import shlex
from pathlib import Path
from typing import Any

import jinja2

from respin.cli.learn.figures import (
    STYLE,
    Markup,
    curves_of,
    label_figure,
    learning_curves,
    matrices,
    memory_figure,
    plt,
    wear_figure,
)
from respin.cli.learn.view import (
    MEGABYTE,
    Method,
    Study,
    accuracy_rows,
    chosen_settings,
    conditions_of,
    difference_groups,
    headline_figures,
    label_rows,
    memory_rows,
    methods_of,
    saturation_rows,
    seeds_of,
    signed,
    tasks_of,
    title_of,
    versions_of,
    wear_rows,
)
from respin.golden.learn.saturation import KINDS
from respin.golden.learn.study import ENDURANCE, TASKS_A_DAY


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
    methods, tasks = methods_of(study), tasks_of(study)
    differences = difference_groups(study, methods, tasks)
    command = study.get("command")
    return {
        "title": title_of(study),
        "conditions": conditions_of(study, tasks),
        "differences": differences,
        "figures": headline_figures(study, methods, tasks, differences),
        "methods": list(methods.values()),
        "tasks": tasks,
        "accuracy": accuracy_rows(study, methods, tasks),
        "seeds": seeds_of(study),
        "curves": list(learning_curves(curves_of(study, methods), study, methods, tasks)),
        "with_curves": {name for row in curves_of(study, methods).values() for name in row},
        "chosen": chosen_settings(study, methods, tasks),
        "memory": memory_rows(study, methods),
        "memory_figure": memory_figure(study, methods),
        "labels": label_rows(study, methods, tasks),
        "label_figure": label_figure(study, methods, tasks),
        "saturation": saturation_rows(study, methods, tasks),
        "kinds": list(KINDS.values()),
        "wear": wear_rows(study, methods),
        "wear_figure": wear_figure(study, methods),
        "endurance": _power_of_ten(ENDURANCE),
        "tasks_a_day": TASKS_A_DAY,
        "continual": [_scenario(name, given, methods) for name, given in (study.get("continual") or {}).items()],
        "licences": study.get("licences") or {},
        "versions": versions_of(study),
        "command": command if command is None or isinstance(command, str) else shlex.join(command),
    }


def _scenario(name: str, given: dict[str, Any], methods: dict[str, Method]) -> dict[str, Any]:
    found = given.get("methods") or {}
    keys = ("average", "deviation", "backward_transfer", "forgetting")
    return {
        "name": name.replace("-", " "),
        "figure": matrices(name, [str(task) for task in given.get("tasks") or []], found, methods),
        "rows": [{"method": methods[method], **{key: row.get(key) for key in keys}} for method, row in found.items()],
    }


def _power_of_ten(value: float) -> Markup:
    power = round(math.log10(value))
    return Markup(f"10<sup>{power}</sup>") if value == 10.0**power else Markup(f"{value:,.0f}")
