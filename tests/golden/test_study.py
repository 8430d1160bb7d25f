# SPDX-License-Identifier: Apache-2.0
"""The study's parts, from made-up results."""

from collections.abc import Mapping, Sequence

import pytest

from respin.golden.learn.experiment import Conditions, Result, Run
from respin.golden.learn.protocol import Difference
from respin.golden.learn.scenarios import ContinualResult, ContinualRun
from respin.golden.learn.study import differences, follow

TASKS = [Conditions(backbone="efficientnet-lite0", dataset=name, train_images=320, batch=16) for name in ("one", "two")]


def results(accuracies: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], list[Result]]:
    """Of every method on both tasks; the second is ten points harder."""
    return {
        (task.dataset, name): [
            Result(
                run=Run(conditions=task, method=name, setting="μ -1 → -7", seed=seed),
                accuracy=value - 0.1 * number,
                test_images=100,
            )
            for seed, value in enumerate(values)
        ]
        for number, task in enumerate(TASKS)
        for name, values in accuracies.items()
    }


def test_a_scenario_has_its_measures_and_each_task_s_storage() -> None:
    asked: list[ContinualRun] = []

    def run_all(runs: Sequence[ContinualRun]) -> dict[ContinualRun, ContinualResult]:
        asked.extend(runs)
        rows = {run: ((0.9,), (0.8 - 0.1 * run.seed, 0.7)) for run in runs}
        return {run: ContinualResult(run=run, names=("one", "two"), rows=rows[run]) for run in runs}

    compared = results({"rep-net": [0.9, 0.8]})
    found = follow("task-incremental", compared, TASKS, 200, run_all, storage={"rep-net": 1234, "head": 5})
    assert [(run.seed, run.setting, run.rehearsal) for run in asked] == [(0, "μ -1 → -7", 0), (1, "μ -1 → -7", 0)]
    assert all(run.tasks == tuple(TASKS) for run in asked)
    assert found["tasks"] == ["one", "two"]
    (measured,) = found["methods"].values()
    assert measured["storage_bytes_per_task"] == 1234
    assert measured["average"] == pytest.approx((0.75 + 0.7) / 2)
    assert measured["forgetting"] == pytest.approx((0.1 + 0.2) / 2)
    assert measured["rows"][1] == pytest.approx([0.75, 0.7])
    remembering = follow("class-incremental", compared, TASKS[:1], 30, run_all, storage={"rep-net": 1})
    assert [run.rehearsal for run in asked[2:]] == [30, 30]
    assert remembering["methods"].keys() == {"rep-net"}


def test_variations_are_held_against_the_rules() -> None:
    accuracies = {"nearest": [0.8, 0.85, 0.9], "rep-net": [0.82, 0.84, 0.9], "linear": [0.7] * 3, "momentum": [0.9] * 3}
    names, tasks = list(accuracies), [task.dataset for task in TASKS]
    rows = differences(results(accuracies), tasks, names)
    pairs = [("rep-net", "linear"), ("nearest", "rep-net"), ("momentum", "rep-net")]
    assert [(row["of"], row["against"], row["task"]) for row in rows] == [
        (*pair, task) for pair in pairs for task in (*tasks, "mean")
    ]
    expected = Difference.of(accuracies["nearest"], accuracies["rep-net"])
    for row in rows[3:6]:
        assert (row["mean"], row["lower"], row["upper"]) == pytest.approx(
            (expected.mean, expected.lower, expected.upper)
        )
    # Without the rules as they are there is nothing to hold them against.
    assert differences(results({"nearest": [0.8], "momentum": [0.9]}), tasks, ["nearest", "momentum"]) == []
