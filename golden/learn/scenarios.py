# SPDX-License-Identifier: Apache-2.0
"""Continual learning: tasks one after the other, each tested again after all that follow.

- *Task-incremental*: which task an image belongs to is known. Each task has its modules, head and tables in a region of
  its own; what its method shares between tasks (full fine-tuning: the backbone) goes on changing.
- *Class-incremental*: one head for all classes of a data set, two of which come at a time. A rehearsal memory of
  a few images helps against forgetting.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from respin.golden.backbones import Backbone
from respin.golden.data import ImageSet, Task
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.continual import AccuracyMatrix, Rehearsal, split_by_class
from respin.golden.learn.experiment import (
    Conditions,
    Report,
    ResultFolder,
    backbone_named,
    find_setting,
    task_of,
)
from respin.golden.learn.learner import FloatLearner, Learner
from respin.golden.learn.linear import LinearLearner
from respin.golden.learn.methods import Method, Plan, Setting, calibration
from respin.golden.learn.train import train

Scenario = Literal["task-incremental", "class-incremental"]
CLASSES_AT_A_TIME = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualRun:
    """A method with one setting and one seed through a scenario.

    Parameters
    ----------
    scenario:
        Which one.
    tasks:
        In the order in which they come; the class-incremental scenario has one, whose classes come.
    rehearsal:
        Images that the class-incremental scenario remembers.
    """

    scenario: Scenario
    tasks: tuple[Conditions, ...]
    method: str
    setting: str
    seed: int
    rehearsal: int = 0

    @property
    def key(self) -> str:
        """Names the run's result: another method, rule or condition has another."""
        described = json.dumps([asdict(self), repr(METHODS[self.method])], sort_keys=True)
        return f"{self.scenario}-{self.method}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"

    @property
    def title(self) -> str:
        """Says what it is, for progress."""
        return f"{self.scenario}, {self.method}, {self.setting}, seed {self.seed}"

    def read(self, text: str) -> "ContinualResult":
        """Read the result that was kept as ``text``."""
        return ContinualResult(run=self, names=tuple(json.loads(text)["names"]), rows=_tuples(json.loads(text)["rows"]))

    def execute(self, folder: ResultFolder, report: Report) -> "ContinualResult":
        """Run it, unless it has a result."""
        found: ContinualResult | None = folder.find(self)
        if found is not None:
            return found
        result = SCENARIOS[self.scenario](self, report)
        folder.keep(result)
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class ContinualResult:
    """The accuracy matrix of a run, ``names`` its tasks or groups of classes."""

    run: ContinualRun
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    @property
    def matrix(self) -> AccuracyMatrix:
        """The accuracies, with their measures."""
        return AccuracyMatrix(rows=self.rows)

    @property
    def summary(self) -> str:
        """Says what came out, for progress."""
        return f"{100 * self.matrix.average:.2f} % on average, {100 * self.matrix.forgetting:.2f} points forgotten"

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps({"run": asdict(self.run), "names": self.names, "rows": self.rows}, indent=1)


def _tuples(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in rows)


def _learn(learner: Learner, images: ImageSet, plan: Plan, report: Report) -> None:
    if isinstance(learner, LinearLearner):
        learner.fit(images)
    else:
        train(learner, images, steps=plan.steps, batch=plan.batch, seed=plan.seed, report=report)


def _share(method: Method, learner: Learner, earlier: Learner) -> None:
    """Let tasks share a backbone that learns: it is too large for each to have its own."""
    if method.trains == "everything" and isinstance(learner, FloatLearner) and isinstance(earlier, FloatLearner):
        learner.network.weights, learner.network.biases = earlier.network.weights, earlier.network.biases
        learner.begin(learner.steps)


def learn_tasks(
    method: Method, setting: Setting, tasks: Sequence[Task], backbone: Backbone, plans: Sequence[Plan], report: Report
) -> tuple[tuple[float, ...], ...]:
    """Learn tasks one after the other; returns a row of accuracies on the tasks so far after each.

    The first task's images set the scales of the frozen backbone, which all tasks share.
    """
    learners: list[Learner] = []
    rows = []
    for task, plan in zip(tasks, plans, strict=True):
        learner = method.learner(backbone, replace(task, ranges=calibration(tasks[0])), setting, plan)
        if learners:
            _share(method, learner, learners[-1])
        _learn(learner, task.train, plan, report)
        learners.append(learner)
        so_far = zip(learners, tasks, strict=False)
        rows.append(tuple(one.accuracy(old.test.images, old.test.labels) for one, old in so_far))
    return _tuples(rows)


def learn_classes(
    method: Method, setting: Setting, task: Task, backbone: Backbone, plan: Plan, rehearsal: int, report: Report
) -> tuple[tuple[float, ...], ...]:
    """Learn a task's classes two at a time with one head; returns a row of accuracies on the groups so far after each.

    ``plan.steps`` is for all groups together. The first group sets scales and features: no more is seen by then.
    """
    groups = class_groups(task)
    train_sets, test_sets = split_by_class(task.train, groups), split_by_class(task.test, groups)
    part = replace(plan, steps=plan.steps // len(groups))
    learner = method.learner(backbone, replace(task, train=train_sets[0]), setting, part)
    memory = Rehearsal(rehearsal, seed=plan.seed)
    rows = []
    for number, new in enumerate(train_sets):
        learner.begin(part.steps)
        _learn(learner, memory.beside(new), replace(part, seed=plan.seed + number), report)
        if rehearsal:
            memory.remember(new)
        rows.append(tuple(learner.accuracy(old.images, old.labels) for old in test_sets[: number + 1]))
    return _tuples(rows)


def class_groups(task: Task) -> list[tuple[int, ...]]:
    """Return the classes that come together."""
    count = len(task.classes)
    return [tuple(range(start, min(start + CLASSES_AT_A_TIME, count))) for start in range(0, count, CLASSES_AT_A_TIME)]


def _plan(task: Task, conditions: Conditions, seed: int) -> Plan:
    steps = conditions.epochs * (len(task.train) // conditions.batch)
    return Plan(steps=steps, batch=conditions.batch, seed=seed)


def _task_incremental(run: ContinualRun, report: Report) -> ContinualResult:
    method = METHODS[run.method]
    tasks = [task_of(conditions, run.seed) for conditions in run.tasks]
    plans = [_plan(task, conditions, run.seed) for task, conditions in zip(tasks, run.tasks, strict=True)]
    backbone = backbone_named(run.tasks[0].backbone)
    rows = learn_tasks(method, find_setting(method, run.setting), tasks, backbone, plans, report)
    return ContinualResult(run=run, names=tuple(task.name for task in tasks), rows=rows)


def _class_incremental(run: ContinualRun, report: Report) -> ContinualResult:
    method, (conditions,) = METHODS[run.method], run.tasks
    task = task_of(conditions, run.seed)
    plan, backbone = _plan(task, conditions, run.seed), backbone_named(conditions.backbone)
    rows = learn_classes(method, find_setting(method, run.setting), task, backbone, plan, run.rehearsal, report)
    names = tuple(" and ".join(task.classes[label] for label in group) for group in class_groups(task))
    return ContinualResult(run=run, names=names, rows=rows)


SCENARIOS = {"task-incremental": _task_incremental, "class-incremental": _class_incremental}
