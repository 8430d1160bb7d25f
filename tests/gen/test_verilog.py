# SPDX-License-Identifier: Apache-2.0
"""The delivered folder, and that other tools take the Verilog in it without a murmur."""

import hashlib
import json
import subprocess

import pytest

from respin.gen.blocks import DELIVERED
from respin.gen.synthesis import FAMILIES, synthesise
from respin.gen.verilog import MANIFEST, FolderError, generate, write
from respin.rtl.config import preset
from respin.sim import tools
from respin.sim.runner import lint


@pytest.fixture(scope="module")
def tiny():
    return generate(preset("tiny"))


def test_same_configuration_same_bytes(tiny):
    assert generate(preset("tiny")) == tiny


def test_the_manifest_says_what_is_there(tiny, tmp_path):
    manifest = write(preset("tiny"), tmp_path / "tiny")
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == set(tiny)
    assert json.loads((tmp_path / "tiny" / MANIFEST).read_text()) == manifest
    assert manifest["configuration"]["lanes"] == 8
    for name, entry in manifest["files"].items():
        text = (tmp_path / "tiny" / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(text).hexdigest()
        assert entry["ports"]


def test_an_old_folder_is_replaced_and_a_foreign_one_is_not(tiny, tmp_path):
    folder = tmp_path / "out"
    write(preset("tiny"), folder)
    (folder / "left_over.v").write_text("old")
    write(preset("tiny"), folder)
    assert {path.name for path in folder.iterdir()} == set(tiny)
    (folder / MANIFEST).unlink()
    with pytest.raises(FolderError, match="holds something that respin did not write"):
        write(preset("tiny"), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        write(preset("tiny"), tmp_path / "file" / "out")


@pytest.mark.parametrize("config", ["tiny", "default"])
def test_verilator_lints_it(config, tmp_path):
    for name, text in generate(preset(config)).items():
        if name != MANIFEST:
            lint(text, name.removesuffix(".v"), tmp_path)


@pytest.mark.parametrize("config", ["tiny", "default"] if tools.icarus().good else [])
def test_icarus_compiles_it(config, tmp_path):
    write(preset(config), tmp_path / "out")
    for block in DELIVERED:
        files = ["-o", str(tmp_path / "out.vvp"), str(tmp_path / "out" / f"{block.name}.v")]
        command = [tools.icarus().path, "-g2005", "-Wall", "-s", block.name, *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", DELIVERED, ids=lambda block: block.name)
def test_yosys_synthesises_it(block, tiny):
    area = synthesise(tiny[f"{block.name}.v"], block.name, next(iter(FAMILIES)))
    assert area.luts > 0
    assert area.flip_flops > 0
