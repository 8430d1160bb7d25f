# SPDX-License-Identifier: Apache-2.0
"""``respin sim``: the benches of the hardware, one by one, on a simulator of one's choice."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from respin.cli.console import BAD_INPUT, fail, out, seed_option
from respin.rtl.config import PRESETS
from respin.sim.runner import SIMULATORS, simulators
from respin.sim.tools import icarus, verilator_toolchain

BENCHES = Path(__file__).resolve().parents[1] / "tests" / "cosim"

Name = Annotated[str | None, typer.Argument(help="The bench; without a name they are listed.", show_default=False)]
Simulator = Annotated[
    str | None, typer.Option("--simulator", "-s", help=f"{' or '.join(SIMULATORS)}; all there are unless given.")
]
PresetName = Annotated[str | None, typer.Option("--preset", "-p", help="Only the cases of this configuration.")]
Seed = Annotated[int | None, seed_option("Seed of every random choice; 1 unless given.")]
Waves = Annotated[bool, typer.Option("--waves", help="Write waveforms into the bench's build folder.")]


def benches() -> list[str]:
    """List the benches by name: ``mram`` is ``tests/cosim/test_mram.py``."""
    return sorted(path.stem.removeprefix("test_") for path in BENCHES.glob("test_*.py"))


def sim(
    name: Name = None,
    simulator: Simulator = None,
    preset: PresetName = None,
    seed: Seed = None,
    waves: Waves = False,
) -> None:
    """Run a bench of the hardware against its golden model, or list the benches."""
    if not benches():
        fail("the benches are not in the package; run this from a checkout of the project (pip install -e .)")
    if name is None:
        out.print("\n".join(benches()))
        return
    if name not in benches():
        fail(f"bench must be one of {', '.join(benches())}, not {name!r}", BAD_INPUT)
    if preset is not None and preset not in PRESETS:
        fail(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}", BAD_INPUT)
    if simulator is not None and simulator not in SIMULATORS:
        fail(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    if simulator == "icarus":
        icarus().check()
    if simulator != "icarus":
        verilator_toolchain()
    command = [sys.executable, "-m", "pytest", str(BENCHES / f"test_{name}.py"), "-v", "-rP"]
    command += ["--simulator", simulator] if simulator else []
    command += ["-k", preset] if preset else []
    environment = dict(os.environ, WAVES=str(int(waves)))
    environment |= {"RESPIN_SEED": str(seed)} if seed is not None else {}
    out.print(f"{name} on {simulator or ' and '.join(simulators())}")
    raise typer.Exit(subprocess.run(command, cwd=BENCHES.parents[1], env=environment, check=False).returncode)
