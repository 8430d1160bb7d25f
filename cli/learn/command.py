# SPDX-License-Identifier: Apache-2.0
"""``respin learn``: how well the integer rules learn real tasks on real backbones, against other methods."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from respin.cli.console import BAD_INPUT, Json, err, fail, out, print_json, require
from respin.cli.learn.choices import list_choices
from respin.cli.learn.printed import print_study
from respin.cli.output import require_folder, write_whole

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
        list_choices(as_json)
        return
    from respin.cli.learn.pool import ProcessError
    from respin.golden.data import SourceError
    from respin.golden.learn.experiment import Conditions

    request = _Request(
        tasks=_unique("--tasks", tasks),
        methods=_methods(method),
        seeds=range(seeds),
        scenario=scenario,
        rehearsal=rehearsal,
        few=_numbers("--images-a-class", images_a_class),
        shared=Conditions(
            backbone=backbone,
            dataset="",
            size=size,
            train_images=train_images,
            chosen_on=chosen_on,
            epochs=epochs,
            batch=batch,
            held_out=held_out,
        ),
    )
    request.check()
    require_folder(folder)
    try:
        study = request.study(folder, jobs)
    except (SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    except ProcessError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on from what is in {folder}")
    write_whole(folder / "study.json", json.dumps(study, indent=1) + "\n")
    if report:
        from respin.cli.learn.markdown import write_results
        from respin.cli.learn.page import write_page

        write_page(folder / "report.html", study)
        write_results(folder / "results.md", study)
    if as_json:
        print_json(study)
    else:
        print_study(study)
        also = f", page: {folder / 'report.html'}, tables: {folder / 'results.md'}" if report else ""
        out.print(f"figures: {folder / 'study.json'}{also}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What the options ask for."""

    tasks: list[str]
    methods: list[str]
    seeds: range
    scenario: str
    rehearsal: int
    few: list[int]
    shared: "Conditions"
    """Of every task; without its data set."""

    def check(self) -> None:
        """End the command where the options contradict each other."""
        from respin.golden.backbones import BACKBONES
        from respin.golden.learn.scenarios import SCENARIOS

        backbone, size = self.shared.backbone, self.shared.size
        if self.scenario not in (SEPARATE, *SCENARIOS):
            fail(f"--scenario must be one of {', '.join((SEPARATE, *SCENARIOS))}, not {self.scenario!r}", BAD_INPUT)
        if self.scenario == "class-incremental" and len(self.tasks) != 1:
            fail("--scenario class-incremental takes one data set, whose classes come two at a time", BAD_INPUT)
        if backbone not in BACKBONES:
            fail(f"--backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}", BAD_INPUT)
        if size % 32:
            fail(f"--size must be a multiple of 32, by which the backbones shrink an image, not {size}", BAD_INPUT)

    def study(self, folder: Path, jobs: int | None) -> dict[str, Any]:
        """Run what has no result in ``folder`` yet; return all figures."""
        from respin.cli.learn.pool import Pool, cores
        from respin.golden.backbones import load_backbone
        from respin.golden.data import load_dataset
        from respin.golden.learn.labels import check_images, label_efficiency
        from respin.golden.learn.protocol import compare
        from respin.golden.learn.study import describe, follow, measure_memory

        shared = self.shared
        loaded = load_backbone(shared.backbone, _say)
        datasets = {name: load_dataset(name, _say) for name in self.tasks}
        conditions = [_conditions_of(name, dataset, shared) for name, dataset in datasets.items()]
        folded = {name for name, dataset in datasets.items() if dataset.test is None and dataset.folds > 1}
        classes = {name: len(dataset.classes) for name, dataset in datasets.items()}
        for task in conditions:
            check_images(task, datasets[task.dataset], self.few, self.seeds)
        del datasets  # the runs load their own
        pool = Pool(folder, jobs or cores())
        results = compare(
            conditions,
            self.methods,
            self.seeds,
            pool,
            own_choice=lambda task: task.dataset in folded,
            choose=shared.chosen_on > 0,
        )
        study = describe(results, conditions)
        memory = measure_memory(
            loaded, self.methods, size=shared.size, batch=shared.batch, classes=max(classes.values())
        )
        study["memory"] = memory
        if self.scenario != SEPARATE:
            storage = {name: figures["task"] for name, figures in memory.items()}
            followed = follow(self.scenario, results, conditions, self.rehearsal, pool, storage=storage)
            study["continual"] = {self.scenario: followed}
        if self.few:
            study["labels"] = label_efficiency(results, conditions, self.few, classes, pool)
        study["command"] = " ".join(["respin", *sys.argv[1:]])
        return study


def _conditions_of(name: str, dataset: "Dataset", shared: "Conditions") -> "Conditions":
    """The conditions of a task: what all share, with as many training images as its data set has.

    ValueError if they are too few for a batch.
    """
    count = min(shared.train_images, dataset.trainable)
    if count < shared.train_images:
        _say(f"{dataset.name} has {count:,} images to train on: all of them are used")
    if shared.batch > count - shared.chosen_on:
        raise ValueError(f"--chosen-on {shared.chosen_on} leaves less than a batch of {count} training images")
    return replace(shared, dataset=name, train_images=count)


def _say(line: str) -> None:
    err.print(line, highlight=False, markup=False)


def _unique(option: str, text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        fail(f"{option} must name at least one", BAD_INPUT)
    return names


def _methods(text: str) -> list[str]:
    """The methods that --method names, ``variations`` standing for all of those."""
    from respin.golden.learn.catalogue import METHODS
    from respin.golden.learn.variations import VARIATIONS

    names: dict[str, None] = {}
    for name in _unique("--method", text):
        if name != "variations" and name not in METHODS:
            fail(f"--method must be of {', '.join(METHODS)}, or variations, not {name!r}", BAD_INPUT)
        names |= dict.fromkeys(VARIATIONS if name == "variations" else [name])
    return list(names)


def _numbers(option: str, text: str | None) -> list[int]:
    numbers = [] if text is None else _unique(option, text)
    for number in numbers:
        if not (number.isdecimal() and int(number)):
            fail(f"{option} must be whole numbers above 0 with commas between, not {number!r}", BAD_INPUT)
    return sorted({int(number) for number in numbers})
