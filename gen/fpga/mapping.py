# SPDX-License-Identifier: Apache-2.0
"""Synthesis of a whole design for a board's chip, by Yosys."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from respin.gen.synthesis import FLATTEN, TECHMAP, run_yosys

_FLOWS = {"ecp5": "synth_ecp5", "ice40": "synth_ice40 -device u -dsp", "gowin": "synth_gowin -family gw1n"}
_DOT_SLICES = "*.dot"
"""The modules that hold gated adders; looking for them in everything else takes hours and memory."""
_RAM_OF_LUTS = {"TRELLIS_DPR16X4": 6}
"""Sites of a LUT that a RAM of 16 words takes, its write port included."""


SHORT_NAMES = "rename -hide w:* c:*"
"""What simulators read has numbers for names: those that tell where a cell comes from take 50 MB for a machine."""

FLIP_FLOPS = {"ecp5": "TRELLIS_FF", "ice40": "ICESTORM_LC", "gowin": "DFF"}
"""What nextpnr calls the site of a flip-flop."""
LOGIC_CELLS = {"ecp5": "TRELLIS_COMB", "ice40": "ICESTORM_LC", "gowin": "LUT4"}
"""What nextpnr calls the site of a look-up table."""
_REGISTER = re.compile(r"\$\w*dff\w*_(\d+)$")
"""A register and its bits, in Yosys' count of cells by width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """A design mapped to a chip's cells.

    Parameters
    ----------
    netlist:
        JSON, for nextpnr.
    verilog:
        The same as Verilog, for simulation with the family's models of cells.
    cells:
        How many of each type of cell.
    """

    netlist: Path
    verilog: Path
    cells: dict[str, int]


def steps(source: Path, top: str, family: str, folder: Path) -> list[str]:
    """Return the commands of Yosys that map ``source``; files appear in ``folder``."""
    commands = [f"read_verilog {source}", f"hierarchy -top {top}", "proc"]
    if family == "ecp5":
        commands += [
            f"opt_expr {_DOT_SLICES}",
            f"opt_clean -purge {_DOT_SLICES}",
            f"extract -map {TECHMAP / 'gated_add.v'} {_DOT_SLICES}",
            f"techmap -map {TECHMAP / 'gated_add_ecp5.v'} {_DOT_SLICES}",
        ]
    return [
        *commands,
        FLATTEN,
        f"techmap -map {TECHMAP / 'adders.v'}",
        f"{_FLOWS[family]} -top {top}",
        f"tee -q -o {folder / 'cells.json'} stat -json",
        f"write_json {folder / 'mapped.json'}",
        SHORT_NAMES,
        f"write_verilog -noattr {folder / 'mapped.v'}",
    ]


def flip_flops(source: Path, top: str, folder: Path) -> int:
    """Return how many flip-flops a design has before anything is optimised across its modules: a bound from above.

    It takes a minute or two for a machine, where mapping takes many.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its last error.
    """
    counts = folder / "registers.json"
    run_yosys([
        f"read_verilog {source}", f"hierarchy -top {top}", "proc; opt_expr; opt_clean",
        f"tee -q -o {counts} stat -width -json",
    ])  # fmt: skip
    cells = json.loads(counts.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return sum(int(found[1]) * count for name, count in cells.items() if (found := _REGISTER.match(name)))


def synthesise(source: Path, top: str, family: str, folder: Path) -> Mapped:
    """Map the module ``top`` of a Verilog file.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its last error.
    """
    run_yosys(steps(source, top, family, folder))
    counts = json.loads((folder / "cells.json").read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return Mapped(netlist=folder / "mapped.json", verilog=folder / "mapped.v", cells=counts)


def needs(cells: Mapping[str, int], family: str) -> dict[str, int]:
    """Return what of the chip's resources the mapped cells need, by nextpnr's names, before packing.

    LUTs and flip-flops share a site on an iCE40, so what is needed there is at least the larger number.
    """
    luts = cells.get("LUT4", 0)
    if family == "ecp5":
        luts += 2 * cells.get("CCU2C", 0) + sum(sites * cells.get(name, 0) for name, sites in _RAM_OF_LUTS.items())
        return {
            "TRELLIS_COMB": luts,
            "TRELLIS_FF": cells.get("TRELLIS_FF", 0),
            "DP16KD": cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0),
            "MULT18X18D": cells.get("MULT18X18D", 0),
        }
    if family == "ice40":
        flip_flops = sum(count for name, count in cells.items() if name.startswith("SB_DFF"))
        return {
            "ICESTORM_LC": max(cells.get("SB_LUT4", 0), flip_flops),
            "ICESTORM_RAM": cells.get("SB_RAM40_4K", 0),
            "ICESTORM_DSP": cells.get("SB_MAC16", 0),
            "ICESTORM_SPRAM": cells.get("SB_SPRAM256KA", 0),
        }
    return {
        "LUT4": sum(count for name, count in cells.items() if name.startswith("LUT")) + cells.get("ALU", 0),
        "DFF": sum(count for name, count in cells.items() if name.startswith("DFF")),
        "BSRAM": sum(cells.get(name, 0) for name in ("SDPB", "DPB", "SP", "SDPX9B", "DPX9B", "SPX9")),
    }
