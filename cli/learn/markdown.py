# SPDX-License-Identifier: Apache-2.0
"""A study as Markdown tables, for documents."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from respin.cli.learn.view import (
    MEGABYTE,
    Study,
    accuracy_rows,
    chosen_settings,
    conditions_of,
    difference_groups,
    label_rows,
    memory_rows,
    methods_of,
    saturation_rows,
    signed,
    tasks_of,
    versions_of,
    wear_rows,
)
from respin.golden.learn.saturation import KINDS


def write_markdown(path: Path, study: Study) -> None:
    """Write the tables of ``study``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(_lines(study)) + "\n", encoding="utf-8")
    partial.replace(path)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _spread(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    return f"{cell['mean']:.2f}" + (f" ± {cell['deviation']:.2f}" if cell["count"] > 1 else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _lines(study: Study) -> Iterator[str]:
    command = study.get("command")
    if command is not None:
        yield from ("```sh", command if isinstance(command, str) else shlex.join(command), "```", "")
    tasks = tasks_of(study)
    about = [f"{title}: {value}" for title, value in conditions_of(study, tasks)]
    about += [f"{name} {version}" for name, version in versions_of(study).items() if name in ("commit", "torch")]
    if about:
        yield from ("; ".join(about) + ".", "")
    yield from _accuracy(study)
    yield from _differences(study)
    yield from _labels(study)
    yield from _continual(study)
    yield from _memory(study)
    yield from _wear(study)
    yield from _saturation(study)


def _accuracy(study: Study) -> Iterator[str]:
    methods, tasks = methods_of(study), tasks_of(study)
    rows = accuracy_rows(study, methods, tasks)
    if not rows:
        return
    more = ["mean"] if len(rows[0]["cells"]) > len(tasks) else []
    yield from ("Test accuracy, %, ± standard deviation over the seeds:", "")
    yield from _table(
        ["", *tasks.values(), *more], [[row["method"].title, *map(_spread, row["cells"])] for row in rows]
    )
    chosen = chosen_settings(study, methods, tasks)
    if chosen:
        yield from ("Settings:", "")
        rows_ = [[row["method"].title, *("; ".join(cell) or "–" for cell in row["cells"])] for row in chosen]
        yield from _table(["", *tasks.values()], rows_)


def _differences(study: Study) -> Iterator[str]:
    for group in difference_groups(study, methods_of(study), tasks_of(study)):
        yield from (f"{group['of'].title} less {group['against'].title}, points, one-sided 95 % bounds:", "")
        rows = [
            [row["title"], *(signed(row[key]) for key in ("mean", "lower", "upper")), row["target"], row["verdict"]]
            for row in group["rows"]
        ]
        if group["counted"]:
            counted = group["counted"]
            count = counted["count"] or "–"
            rows.append(["tasks with a lower bound above 0", count, "", "", counted["title"], counted["verdict"]])
        header = ["", "points", "lower", "upper", "target for the lower bound", ""]
        if not any(row[4] for row in rows):
            header, rows = header[:4], [row[:4] for row in rows]
        yield from _table(header, rows)


def _labels(study: Study) -> Iterator[str]:
    rows = label_rows(study, methods_of(study), tasks_of(study))
    if rows:
        yield from ("Test accuracy, %, by training images a class:", "")
        counts = [str(count) for count in rows[0]["cells"]]
        yield from _table(
            ["task", "", *counts],
            [[row["task"], row["method"].title, *map(_spread, row["cells"].values())] for row in rows],
        )


def _continual(study: Study) -> Iterator[str]:
    methods = methods_of(study)
    for name, scenario in (study.get("continual") or {}).items():
        tasks = [Path(str(task)).name for task in scenario["tasks"]]
        yield from (f"{name.capitalize()}: {', then '.join(tasks)}. Accuracy at the end, %; measures in points:", "")
        rows = []
        for method, found in scenario["methods"].items():
            measures = [found[key] for key in ("average", "backward_transfer", "forgetting")]
            last = [f"{100 * share:.1f}" for share in found["rows"][-1]]
            rows.append([methods[method].title, *last, *(f"{100 * value:.2f}" for value in measures)])
        yield from _table(["", *tasks, "average", "backward transfer", "forgetting"], rows)


def _memory(study: Study) -> Iterator[str]:
    rows = memory_rows(study, methods_of(study))
    if rows:
        yield from ("Memory of a training step, MB:", "")
        keys = ("published", "system", "mram", "task")
        shown = [
            [row["method"].title, *("–" if row[key] is None else f"{row[key] / MEGABYTE:.2f}" for key in keys)]
            for row in rows
        ]
        header = ["", "by the published rule", "this system, peak", "this system, MRAM", "of it a task's own"]
        yield from _table(header, shown)


def _wear(study: Study) -> Iterator[str]:
    rows = wear_rows(study, methods_of(study))
    if rows:
        yield from ("Writes of learning one task; years (assumptions: 1e12 pulses a strip, 24 tasks a day):", "")
        keys = ("weights", "bytes", "strips", "most", "years")
        yield from _table(
            ["", "weights changed", "bytes written", "strips pulsed", "pulses of the busiest strip", "years"],
            [[row["method"].title, *(_number(row[key]) for key in keys)] for row in rows],
        )


def _saturation(study: Study) -> Iterator[str]:
    rows = saturation_rows(study, methods_of(study), tasks_of(study))
    if rows:
        yield from ("Largest share of a tensor at its limit over the last epoch, %:", "")
        shown = [
            [
                row["task"],
                row["method"].title,
                *("–" if cell is None else f"{100 * cell['share']:.3f}" for cell in row["cells"]),
            ]
            for row in rows
        ]
        yield from _table(["task", "", *KINDS.values()], shown)
