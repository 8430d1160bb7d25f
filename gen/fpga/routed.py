# SPDX-License-Identifier: Apache-2.0
"""A routed ECP5 design as Verilog: what nextpnr made of the cells, for simulation with models of them.

nextpnr leaves inputs open and says elsewhere what is on them: a site's input that is not connected is 1, that of a
memory or multiplier what a parameter says. Here every input gets what it has on the chip.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from respin.gen.fpga.mapping import SHORT_NAMES
from respin.gen.synthesis import run_yosys

Cell = dict[str, Any]

_BUFFER = "$_BUF_"
"""Yosys' cell that gives on what it gets."""


def _tie(cell: Cell, port: str, level: str) -> None:
    if port not in cell["connections"]:
        cell["connections"][port] = [level]
        cell["port_directions"][port] = "input"


def _level(parameter: str) -> str:
    """A string as it was: Yosys puts a space behind those that would be taken for numbers."""
    return parameter.rstrip()


def _logic(cell: Cell) -> None:
    """A look-up table's inputs that are not connected are 1; behind it is a multiplexer of one of two kinds."""
    for port in "ABCD":
        _tie(cell, port, "1")
    cell["parameters"]["SIXTH_INPUT"] = "1" if "FXA" in cell["connections"] else "0"


def _flip_flop(cell: Cell) -> None:
    """Data come from the table beside it, or around that through M; a reset that is not connected is inactive."""
    parameters = cell["parameters"]
    if _level(parameters.pop("SD", "1")) == "0":
        cell["connections"]["DI"] = cell["connections"].pop("M")
        cell["port_directions"]["DI"] = cell["port_directions"].pop("M")
    _tie(cell, "LSR", "1" if parameters.get("LSRMUX") == "INV" else "0")
    _tie(cell, "CE", "1")


def _hard_block(cell: Cell) -> None:
    """A parameter ``<port>MUX`` has what an unconnected input is: 0, 1, or the inverse (INV) of 1."""
    parameters = cell["parameters"]
    for port, direction in list(cell["port_directions"].items()):
        if direction == "input" and not port.startswith("CLK"):
            chosen = _level(parameters.pop(f"{port}MUX", port))
            _tie(cell, port, "0" if chosen in ("0", "INV") else "1")


def _pin(cell: Cell) -> None:
    """A pin is a wire here, and always driven."""
    connections = cell["connections"]
    ends = ("B", "O") if cell["parameters"]["DIR"] == "INPUT" else ("I", "B")
    cell.update(
        type=_BUFFER,
        parameters={},
        connections={"A": connections[ends[0]], "Y": connections[ends[1]]},
        port_directions={"A": "input", "Y": "output"},
    )


def _clock_buffer(cell: Cell) -> None:
    _tie(cell, "CE", "1")


def _as_it_is(cell: Cell) -> None:
    pass


_PREPARED: dict[str, Callable[[Cell], None]] = {
    "TRELLIS_COMB": _logic,
    "TRELLIS_FF": _flip_flop,
    "TRELLIS_RAMW": _as_it_is,
    "DP16KD": _hard_block,
    "MULT18X18D": _hard_block,
    "TRELLIS_IO": _pin,
    "EHXPLLL": _as_it_is,
    "DCCA": _clock_buffer,
}


def routed_verilog(routed: Path, top: str, folder: Path) -> str:
    """Return the Verilog of a routed design of an ECP5, a module ``top`` with the design's ports.

    Parameters
    ----------
    routed:
        What nextpnr wrote with ``--write``.
    top:
        Name of the module.
    folder:
        For what is written on the way.

    Raises
    ------
    ValueError
        For a cell of a type that is not known here.
    RuntimeError
        If Yosys fails, with its last error.
    """
    (module,) = json.loads(routed.read_text(encoding="utf-8"))["modules"].values()
    for name, cell in module["cells"].items():
        if cell["type"] not in _PREPARED:
            raise ValueError(f"{routed}: {name} is a {cell['type']}, which is none of {', '.join(_PREPARED)}")
        cell["connections"] = {port: bits for port, bits in cell["connections"].items() if bits}
        cell["attributes"] = {}
        _PREPARED[cell["type"]](cell)
    prepared, verilog = folder / "prepared.json", folder / "routed.v"
    design = {"modules": {top: {"ports": module["ports"], "cells": module["cells"], "netnames": module["netnames"]}}}
    prepared.write_text(json.dumps(design), encoding="utf-8")
    run_yosys([f"read_json {prepared}", SHORT_NAMES, f"write_verilog -noattr {verilog}"])
    return verilog.read_text(encoding="utf-8")
