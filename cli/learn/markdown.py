# SPDX-License-Identifier: Apache-2.0
"""The study as Markdown tables, to be taken into a document."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from respin.cli.learn.contents import contents
from respin.cli.learn.tables import KIND_TITLES, MEGABYTE, SATURATION_NOTED, Study, signed
from respin.cli.output import write_whole

NOTHING = "–"


def write_results(path: Path, study: Study) -> None:
    """Write the tables of ``study``, whole or not at all."""
    write_whole(path, results(study))


def results(study: Study) -> str:
    """Return the tables of ``study``."""
    shown = contents(study)
    parts = [f"# {_text(shown['title'])}", *_conditions(shown)]
    for title, make in PARTS.items():
        if lines := list(make(shown)):
            parts += [f"## {title}", *lines]
    return "\n\n".join(parts) + "\n"


def _conditions(shown: dict[str, Any]) -> Iterator[str]:
    if shown["command"]:
        yield "    " + " ".join(shown["command"].splitlines())
    if shown["conditions"]:
        yield _table(["conditions", ""], [[title, value] for title, value in shown["conditions"]])


def _accuracy(shown: dict[str, Any]) -> Iterator[str]:
    rows = shown["accuracy"]
    if not rows:
        return
    tasks = list(shown["tasks"].values())
    mean = ["mean"] if len(rows[0]["cells"]) > len(tasks) else []
    spread = f" ± deviation over {shown['seeds']} seeds" if shown["seeds"] > 1 else ", one seed"
    yield _table(
        [f"test accuracy, %{spread}", *tasks, *mean],
        [[row["method"].title, *(_share(cell, best=True) for cell in row["cells"])] for row in rows],
    )
    yield "Bold: the best of its column."
    if shown["chosen"]:
        yield _table(
            ["setting", *tasks],
            [[row["method"].title, *("; ".join(cell) or NOTHING for cell in row["cells"])] for row in shown["chosen"]],
        )


def _differences(shown: dict[str, Any]) -> Iterator[str]:
    for group in shown["differences"]:
        rows = [
            [row["title"], *_bounds(row), row["target"], row["verdict"] and f"**{row['verdict']}**"]
            for row in group["rows"]
        ]
        if counted := group["counted"]:
            title, count = "tasks whose lower bound is above 0", counted["count"] or NOTHING
            rows.append([title, count, "", "", counted["title"], f"**{counted['verdict']}**"])
        judged = any(row[4] for row in rows)
        header = [f"{group['of'].title} less {group['against'].title}", "points", "lower", "upper"]
        header += ["target for the lower bound", ""] if judged else []
        yield _table(header, [row[: len(header)] for row in rows])
    if shown["differences"]:
        yield "Differences seed by seed, in points; bounds are one-sided, 95 %, by Student's t."


def _variations(shown: dict[str, Any]) -> Iterator[str]:
    rows = shown["variations"]
    if rows:
        header = [f"less {rows[0]['against'].title}, mean of the tasks", "points", "lower", "upper"]
        yield _table(header, [[row["of"].title, *_bounds(row)] for row in rows])
        yield "Each bound is a one-sided 95 % bound for its own variation."


def _labels(shown: dict[str, Any]) -> Iterator[str]:
    for table in shown["labels"]:
        yield _table(
            [f"{table['task']}, %, by images a class", *(f"{count:,}" for count in table["counts"])],
            [[row["method"].title, *(_share(cell) for cell in row["cells"])] for row in table["rows"]],
        )


def _memory(shown: dict[str, Any]) -> Iterator[str]:
    if shown["memory"]:
        yield _table(
            ["MB of a training step", "by the published rule", "this system, peak", "MRAM", "each task's own"],
            [
                [row["method"].title, *(_megabytes(row[key]) for key in ("published", "system", "mram", "task"))]
                for row in shown["memory"]
            ],
        )


def _wear(shown: dict[str, Any]) -> Iterator[str]:
    keys = ("weights", "bytes", "strips", "gray_strips", "most", "years")
    if shown["wear"]:
        yield _table(
            [
                *("learning one task", "weights changed", "bytes written", "strips pulsed", "were rows in Gray code"),
                *("most a strip", "years"),
            ],
            [[row["method"].title, *(_whole(row[key]) for key in keys)] for row in shown["wear"]],
        )
        yield (
            f"Assumptions: a strip endures 10^{math.log10(shown['endurance']):g} pulses; a new task is learned"
            f" {shown['tasks_a_day']} times a day, into the same rows, without wear levelling."
        )


def _saturation(shown: dict[str, Any]) -> Iterator[str]:
    if shown["saturation"]:
        yield _table(
            ["% of a tensor at its limit, at most", "task", *KIND_TITLES],
            [[row["method"].title, row["task"], *map(_saturated, row["cells"])] for row in shown["saturation"]],
        )
        yield (
            "Over the last epoch, of each kind the tensor that saturated most in any seed. Bold: more than 2^-10"
            f" ({100 * SATURATION_NOTED:.3f} %)."
        )


def _continual(shown: dict[str, Any]) -> Iterator[str]:
    for scenario in shown["continual"]:
        yield f"### {scenario['name'].replace('-', ' ').capitalize()}"
        yield _table(
            ["points of accuracy", "average at the end", "backward transfer", "forgetting", "storage a task, kB"],
            [_measures(row) for row in scenario["rows"]],
        )
        tasks = scenario["tasks"]
        for row in scenario["rows"]:
            if row["matrix"]:
                wide = max(len(tasks), *map(len, row["matrix"]))
                names = [Path(task).name for task in tasks] + [str(n + 1) for n in range(len(tasks), wide)]
                cells = [[f"{100 * share:.1f}" for share in of_row] for of_row in row["matrix"]]
                yield _table(
                    [f"{row['method'].title}: after", *names],
                    [[name, *of_row, *[""] * (wide - len(of_row))] for name, of_row in zip(names, cells, strict=False)],
                )


def _measures(row: dict[str, Any]) -> list[str]:
    average, deviation, storage = row["average"], row["deviation"], row["storage_bytes_per_task"]
    spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
    return [
        row["method"].title,
        NOTHING if average is None else f"{100 * average:.2f}{spread}",
        *(signed(None if row[key] is None else 100 * row[key], sign) for key, sign in SIGNS.items()),
        NOTHING if storage is None else f"{storage / 1000:,.1f}",
    ]


SIGNS = {"backward_transfer": "+", "forgetting": ""}


def _origin(shown: dict[str, Any]) -> Iterator[str]:
    rows = [[f"{shown['tasks'].get(what, what)}, licence", licence] for what, licence in shown["licences"].items()]
    yield _table(["what", ""], rows + [[what, version] for what, version in shown["versions"].items()])


PARTS = {
    "Test accuracy": _accuracy,
    "Differences": _differences,
    "Variations of the rules": _variations,
    "Learning from few images": _labels,
    "Memory": _memory,
    "Writes and endurance": _wear,
    "Saturation": _saturation,
    "One task after the other": _continual,
    "Where this comes from": _origin,
}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines)


def _text(cell: str) -> str:
    """What a name may hold and Markdown would take for its own; bold figures stay bold."""
    return re.sub(r"([\\`|<>\[\]$])", r"\\\1", cell).replace("\n", " ")


def _share(cell: dict[str, Any] | None, *, best: bool = False) -> str:
    if cell is None:
        return NOTHING
    text = f"{cell['mean']:.2f}" + (f" ± {cell['deviation']:.2f}" if cell["count"] > 1 else "")
    return f"**{text}**" if best and cell["best"] else text


def _bounds(row: dict[str, Any]) -> list[str]:
    return [signed(row[key]) for key in ("mean", "lower", "upper")]


def _saturated(share: float | None) -> str:
    if share is None:
        return NOTHING
    return f"**{100 * share:.3f}**" if share > SATURATION_NOTED else f"{100 * share:.3f}"


def _megabytes(count: int | None) -> str:
    return NOTHING if count is None else f"{count / MEGABYTE:.2f}"


def _whole(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
