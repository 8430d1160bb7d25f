# SPDX-License-Identifier: Apache-2.0
"""What clumsy and hostile users do: one line on stderr, an exit code, nothing on stdout, nothing half written."""

import io
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from respin.cli import main as command
from respin.cli.output import whole
from respin.cli.pictures import Pictures
from respin.firmware_model.frontend.onnx_import import import_onnx
from respin.firmware_model.frontend.refusal import ModelError, RefusedError
from respin.firmware_model.image import FILE_MAGIC, Area, ImageError, ProgramImage, Tensor
from respin.golden.backbones import InputFormat
from respin.golden.data import SourceError
from respin.rtl.config import preset

MODULE = """
import sys
import torch
from torch import nn


def network():
    print("a line of the factory's")
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def ends():
    sys.exit(0)


def with_images():
    return network(), torch.rand(2, 3, 8, 8)


class Branching(nn.Module):
    def forward(self, x):
        print("a line of the module's")
        return x if x.sum() > 0 else 2 * x


def branching():
    return Branching()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.py").write_text(MODULE)
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "deep.toml").write_text(f"banks = {5000 * '['}{5000 * ']'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def respin(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command as its entry point does; returns exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["respin", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return (ended.value.code, *capfd.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "No such command 'nonsense'; see respin --help"),
        ("verilog --nonsense", "No such option: --nonsense; see respin verilog --help"),
        ("verilog extra", "Got unexpected extra argument(s) (extra); see respin verilog --help"),
        ("run", "Missing argument 'program'; see respin run --help"),
        ("device sweep --trials 1", "Invalid value for '--trials': Input should be greater than or equal to 64; see"),
        ("device plot --seed 99999999999", "Invalid value for '--seed': Input should be less than or equal to 2147483"),
        ("device show --section moon", "Invalid value for --section: must be one of mtj, strip, read, "),
        ("verilog --config deep.toml", "deep.toml: is not TOML: "),
        ("device show deep.toml", "deep.toml: is not TOML: "),
        ("compile model.py:network --classes 2 --recipe deep.toml", "deep.toml: is not TOML: "),
        ("compile model.py:network --batch 256", "Invalid value for '--batch': Input should be less than or equal to"),
        ("compile model.py:network -o folder", "folder: cannot be written: is a folder or a device, not a file"),
        ("compile model.py:network -o /dev/null", "/dev/null: cannot be written: is a folder or a device, not"),
        ("compile model.py:network -o file/x", "file: cannot be written: there is a file where a folder must be"),
        ("compile model.py:network -o /sys/none/x", "/sys/none: cannot be written: "),
        ("report none.program -o folder", "folder: cannot be written: is a folder"),
        ("device sweep --sot 240 -o folder", "folder: cannot be written: is a folder"),
        ("device campaign --rows 1 -o file", "file: cannot be written: there is a file"),
        ("device plot --only retention -o file", "file: cannot be written: there is a file"),
        ("device plot --table folder", "folder: cannot be read: Is a directory"),
        ("learn --tasks moon -o file", "file: cannot be written: there is a file"),
        ("demo -o file/x", "file/x: cannot be written: there is a file"),
        ("bench layers --picture x.bmp", "--picture must be a file named .png or .svg, not 'x.bmp'"),
        ("network --picture file/x.png", "file: cannot be written: there is a file"),
        ("bitstream --vivado zynq -o folder/..", "holds something that respin did not write; name another folder"),
        ("inspect model.py:ends", "model.py:ends raises SystemExit: 0"),
        ("inspect model.py:with_images --shape 3,9,9", "shape must be that of the images of with_images, (3, 8, 8), "),
        ("inspect none.onnx", "none.onnx cannot be read as ONNX: No such file or directory"),
        ("inspect none.onnx --shape 3,8,8", "none.onnx says what its input is: shape, mean and deviation are for"),
        ("inspect model.py:branching --shape 3,8,8", "torch.export cannot trace it: "),
        ("compile model.py:network --shape 3,8,8 --classes 2 --mean nan", "mean and deviation must be 1 or 3 numbers"),
    ],
)
def test_one_line(respin, here: Path, arguments: str, message: str) -> None:
    before = sorted(here.rglob("*"))
    code, out, err = respin(*arguments.split())
    lines = [line for line in err.splitlines() if "line of the factory's" not in line]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert lines[0].startswith("respin: ")
    assert message in lines[0]
    assert (here / "file").read_text() == "somebody's"
    after = [path for path in sorted(here.rglob("*")) if "__pycache__" not in path.parts and path.name != "build"]
    assert [path for path in after if path.is_file()] == [path for path in before if path.is_file()]


def test_json_is_alone_on_stdout(respin) -> None:
    code, out, err = respin("inspect", "model.py:network", "--shape", "3,8,8", "--preset", "tiny", "--json")
    assert code == 0, err
    assert json.loads(out)["network"] == "network"
    assert "a line of the factory's" in err


def test_a_command_group_alone_shows_its_help(respin) -> None:
    code, out, err = respin("device")
    assert (code, err) == (2, "")
    assert "Usage: respin device" in out


class _Refusing(io.TextIOWrapper):
    """A stdout that cannot take what is written."""

    def __init__(self, error: OSError, target: io.TextIOWrapper) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._error, self._target = error, target

    def write(self, _text: str) -> int:
        raise self._error

    def fileno(self) -> int:
        return self._target.fileno()


@pytest.mark.parametrize(
    ("error", "said"),
    [(BrokenPipeError(32, "Broken pipe"), ""), (OSError(28, "No space left"), "respin: No space left\n")],
)
def test_output_that_nobody_takes(respin, here: Path, monkeypatch, error: OSError, said: str) -> None:
    with (here / "stdout").open("w") as target:
        monkeypatch.setattr(sys, "stdout", _Refusing(error, target))
        code, _, err = respin("device", "show", "--section", "mtj", "--json")
    assert (code, err) == (1, said)


def test_a_file_is_there_whole_or_not_at_all(here: Path) -> None:
    path = here / "new" / "file"
    with pytest.raises(UnicodeEncodeError), whole(path) as beside:
        beside.write_text("half of it \udc80", encoding="utf-8")
    assert list(path.parent.iterdir()) == []
    with whole(path) as beside:
        beside.write_text("whole")
    assert [each.read_text() for each in path.parent.iterdir()] == ["whole"]


def _model(*, kernel: list[int], **attributes: object) -> ModelProto:
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"], kernel_shape=kernel, **attributes)
    values = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 3, 6, 6]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [None] * 4),
    ]
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.int8), "w")
    graph = helper.make_graph([node], "sums", values[:1], values[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_onnx_attributes_that_cannot_be() -> None:
    assert import_onnx(_model(kernel=[3, 3])).input_shape == (3, 6, 6)
    with pytest.raises(RefusedError, match=r"kernel_shape \(5, 5\) and a weight of \(3, 3\); supported: the weight's"):
        import_onnx(_model(kernel=[5, 5]))
    with pytest.raises(ModelError, match="the model is not valid: "):
        import_onnx(_model(kernel=[3, 3], auto_pad=7))


@pytest.fixture
def image() -> ProgramImage:
    return ProgramImage(
        config=preset("tiny"),
        base=0,
        content=bytes(64),
        areas={"input": Area(address=0, size=64)},
        programs=(),
        tensors={name: Tensor(shape=(1, 3, 2, 2), signed=False) for name in ("input", "logits")},
        input_format=InputFormat(mean=(0.0,) * 3, deviation=(1.0,) * 3, scale=1.0, signed=False),
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("areas", [], "'list' object has no attribute 'items'"),
        ("tensors", {"input": {"shape": [], "signed": False}}, "tuple index out of range"),
        ("classes", [1, 2, 3], "classes must be names"),
        ("base", None, "'base' is missing"),
    ],
)
def test_a_program_file_with_a_right_sum_and_wrong_content(
    here: Path, image: ProgramImage, key: str, value: object, message: str
) -> None:
    path = here / "x.program"
    image.save(path)
    content = path.read_bytes()
    start = len(FILE_MAGIC) + 4
    end = start + int.from_bytes(content[len(FILE_MAGIC) : start], "little")
    about = json.loads(content[start:end]) | {key: value}
    if value is None:
        del about[key]
    text = json.dumps(about).encode()
    changed = FILE_MAGIC + len(text).to_bytes(4, "little") + text + content[end:-4]
    path.write_bytes(changed + zlib.crc32(changed).to_bytes(4, "little"))
    with pytest.raises(ImageError) as refused:
        ProgramImage.load(path)
    assert str(refused.value) == f"{path}: {message}"


def test_pictures_are_looked_at_before_a_machine_is_made(here: Path, image: ProgramImage) -> None:
    folder = here / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:100])
    pictures = Pictures.of_folder(folder, image)
    pictures.require_readable([0, 0])
    with pytest.raises(SourceError, match=r"b\.png is no image that can be read"):
        pictures.require_readable([0, 1])
