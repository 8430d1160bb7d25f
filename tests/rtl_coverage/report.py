# SPDX-License-Identifier: Apache-2.0
"""``./nox -s coverage``: what the benches that ran covered of ``rtl``, as a table, with what they did not and why.

``holes.toml`` explains points that no bench covers. They count as not covered all the same; one that is covered after
all, or that no point belongs to, is an error, so that the list stays true.
"""

import argparse
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from points import Point, points
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
HOLES = Path(__file__).with_name("holes.toml")
DOCUMENT = ROOT / "docs" / "coverage.md"
BEGIN, END = "<!-- coverage -->\n", "<!-- end of coverage -->\n"
TARGET = 90
"""Per cent of branches, and of toggles, of all files together."""
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Hole:
    """Points that are explained: files by pattern, signals and places by regular expression."""

    file: str = "*"
    signal: str = ".*"
    kind: str = ".*"
    place: str = ".*"
    reason: str

    def has(self, point: Point) -> bool:
        """Tell whether a point is one of them."""
        return fnmatch(point.file, self.file) and all(
            re.fullmatch(pattern, text)
            for pattern, text in ((self.signal, point.signal), (self.kind, point.kind), (self.place, point.place))
        )


@dataclass
class Row:
    """Counts of a file: points of each kind, those that were covered, and uncovered ones without a reason."""

    branches: int = 0
    branches_covered: int = 0
    toggles: int = 0
    toggles_covered: int = 0
    unexplained: int = 0


def read_holes(path: Path = HOLES) -> list[Hole]:
    """Read the explanations."""
    with path.open("rb") as file:
        return [Hole(**entry) for entry in tomllib.load(file).get("hole", [])]


def tally(found: Mapping[Point, bool], holes: Sequence[Hole]) -> tuple[dict[str, Row], list[Point], list[str]]:
    """Count points by file; returns the counts, uncovered points without a reason, and what is wrong with ``holes``."""
    rows: dict[str, Row] = defaultdict(Row)
    unexplained = []
    used: set[Hole] = set()
    for point, covered in sorted(found.items()):
        row = rows[point.file]
        if point.kind == "branch":
            row.branches += 1
            row.branches_covered += covered
        else:
            row.toggles += 1
            row.toggles_covered += covered
        if covered:
            continue
        reasons = [hole for hole in holes if hole.has(point)]
        used.update(reasons)
        if not reasons:
            row.unexplained += 1
            unexplained.append(point)
    idle = [f"explains nothing: {hole.file} {hole.signal}: {hole.reason}" for hole in holes if hole not in used]
    return dict(sorted(rows.items())), unexplained, idle


def share(covered: int, of: int) -> str:
    """Per cent, rounded down: 100 is all of them."""
    return f"{int(1000 * covered / of) / 10:.1f}" if of else "-"


def lines(rows: Mapping[str, Row]) -> list[tuple[str, ...]]:
    """The table's rows, the sum last."""
    total = Row(*(sum(getattr(row, name) for row in rows.values()) for name in Row.__dataclass_fields__))
    return [
        (
            name,
            f"{row.branches:,}",
            share(row.branches_covered, row.branches),
            f"{row.toggles:,}",
            share(row.toggles_covered, row.toggles),
            f"{row.unexplained:,}",
        )
        for name, row in [*rows.items(), ("all", total)]
    ]


HEAD = ("file of rtl", "branches", "taken, %", "edges of bits", "seen, %", "not seen and not explained")


def markdown(rows: Mapping[str, Row], holes: Sequence[Hole]) -> str:
    """The tables of the document."""
    text = [f"| {' | '.join(HEAD)} |", "|---|" + "---:|" * (len(HEAD) - 1)]
    text += [f"| {' | '.join(cells)} |" for cells in lines(rows)]
    text += ["", "| not seen | why |", "|---|---|"]
    for hole in holes:
        signals = "all" if hole.signal == ".*" else f"`{hole.signal}`".replace("|", "\\|")
        text.append(f"| `{hole.file}`: {signals} | {hole.reason} |")
    return "\n".join(text) + "\n"


def main() -> int:
    """Print the table; returns 1 if a share is below the target or ``holes.toml`` is not true."""
    parser = argparse.ArgumentParser(prog="tests/rtl_coverage/report.py", description=__doc__)
    parser.add_argument("folder", type=Path, help="that the benches were built in (RESPIN_BUILD)")
    parser.add_argument("--show", help="list what was not seen and not explained of files with this in their name")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/coverage.md")
    options = parser.parse_args()
    found = points(sorted((options.folder / "cosim").glob("*-verilator-*")))
    if not found:
        parser.error(f"{options.folder}: no bench with RESPIN_COVERAGE=1 ran there")
    holes = read_holes()
    rows, unexplained, idle = tally(found, holes)
    console = Console()
    table = Table(*HEAD)
    for cells in lines(rows):
        table.add_row(*cells)
    console.print(table)
    if options.show is not None:
        print_points([point for point in unexplained if options.show in point.file])
    if options.write:
        head, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        DOCUMENT.write_text(f"{head}{BEGIN}{markdown(rows, holes)}{END}{rest.split(END)[1]}", encoding="utf-8")
    problems = [f"holes.toml {problem}" for problem in idle]
    for name, kinds in (("branches", "branches"), ("edges of bits", "toggles")):
        of = sum(getattr(row, kinds) for row in rows.values())
        covered = sum(getattr(row, f"{kinds}_covered") for row in rows.values())
        if 100 * covered < TARGET * of:
            problems.append(f"{share(covered, of)} % of {name} were seen, {TARGET} % are wanted")
    for problem in problems:
        print(f"coverage: {problem}", file=sys.stderr)
    return 1 if problems else 0


def print_points(missed: Sequence[Point]) -> None:
    """List points by signal."""
    by_signal: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for point in missed:
        by_signal[point.file, point.signal, point.kind].append(point.place)
    for signal, places in by_signal.items():
        text = ", ".join(places)
        print(*signal, text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(places)})")


if __name__ == "__main__":
    sys.exit(main())
