# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal that is too narrow for them."""

import pytest
from rich.console import Console

from respin.cli import console


@pytest.mark.parametrize("columns", [30, 300])
def test_figures_and_names_are_whole(columns, monkeypatch, capsys):
    monkeypatch.setattr(console, "out", Console(width=columns))
    rows = [
        {"operation": f"block{number} gradient"} | {f"count {key}": number * 10**key for key in range(4, 12)}
        for number in range(1, 4)
    ]
    console.print_rows(rows, title="Cycles")
    printed = capsys.readouterr().out
    for row in rows:
        assert row["operation"] in printed
        assert all(f" {value:,} " in printed for value in row.values() if isinstance(value, int))
