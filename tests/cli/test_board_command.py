# SPDX-License-Identifier: Apache-2.0
"""The commands for boards where there is none: one line and an exit code; ``tests/board`` has a simulated one."""

import os

import pytest
from typer.testing import CliRunner

from respin.cli.main import app


def run(*arguments: str):
    return CliRunner().invoke(app, ["board", *arguments])


@pytest.mark.parametrize("command", ["info", "demo"])
def test_a_port_that_is_not_there(command):
    result = run(command, "--port", "/dev/nothing")
    assert result.exit_code == 1
    message = "respin: /dev/nothing: cannot be opened: No such file or directory; serial ports here: "
    assert result.output.startswith(message)
    assert result.output.count("\n") == 1


def test_a_port_where_nothing_answers():
    ours, theirs = os.openpty()
    result = run("info", "--port", os.ttyname(theirs), "--wait", "0.01", "--baud", "230400")
    os.close(theirs)
    os.close(ours)
    assert result.exit_code == 1
    assert ": no board answers at 230400 baud: a request was sent 8 times, with " in result.output
    assert result.output.count("\n") == 1
