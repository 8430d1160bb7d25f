# SPDX-License-Identifier: Apache-2.0
"""Tasks one after the other on a small backbone: what stays, what is forgotten, what is kept of it."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from small_backbone import CLASSES, SIDE, small_backbone, small_images

from respin.golden.data import Dataset, ImageSet, Task, make_task
from respin.golden.learn import scenarios
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, ResultFolder
from respin.golden.learn.learner import FloatLearner
from respin.golden.learn.methods import IntegerMethod, Plan, Setting, calibration
from respin.golden.learn.scenarios import ContinualResult, ContinualRun, class_groups, learn_classes, learn_tasks
from respin.golden.network import AveragePool, Convolution, Merge

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SETTING = Setting(name="one", values=(("first", -1.0), ("last", -3.0), ("rate", 3e-2), ("norm", 0), ("C", 0.01)))


def waves(seed: int, *, turned: int = 0) -> Task:
    def part(count: int, seed: int) -> ImageSet:
        images = small_images(count, seed)
        return ImageSet(images=images.images, labels=(images.labels + turned) % CLASSES)

    data = Dataset(name="waves", classes=tuple("abcd"), train=part(160, seed), test=part(80, seed + 1))
    return make_task(data, size=SIDE, train_images=120, chosen_on=0, seed=SEED)


def plans(count: int) -> list[Plan]:
    return [Plan(steps=30, batch=8, seed=SEED)] * count


@pytest.mark.parametrize("name", ["rep-net", "rep-net-float", "linear"])
def test_a_task_with_a_region_of_its_own_is_not_forgotten(name: str) -> None:
    tasks = [waves(SEED), waves(SEED + 5, turned=2)]
    rows = learn_tasks(METHODS[name], SETTING, tasks, small_backbone(SEED), plans(2), lambda _progress: None)
    assert [len(row) for row in rows] == [1, 2]
    assert rows[1][0] == rows[0][0] > 0.5


def test_tasks_differ_in_what_a_region_of_their_own_holds() -> None:
    """All else is the same for both, so that the array holds it once."""
    first, second = waves(SEED), waves(SEED + 5, turned=2)
    networks = []
    for task in (first, second):
        method = METHODS["rep-net"]
        assert isinstance(method, IntegerMethod)
        shared = dataclasses.replace(task, ranges=calibration(first))
        networks.append(method.network(small_backbone(SEED), shared, plans(1)[0]))
    differing = set()
    for layer, other in zip(*(network.layers for network in networks), strict=True):
        assert layer.name == other.name
        if isinstance(layer, Merge):
            parts, others = ((merge.operands, merge.shift, merge.lo, merge.hi) for merge in (layer, other))
            mults, other_mults = ([(o.x, o.mult, o.zero_point) for o in part[0]] for part in (parts, others))
            assert (mults, parts[1:]) == (other_mults, others[1:])
        elif isinstance(layer, Convolution | AveragePool):
            columns, other_columns = (
                [*dataclasses.astuple(one.table)] + ([one.weight] if isinstance(one, Convolution) else [])
                for one in (layer, other)
            )
            if not all(torch.equal(a, b) for a, b in zip(columns, other_columns, strict=True)):
                differing.add(layer.name)
    assert "features" in differing
    learned = {layer.name for layer in networks[0].trained}
    assert differing <= learned | {"features"}


def test_a_backbone_that_learns_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images with the labels turned: what serves the second task harms the first one's features."""
    made: list[FloatLearner] = []
    method = METHODS["full-float"]
    learner = type(method).learner

    def kept(self: object, *arguments: object) -> FloatLearner:
        made.append(learner(self, *arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(type(method), "learner", kept)
    tasks = [waves(SEED), waves(SEED + 5, turned=2)]
    rows = learn_tasks(method, SETTING, tasks, small_backbone(SEED), plans(2), lambda _progress: None)
    first, second = made
    assert all(a is b for a, b in zip(first.network.weights.values(), second.network.weights.values(), strict=True))
    assert not torch.equal(first.network.head.weight, second.network.head.weight)
    assert rows[1][0] != rows[0][0]


@pytest.mark.parametrize("name", ["rep-net", "rep-net-float", "linear"])
def test_rehearsal_helps_against_forgetting(name: str) -> None:
    plan = Plan(steps=80, batch=8, seed=SEED)
    task, rows = waves(SEED), {}
    assert class_groups(task) == [(0, 1), (2, 3)]
    for rehearsal in (0, 40):
        rows[rehearsal] = learn_classes(
            METHODS[name], SETTING, task, small_backbone(SEED), plan, rehearsal, lambda _progress: None
        )
        assert [len(row) for row in rows[rehearsal]] == [1, 2]
    # Both begin alike; without images of the first classes the second ones take them over.
    assert rows[0][0] == rows[40][0]
    assert rows[0][1][0] < 0.2
    assert rows[40][1][0] > rows[0][1][0] + 0.05


def test_a_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = Conditions(backbone="small", dataset="waves", epochs=1, batch=8)
    monkeypatch.setattr(scenarios, "task_of", lambda conditions, seed: waves(seed + len(conditions.dataset)))
    monkeypatch.setattr(scenarios, "backbone_named", lambda _name: small_backbone(SEED))
    monkeypatch.setattr(scenarios, "find_setting", lambda _method, _name: SETTING)
    other = dataclasses.replace(conditions, dataset="other")
    run = ContinualRun(
        scenario="task-incremental", tasks=(conditions, other), method="linear", setting="one", seed=SEED
    )
    folder = ResultFolder(tmp_path)
    result = run.execute(folder, lambda _progress: None)
    assert folder.find(run) == result
    assert result.matrix.forgetting == 0
    monkeypatch.setattr(scenarios, "SCENARIOS", {})  # nothing is run twice
    assert run.execute(folder, lambda _progress: None) == result
    classes = dataclasses.replace(run, scenario="class-incremental", tasks=(conditions,), rehearsal=8)
    assert classes.key != run.key
    assert isinstance(classes.read(result.to_json()), ContinualResult)
