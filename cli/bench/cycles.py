# SPDX-License-Identifier: Apache-2.0
"""``respin bench cycles``: cycles of each pass, counted by the hardware itself in simulation."""

from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.bench.simulated import run_program
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail
from respin.sim.runner import SIMULATORS
from respin.sim.tools import icarus, verilator

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
    err.print(f"{simulator}: building and running ...", style="dim")
    rows: list[dict[str, Any]] = run_program(chosen, simulator, "cycles", seconds=3600)
    tools = {"verilator": verilator().version, "icarus": icarus().version}
    report("cycles", [chosen], rows, json=json, title=f"Cycles on {chosen.name}", tools=tools)
