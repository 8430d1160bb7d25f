# SPDX-License-Identifier: Apache-2.0
"""Code coverage of the hardware by its benches: which branches ran both ways, which bits changed both ways.

With ``RESPIN_COVERAGE=1`` emitted Verilog says from which line of Python each name comes, and Verilator counts, a file
in each run's folder. One component lies in many builds, under other parents, in other widths; so points are counted by
where they are described:

- a *branch* is one of the ways through an ``if`` or ``case`` of what is assigned to a signal: (file of ``rtl``, signal,
  number of the way), covered when it was taken in any instance of any build;
- a *toggle* is a bit of a signal that rises, or falls: (file, signal, bit, edge), likewise.

Signals are those that have a name in Python; names for a part of another signal, and expressions, are left out.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import respin.rtl

_RTL = Path(respin.rtl.__path__[0]).resolve()
_POINT = re.compile(r"\x01([a-zA-Z]+)\x02([^\x01]*)")
_SOURCE = re.compile(r'\s*\(\* src = "([^"|]*)')
_DECLARED = re.compile(r"\s*(?:input|output|wire|reg)\s+(?:signed )?(?:\[[-\d:]+\] )?(\\\S+|\w+)")
_ASSIGNED = re.compile(r"\s*(\\\S+|\w+)\s+(?:\[[\d:]+\] )?<?= ")
_PASSED = re.compile(r"\s*(?:assign )?(\\\S+|\w+)\s+<?= (\\\$\d+) ;$")
_EXPRESSION = re.compile(r"\\\$\d+$")
_NUMBERED = re.compile(r"(\$\d+)+$")
_BIT = re.compile(r"(?:\[(\d+)\])?:([01]->[01])$")
_WAYS = ("if", "else", "elsif", "case")


class Point(NamedTuple):
    """What is covered or not: ``place`` is ``bit 3 0->1`` or ``branch 2``."""

    file: str
    signal: str
    kind: str
    place: str


class _Module:
    """The names of a module of Verilog, and where each is described."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._receivers: dict[str, str] = {}

    def declare(self, name: str, source: str) -> None:
        """Note a name with its ``src``, a path and a line, which may lie outside of ``rtl``: a stream's ``valid``."""
        path = Path(source.rpartition(":")[0])
        if path.is_relative_to(_RTL):
            self._files[name] = str(path.relative_to(_RTL))

    def pass_on(self, expression: str, name: str) -> None:
        """Note that an expression is assigned to a signal, a register mostly."""
        self._receivers.setdefault(expression, name)

    def point(self, name: str, kind: str, place: str) -> Point | None:
        """Return a point of a name; None for an expression without one, a part of a name, or nothing of ``rtl``."""
        name = self._receivers.get(name, name)
        if _EXPRESSION.match(name) or "." in name or not self._files:
            return None
        file = self._files.get(name) or Counter(self._files.values()).most_common(1)[0][0]
        return Point(file, _NUMBERED.sub("", name.removeprefix("\\")), kind, place)


class _Verilog:
    """What begins in each line of a Verilog file."""

    def __init__(self, text: str) -> None:
        self._declared: dict[int, tuple[_Module, str]] = {}
        self._ways: dict[int, tuple[_Module, str, int]] = {}
        module, source, target, ways = _Module(), "", "", 0
        for number, line in enumerate(text.splitlines(), start=1):
            if line.startswith("module "):
                module, target = _Module(), ""
            elif found := _SOURCE.match(line):
                source = found[1]
            elif found := _DECLARED.match(line):
                self._declared[number] = module, found[1]
                module.declare(found[1], source)
                source = ""
            elif line.startswith("  always"):
                target, ways = "", 0
            elif not target and (found := _ASSIGNED.match(line)):
                target = found[1]
            if found := _PASSED.match(line):
                module.pass_on(found[2], found[1])
            if target and "dump_module" not in line and ("if (" in line or "casez (" in line or line.endswith(":")):
                ways += 1
                self._ways[number] = module, target, ways

    def point(self, line: int, kind: str, comment: str) -> Point | None:
        """Return what Verilator counts at a line, if it is a point; kind and comment are its ``t`` and ``o``."""
        if kind == "toggle" and line in self._declared:
            module, name = self._declared[line]
            found = _BIT.search(comment)
            return module.point(name, "toggle", f"bit {found[1] or 0} {found[2]}") if found else None
        if comment in _WAYS and line in self._ways:
            module, name, way = self._ways[line]
            return module.point(name, "branch", f"{way} {comment}")
        return None


def _counts(path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Each point of a ``coverage.dat``: its fields by Verilator's letters (file, line, type, comment), and count."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("C "):
                text, _, count = line.rpartition(" ")
                yield dict(_POINT.findall(text)), int(count)


def points(folders: Iterable[Path]) -> dict[Point, bool]:
    """Return every point of the builds in ``folders`` (``build/cosim/*``) that ran, and whether it was covered."""
    found: dict[Point, bool] = {}
    for folder in folders:
        texts: dict[str, _Verilog] = {}
        for path in sorted(folder.glob("runs/*/coverage.dat")):
            for fields, count in _counts(path):
                name = Path(fields["f"]).name
                if name not in texts:
                    texts[name] = _Verilog((folder / name).read_text(encoding="utf-8"))
                point = texts[name].point(int(fields["l"]), fields["t"], fields["o"])
                if point is not None:
                    found[point] = found.get(point, False) or count > 0
    return found
