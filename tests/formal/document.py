# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/proofs.md, made from the list of proofs."""

import re
from pathlib import Path

from proofs import PROOFS

DOCUMENT = Path(__file__).parents[2] / "docs" / "proofs.md"
BEGIN, END = "<!-- proofs -->\n", "<!-- end of proofs -->\n"


def written(text: str) -> str:
    """What stands between the marks."""
    return text.split(BEGIN)[1].split(END)[0]


def table(seconds: dict[str, str]) -> str:
    """The proofs by part, with the seconds that each took."""
    lines = []
    for part, proofs in PROOFS.items():
        lines += [f"### {part}\n", "| proof | what holds | method | broken copies | seconds |", "|---|---|---|---|---|"]
        for proof in proofs:
            quick = " ·" if proof.quick else ""
            cells = (f"{proof.name}{quick}", proof.claim, proof.method, len(proof.breaks), seconds.get(proof.name, "-"))
            lines.append(f"| {' | '.join(map(str, cells))} |")
        lines.append("")
    return "\n".join(lines) + "\n"


def seconds_written(text: str) -> dict[str, str]:
    """The seconds that stand in the table."""
    rows = re.findall(r"^\| (.+?)(?: ·)? \|.*\| ([\d-]+) \|$", written(text), re.MULTILINE)
    return dict(rows)


def write_document(seconds: dict[str, float]) -> None:
    """Write the tables, with the times of those that ran."""
    text = DOCUMENT.read_text(encoding="utf-8")
    times = seconds_written(text) | {name: f"{spent:.0f}" for name, spent in seconds.items()}
    head, rest = text.split(BEGIN)
    DOCUMENT.write_text(f"{head}{BEGIN}{table(times)}{END}{rest.split(END)[1]}", encoding="utf-8")
