# SPDX-License-Identifier: Apache-2.0
"""A study's figures on the terminal."""

from pathlib import Path
from typing import Any

from rich.table import Table

from respin.cli.console import out


def print_study(study: dict[str, Any]) -> None:
    """Print what came out: accuracy, what was asked for besides, and differences between methods."""
    from respin.golden.learn.variations import VARIATIONS

    table = Table(title="test accuracy, % (standard deviation over seeds)", title_justify="left")
    table.add_column("method", no_wrap=True)
    tasks = list(study["accuracy"])
    for task in tasks:
        table.add_column(Path(task).name, justify="right")
    if len(tasks) > 1:
        table.add_column("mean", justify="right")
    for name, described in study["methods"].items():
        cells = [study["accuracy"][task][name] for task in tasks]
        if len(tasks) > 1:
            cells.append(study["means"][name])
        table.add_row(described["title"], *(f"{cell['mean']:.2f} ({cell['deviation']:.2f})" for cell in cells))
    out.print(table)
    for scenario, described in study.get("continual", {}).items():
        _print_continual(scenario, described, study["methods"])
    for task, rows in study.get("labels", {}).items():
        _print_labels(task, rows, study["methods"])
    varied = [row for row in study["differences"] if row["task"] == "mean" and row["of"] in VARIATIONS]
    if varied:
        _print_variations(varied, study["methods"])
    for row in study["differences"]:
        if row["lower"] is not None and row["task"] == "mean" and row not in varied:
            titles = [study["methods"][row[which]]["title"] for which in ("of", "against")]
            bounds = f"one-sided 95 % bounds {row['lower']:+.2f}, {row['upper']:+.2f}"
            line = f"{' less '.join(titles)}, mean of the tasks: {row['mean']:+.2f} points ({bounds})"
            out.print(line, highlight=False)


def _print_continual(scenario: str, described: dict[str, Any], methods: dict[str, Any]) -> None:
    table = Table(title=f"{scenario}: {', then '.join(described['tasks'])}", title_justify="left")
    table.add_column("method")
    for column in ("average accuracy, %", "backward transfer, points", "forgetting, points", "storage a task, kB"):
        table.add_column(column, justify="right")
    for name, measured in described["methods"].items():
        values = (100 * measured[key] for key in ("average", "backward_transfer", "forgetting"))
        storage = f"{measured['storage_bytes_per_task'] / 1000:,.1f}"
        table.add_row(methods[name]["title"], *(f"{value:.2f}" for value in values), storage)
    out.print(table)


def _print_labels(task: str, rows: list[dict[str, Any]], methods: dict[str, Any]) -> None:
    table = Table(title=f"{Path(task).name}: test accuracy from few images a class, %", title_justify="left")
    table.add_column("method", no_wrap=True)
    for row in rows:
        table.add_column(f"{row['images_a_class']:,}", justify="right")
    for name, described in methods.items():
        cells = [row["methods"][name] for row in rows]
        table.add_row(described["title"], *(f"{cell['mean']:.2f} ({cell['deviation']:.2f})" for cell in cells))
    out.print(table)


def _print_variations(rows: list[dict[str, Any]], methods: dict[str, Any]) -> None:
    table = Table(title=f"less {methods[rows[0]['against']]['title']}, points, mean of the tasks", title_justify="left")
    table.add_column("variation", no_wrap=True)
    for column in ("difference", "95 % above", "95 % below"):
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: -row["mean"]):
        values = (row[key] for key in ("mean", "lower", "upper"))
        table.add_row(methods[row["of"]]["title"], *("" if value is None else f"{value:+.2f}" for value in values))
    out.print(table)
