# SPDX-License-Identifier: Apache-2.0
"""Map Verilog onto the cells of an FPGA family with Yosys and count them.

Before Yosys' own flow, the sums are put into carry chains as the family can do best (``techmap/``): the gated adders of
the dot slices become one LUT a bit, other adders are kept from being merged into LUT compressors.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FAMILIES = {
    "xc7": "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
    "ecp5": "synth_ecp5 -noiopad",
}
"""Families and the Yosys command that maps to them: 6-input LUTs (7-series) and 4-input LUTs (ECP5)."""

_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for step in sys.argv[1:]:
    for command in step.split(";"):
        libyosys.run_pass(command.strip(), design)
"""

TECHMAP = Path(__file__).parent / "techmap"
"""What is mapped by hand, before the family's own flow."""

FLATTEN = "proc; flatten; opt_expr; opt_clean -purge"
"""One module without names from the source: with them, ABC's results can collide with older wires (pyosys 0.70)."""

_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1,
    "LUT6_2": 1,
    "CCU2C": 2,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "SRL16E": 1,
    "SRLC32E": 1,
    "TRELLIS_DPR16X4": 6,
}
"""LUTs that a cell occupies: both halves of a CCU2C, and the write ports of LUT memories, are LUTs."""

_RAM_KBIT = {"RAMB18E1": 18, "RAMB36E1": 36, "DP16KD": 18, "PDPW16KD": 18}


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """Cells of one design: LUTs of the family's size, flip-flops, block RAM in kbit, multipliers."""

    luts: int
    flip_flops: int
    bram_kbit: int
    multipliers: int


def prepare(*, gated_adders: bool = True) -> list[str]:
    """Yosys commands to run after reading the sources and before the family's own flow; ``{family}`` is its name."""
    commands = [FLATTEN]
    if gated_adders:
        commands += [
            f"extract -map {TECHMAP / 'gated_add.v'}",
            f"techmap -map {TECHMAP}/gated_add_{{family}}.v",
        ]
    return [*commands, f"techmap -map {TECHMAP / 'adders.v'}"]


def run_yosys(steps: list[str]) -> None:
    """Run Yosys commands in a process of its own, which an error ends; raises RuntimeError with that error."""
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, *steps], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise RuntimeError(f"Yosys failed: {errors[-1] if errors else done.stderr[-500:]}")


def synthesise(
    text: str, top: str, family: str, *, commands: list[str] | None = None, netlist: Path | None = None
) -> Area:
    """Map the Verilog ``text`` and count its cells.

    Parameters
    ----------
    text, top:
        The sources and the name of the top module.
    family:
        One of :data:`FAMILIES`.
    commands:
        Instead of :func:`prepare`'s.
    netlist:
        Where to write the mapped design as JSON for place and route, if anywhere.

    Raises
    ------
    ValueError
        If ``family`` is none of :data:`FAMILIES`.
    RuntimeError
        If Yosys fails, with its last error.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    with tempfile.TemporaryDirectory() as folder:
        source, counts = Path(folder, "design.v"), Path(folder, "counts.json")
        source.write_text(text, encoding="utf-8")
        steps = [f"read_verilog {source}", f"hierarchy -top {top}"]
        steps += [command.format(family=family) for command in (prepare() if commands is None else commands)]
        steps += [f"{FAMILIES[family]} -top {top}", f"tee -q -o {counts} stat -json"]
        if netlist is not None:
            steps.append(f"write_json {netlist}")
        run_yosys(steps)
        cells = json.loads(counts.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return Area(
        luts=sum(_LUTS.get(cell, 0) * count for cell, count in cells.items()),
        flip_flops=sum(count for cell, count in cells.items() if cell.startswith(("FD", "TRELLIS_FF"))),
        bram_kbit=sum(_RAM_KBIT.get(cell, 0) * count for cell, count in cells.items()),
        multipliers=sum(count for cell, count in cells.items() if cell.startswith(("DSP48", "MULT18"))),
    )
