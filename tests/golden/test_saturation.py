# SPDX-License-Identifier: Apache-2.0
"""What saturates over a training's last epoch, counted again from the tensors themselves; and that a run keeps it."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_backbone import BESIDE, SIDE, small_backbone, small_images
from torch import Tensor

from respin.golden.builder import Rules
from respin.golden.data import Dataset, Task, make_task
from respin.golden.learn import experiment
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, Result, ResultFolder, Run, run_once
from respin.golden.learn.methods import Plan, Setting
from respin.golden.learn.saturation import LearningSaturation, kind_of
from respin.golden.learn.study import largest_saturation
from respin.golden.learn.train import train
from respin.golden.trainer import StepRecord

SEED = int(os.environ.get("RESPIN_SEED", "1"))
BATCH, EPOCHS = 8, 3
TIGHT = Rules(linear_room=0.5, merge_room=0.5, hidden_room=0.5, feature_range=1.0, logit_unit=1 / 512)
"""So little room that everything saturates somewhere."""
SETTING = Setting(name="one", values=(("first", -1.0), ("last", -3.0), ("rate", 1e-2), ("norm", 0), ("C", 0.01)))


def waves() -> Task:
    data = Dataset(name="waves", classes=tuple("abcd"), train=small_images(80, SEED), test=small_images(40, SEED + 1))
    return make_task(data, size=SIDE, train_images=64, chosen_on=16, seed=SEED)


def share(tensors: list[Tensor], *limits: int) -> float:
    values = torch.cat([tensor.flatten().to(torch.int64) for tensor in tensors]).tolist()
    return sum(value in limits for value in values) / len(values)


@pytest.mark.parametrize("trains", ["modules", "head"])
def test_every_tensor_is_counted_again(trains: str) -> None:
    task = waves()
    method: Any = replace(METHODS["rep-net"], rules=replace(TIGHT, modules=trains == "modules"))  # type: ignore[type-var]
    steps_a_pass = len(task.train) // BATCH
    plan = Plan(steps=EPOCHS * steps_a_pass, batch=BATCH, seed=SEED)
    learner = method.learner(small_backbone(SEED), task, SETTING, plan)
    network, records = learner.network, list[StepRecord]()
    saturation = LearningSaturation(network, first_step=plan.steps - steps_a_pass)
    learner.observe_frozen = saturation.count_frozen

    def observe(record: StepRecord) -> None:
        records.append(record)
        saturation.count(record)

    learner.observe = observe
    train(learner, task.train, steps=plan.steps, batch=BATCH, seed=SEED)
    figures = saturation.figures()

    blocks = [block.name for block in small_backbone(SEED).blocks]
    modules = {blocks[position] for position, _ in BESIDE} if trains == "modules" else set()
    expected = {f"{block}.rep.{part}" for block in modules for part in ("first", "last")}
    expected |= {"features", "logits"} | {layer.name for layer in network.layers if layer.name.endswith(".sum")}
    assert set(figures) == expected

    last_epoch = [record.activations.tensors for record in records[-steps_a_pass:]]
    # What no error reaches is the same in every epoch: with a head alone, all before it.
    frozen = network.forward(learner.form.to_integer(task.train.images), learner.training.parameters).tensors
    for name, counted in figures.items():
        learns = trains == "modules" or name == "logits"
        tensors = [tensors[name] for tensors in last_epoch] if learns else [frozen[name]]
        limits = (255,) if name.endswith(".rep.first") else (-128, 127)
        assert counted == share(tensors, *limits), name
    assert min(figures[name] for name in figures if not name.endswith(".rep.last")) > 0


def test_kinds() -> None:
    names = ("block1.sum", "block1.rep.first", "block1.rep.last", "features", "logits", "last", "block1.expand", "sums")
    assert [kind_of(name) for name in names] == ["sum", "rep.first", "rep.last", "features", "logits", None, None, None]


def result(seed: int, **saturation: float) -> Result:
    run = Run(conditions=Conditions(backbone="small", dataset="waves"), method="rep-net", setting="one", seed=seed)
    named = {name.replace("_", "."): share for name, share in saturation.items()}
    return Result(run=run, accuracy=0.5, test_images=4, saturation=named or None)


def test_the_largest_of_all_tensors_and_seeds() -> None:
    results = [result(0, a_sum=0.1, b_sum=0.3, logits=0.0), result(1, a_sum=0.2, b_sum=0.1), result(2)]
    assert largest_saturation(results) == {
        "sum": {"tensor": "b.sum", "share": 0.3},
        "logits": {"tensor": "logits", "share": 0.0},
    }
    assert largest_saturation(results[2:]) == {}


def test_final_runs_in_int8_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "task_of", lambda _conditions, _seed: waves())
    monkeypatch.setattr(experiment, "backbone_named", lambda _name: small_backbone(SEED))
    conditions = Conditions(backbone="small", dataset="waves", epochs=1, batch=BATCH)
    folder = ResultFolder(tmp_path)

    def kept(method: str, *, choosing: bool = False) -> Result:
        setting = METHODS[method].settings[0].name
        run = Run(conditions=conditions, method=method, setting=setting, seed=SEED, choosing=choosing)
        made = run_once(run, folder)
        assert folder.find(run) == made
        return made

    final = kept("rep-net")
    assert final.wear is not None
    assert final.saturation is not None
    assert {kind_of(name) for name in final.saturation} == {"sum", "rep.first", "rep.last", "features", "logits"}
    for other in (kept("rep-net", choosing=True), kept("linear")):
        assert (other.wear, other.saturation) == (None, None)
    # A result from before saturation was counted.
    values = json.loads(final.to_json())
    del values["saturation"]
    assert Result.from_json(json.dumps(values)) == replace(final, saturation=None)
