# SPDX-License-Identifier: Apache-2.0
"""``respin bench cycles``: cycles of each pass, counted by the hardware itself in simulation."""

import json as json_module
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, fail, out
from respin.cli.simulation import build_accelerator
from respin.sim.banks import model_plusargs
from respin.sim.runner import SIMULATORS, run
from respin.sim.tables import NO_FAULTS, table_for
from respin.sim.tools import verilator

FOLDER = Path("build") / "bench" / "cycles"
STORE_WORDS = 4096
"""Operands of 64 channels on 16 maps of 8 x 8, both of a layer's."""

Simulator = Annotated[str, typer.Option(help=f"One of {', '.join(SIMULATORS)}.")]


def cycles(
    preset: Preset = None, config: ConfigFile = None, simulator: Simulator = "verilator", json: Json = False
) -> None:
    """Count the cycles of forward, error, gradient and update passes.

    Steady rows are the difference of a run on 16 images and one on 8, so that start and drain are left out; the others
    are whole jobs, from the job's acceptance to its report. Ideal: real multiply-accumulates over the preset's peak.
    """
    chosen = configuration(preset, config)
    if simulator not in SIMULATORS:
        fail(f"--simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    if chosen.store_words < STORE_WORDS:
        fail(f"the cases need {STORE_WORDS} words of the store, {chosen.name} has {chosen.store_words}", BAD_INPUT)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figures = (FOLDER / f"{chosen.name}.json").absolute()
    with out.status("building and running the simulation (minutes the first time)"):
        dut = build_accelerator(chosen, simulator)
        env = {"RESPIN_CYCLES": str(figures), "RESPIN_CYCLES_CONFIG": json_module.dumps(asdict(chosen))}
        table = table_for(chosen, seed=1, rates=NO_FAULTS)
        run(
            dut,
            "respin.cli.bench.cycles_program",
            tests=1,
            env=env,
            plusargs=model_plusargs(FOLDER / "memory", table=table),
            seconds=3600,
        )
    rows: list[dict[str, Any]] = json_module.loads(figures.read_text(encoding="utf-8"))
    tools = {"verilator": str(verilator().version)} if simulator == "verilator" else {}
    report("cycles", [chosen], rows, json=json, title=f"Cycles on {chosen.name}", tools=tools)
