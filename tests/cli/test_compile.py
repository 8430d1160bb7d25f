# SPDX-License-Identifier: Apache-2.0
"""``respin compile``: program files of networks that learn and of those that only run, one line for bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image
from typer.testing import CliRunner

from respin.cli.main import app
from respin.firmware_model.compiler import INFER, INPUT_AREA, LOGITS_AREA, PROVISION, ROWS_AREA, SAVE, TRAIN
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.scaling import Scaling, scaling_of_rows
from respin.rtl.sequencer.descriptor import Opcode

MODULE = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
        self.last = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU6())
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.last(x + self.block(x)).mean((2, 3)))


def network():
    return Network()


def pooled():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2), nn.Conv2d(8, 8, 1))
"""
RECIPE = '[[module]]\nblock = "block"\nkernel = 3\n'
SHAPE = ("--shape", "3,12,12", "--preset", "tiny")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(MODULE)
    (tmp_path / "mine.toml").write_text(RECIPE)
    (tmp_path / "wrong.toml").write_text(RECIPE.replace("kernel = 3", "kernel = 2"))
    (tmp_path / "other.toml").write_text(RECIPE.replace('"block"', '"blocks.3"'))
    generator = np.random.default_rng(1)
    for name in ("cat", "dog", "ant"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            pixels = generator.integers(0, 256, (10, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["compile", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["compile", *arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_a_network_that_only_runs() -> None:
    found = json.loads(
        run("model.py:network", *SHAPE, "--images", "pictures", "--batch", "2", "-o", "a.program", "--json")
    )
    image = ProgramImage.load(Path("a.program"))
    assert image.programs == (PROVISION, INFER)
    assert image.tensors[INPUT_AREA].shape == (2, 3, 12, 12)
    assert image.tensors[LOGITS_AREA].shape == (2, 10, 1, 1)
    # 3 x 3 x 3 x 8, 3 x 3 x 8, 8 x 8 and 8 x 16 weights on 6 x 6 pixels, and the head's.
    assert found["macs"] == {INFER: 2 * (36 * (216 + 72 + 64 + 128) + 160)}
    # Rows of 4 slices: 2 x 4 of windows of 27 channels, 9, 2 x 4, 4 x 4, and 3 x 4 of the head's 10 outputs.
    assert found["packed"] == {"stem.0": 27}
    assert (found["rows"], found["rows_there_are"]) == (8 + 9 + 8 + 16 + 12, 2044)
    assert found["descriptors"] == {name: image.count(name) for name in image.programs}
    assert found["memory"] == image.memory
    listing = run("model.py:network", *SHAPE, "--images", "pictures", "--listing", "-o", "b.program")
    assert sum(" JOB depthwise" in line for line in listing.splitlines()) == 1
    # The same images, another batch: the same weights and constants.
    other = ProgramImage.load(Path("b.program"))
    assert all(other.bytes_of(name) == image.bytes_of(name) for name in ("rows", "table"))


def test_a_network_that_learns() -> None:
    learning = ("--recipe", "mine.toml", "--labels", "pictures", "--batch", "2", "--json")
    found = json.loads(run("model.py:network", *SHAPE, *learning, "-o", "c.program"))
    image = ProgramImage.load(Path("c.program"))
    assert image.programs == (PROVISION, INFER, TRAIN, SAVE)
    assert image.tensors[LOGITS_AREA].shape == (2, 3, 1, 1)
    # A pixel is its own integer, worth 1/255; the folders name the classes.
    form = image.input_format
    assert form is not None
    assert (form.mean, form.deviation, form.signed) == ((0.0,) * 3, (255.0,) * 3, False)
    assert form.scale == pytest.approx(1 / 255)
    assert image.classes == ("ant", "cat", "dog")
    # The module's 288 and 64 weights run on 3 x 3 pixels. Gradients are the module's and the head's; errors pass the
    # head, the last layer and the module's second convolution.
    module, head = 9 * (288 + 64), 16 * 3
    forward = 36 * (216 + 72 + 64 + 128) + module + head
    backward = module + head + head + 36 * 128 + 9 * 64
    assert found["macs"] == {INFER: 2 * forward, TRAIN: 2 * (forward + backward)}
    assert sum("JOB loss" in line for line in image.listing(TRAIN)) == 1
    # The head alone learns without a recipe, and needs no errors of the backbone.
    alone = json.loads(run("model.py:network", *SHAPE, "--classes", "3", "--batch", "2", "--json", "-o", "d.program"))
    assert alone["macs"][TRAIN] == alone["macs"][INFER] + 2 * 16 * 3
    assert alone["rows"] < found["rows"]


def known_scales(image: ProgramImage) -> dict[int, Scaling]:
    """What the rows say that the program provisions, where SAVE and RESTORE have them."""
    numbers, saved = [], image.writable_rows(SAVE)
    for descriptor in image.descriptors(PROVISION):
        if descriptor.opcode is Opcode.ROWS:
            numbers += range(descriptor.body["row"], descriptor.body["row"] + descriptor.body["count"])
    rows = np.frombuffer(image.bytes_of(ROWS_AREA), np.int8).reshape(-1, 32)
    return scaling_of_rows(rows[[numbers.index(row) for row in saved]])


def test_scales_that_are_known_from_the_first_step_on() -> None:
    learning = ("model.py:network", *SHAPE, "--recipe", "mine.toml", "--labels", "pictures", "--batch", "2")
    run(*learning, "-o", "blank.program")
    run(*learning, "--settle", "3", "-o", "settled.program")
    blank, settled = (ProgramImage.load(Path(f"{name}.program")) for name in ("blank", "settled"))
    assert known_scales(blank) == {}
    edges = {descriptor.tensor for descriptor in blank.descriptors(TRAIN) if "edge" in descriptor.flags}
    known = known_scales(settled)
    assert {tensor for tensor, found in known.items() if found.shift is not None} == edges
    # Gradients of the head and of the module's second convolution, which starts at 0 and so passes the first one none.
    assert sum(found.order is not None for found in known.values()) == 2
    # The weights are those of the program without; only the rows of scales differ.
    rows = [np.frombuffer(image.bytes_of(ROWS_AREA), np.int8).reshape(-1, 32) for image in (blank, settled)]
    assert 0 < (rows[0] != rows[1]).any(axis=1).sum() <= len(blank.writable_rows(SAVE))


def test_an_onnx_file() -> None:
    weight = np.random.default_rng(1).integers(-128, 127, (4, 3, 3, 3)).astype(np.int8)
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"])
    values = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 3, 6, 6]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [None] * 4),
    ]
    graph = helper.make_graph([node], "sums", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), "sums.onnx")
    run("sums.onnx", "--preset", "tiny", "-o", "sums.program")
    image = ProgramImage.load(Path("sums.program"))
    # The four bytes of a sum are tensors of their own; the bias is the host's.
    assert image.tensors[LOGITS_AREA].shape == (4, 4, 4, 4)
    assert np.frombuffer(image.bytes_of("bias"), "<i4").tolist() == [0] * 4
    assert "quantised already: what is to learn must be a module" in refused("sums.onnx", "--classes", "3")
    assert "quantised already: images calibrate modules" in refused("sums.onnx", "--images", "pictures")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("model.py:network", "--settle", "3", "--classes", "4"), "--settle needs --labels: scales are measured in"),
        (("model.py:network", "--recipe", "mine.toml"), "--recipe needs --classes or --labels"),
        (("model.py:network", "--classes", "3", "--labels", "pictures"), "--classes and --labels exclude each other"),
        (("model.py:network",), "network returns no images: say the shape of one (C,H,W)"),
        (("nothing",), "a model must be NAME.onnx, MODULE.py:factory or one of efficientnet-lite0, mobilenet-v2, not"),
        (("model.py:network", "--shape", "3,x"), "--shape must be numbers C,H,W, not '3,x'"),
        (("model.py:network", *SHAPE, "--images", "none"), "images must be one of cifar10, "),
        (("model.py:network", *SHAPE, "--classes", "3", "--mean", "1,2"), "mean and deviation must be 1 or 3 numbers"),
        (
            ("model.py:network", *SHAPE, "--classes", "3", "--recipe", "wrong.toml"),
            "wrong.toml: module 1: kernel must be odd, not 2",
        ),
        (
            ("model.py:network", *SHAPE, "--classes", "3", "--recipe", "other.toml"),
            "blocks.3 is no layer of the backbone, nor a module of some",
        ),
        (("model.py:pooled", *SHAPE, "--classes", "3"), "1: a pool that is no part of a backbone; supported: a line"),
        (
            ("model.py:network", "--shape", "3,12,12", "--preset", "nano", "--classes", "40"),
            "the network needs 99 MRAM rows, nano has 64: raise banks or mram_rows",
        ),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], line: str) -> None:
    assert line in refused(*arguments)


def test_another_seed_makes_another_network() -> None:
    contents = []
    for seed in (1, 1, 2):
        run(
            "model.py:network",
            *SHAPE,
            "--classes",
            "3",
            "--recipe",
            "mine.toml",
            "--seed",
            str(seed),
            "-o",
            "e.program",
        )
        contents.append(ProgramImage.load(Path("e.program")).content)
    assert contents[0] == contents[1] != contents[2]
