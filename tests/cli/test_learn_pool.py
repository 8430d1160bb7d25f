# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: what becomes of them when the command is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_cli import runs

from respin.cli.learn.pool import Pool
from respin.golden.learn.experiment import Outcome, Report, ResultFolder


@dataclass(frozen=True)
class Sleeper:
    """A job that says who runs it and does not end."""

    folder: str
    key: str = "sleeper"
    title: str = "sleeper"

    def read(self, text: str) -> Outcome:
        raise AssertionError(f"nothing is kept, not even {text!r}")

    def execute(self, folder: ResultFolder, report: Report) -> Outcome:
        del folder, report
        (Path(self.folder) / "pid").write_text(str(os.getpid()))
        time.sleep(600)
        raise AssertionError("nobody ended it")


def _until(holds: object, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_runs_end_with_the_command(tmp_path: Path, how: signal.Signals) -> None:
    command = subprocess.Popen([sys.executable, __file__, str(tmp_path)])
    try:
        told = tmp_path / "pid"
        assert _until(lambda: told.is_file() and told.read_text())
        pid = int(told.read_text())
        assert runs(pid)
        command.send_signal(how)
        command.wait()
        assert _until(lambda: not runs(pid))
    finally:
        command.kill()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as respin does
    Pool(Path(sys.argv[1]), 1)([Sleeper(sys.argv[1])])
