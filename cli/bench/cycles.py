# SPDX-License-Identifier: Apache-2.0
"""``respin bench cycles``: cycles of each pass, counted by the hardware itself in simulation."""

from dataclasses import replace
from typing import Annotated

import typer

from respin.cli.bench import cycles_targets as targets
from respin.cli.bench.report import report_parts
from respin.cli.bench.simulated import run_program
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail
from respin.sim.runner import SIMULATORS
from respin.sim.tools import icarus, verilator

STORE_WORDS = 4096
"""Operands of 64 channels on 16 maps of 8 x 8, both of a layer's. A larger store is cut to it: no cycle hangs on its
size, and simulators take minutes to read hundreds of thousands of words that are 0."""

Simulator = Annotated[str, typer.Option(help=f"One of {', '.join(SIMULATORS)}.")]


def cycles(
    preset: Preset = None, config: ConfigFile = None, simulator: Simulator = "verilator", json: Json = False
) -> None:
    """Count the cycles of forward, error, gradient and update passes.

    Steady rows are the difference of a run on 16 images and one on 8, so that start and drain are left out; the others
    are whole jobs, from the job's acceptance to its report. Ideal: real multiply-accumulates over the preset's peak.
    The outputs of the peer's cases, the smallest job and fewer bits are compared with the golden model.
    """
    chosen = configuration(preset, config)
    if simulator not in SIMULATORS:
        fail(f"--simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    if chosen.store_words < STORE_WORDS:
        fail(f"the cases need {STORE_WORDS} words of the store, {chosen.name} has {chosen.store_words}", BAD_INPUT)
    err.print(f"{simulator}: building and running ...", style="dim")
    simulated = replace(chosen, store_words=STORE_WORDS)
    measured: dict[str, list[targets.Row]] = run_program(simulated, simulator, "cycles", seconds=3600, optimise=False)
    tools = {"verilator": verilator().version, "icarus": icarus().version}
    parts = {
        f"Forward jobs of N-EUREKA's cases on {chosen.name}": targets.beside_peer(measured["peer"]),
        "The smallest job": targets.fixed_cost(measured["smallest"]),
        "Fewer bits of the activations": targets.in_proportion(measured["bits"]),
        "Steady passes": targets.steady(measured["steady"]),
        "Passes of a Rep-Net module, 16 images": measured["whole"],
    }
    report_parts("cycles", [chosen], parts, json=json, tools=tools)
