# SPDX-License-Identifier: Apache-2.0
"""``respin learn``: what it lists, what it refuses, and a study from cached runs alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from respin.cli.main import app
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, Result, ResultFolder, Run

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
        (["--images-a-class", "10,many"], "--images-a-class must be whole numbers with commas between, not '10,many'"),
        (["--images-a-class", "0"], "--images-a-class must be at least 1"),
        (["--size", "100"], "--size must be a multiple of 32"),
        (["--epochs", "0"], "greater than or equal to 1"),
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
