# SPDX-License-Identifier: Apache-2.0
"""Label efficiency: what is run for it, what comes of it, and what is refused before anything runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from small_backbone import CLASSES, SIDE, small_backbone, small_images

from respin.golden.data import Dataset, ImageSet
from respin.golden.learn import experiment
from respin.golden.learn.experiment import Conditions, FewImages, Result, ResultFolder, Run, run_once
from respin.golden.learn.labels import check_images, few_images, label_efficiency

SEED = int(os.environ.get("RESPIN_SEED", "1"))
WHOLE = Conditions(backbone="small", dataset="waves", size=SIDE, train_images=200, chosen_on=40, epochs=8, batch=16)


@pytest.mark.parametrize(
    # The whole training has 8 * 12 steps of 16 images.
    ("images_a_class", "epochs"),
    [(4, 96), (10, 48), (13, 32), (49, 8)],
)
def test_few_images_are_seen_as_many_times_more(images_a_class: int, epochs: int) -> None:
    few = few_images(WHOLE, images_a_class, CLASSES)
    assert few == FewImages(**asdict(WHOLE) | {"chosen_on": 0, "epochs": epochs}, images_a_class=images_a_class)
    assert abs(few.epochs * (images_a_class * CLASSES // 16) - 96) <= images_a_class * CLASSES // 16 / 2


def test_all_images_are_the_whole_training() -> None:
    assert few_images(WHOLE, 50, CLASSES) is WHOLE


def data(counts: Sequence[int]) -> Dataset:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = torch.zeros((len(labels), 1, 2, 2), dtype=torch.uint8)
    return Dataset(name="waves", classes=tuple("abcd"), train=ImageSet(images=images, labels=labels), folds=5)


def test_what_cannot_be_is_refused_at_once() -> None:
    whole = replace(WHOLE, train_images=400)
    check_images(whole, data([125, 125, 125, 125]), [4, 100], range(3))
    with pytest.raises(ValueError, match="3 images a class are 12 of waves: a batch of 16 needs as many"):
        check_images(whole, data([125] * 4), [3, 4], range(3))
    with pytest.raises(ValueError, match="waves has 16 images of 'c' among the 400 .*must be in 1..16, not 17"):
        check_images(whole, data([160, 160, 20, 160]), [16, 17], range(3))


def test_every_method_and_seed_with_its_own_setting() -> None:
    asked: list[Run] = []

    def run_all(runs: Sequence[Run]) -> Mapping[Run, Result]:
        asked.extend(runs)
        reached = {"one": 0.5, "two": 0.7}
        return {
            run: Result(run=run, accuracy=reached[run.setting] + run.conditions.epochs / 1000, test_images=9)
            for run in runs
        }

    other = replace(WHOLE, dataset="other")
    results = {
        (task.dataset, name): [
            Result(
                run=Run(conditions=task, method=name, setting=setting, seed=seed),
                accuracy=0.9,
                test_images=9,
            )
            for seed, setting in enumerate(("one", "two"))
        ]
        for task in (WHOLE, other)
        for name in ("rep-net", "linear")
    }
    found = label_efficiency(results, [WHOLE, other], [50, 10], {"waves": 4, "other": 5}, run_all)
    assert list(found) == ["waves", "other"]
    assert [(row["images_a_class"], row["images"]) for row in found["waves"]] == [(10, 40), (50, 200)]
    assert [(row["images_a_class"], row["images"]) for row in found["other"]] == [(10, 50), (50, 250)]
    row = found["waves"][0]["methods"]
    assert list(row) == ["rep-net", "linear"]
    assert row["linear"]["seeds"] == pytest.approx([0.548, 0.748])
    assert row["linear"]["mean"] == pytest.approx(64.8)
    assert row["linear"]["deviation"] == pytest.approx(20 / 2**0.5)
    assert len(asked) == len(set(asked)) == 2 * 2 * 2 * 2
    # All its images are the whole training, which has run already.
    assert {run for run in asked if run.conditions == WHOLE} == {
        result.run for (dataset, _), rows in results.items() for result in rows if dataset == "waves"
    }


def test_a_run_on_few_images_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves = Dataset(name="waves", classes=tuple("abcd"), train=small_images(160, SEED))
    monkeypatch.setattr(experiment, "dataset_named", lambda _name: waves)
    monkeypatch.setattr(experiment, "backbone_named", lambda _name: small_backbone(SEED))
    experiment.task_of.cache_clear()
    whole = Conditions(backbone="small", dataset="waves", size=SIDE, train_images=96, epochs=2, batch=16)
    run = Run(conditions=few_images(whole, 8, CLASSES), method="rep-net", setting="μ -1 → -7", seed=SEED)
    folder = ResultFolder(tmp_path)
    made = run_once(run, folder)
    # 32 images six times, tested on those that the whole training leaves.
    assert (made.curve[-1][0], made.test_images) == (12, 64)
    assert folder.find(run) == made
    assert isinstance(folder.find(run).run.conditions, FewImages)
    others = [replace(run, conditions=conditions) for conditions in (whole, few_images(whole, 4, CLASSES))]
    assert len({one.key for one in (run, *others)}) == 3
    assert run.title == f"waves, 8 images a class, rep-net, μ -1 → -7, seed {SEED}"
    experiment.task_of.cache_clear()
