# SPDX-License-Identifier: Apache-2.0
"""``respin inspect``: listings of modules and ONNX files, figures counted here once more, one line for bad input."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from respin.cli.main import app
from respin.rtl.config import preset

MODELS = "NAME.onnx, MODULE.py:factory or one of efficientnet-lite0, mobilenet-v2"
MODULE = """
import beside
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(3, 40, 3, 2, 1, bias=False), nn.BatchNorm2d(40), nn.ReLU6(),
        nn.Conv2d(40, 40, 3, padding=1, groups=40), nn.ReLU6(), nn.Conv2d(40, 64, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, beside.CLASSES),
    )


def calibrated():
    return nn.Conv2d(4, 6, 3, groups=2), torch.rand(4, 4, 6, 5)


def refused():
    return nn.Sequential(nn.Conv2d(3, 8, 3, dilation=2), nn.ReLU()), torch.rand(2, 3, 8, 8)


def broken():
    raise RuntimeError("no\\nfile")


def odd():
    return 3, 4


def images():
    return nn.ReLU(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


missing = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(MODULE)
    (tmp_path / "beside.py").write_text("CLASSES = 10\n")
    (tmp_path / "broken.onnx").write_bytes(b"\x00nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def respin(*arguments: str):
    return CliRunner().invoke(app, ["inspect", *arguments])


def test_a_module_is_listed():
    done = respin("model.py:network", "--shape", "3,32,32", "--preset", "small", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert [layer["kind"] for layer in found["layers"]] == [
        "convolution", "depthwise", "convolution", "average pool", "dense",
    ]  # fmt: skip
    assert layers["0"]["shape"] == [40, 16, 16]
    assert (layers["3"]["kernel"], layers["3"]["groups"], layers["3"]["padding"]) == ([3, 3], 40, [1, 1, 1, 1])
    macs = {"0": 40 * 27 * 256, "3": 40 * 9 * 256, "5": 40 * 64 * 256, "6": 0, "8": 640}
    assert {name: layer["macs"] for name, layer in layers.items()} == macs
    config = preset("small")

    def rows(outputs: int, inputs: int, taps: int) -> int:
        return math.ceil(outputs / config.slices) * config.slices * math.ceil(inputs / 32) * taps

    # The first layer reads packed windows of 27 channels.
    wanted = {"0": rows(40, 27, 1), "3": 2 * 9, "5": rows(64, 40, 1), "6": 0, "8": rows(10, 64, 1)}
    assert {name: layer["rows"] for name, layer in layers.items()} == wanted
    assert found["totals"] == {
        "macs": sum(macs.values()),
        "weights": 40 * 27 + 40 * 9 + 40 * 64 + 640,
        "rows": sum(wanted.values()),
        "rows_there_are": config.usable_rows,
    }
    assert found["input"]["shape"] == [3, 32, 32]


def test_a_module_with_its_own_images_is_shown_as_a_table():
    done = respin("model.py:calibrated", "--preset", "tiny")
    assert done.exit_code == 0, done.stderr
    assert "6 x 4 x 3" in done.stdout
    slices = preset("tiny").slices
    rows = math.ceil(6 / slices) * slices * 2  # packed windows of 36 channels
    assert f"1,296 MACs, 108 weights, {rows} MRAM rows: fits the {preset('tiny').usable_rows:,} of tiny" in done.stdout


def make_onnx(**attributes: object) -> None:
    constants = {"w": np.ones((4, 3, 1, 1), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xr"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wr"]),
        helper.make_node("Conv", ["xr", "wr"], ["y"], name="only", **attributes),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.INT8, [1, 3, 5, 5])]
    values.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 5, 5]))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), "model.onnx")


def test_an_onnx_file_is_listed():
    make_onnx()
    done = respin("model.onnx", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    (layer,) = found["layers"]
    assert (layer["name"], layer["kind"], layer["macs"]) == ("only", "convolution", 4 * 3 * 25)
    assert layer["quantiser"] == "none: int32 sums"


def test_refusals_are_lines_and_json():
    done = respin("model.py:refused")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "respin: 0: dilation (2, 2); supported: dilation 1\n"
    make_onnx(dilations=[2, 2])
    done = respin("model.onnx", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {
        "model": "model.onnx",
        "refusals": [{"node": "only", "found": "dilation [2, 2]", "supported": "dilation 1"}],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.txt"], f"a model must be {MODELS}, not 'model.txt'"),
        (["model.py"], f"a model must be {MODELS}, not 'model.py'"),
        (["none.py:network"], "none.py is no file"),
        (["none.onnx"], "none.onnx cannot be read as ONNX: "),
        (["broken.onnx"], "broken.onnx cannot be read as ONNX: "),
        (["model.py:nothing"], "model.py has no function 'nothing'"),
        (["model.py:missing"], "model.py has no function 'missing'"),
        (["model.py:broken"], "model.py:broken raises RuntimeError: no"),
        (["model.py:odd"], "odd must return a torch.nn.Module, or one and a tensor of images, not tuple"),
        (["model.py:images"], "the images of images must be float (N, C, H, W), not uint8 (2, 3, 8, 8)"),
        (["model.py:network"], "network returns no images: say the shape of one (C,H,W)"),
        (["model.py:network", "--shape", "3,x"], "--shape must be numbers C,H,W, not '3,x'"),
        (["model.py:network", "--shape", "3,-1,4"], "shape must be (C, H, W) or (C,), each at least 1, not (3, -1, 4)"),
        (["model.py:network", "--shape", "4,32,32"], "torch.export cannot trace it: "),
        (["model.onnx", "--preset", "huge"], "preset must be one of "),
    ],
)
def test_bad_input_gets_one_line(arguments, message):
    done = respin(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("respin: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_example_of_the_documentation(here: Path):
    text = (Path(__file__).parents[2] / "docs" / "frontend.md").read_text(encoding="utf-8")
    code = text.split("```python\n# small.py\n")[1].split("```")[0]
    (here / "small.py").write_text(code)
    done = respin("small.py:network", "--preset", "small")
    assert done.exit_code == 0, done.stderr
    shown = text.split("```\n", 2)[2]
    (totals,) = [line for line in done.stdout.splitlines() if "MRAM rows" in line]
    assert totals in shown
    # Its layers but for the quantisers, whose figures hang on the machine's float sums.
    assert figures(done.stdout) == figures(shown)


def figures(text: str) -> list[list[str]]:
    """The table's rows without the column of quantisers."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert len(rows) == 6
    return [[cell for column, cell in enumerate(row) if column != 7] for row in rows]
