# SPDX-License-Identifier: Apache-2.0
"""The commands for boards on a simulated one: Verilog of link, machine and memory behind a pseudo-terminal.

Minutes, most of them for compiling: ``./nox -s board``.
"""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from respin.cli.board.simulated import simulated_board
from respin.cli.main import app
from respin.rtl.config import preset
from respin.sim.serial_line import PseudoTerminal, SerialBoard

STEPS = 4


@pytest.fixture(scope="module")
def board() -> Iterator[SerialBoard]:
    with simulated_board(preset("nano")) as made:
        yield made


def run(*arguments: str):
    return CliRunner().invoke(app, ["board", *arguments])


def test_training_on_a_board(board):
    """Provisioned pulse by pulse and trained over the line: every logit is golden's, and rows were rewritten."""
    with PseudoTerminal(board) as line:
        result = run("demo", "--port", line.path, "--steps", str(STEPS), "--wait", "20", "--json")
        assert result.exit_code == 0, result.output
        made = json.loads(result.stdout)
        assert made["machine"] == "nano"
        assert [row["what"] for row in made["rows"]] == [*(f"step {step}" for step in range(STEPS)), "inference"]
        assert all(row["wrong"] == 0 and row["compared"] == 20 for row in made["rows"])
        assert sum(row["rows_written"] for row in made["rows"]) > 0, "no weight has moved"
        assert made["rows"][-1]["rows_written"] == 0

        result = run("info", "--port", line.path, "--wait", "20", "--json")
        assert result.exit_code == 0, result.output
        there = json.loads(result.stdout)
        assert there["preset"] == "nano"
        assert there["configuration"]["mram_rows"] == 64
        assert there["configuration"]["write_scheme"] == "sas"
        assert there["status"] == {"running": 0, "ready": 1, "done": 1, "error": 0}
        assert there["counters"]["cycles"] == made["rows"][-1]["cycles"]
        result = run("info", "--port", line.path, "--wait", "20")
        assert result.exit_code == 0, result.output
        assert "preset nano" in result.output

        result = run("demo", "--port", line.path, "--preset", "tiny", "--wait", "20")
        assert result.exit_code == 1
        message = "the machine there has vector_width 1, the program is for one with 2"
        assert f"respin: {line.path}: {message}" in result.output
