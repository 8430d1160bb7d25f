# SPDX-License-Identifier: Apache-2.0
"""The study as Markdown: every table is one, and says what the page says."""

import re

import pytest
from made_up_study import NAMES, TASKS, study, varied

from respin.cli.learn.markdown import results, write_results
from respin.cli.learn.tables import signed
from respin.golden.learn.catalogue import METHODS


def tables(text: str) -> list[list[list[str]]]:
    """The cells of all tables; each must be as wide as its header, and stand between empty lines."""
    found = []
    for block in text.split("\n\n"):
        lines = block.strip("\n").splitlines()
        if not lines or not lines[0].startswith("|"):
            assert "|" not in re.sub(r"\\\|", "", block)
            continue
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
        assert {len(row) for row in rows} == {len(rows[0])}
        assert [cell.strip() for cell in rows[1]] == ["---", *["---:"] * (len(rows[0]) - 1)]
        found.append([[cell.strip() for cell in row] for row in (rows[0], *rows[2:])])
    return found


def table(text: str, first: str) -> list[list[str]]:
    """The one table whose first header starts so."""
    (found,) = [table for table in tables(text) if table[0][0].startswith(first)]
    return found


def test_every_table_of_a_study() -> None:
    given = study()
    text = results(given)
    assert text.startswith("# Learning beside a frozen efficientnet-lite0\n\n    respin learn --tasks cifar10")
    names = ["cifar10", "fashion_mnist", "elpv", r"of \<mine\> & yours"]
    accuracy = table(text, "test accuracy, % ± deviation over 3 seeds")
    assert [cell.replace("\\$", "") for cell in accuracy[0][1:]] == [*names, "mean"]
    for row, name in zip(accuracy[1:], NAMES, strict=True):
        assert row[0] == METHODS[name].title
        cells = [*(given["accuracy"][task][name] for task in TASKS), given["means"][name]]
        assert [cell.strip("*") for cell in row[1:]] == [f"{c['mean']:.2f} ± {c['deviation']:.2f}" for c in cells]
        assert {cell.startswith("**") for cell in row[1:]} == {name == "full-float"}

    found = table(text, "Rep-Net, INT8 less logistic regression")
    rows = [row for row in given["differences"] if row["against"] == "linear"]
    for line, row in zip(found[1:-1], rows, strict=True):
        assert line[1:4] == [signed(row[key]) for key in ("mean", "lower", "upper")]
        assert line[5] in ("**met**", "**not met**")
    assert found[-1][0] == "tasks whose lower bound is above 0"

    few = table(text, "elpv, %, by images a class")
    assert few[0][1:] == ["10", "50", "1,000"]
    assert few[1][1:] == [
        f"{row['methods']['rep-net']['mean']:.2f} ± {row['methods']['rep-net']['deviation']:.2f}"
        for row in given["labels"]["elpv"]
    ]
    assert table(text, "MB of a training step")[1][1:] == ["22.34", "4.87", "8.47", "1.23"]
    assert table(text, "learning one task")[1][1:4] == ["2,600,002", "32,000,000", "5,000,000"]
    assert table(text, "% of a tensor at its limit")[1][:3] == [METHODS["rep-net"].title, "cifar10", "**0.123**"]
    assert [found[1][1:] for found in tables(text) if found[0][0] == "points of accuracy"] == [
        ["86.17", "\u22124.13", "4.27", "391.8"]
    ] * 2
    matrices = [found for found in tables(text) if found[0][0] == "Rep-Net, INT8: after"]
    assert [len(found) - 1 for found in matrices] == [4, 10]
    assert matrices[0][2][1:] == ["86.9", "90.0", "", ""]
    assert "10^12 pulses" in text
    origin = dict(table(text, "what")[1:])
    assert origin["elpv, licence"].startswith("CC-BY-NC-SA")
    assert "torch" in origin


def test_variations() -> None:
    given = varied(16)
    found = table(results(given), "less Rep-Net, INT8")
    means = [row for row in given["differences"] if row["task"] == "mean"]
    assert found[1:] == [
        [METHODS[row["of"]].title, *(signed(row[key]) for key in ("mean", "lower", "upper"))] for row in reversed(means)
    ]


@pytest.mark.parametrize("key", study())
def test_a_missing_key(key: str) -> None:
    given = study(tasks=TASKS[:1], names=("rep-net", "linear"), seeds=1)
    del given[key]
    text = results(given)
    assert tables(text)
    assert "None" not in text


def test_a_file(tmp_path) -> None:
    write_results(tmp_path / "new" / "results.md", {})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["results.md"]
    assert table((tmp_path / "new" / "results.md").read_text(encoding="utf-8"), "what")
