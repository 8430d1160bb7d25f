# SPDX-License-Identifier: Apache-2.0
"""``respin bench sim``: how fast the accelerator is simulated."""

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.bench.speed_program import FIGURES, SETTINGS
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail
from respin.cli.simulation import build_accelerator
from respin.rtl.config import AcceleratorConfig
from respin.sim.banks import model_plusargs
from respin.sim.runner import SIMULATORS, run, simulators
from respin.sim.tables import NO_FAULTS, table_for
from respin.sim.tools import icarus, verilator

FOLDER = Path("build") / "bench" / "sim"
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
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures = (FOLDER / f"{config.name}-{simulator}.json").absolute()
    run(
        build_accelerator(config, simulator),
        "respin.cli.bench.speed_program",
        tests=1,
        env={FIGURES: str(figures), SETTINGS: json_module.dumps(asdict(config))},
        plusargs=model_plusargs(FOLDER / "memory", table=table_for(config, seed=1, rates=NO_FAULTS)),
        seconds=1800,
    )
    measured: dict[str, float] = json_module.loads(figures.read_text(encoding="utf-8"))
    return {
        "preset": config.name,
        "path": f"cocotb-{simulator}",
        "cycles_per_second": round(measured["cycles"] / measured["seconds"]),
        "target_cycles_per_second": TARGETS.get(simulator) if config.name == "default" else None,
    }
