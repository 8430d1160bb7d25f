# SPDX-License-Identifier: Apache-2.0
"""``respin bitstream`` says in one line what it cannot do."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from respin.cli.bitstream import bank_timing
from respin.cli.main import app
from respin.rtl.config import preset
from respin.sim.tables import READ_CYCLES, WRITE_CYCLES, table_for


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name either --board or --vivado"),
        (["--board", "ulx3s-85f", "--vivado", "zynq"], "name either --board or --vivado"),
        (["--board", "nowhere"], "board must be one of ulx3s-85f, ulx3s-25f, icebreaker, tangnano9k, not 'nowhere'"),
        (["--vivado", "virtex"], "vivado must be one of zynq, artix, not 'virtex'"),
        (["--board", "icebreaker", "--clock", "48"], "clock must be one of 12 MHz, not 48"),
        (["--board", "ulx3s-85f", "--clock", "60"], "clock must be one of 25, 50, 75"),
        (["--board", "icebreaker", "--clock", "0"], "clock_mhz must be in 1..1000, not 0"),
        (["--vivado", "zynq", "--clock", "50"], "--clock is for --board, not for --vivado"),
        (["--board", "ulx3s-85f", "--baud", "7000000"], "baud must be at most clock_hz / 8 (3125000), not 7000000"),
        (["--vivado", "zynq", "--baud", "1000000"], "--baud is for --board, not for --vivado"),
        (["--board", "ulx3s-85f", "--read-errors", "0.9"], "read must be in 0..0.5, not 0.9"),
    ],
)
def test_refusals(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["bitstream", *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"respin: {message}")
    assert result.stderr.count("\n") == 1


def test_a_machine_that_is_known_not_to_fit_is_refused_before_any_synthesis(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = CliRunner().invoke(app, ["bitstream", "-b", "ulx3s-25f", "-p", "tiny", "-o", str(folder)])
    assert result.exit_code == 1
    assert result.stderr.startswith("respin: tiny does not fit ulx3s-25f: 44,808 TRELLIS_COMB of 24,288, ")
    assert "; what fits it: --link-only; there is room for a machine on ulx3s-85f (" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not folder.exists()


def test_banks_take_the_cycles_of_the_device() -> None:
    config = preset("small")
    words, timing = table_for(config), bank_timing(config)
    assert timing.read == words[READ_CYCLES]
    assert [list(pulses) for pulses in timing.write] == words[WRITE_CYCLES : WRITE_CYCLES + 48].reshape(3, 16).tolist()
