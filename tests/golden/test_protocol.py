# SPDX-License-Identifier: Apache-2.0
"""The comparison's protocol, its bounds, and the measures of continual learning, on made-up results."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from scipy import stats

from respin.golden.data import ImageSet
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.continual import AccuracyMatrix, Rehearsal, split_by_class
from respin.golden.learn.experiment import Conditions, Result, Run
from respin.golden.learn.protocol import Difference, Summary, compare

TASKS = [Conditions(backbone="efficientnet-lite0", dataset=name) for name in ("one", "folded")]


class Runner:
    """Makes up results: the third setting is best for choices, except on the fourth seed, where it is the second."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def __call__(self, runs: Sequence[Run]) -> Mapping[Run, Result]:
        self.runs += runs
        return {run: Result(run=run, accuracy=self._accuracy(run), test_images=10) for run in runs}

    def _accuracy(self, run: Run) -> float:
        if not run.choosing:
            return 0.5 + 0.01 * run.seed
        names = [setting.name for setting in METHODS[run.method].settings]
        return 0.9 if names.index(run.setting) == (1 if run.seed == 3 else 2) else 0.1


def test_settings_are_chosen_without_test_images() -> None:
    runner = Runner()
    results = compare(
        TASKS, ["rep-net", "head"], range(4), runner, own_choice=lambda task: task.dataset == "folded"
    )
    names = [setting.name for setting in METHODS["rep-net"].settings]
    chosen = {key: [result.run.setting for result in rows] for key, rows in results.items()}
    assert chosen["one", "rep-net"] == [names[2]] * 4
    assert chosen["folded", "rep-net"] == [names[2]] * 3 + [names[1]]
    tried = [run for run in runner.runs if run.choosing and run.method == "rep-net"]
    assert len(tried) == 3 + 4 * 3
    assert all(not run.choosing for run in runner.runs[len(tried) * 2 :])
    assert [result.run.seed for result in results["one", "head"]] == [0, 1, 2, 3]


def test_without_choices_the_first_setting_is_taken() -> None:
    results = compare(TASKS[:1], ["linear"], [7], Runner(), own_choice=lambda _task: True, choose=False)
    assert results["one", "linear"][0].run.setting == METHODS["linear"].settings[0].name


def test_bounds_are_student_s() -> None:
    values, others = [0.80, 0.82, 0.81, 0.84, 0.83], [0.81, 0.81, 0.80, 0.82, 0.84]
    difference = Difference.of(values, others)
    points = [100 * (a - b) for a, b in zip(values, others, strict=True)]
    # scipy's one-sided tests at the bound have p = 5 %
    assert difference.mean == pytest.approx(sum(points) / 5)
    assert stats.ttest_1samp(points, difference.lower, alternative="greater").pvalue == pytest.approx(0.05)
    assert stats.ttest_1samp(points, difference.upper, alternative="less").pvalue == pytest.approx(0.05)
    assert Difference.of([0.5], [0.4]).upper is None
    assert Summary.of([0.5, 0.7]).deviation == pytest.approx(100 * torch.tensor([0.5, 0.7]).std().item(), rel=1e-5)


def test_measures_of_an_accuracy_matrix() -> None:
    matrix = AccuracyMatrix(rows=((0.9, 0.0, 0.0), (0.95, 0.8, 0.0), (0.7, 0.75, 0.6)))
    assert matrix.average == pytest.approx((0.7 + 0.75 + 0.6) / 3)
    assert matrix.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.75 - 0.8)) / 2)
    assert matrix.forgetting == pytest.approx(((0.95 - 0.7) + (0.8 - 0.75)) / 2)
    assert AccuracyMatrix(rows=((0.5,),)).forgetting == 0


def _images(labels: Sequence[int]) -> ImageSet:
    values = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    return ImageSet(images=values, labels=torch.tensor(labels))


def test_rehearsal_keeps_as_many_of_each_class() -> None:
    first, second = split_by_class(_images([0, 1, 2, 3] * 20), [(0, 1), (2, 3)])
    assert first.labels.unique().tolist() == [0, 1]
    memory = Rehearsal(12, seed=1)
    assert memory.beside(first) is first
    memory.remember(first)
    assert memory.images is not None
    assert memory.images.labels.bincount().tolist() == [6, 6]
    joined = memory.beside(second)
    assert joined.labels.bincount().tolist()[2:] == [20, 20]
    assert len(joined) == 60
    memory.remember(second)
    assert memory.images.labels.bincount().tolist() == [3, 3, 3, 3]
