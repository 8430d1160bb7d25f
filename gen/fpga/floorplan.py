# SPDX-License-Identifier: Apache-2.0
"""A picture of where a routed design lies on its chip."""

import json
import re
from collections import Counter
from html import escape
from pathlib import Path

_COLOURS = {"logic": "#4c78a8", "carry": "#72b7b2", "flip-flop": "#54a24b", "RAM": "#e45756", "multiplier": "#b279a2",
            "pin": "#9d755d", "other": "#bab0ac"}  # fmt: skip
_KINDS = (
    ("RAM", re.compile(r"DP16KD|PDPW|RAMW|RAM40|SPRAM|SDP|DPX|BSRAM")),
    ("multiplier", re.compile(r"MULT|MAC16|DSP|ALU54")),
    ("pin", re.compile(r"IO")),
    ("flip-flop", re.compile(r"FF")),
    ("carry", re.compile(r"CCU2|CARRY|ALU")),
    ("logic", re.compile(r"COMB|LUT|LC\b|SLICE|MUX")),
)
_PLACE = re.compile(r"X(\d+)/?Y(\d+)|R(\d+)C(\d+)|^(\d+)/(\d+)/")
_SIDE = 6
"""Pixels of a tile."""


def _kind(cell: str) -> str:
    return next((name for name, pattern in _KINDS if pattern.search(cell)), "other")


def tiles(netlist: Path) -> dict[tuple[int, int], Counter[str]]:
    """Return what lies in each tile (column, row) of a chip, by kind, of the JSON that nextpnr writes."""
    (module,) = json.loads(netlist.read_text(encoding="utf-8"))["modules"].values()
    found: dict[tuple[int, int], Counter[str]] = {}
    for cell in module["cells"].values():
        at = _PLACE.search(cell["attributes"].get("NEXTPNR_BEL", ""))
        if at is None:
            continue
        numbers = [int(part) for part in at.groups() if part is not None]
        column, row = numbers if at.group(3) is None else reversed(numbers)
        found.setdefault((column, row), Counter())[_kind(cell["type"])] += 1
    return found


def picture(netlist: Path, title: str) -> str:
    """Return the floorplan as SVG: a square for each used tile, coloured by what most of it is, darker if fuller."""
    used = tiles(netlist)
    columns, rows = (max(place[axis] for place in used) + 1 for axis in (0, 1))
    fullest = Counter[str]()
    for content in used.values():
        for kind, count in content.items():
            fullest[kind] = max(fullest[kind], count)
    parts = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * _SIDE}" height="{rows * _SIDE + 40}" '
        'font-family="sans-serif" font-size="12">'),
        f'<rect width="100%" height="100%" fill="#fff"/><text x="4" y="14">{escape(title)}</text>',
    ]
    for number, kind in enumerate(sorted(fullest)):
        parts.append(f'<rect x="{4 + 90 * number}" y="20" width="10" height="10" fill="{_COLOURS[kind]}"/>')
        parts.append(f'<text x="{18 + 90 * number}" y="29">{kind}</text>')
    for (column, row), content in sorted(used.items()):
        (kind, count), *_ = content.most_common(1)
        parts.append(
            f'<rect x="{column * _SIDE}" y="{40 + row * _SIDE}" width="{_SIDE - 1}" height="{_SIDE - 1}" '
            f'fill="{_COLOURS[kind]}" opacity="{0.3 + 0.7 * count / fullest[kind]:.2f}"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
