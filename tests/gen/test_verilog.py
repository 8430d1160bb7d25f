# SPDX-License-Identifier: Apache-2.0
"""The delivered folder, and that other tools take the Verilog in it without a murmur."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from respin.gen.blocks import DELIVERED
from respin.gen.folder import MANIFEST, FolderError
from respin.gen.integration import WAIVED, WRAPPER
from respin.gen.synthesis import FAMILIES, run_yosys, synthesise
from respin.gen.verilog import generate, write
from respin.rtl.config import preset
from respin.sim import tools
from respin.sim.runner import control_file, lint

FOLDER = {"respin.v": "module respin;\nendmodule\n", MANIFEST: "{}\n"}


@cache
def generated(name):
    return generate(preset(name))


@pytest.fixture
def quick(monkeypatch):
    """Write a folder of nothing much."""
    monkeypatch.setattr("respin.gen.verilog.generate", lambda config: FOLDER)


def test_same_configuration_same_bytes():
    assert generate(preset("tiny")) == generated("tiny")


def test_the_manifest_says_what_is_there():
    texts = generated("tiny")
    manifest = json.loads(texts[MANIFEST])
    assert manifest["configuration"]["lanes"] == 8
    assert set(manifest["files"]) == set(texts) - {MANIFEST}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256(texts[name].encode()).hexdigest()
        for port in entry.get("ports", []):
            width = "" if port["width"] == 1 else f"[{port['width'] - 1}:0] "
            assert f"\n  {port['direction']} {width}{port['name']};\n" in texts[name]


def test_an_old_folder_is_replaced_and_a_foreign_one_is_not(quick, tmp_path):
    folder = tmp_path / "out"
    write(preset("tiny"), folder)
    (folder / "left_over.v").write_text("old")
    write(preset("tiny"), folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == FOLDER
    (folder / MANIFEST).unlink()
    with pytest.raises(FolderError, match="holds something that respin did not write"):
        write(preset("tiny"), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_written_is_named(quick, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written"):
        write(preset("tiny"), tmp_path / "file" / "out")


def test_nothing_is_left_of_a_folder_that_could_not_be_made(quick, tmp_path, monkeypatch):
    def broken(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", broken)
    with pytest.raises(FolderError, match="No space left on device"):
        write(preset("tiny"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long("default")
@pytest.mark.parametrize("config", ["tiny", "default"])
def test_verilator_and_icarus_take_it(config, tmp_path):
    for block in DELIVERED:
        text = generated(config)[f"{block.name}.v"]
        lint(text, block.name, tmp_path)
        if tools.icarus().good:
            files = ["-o", str(tmp_path / "out.vvp"), str(tmp_path / f"{block.name}.v")]
            command = [tools.icarus().path, "-g2005", "-Wall", "-s", block.name, *files]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert (done.returncode, done.stderr) == (0, "")


def test_yosys_takes_the_whole(tmp_path):
    # To cells and memories; mapping all of it to look-up tables takes minutes.
    source = tmp_path / "design.v"
    source.write_text(generated("tiny")[f"{DELIVERED[0].name}.v"])
    run_yosys([f"read_verilog {source}", f"hierarchy -check -top {DELIVERED[0].name}", "proc", "memory_collect"])


@pytest.mark.long("respin_update")
@pytest.mark.parametrize("block", DELIVERED[1:], ids=lambda block: block.name)
def test_yosys_synthesises_it(block):
    """Of the update unit it takes minutes."""
    area = synthesise(generated("tiny")[f"{block.name}.v"], block.name, next(iter(FAMILIES)))
    assert area.luts > 0
    assert area.flip_flops > 0


def fusesoc(folder):
    """Run the core's lint in ``folder``."""
    tool = tools.verilator_toolchain()
    program = Path(sys.executable).with_name("fusesoc")
    core = f"respin:ip:tiny:{json.loads(generated('tiny')[MANIFEST])['versions']['respin']}"
    return subprocess.run(
        [program, "--cores-root", folder, "run", "--target=lint", "--work-root", folder / "work", core],
        env={**os.environ, **tool.environment, "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_fusesoc_lints_the_core_in_its_wrapper(tmp_path):
    for name, text in generated("tiny").items():
        (tmp_path / name).write_text(text)
    done = fusesoc(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # A wrapper that leaves a port out is found.
    wrapper = tmp_path / WRAPPER
    wrapper.write_text(wrapper.read_text().replace("        .irq(irq),\n", ""))
    assert "PINMISSING" in str(fusesoc(tmp_path))


def test_the_lint_is_as_strict_as_the_benches():
    rules = [line for line in control_file("respin", ["respin.v"]).splitlines() if line.startswith("lint_off")]
    assert [f'lint_off -rule {rule} -file "*/respin.v"' for rule in WAIVED] == rules
