# SPDX-License-Identifier: Apache-2.0
"""``respin device``: shipped devices and a user's own file alike, one line for a mistake."""

import json
import re

import pytest
from typer.testing import CliRunner

from respin.cli.main import app
from respin.gen.versions import package_version
from respin.sim.device import DEVICE_FOLDER, shipped


@pytest.fixture
def respin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DEVICE_FOLDER / "scrubbed.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        text.replace('"scrubbed"', '"mine"').replace("damping = { value = 0.015", "damping = { value = 0.02")
    )
    (tmp_path / "flat.toml").write_text(
        re.sub(r"out_of_plane_field = { value = [\d.]+", "out_of_plane_field = { value = 0.0", text)
    )
    (tmp_path / "wrong.toml").write_text(text.replace("damping = { value = 0.015", "damping = { value = 7"))
    return lambda *arguments: CliRunner().invoke(app, ["device", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("name", [*shipped(), "mine.toml"])
def test_show_gives_every_parameter_with_unit_and_source(respin, name):
    done = respin("show", name, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"]["mtj.length"] == {"value": 100.0, "unit": "nm", "source": "published"}
    assert all(set(each) == {"value", "unit", "source"} for each in found["parameters"].values())
    assert found["derived"]["critical STT current without heat"] > 0


def test_show_prints_one_section(respin):
    done = respin("show", "--section", "read")
    assert done.exit_code == 0
    assert "read.sense_sigma" in done.stdout
    assert "mtj.damping" not in done.stdout


def test_a_sweep_of_ones_own_device_is_kept_and_gone_on_with(respin, tmp_path):
    arguments = ("sweep", "mine.toml", "--sot", "240,260", "--trials", "64", "--workers", "2", "--json")
    first = respin(*arguments)
    assert first.exit_code == 0, first.stderr
    rows = json.loads(first.stdout)["rows"]
    assert [row["SOT_uA"] for row in rows] == ["240", "260"]
    assert all(row["low_95"] <= row["errors"] / row["trials"] <= row["high_95"] for row in rows)
    table = tmp_path / "build" / "device" / "mine.csv"
    before = table.read_text()
    again = respin(*arguments)
    assert json.loads(again.stdout)["rows"] == rows
    assert table.read_text() == before
    drawn = respin("plot", "mine.toml", "--only", "read_margin,retention,strip", "--format", "png")
    assert drawn.exit_code == 0, drawn.stderr
    assert {path.name for path in (tmp_path / "build" / "device" / "mine").iterdir()} == {
        "read_margin.png", "retention.png", "strip.png",
    }  # fmt: skip


def test_a_file_with_a_shipped_devices_name_does_not_get_its_table(respin):
    drawn = respin("plot", "flat.toml", "--only", "write_error")
    assert drawn.exit_code == 0
    assert "write_error: left out, there is no table" in drawn.stderr


def test_a_table_of_other_parameters_is_not_gone_on_with(respin, tmp_path):
    assert respin("sweep", "mine.toml", "--sot", "240", "--trials", "64", "--out", "t.csv").exit_code == 0
    done = respin("sweep", "scrubbed", "--sot", "240", "--trials", "64", "--out", "t.csv")
    assert done.exit_code == 2
    assert "t.csv: was made from other parameters than those of scrubbed; name another file" in done.stderr


def test_the_standard_sweep_of_a_shipped_device_is_there_at_once(respin, tmp_path):
    done = respin("sweep", "scrubbed", "--json")
    assert done.exit_code == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) > 30
    assert not (tmp_path / "build").exists()
    drawn = respin("plot", "scrubbed", "--only", "write_error")
    assert drawn.exit_code == 0, drawn.stderr
    picture = tmp_path / "build" / "device" / "scrubbed" / "write_error.svg"
    once = picture.read_bytes()
    respin("plot", "scrubbed", "--only", "write_error")
    assert picture.read_bytes() == once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "device must be one of default, erasable, scrubbed or a .toml file, not 'nothing'"),
        (["sweep", "wrong.toml"], "wrong.toml: mtj.damping must be in 0..1, not 7"),
        (["sweep", "flat.toml", "--trials", "64"], "scrubbed: the easy axis must have the smallest field of the three"),
        (["sweep", "--sot", "a,b"], "--sot must be numbers in 0..100000 with commas between them, not 'a,b'"),
        (["sweep", "--operation", "write"], "--operation must be one of sas, erase, program, not 'write'"),
        (["sweep", "--celsius", "950"], "temperature must be in -273.15..826.85 degrees Celsius, not 950"),
        (["sweep", "--tail", "0", "--pulse", "0.5"], "--tail must leave STT, which starts at 0.8 ns, some time"),
        (["plot", "--only", "all"], "--only must be some of write_error, trajectories, read_margin, retention, strip"),
        (["plot", "--format", "gif"], "--format must be one of svg, png, pdf, not 'gif'"),
        (["plot", "--table", "none.csv"], "none.csv: cannot be read"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(respin, arguments, message):
    done = respin(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(package_version("distributed") is not None, reason="Dask is installed")
def test_without_dask_the_line_says_what_to_install(respin):
    done = respin("sweep", "--sot", "300", "--scheduler", "tcp://localhost:1")
    assert done.exit_code == 1
    assert done.stderr == "respin: distributed: not installed; in the project's folder: pip install -e '.[cluster]'\n"
