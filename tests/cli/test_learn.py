# SPDX-License-Identifier: Apache-2.0
"""``respin learn``: what it lists, what it refuses, and all that it writes, from made-up runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from respin.cli.main import app
from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, FewImages, Result, ResultFolder, Run
from respin.golden.learn.scenarios import ContinualResult
from respin.golden.learn.variations import VARIATIONS

runner = CliRunner()


def test_list_names_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPIN_CACHE", str(tmp_path))
    result = runner.invoke(app, ["learn", "--list", "--json"])
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert listed["backbones"] == ["efficientnet-lite0", "mobilenet-v2"]
    assert listed["methods"].keys() | listed["variations of rep-net"].keys() == METHODS.keys()
    assert "fetched with npm when first used" in listed["datasets"]["cifar10"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "resnet"], "--backbone must be one of efficientnet-lite0, mobilenet-v2, not 'resnet'"),
        (["--method", "rep-net,magic"], "not 'magic'"),
        (["--method", ","], "--method must name at least one"),
        (["--size", "100"], "--size must be a multiple of 32"),
        (["--epochs", "0"], "greater than or equal to 1"),
        (["--images-a-class", "10,0"], "--images-a-class must be whole numbers above 0 with commas between, not '0'"),
        (["--images-a-class", "ten"], "not 'ten'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, ["learn", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def _result(run: Run, accuracy: float) -> Result:
    return Result(run=run, accuracy=accuracy, test_images=360, curve=[(10, 1.0, 0.5)], seconds=1.0)


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path)
    conditions = Conditions(backbone="efficientnet-lite0", dataset="digits")
    run = Run(conditions=conditions, method="linear", setting="C 0.01", seed=3, choosing=True)
    assert folder.find(run) is None
    folder.keep(_result(run, 0.25))
    assert folder.find(run) == _result(run, 0.25)
    other = Run(conditions=conditions, method="linear", setting="C 0.01", seed=4, choosing=True)
    assert folder.find(other) is None


def test_results_from_before_tests_could_be_held_out_are_found() -> None:
    """The name that such a run was kept under."""
    conditions = Conditions(backbone="efficientnet-lite0", dataset="cifar10", chosen_on=400)
    run = Run(conditions=conditions, method="linear", setting="C 1", seed=0, choosing=True)
    assert run.key == "cifar10-linear-441b37e6108ced0d"
    assert replace(run, conditions=replace(conditions, held_out=4000)).key != run.key



def _backbone() -> Backbone:
    def layer(name: str, inputs: int, outputs: int, stride: int = 1) -> BackboneLayer:
        weight = torch.randn((outputs, inputs, 1, 1), generator=torch.Generator().manual_seed(outputs))
        return BackboneLayer(
            name=name, weight=weight, bias=torch.zeros(outputs), stride=stride, padding=(0,) * 4, activation="relu6"
        )

    return Backbone(
        name="small",
        licence="none",
        stem=layer("stem", 3, 8, 2),
        blocks=tuple(Block(name=name, layers=(layer(f"{name}.project", 8, 8),)) for name in ("block0", "block1")),
        last=layer("last", 8, 16),
        input=InputFormat(mean=(127.0,) * 3, deviation=(128.0,) * 3, scale=1 / 128),
        recipe=Recipe(attachments=(Attachment(block="block1", kernel=3),)),
    )


class Pool:
    """In place of the runs: the more images, the better, and each method by the length of its name."""

    runs: list[Any] = []

    def __init__(self, _folder: Path, _jobs: int) -> None:
        Pool.runs = []

    def __call__(self, runs: Sequence[Any]) -> dict[Any, Any]:
        Pool.runs += runs
        return {run: self._result(run) for run in runs}

    def _result(self, run: Any) -> Any:
        if not isinstance(run, Run):
            rows = tuple((0.5 + 0.01 * len(run.method),) * (count + 1) for count in range(5))
            return ContinualResult(run=run, names=("0 and 1", "2 and 3", "4 and 5", "6 and 7", "8 and 9"), rows=rows)
        few = run.conditions.images_a_class / 1000 if isinstance(run.conditions, FewImages) else 0.1
        integer = METHODS[run.method].arithmetic == "int8"
        return Result(
            run=run,
            accuracy=0.5 + few + 0.01 * len(run.method) + 0.001 * run.seed,
            test_images=359,
            curve=[(10, 1.0, 0.5), (20, 0.5, 0.8)],
            wear={"rows": 1, "bytes": 2, "strips": 3, "weights": 4, "most": 5} if integer else None,
            saturation={"block1.sum": 0.002, "logits": 0.0} if integer else None,
        )


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("respin.golden.backbones", "respin.golden.learn.study"):
        monkeypatch.setattr(f"{module}.load_backbone", lambda *_arguments: _backbone())
    monkeypatch.setattr("respin.cli.learn.pool.Pool", Pool)


def learn(*arguments: str) -> Any:
    shared = ["--tasks", "digits", "--train-images", "320", "--size", "32", "--seeds", "2"]
    return runner.invoke(app, ["learn", *shared, *arguments])


@pytest.mark.usefixtures("made_up")
def test_a_study_with_everything(tmp_path: Path) -> None:
    result = learn(
        "--method", "rep-net,linear,full-float", "--images-a-class", "20,10,10", "--scenario", "class-incremental",
        "--report", "--out", str(tmp_path),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "report.html", "results.md"}
    study = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [row["images_a_class"] for row in study["labels"]["digits"]] == [10, 20]
    assert study["labels"]["digits"][0]["methods"]["linear"]["mean"] == pytest.approx(57.05)
    # 8 passes of 20 steps: 27 of 6 and 13 of 12 come nearest.
    few = {run.conditions.epochs for run in Pool.runs if isinstance(run, Run) and isinstance(run.conditions, FewImages)}
    assert few == {27, 13}
    assert study["saturation"]["digits"]["rep-net"]["sum"] == {"tensor": "block1.sum", "share": 0.002}
    stored = {
        name: row["storage_bytes_per_task"] for name, row in study["continual"]["class-incremental"]["methods"].items()
    }
    assert stored == {name: row["task"] for name, row in study["memory"].items()}
    assert stored["linear"] == stored["full-float"] == 4 * (16 * 10 + 10)
    for words in ("digits: test accuracy from few images a class", "57.05 (0.07)", "storage a task, kB", "results.md"):
        assert words in result.output
    for name in ("report.html", "results.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "57.05" in text
        assert "0.200" in text


@pytest.mark.usefixtures("made_up")
def test_all_variations(tmp_path: Path) -> None:
    result = learn("--method", "rep-net,variations", "--seeds", "2", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    study = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert list(study["methods"]) == ["rep-net", *VARIATIONS]
    assert {row["of"] for row in study["differences"]} == VARIATIONS.keys()
    assert "labels" not in study
    # The longest name is the best, by a hundredth a letter.
    table = result.output[result.output.index("less Rep-Net, INT8, points") :]
    places = [table.index(f" {METHODS[name].title} ") for name in ("not-equalised", "momentum", "nearest")]
    assert places == sorted(places)
    assert "+6.00" in table


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # 320 of 1,437 or 1,438 images.
        (["--images-a-class", "10,40"], "among the 320 that it trains on: images a class must be in 1..3"),
        (["--images-a-class", "1"], "1 images a class are 10 of digits: a batch of 16 needs as many"),
    ],
)
def test_too_many_and_too_few_images_a_class(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = learn("--method", "linear", "--out", str(tmp_path), *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())
