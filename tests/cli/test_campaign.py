# SPDX-License-Identifier: Apache-2.0
"""``respin device campaign``: what is silent, against what SECDED promises and what its matrix lets expect."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from typer.testing import CliRunner

from respin.cli.device.faults import at_least, cases, configuration_for
from respin.cli.device.trial import judge, run
from respin.cli.main import app
from respin.golden.memory import Memory
from respin.golden.memory.secded import encode
from respin.sim.device import load
from respin.sim.runner import seed
from respin.sim.tables import plain_table

ROWS = 120
DEVICES = {name: load(name) for name in ("default", "scrubbed", "erasable")}
CASES = [
    pytest.param(name, case, id=f"{name}-{case.kind}-{case.condition}-{case.when}")
    for name, device in DEVICES.items()
    for case in cases(device, configuration_for(device, ROWS))
    if name == "default"
    or (case.kind == "retention" if name == "scrubbed" else (case.kind, case.condition) == ("write errors", "0.1"))
]
NAMED = {
    ("write errors", "0.01"): 0.0, ("read flips", "0.0001"): 1e-4, ("stuck cells", "0.0001"): 0.0,
    ("dead strips", "0.0001"): 0.0, ("write + read + stuck", "0.01, 0.0001, 0.0001"): 4e-4,
    ("retention", "27 °C, 10 years"): 1e-7, ("retention", "85 °C, 30 days"): 2e-6,
}  # fmt: skip
"""Rates at which nothing is lost, with the most that a bit may then be wrong when it is read."""
RARE = 1e-6
"""A case fails by chance once in a million seeds; about a hundred comparisons are made."""


@pytest.mark.parametrize(("name", "case"), CASES)
def test_nothing_is_silent_that_should_not_be(name, case):
    device = DEVICES[name]
    rows = ROWS if case.written or case.scrubbed else 8 * ROWS
    tally = run(case, device, configuration_for(device, rows), rows=rows, seed=seed())
    assert tally.intact + tally.corrected + tally.detected + tally.silent == 4 * rows
    assert tally.silent_of_few == 0
    assert tally.silent_past_crc == 0
    # Codewords of a row may share a fault, rows do not.
    assert binom.sf(tally.silent_rows - 1, rows, min(1.0, 4 * case.bound)) > RARE
    if case.exact:
        assert binomtest(tally.silent, 4 * rows, case.bound).pvalue > RARE
    if case.bound == 0:
        assert tally.silent == 0
    if name == "default" and case.when != "after the write" and (case.kind, case.condition) in NAMED:
        assert tally.rows_lost == []
        wrong = NAMED[case.kind, case.condition]
        assert binom.sf(tally.detected + tally.silent - 1, 4 * rows, at_least(2, 72, wrong)) > RARE


def test_the_rates_named_for_the_memory_are_among_the_cases():
    device = DEVICES["default"]
    assert {(case.kind, case.condition) for case in cases(device, configuration_for(device, ROWS))} > set(NAMED)


def test_rows_past_the_spares_are_named():
    device = DEVICES["default"]
    case = next(
        each for each in cases(device, configuration_for(device, ROWS))
        if (each.kind, each.condition, each.when) == ("dead rows", "0.1", "before the write")
    )  # fmt: skip
    tally = run(replace(case, defects=replace(case.defects, dead_rows=0.4)), device,
                configuration_for(device, ROWS), rows=ROWS, seed=seed())  # fmt: skip
    assert tally.rows_lost
    assert tally.rows_unreadable == tally.rows_lost
    assert tally.rows_moved <= 16


def test_codewords_are_judged_as_can_be_counted_by_hand():
    """One wrong bit in row 5, two in row 3, another row's codeword in row 70, a failed write in row 9."""
    config = configuration_for(DEVICES["default"], ROWS)
    memory = Memory(config=config, table=plain_table())
    content = np.random.default_rng(seed()).integers(-128, 128, (ROWS, 32)).astype(np.int8)
    memory.preload(0, content)
    cells = {row: memory.banks[row % config.banks].cells[row // config.banks] for row in (3, 5, 9, 70)}
    cells[5][17] ^= 1
    cells[3][[0, 4]] ^= 1
    other = content[70].copy()
    other[:8] ^= 1
    cells[70][:] = encode(other)
    cells[9][:] = encode(~content[9])
    tally = judge(memory, content, [9])
    assert (tally.intact, tally.corrected, tally.detected, tally.silent) == (4 * ROWS - 7, 1, 5, 1)
    assert (tally.silent_rows, tally.silent_of_few, tally.silent_past_crc) == (1, 0, 0)
    assert (tally.rows_lost, tally.rows_unreadable) == ([9], [3, 9])


def test_three_or_more_of_many_events():
    assert at_least(3, 72, 0.1) == pytest.approx(binom.sf(2, 72, 0.1), rel=1e-9)
    assert at_least(3, 288, 0.5) == pytest.approx(1)
    assert at_least(3, 72, 1e-9) == pytest.approx(59640e-27, rel=1e-6)


def _respin(*arguments):
    return CliRunner().invoke(app, ["device", "campaign", *arguments], catch_exceptions=False)


def test_the_command_gives_the_same_again_and_writes_it_down(tmp_path):
    arguments = ("--rows", "50", "--seed", "7", "--only", "read flips,dead rows", "--json")
    first, again = _respin(*arguments), _respin(*arguments, "--out", str(tmp_path / "out"))
    assert first.exit_code == again.exit_code == 0, first.stderr
    record = json.loads(first.stdout)
    assert json.loads(again.stdout) == record
    assert json.loads((tmp_path / "out" / "campaign.json").read_text()) == record
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"campaign.json", "campaign.md", "campaign.svg"}
    assert {each["fault"] for each in record["cases"]} == {"read flips", "dead rows"}
    assert (tmp_path / "out" / "campaign.md").read_text().count("| read flips |") == 4


def test_a_fault_that_is_none_is_refused():
    done = _respin("--only", "read flips,gremlins")
    assert done.exit_code == 2
    assert "--only must be some of write errors; read flips; " in done.stderr
    assert "not 'gremlins'" in done.stderr


def test_the_documented_table_is_what_the_command_writes(tmp_path):
    """The quick rows of it."""
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert _respin("--only", "read flips,dead rows", "--out", str(tmp_path)).exit_code == 0
    made = (tmp_path / "campaign.md").read_text(encoding="utf-8")
    for fault, rows in (("read flips", 4), ("dead rows", 6)):
        lines = re.findall(rf"^\| {fault} .*$", made, re.MULTILINE)
        assert len(lines) == rows
        assert re.findall(rf"^\| {fault} .*$", text, re.MULTILINE) == lines
