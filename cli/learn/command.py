# SPDX-License-Identifier: Apache-2.0
"""``respin learn``: how well the integer rules learn real tasks on real backbones, against other methods."""

import json
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from respin.cli.console import BAD_INPUT, Json, err, fail, out, print_json, require

if TYPE_CHECKING:
    from respin.golden.data import Dataset
    from respin.golden.learn.experiment import Conditions

FOLDER = Path("build") / "learn"
DEFAULT_METHODS = "rep-net,linear"
SEPARATE = "separate"


def learn(
    backbone: Annotated[str, typer.Option(help="A pretrained backbone; --list shows them.")] = "efficientnet-lite0",
    tasks: Annotated[
        str, typer.Option(help="Data sets with commas between: names that --list shows, or folders of images.")
    ] = "digits",
    method: Annotated[
        str, typer.Option(help="Methods with commas between; --list shows them; variations are all of those.")
    ] = DEFAULT_METHODS,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often: each has images and weights of its own.")] = 1,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of an image, pixels.")] = 96,
    train_images: Annotated[int, typer.Option(min=10, help="Training images of a task.")] = 2000,
    chosen_on: Annotated[
        int, typer.Option(min=0, help="How many of them settings are chosen on; 0 takes each method's first setting.")
    ] = 0,
    scenario: Annotated[
        str,
        typer.Option(help="separate, task-incremental (in their order), or class-incremental (two classes at a time)."),
    ] = "separate",
    rehearsal: Annotated[int, typer.Option(min=0, help="Images remembered, class-incremental.")] = 200,
    images_a_class: Annotated[
        str | None,
        typer.Option(help="Train on so few images of each class as well: numbers with commas.", show_default=False),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 8,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Images in a step.")] = 16,
    held_out: Annotated[
        int, typer.Option(min=0, help="Test on so many other training images, not on the test set: to decide on rules.")
    ] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side; one a core.", show_default=False)] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write a page to look at, OUT/report.html, and its tables, OUT/results.md.")
    ] = False,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Keeps results: nothing is run twice.")] = FOLDER,
    as_list: Annotated[bool, typer.Option("--list", help="Show backbones, data sets and methods.")] = False,
    as_json: Json = False,
) -> None:
    """Learn tasks with several methods and compare them.

    Every run's result stays in OUT/runs, so a command that was interrupted goes on where it was when it is given again.
    The integer methods compute bit for bit what the accelerator does.
    """
    require("learn", "torch", "numba", "scikit-learn", "pillow", "matplotlib", "jinja2")
    if as_list:
        _list(as_json)
        return
    from respin.cli.learn.pool import Pool, cores
    from respin.golden.backbones import BACKBONES, load_backbone
    from respin.golden.data import SourceError, load_dataset
    from respin.golden.learn.catalogue import METHODS
    from respin.golden.learn.experiment import Conditions
    from respin.golden.learn.labels import check_images, label_efficiency
    from respin.golden.learn.protocol import compare
    from respin.golden.learn.scenarios import SCENARIOS
    from respin.golden.learn.study import describe, follow, measure_memory
    from respin.golden.learn.variations import VARIATIONS

    methods = _methods(method, METHODS, VARIATIONS)
    if scenario not in (SEPARATE, *SCENARIOS):
        fail(f"--scenario must be one of {', '.join((SEPARATE, *SCENARIOS))}, not {scenario!r}", BAD_INPUT)
    if scenario == "class-incremental" and len(_unique("--tasks", tasks)) != 1:
        fail("--scenario class-incremental takes one data set, whose classes come two at a time", BAD_INPUT)
    if backbone not in BACKBONES:
        fail(f"--backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}", BAD_INPUT)
    if size % 32:
        fail(f"--size must be a multiple of 32, by which the backbones shrink an image, not {size}", BAD_INPUT)
    few = _numbers("--images-a-class", images_a_class)
    shared = Conditions(
        backbone=backbone,
        dataset="",
        size=size,
        train_images=train_images,
        chosen_on=chosen_on,
        epochs=epochs,
        batch=batch,
        held_out=held_out,
    )
    try:
        loaded = load_backbone(backbone, _say)
        datasets = {name: load_dataset(name, _say) for name in _unique("--tasks", tasks)}
        conditions = [_conditions_of(name, dataset, shared) for name, dataset in datasets.items()]
        folded = {name for name, dataset in datasets.items() if dataset.test is None and dataset.folds > 1}
        classes = {name: len(dataset.classes) for name, dataset in datasets.items()}
        for task in conditions:
            check_images(task, datasets[task.dataset], few, range(seeds))
        del datasets  # the runs load their own
        pool = Pool(folder, jobs or cores())
        results = compare(
            conditions,
            methods,
            range(seeds),
            pool,
            own_choice=lambda task: task.dataset in folded,
            choose=chosen_on > 0,
        )
        memory = measure_memory(loaded, methods, size=size, batch=batch, classes=max(classes.values()))
        continual = {}
        if scenario != SEPARATE:
            storage = {name: figures["task"] for name, figures in memory.items()}
            continual = {scenario: follow(scenario, results, conditions, rehearsal, pool, storage=storage)}
        labels = label_efficiency(results, conditions, few, classes, pool) if few else {}
    except (SourceError, ValueError, RuntimeError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on from what is in {folder}")
    study = describe(results, conditions)
    study["memory"] = memory
    if continual:
        study["continual"] = continual
    if labels:
        study["labels"] = labels
    study["command"] = " ".join(["respin", *sys.argv[1:]])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    if report:
        from respin.cli.learn.markdown import write_results
        from respin.cli.learn.page import write_page

        write_page(folder / "report.html", study)
        write_results(folder / "results.md", study)
    if as_json:
        print_json(study)
    else:
        _print(study)
        also = f", page: {folder / 'report.html'}, tables: {folder / 'results.md'}" if report else ""
        out.print(f"figures: {folder / 'study.json'}{also}")


def _conditions_of(name: str, dataset: "Dataset", shared: "Conditions") -> "Conditions":
    """The conditions of a task: what all share, with as many training images as its data set has."""
    count = min(shared.train_images, dataset.trainable)
    if count < shared.train_images:
        _say(f"{dataset.name} has {count:,} images to train on: all of them are used")
    if shared.batch > count - shared.chosen_on:
        fail(f"--chosen-on {shared.chosen_on} leaves less than a batch of {count} training images", BAD_INPUT)
    return replace(shared, dataset=name, train_images=count)


def _say(line: str) -> None:
    err.print(line, highlight=False, markup=False)


def _unique(option: str, text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        fail(f"{option} must name at least one", BAD_INPUT)
    return names


def _methods(text: str, known: Collection[str], variations: Collection[str]) -> list[str]:
    """The methods that --method names, ``variations`` standing for all of those."""
    names: dict[str, None] = {}
    for name in _unique("--method", text):
        if name != "variations" and name not in known:
            fail(f"--method must be of {', '.join(known)}, or variations, not {name!r}", BAD_INPUT)
        names |= dict.fromkeys(variations if name == "variations" else [name])
    return list(names)


def _numbers(option: str, text: str | None) -> list[int]:
    numbers = [] if text is None else _unique(option, text)
    for number in numbers:
        if not (number.isdecimal() and int(number)):
            fail(f"{option} must be whole numbers above 0 with commas between, not {number!r}", BAD_INPUT)
    return sorted({int(number) for number in numbers})


def _list(as_json: bool) -> None:
    from respin.golden.backbones import BACKBONES
    from respin.golden.data import describe_datasets
    from respin.golden.learn.catalogue import COMPARED, VARIATIONS

    listed = {
        "backbones": list(BACKBONES),
        "datasets": describe_datasets(),
        "methods": {name: method.title for name, method in COMPARED.items()},
        "variations of rep-net": {name: method.title for name, method in VARIATIONS.items()},
    }
    if as_json:
        print_json(listed)
        return
    backbones = listed.pop("backbones")
    for title, rows in listed.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, text in rows.items():  # type: ignore[attr-defined]
            table.add_row(name, text)
        out.print(table)
    out.print(f"backbones: {', '.join(backbones)}")


def _print(study: dict[str, Any]) -> None:
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
