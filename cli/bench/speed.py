# SPDX-License-Identifier: Apache-2.0
"""``respin bench sim``: how fast the accelerator is simulated."""

from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.bench.simulated import run_program
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import SIMULATORS, simulators
from respin.sim.tools import icarus, verilator

TARGETS = {"verilator": 20_000}
"""Cycles a second of ``default`` with the memory's model in Verilog."""

Simulator = Annotated[
    str | None, typer.Option("--simulator", "-s", help=f"{' or '.join(SIMULATORS)}; all there are unless given.")
]


def sim(preset: Preset = None, config: ConfigFile = None, simulator: Simulator = None, json: Json = False) -> None:
    """Measure simulated cycles a second, the memory's model included, while the engine works.

    A convolution runs again and again for ten seconds on each simulator; compiling is not counted.
    """
    chosen = configuration(preset, config)
    if simulator is not None and simulator not in SIMULATORS:
        fail(f"--simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    rows = []
    for name in [simulator] if simulator else simulators():
        err.print(f"{name}: building and running ...", style="dim")
        rows.append(measure(chosen, name))
    tools = {"verilator": verilator().version, "icarus": icarus().version}
    report("sim", [chosen], rows, json=json, title=f"Simulation of {chosen.name}", tools=tools)


def measure(config: AcceleratorConfig, simulator: str) -> dict[str, Any]:
    """Run the bench on one simulator."""
    measured: dict[str, float] = run_program(config, simulator, "speed", seconds=1800)
    return {
        "preset": config.name,
        "path": f"cocotb-{simulator}",
        "cycles_per_second": round(measured["cycles"] / measured["seconds"]),
        "target_cycles_per_second": TARGETS.get(simulator) if config.name == "default" else None,
    }
