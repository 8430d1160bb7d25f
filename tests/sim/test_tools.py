# SPDX-License-Identifier: Apache-2.0
"""Finding the simulators: the newer of two, an old one refused with a reason, what is missing in one line."""

import pytest

from respin.sim import tools


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put a Verilator that claims some version first on PATH."""

    def put(version):
        program = tmp_path / "verilator"
        program.write_text(f"#!/bin/sh\necho 'Verilator {version} 2025-01-01 rev v{version}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        tools.verilator.cache_clear()
        return str(program)

    yield put
    tools.verilator.cache_clear()


def test_the_packaged_verilator_is_found():
    tool = tools.verilator_toolchain()
    assert tool.good
    assert tool.version.startswith("5.")


def test_a_newer_verilator_on_path_is_preferred(on_path):
    path = on_path("6.002")
    assert (tools.verilator().path, tools.verilator().environment) == (path, {})


def test_an_older_one_gives_way_to_the_packaged_one(on_path):
    path = on_path("5.006")
    assert tools.verilator().good
    assert tools.verilator().path != path


def test_an_old_one_alone_is_refused_with_the_reason(on_path, monkeypatch):
    path = on_path("5.006")
    monkeypatch.setattr(tools, "_verilator_packaged", lambda: None)
    with pytest.raises(tools.ToolError, match=f"verilator: {path} is 5.006; cocotb 2 needs at least 5.036"):
        tools.verilator().check()


def test_what_is_missing_gets_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for find, line in (
        (tools.compiler, "g++: not found; install it (Debian: apt-get install g++)"),
        (tools.make, "make: not found; install it (Debian: apt-get install make)"),
        (tools.icarus, "iverilog: not found; install it (Debian: apt-get install iverilog)"),
    ):
        find.cache_clear()
        assert find().problem == line
        find.cache_clear()
