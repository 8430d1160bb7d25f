# SPDX-License-Identifier: Apache-2.0
"""What the presets need, as this flow measured it: what a chip is too small for is said before minutes of synthesis."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from respin.gen.fpga.boards import BOARDS, Board
from respin.gen.fpga.mapping import FLIP_FLOPS, LOGIC_CELLS
from respin.rtl.config import PRESETS, AcceleratorConfig

MEASURED = Path(__file__).parent / "measured.toml"
"""Written by hand from reports; docs/fpga.md shows the same figures."""

HOPELESS = 2
"""A design of so many times the chip's flip-flops, before mapping or of another family, does not fit it."""

_CROWDED = 1 / 3
"""Share of a chip's look-up tables from which on its wires are scarce: a guess between 1 %, where they are not, and
57 %."""

Needs = Mapping[str, int]
"""How many of each resource of a chip, by nextpnr's names."""


def measured() -> dict[str, dict[str, Needs]]:
    """Return what presets need, by family and preset."""
    table: dict[str, dict[str, Needs]] = tomllib.loads(MEASURED.read_text(encoding="utf-8"))
    return table


def too_many_flip_flops(count: int, board: Board, counted: str) -> str | None:
    """Return what to say of a design of ``count`` flip-flops, ``counted`` how; None if the chip may have room."""
    kind = FLIP_FLOPS[board.family]
    available = board.resources[kind]
    return None if count <= HOPELESS * available else f"{count:,} flip-flops {counted}, {available:,} {kind}"


def is_crowded(needed: Needs, board: Board) -> bool:
    """Whether a design takes so much of a chip that wires become scarce."""
    cells = LOGIC_CELLS[board.family]
    return needed[cells] > _CROWDED * board.resources[cells]


def short_of(needed: Needs, board: Board) -> str | None:
    """Return what of the chip's resources is short, and how much of it there is; None if all is there."""
    short = [
        f"{count:,} {kind} of {board.resources[kind]:,}"
        for kind, count in needed.items()
        if count > board.resources[kind]
    ]
    return ", ".join(short) or None


def needs_of(config: AcceleratorConfig) -> dict[str, Needs]:
    """Return what a configuration needs, by family, if it is a preset that was measured; the clock may differ."""
    own = PRESETS.get(config.name)
    if own is None or replace(config, clock_mhz=own.clock_mhz) != own:
        return {}
    return {family: presets[own.name] for family, presets in measured().items() if own.name in presets}


def known_shortage(config: AcceleratorConfig, board: Board) -> str | None:
    """Return what ``board`` is short of for a preset that was measured; None if nothing is known to be."""
    known = needs_of(config)
    if board.family in known:
        return short_of(known[board.family], board)
    for family, needed in known.items():
        if short := too_many_flip_flops(needed[FLIP_FLOPS[family]], board, f"as mapped for {family}"):
            return short
    return None


def fitting(board: Board) -> str:
    """Return what fits ``board``, and on which boards there is room for a machine if here is none."""
    table = measured()

    def presets(there: Board) -> list[str]:
        return [name for name, needed in table.get(there.family, {}).items() if not short_of(needed, there)]

    if fits := presets(board):
        return f"what fits it: {', '.join(fits)}"
    elsewhere = [f"{there.name} ({', '.join(fits)})" for there in BOARDS.values() if (fits := presets(there))]
    return f"what fits it: --link-only; there is room for a machine on {', '.join(elsewhere)}"
