# SPDX-License-Identifier: Apache-2.0
"""Models of the chips' cells: Yosys' own, and for what it has none of, those of the project."""

import re
from pathlib import Path

import pyosys

from respin.sim.banks import BANK_MODEL

_SHARE = Path(pyosys.__file__).parent / "share"
_SOURCES = {
    "ice40": (_SHARE / "ice40" / "cells_sim.v",),
    "ecp5": (
        _SHARE / "ecp5" / "common_sim.vh",
        _SHARE / "ecp5" / "ccu2c_sim.vh",
        BANK_MODEL.parent / "ecp5_cells.v",
    ),
}
_WAIVED = (
    *("PINMISSING", "UNDRIVEN"),  # pins that a design leaves open
    *("GENUNNAMED", "INITIALDLY", "SPECIFYIGN", "VARHIDDEN", "WIDTHCONCAT"),  # how Yosys' models are written
    "UNOPTFLAT",  # carry chains and the parts of a bus go in both directions
)
"""What Verilator says about netlists and Yosys' models of cells."""
_MODULE = re.compile(r"^module\s+(\w+).*?^endmodule", re.DOTALL | re.MULTILINE)


def cell_models(family: str, netlist: str) -> str:
    """Return the models of the cells that a netlist is made of, and of those that these are made of."""
    known: dict[str, str] = {}
    for path in _SOURCES[family]:
        text = path.read_text(encoding="utf-8")
        defines = "".join(line + "\n" for line in text.splitlines() if line.startswith("`define"))
        known |= {found[1]: found[0] for found in _MODULE.finditer(text)}
        known[f"`{path.name}"] = defines
    wanted, models = [netlist], {name: text for name, text in known.items() if name.startswith("`")}
    while wanted:
        for name in set(re.findall(r"\b([A-Z][A-Z0-9_]+)\b", wanted.pop())) & known.keys() - models.keys():
            models[name] = known[name]
            wanted.append(known[name])
    return waived("`timescale 1ns / 1ps\n" + "\n".join(models.values()) + "\n")


def waived(verilog: str) -> str:
    """Return a netlist or models without Verilator's warnings."""
    return "".join(f"// verilator lint_off {rule}\n" for rule in _WAIVED) + verilog
