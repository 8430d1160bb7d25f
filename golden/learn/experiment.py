# SPDX-License-Identifier: Apache-2.0
"""One run of a method on a task, and the folder that keeps what runs gave."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from respin.golden.backbones import Backbone, load_backbone
from respin.golden.data import Dataset, Task, load_dataset, make_task
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.learner import IntegerLearner, Learner, Progress
from respin.golden.learn.linear import LinearLearner
from respin.golden.learn.methods import Method, Plan, Setting
from respin.golden.learn.saturation import LearningSaturation
from respin.golden.learn.train import train
from respin.golden.learn.wear import LearningWear
from respin.golden.trainer import StepRecord

CURVE_POINTS = 100
"""Points of a learning curve that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What all methods of a comparison share.

    Parameters
    ----------
    backbone, dataset:
        By name; a data set may be a folder.
    size:
        Side of an image, pixels.
    train_images:
        Training images.
    chosen_on:
        How many of them settings are chosen on.
    epochs, batch:
        Of a training.
    held_out:
        If not 0, tests are on so many further training images instead of the test set.
    """

    backbone: str
    dataset: str
    size: int = 96
    train_images: int = 2000
    chosen_on: int = 400
    epochs: int = 8
    batch: int = 16
    held_out: int = 0

    @property
    def title(self) -> str:
        """Says what is learned, for progress."""
        return Path(self.dataset).name

    def cut(self, dataset: Dataset, seed: int) -> Task:
        """Cut the task from its data set."""
        return make_task(
            dataset,
            size=self.size,
            train_images=self.train_images,
            chosen_on=self.chosen_on,
            seed=seed,
            held_out=self.held_out,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FewImages(Conditions):
    """Conditions under which as many images of each class are trained on, and others not at all.

    They are the first ones of the ``train_images`` that the whole training has; tests are on the same images as its.
    """

    images_a_class: int

    @property
    def title(self) -> str:
        """Says what is learned, for progress."""
        return f"{Path(self.dataset).name}, {self.images_a_class} images a class"

    def cut(self, dataset: Dataset, seed: int) -> Task:
        """Cut the task from its data set."""
        return Conditions.cut(self, dataset, seed).with_few(self.images_a_class)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A method with one setting and one seed; ``choosing``: tested on the images for choices, not trained on them."""

    conditions: Conditions
    method: str
    setting: str
    seed: int
    choosing: bool = False

    @property
    def key(self) -> str:
        """Names the run's result: another method, rule or condition has another."""
        method = METHODS[self.method]
        values = asdict(self)
        if not self.conditions.held_out:
            # Results that were kept before there was such a condition are found again.
            del values["conditions"]["held_out"]
        described = json.dumps([values, repr(method)], sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()[:16]
        return f"{Path(self.conditions.dataset).name}-{self.method}-{digest}"

    @property
    def title(self) -> str:
        """Says what it is, for progress."""
        what = "choosing " if self.choosing else ""
        return f"{what}{self.conditions.title}, {self.method}, {self.setting}, seed {self.seed}"

    def read(self, text: str) -> "Result":
        """Read the result that was kept as ``text``."""
        return Result.from_json(text)

    def execute(self, folder: "ResultFolder", report: "Report") -> "Result":
        """Run it."""
        return run_once(self, folder, report)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a run gave.

    Parameters
    ----------
    run:
        Which one.
    accuracy:
        Share of its test images whose class is right.
    test_images:
        How many there were.
    curve:
        Up to 100 points of (step, mean loss in nats, share of training images right).
    seconds:
        The training's time, tests not included.
    images_per_second:
        Its speed.
    wear:
        What was written into the array, of a method in INT8.
    saturation:
        Of a method in INT8, the share of a tensor's elements at a clamp's limit over the last epoch, by the tensor's
        name; :data:`respin.golden.learn.saturation.KINDS` says which tensors. Results of older versions have none.
    """

    run: Run
    accuracy: float
    test_images: int
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0
    images_per_second: float = 0.0
    wear: dict[str, int] | None = None
    saturation: dict[str, float] | None = None

    @property
    def summary(self) -> str:
        """Says what came out, for progress."""
        return f"{100 * self.accuracy:.2f} % of {self.test_images}"

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Read what :meth:`to_json` made."""
        values: dict[str, Any] = json.loads(text)
        run = values.pop("run")
        described = run.pop("conditions")
        conditions = FewImages(**described) if "images_a_class" in described else Conditions(**described)
        values["curve"] = [(int(step), loss, right) for step, loss, right in values["curve"]]
        return cls(run=Run(conditions=conditions, **run), **values)


Report = Callable[[Progress], None]


class Outcome(Protocol):
    """What a job gives."""

    @property
    def run(self) -> Any:
        """The job."""

    @property
    def summary(self) -> str:
        """Says what came out, for progress."""

    def to_json(self) -> str:
        """Return it as JSON."""


class Job(Protocol):
    """Something that takes minutes and whose outcome is kept; equal jobs have equal keys."""

    @property
    def key(self) -> str:
        """Names its outcome."""

    @property
    def title(self) -> str:
        """Says what it is, for progress."""

    def read(self, text: str) -> Outcome:
        """Read the outcome that was kept as ``text``."""

    def execute(self, folder: "ResultFolder", report: Report) -> Outcome:
        """Do it."""


class ResultFolder:
    """Keeps results, so that what was run once is not run again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, run: Job) -> Path:
        """Where a run's result is kept."""
        return self.folder / "runs" / f"{run.key}.json"

    def checkpoint(self, run: Job) -> Path:
        """Where a run that was cut short goes on from."""
        return self.folder / "checkpoints" / f"{run.key}.pt"

    def find(self, run: Job) -> Any:
        """Return a run's result, of the kind that it gives, or None."""
        path = self.path(run)
        return run.read(path.read_text(encoding="utf-8")) if path.is_file() else None

    def keep(self, result: Outcome) -> None:
        """Write a result; it is there whole or not at all."""
        path = self.path(result.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(result.to_json() + "\n", encoding="utf-8")
        beside.replace(path)


@lru_cache(maxsize=2)
def dataset_named(name: str) -> Dataset:
    """Return a data set, kept for the next one who asks."""
    return load_dataset(name)


@lru_cache(maxsize=1)
def task_of(conditions: Conditions, seed: int) -> Task:
    """Return a task, kept for the next one who asks."""
    return conditions.cut(dataset_named(conditions.dataset), seed)


@lru_cache(maxsize=2)
def backbone_named(name: str) -> Backbone:
    """Return a backbone, kept for the next one who asks."""
    return load_backbone(name)


def find_setting(method: Method, name: str) -> Setting:
    """Return the setting called ``name``."""
    for setting in method.settings:
        if setting.name == name:
            return setting
    raise ValueError(f"{method.name} has the settings {', '.join(s.name for s in method.settings)}, not {name!r}")


def run_once(run: Run, folder: ResultFolder, report: Report = lambda _progress: None) -> Result:
    """Return a run's result, from the folder or by running it; a run that was cut short goes on where it was."""
    found: Result | None = folder.find(run)
    if found is not None:
        return found
    conditions, method = run.conditions, METHODS[run.method]
    task = task_of(conditions, run.seed)
    if run.choosing:
        task = task.for_choices()
    steps = conditions.epochs * (len(task.train) // conditions.batch)
    plan = Plan(steps=steps, batch=conditions.batch, seed=run.seed)
    learner = method.learner(backbone_named(conditions.backbone), task, find_setting(method, run.setting), plan)
    result = _fit(run, learner, task, plan, folder, report)
    folder.keep(result)
    return result


def _fit(run: Run, learner: Learner, task: Task, plan: Plan, folder: ResultFolder, report: Report) -> Result:
    began = time.monotonic()
    if isinstance(learner, LinearLearner):
        learner.fit(task.train)
        seconds = time.monotonic() - began
        accuracy = learner.accuracy(task.test.images, task.test.labels)
        return Result(run=run, accuracy=accuracy, test_images=len(task.test), seconds=seconds)
    watch = None
    if isinstance(learner, IntegerLearner) and not run.choosing:
        watch = _Watch(learner, last_epoch=plan.steps - len(task.train) // plan.batch)
    checkpoint = folder.checkpoint(run)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    history = train(
        learner,
        task.train,
        steps=plan.steps,
        batch=plan.batch,
        seed=plan.seed,
        # What is counted on the way is not in a checkpoint.
        checkpoint=None if watch else checkpoint,
        report=report,
    )
    seconds = time.monotonic() - began
    return Result(
        run=run,
        accuracy=learner.accuracy(task.test.images, task.test.labels),
        test_images=len(task.test),
        curve=_curve(history),
        seconds=seconds,
        images_per_second=plan.steps * plan.batch / seconds,
        wear=None if watch is None else watch.wear.figures(),
        saturation=None if watch is None else watch.saturation.figures(),
    )


class _Watch:
    """Counts what a training writes, and what saturates from step ``last_epoch`` on."""

    def __init__(self, learner: IntegerLearner, *, last_epoch: int) -> None:
        self.wear = LearningWear(learner.network)
        self.saturation = LearningSaturation(learner.network, first_step=last_epoch)
        learner.observe = self._count
        learner.observe_frozen = self.saturation.count_frozen

    def _count(self, record: StepRecord) -> None:
        self.wear.count(record)
        self.saturation.count(record)


def _curve(history: list[tuple[float, float]]) -> list[tuple[int, float, float]]:
    """Means over equal parts of a training."""
    part = max(1, -(-len(history) // CURVE_POINTS))
    points = []
    for start in range(0, len(history), part):
        steps = history[start : start + part]
        loss, right = (sum(column) / len(steps) for column in zip(*steps, strict=True))
        points.append((start + len(steps), round(loss, 4), round(right, 4)))
    return points
