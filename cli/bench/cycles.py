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

PARTS = {
    "peer": ("Forward jobs of N-EUREKA's cases", targets.beside_peer),
    "smallest": ("The smallest job", targets.fixed_cost),
    "bits": ("Fewer bits of the activations", targets.in_proportion),
    "steady": ("Steady passes", targets.steady),
    "whole": ("Passes of a Rep-Net module, 16 images", list),
}
"""The parts of the report: title, and what their rows are held against."""

Parts = Annotated[
    list[str] | None, typer.Option("--part", help=f"Of {', '.join(PARTS)}; may come again. All unless given.")
]
Simulator = Annotated[str, typer.Option(help=f"One of {', '.join(SIMULATORS)}.")]


def cycles(
    preset: Preset = None,
    config: ConfigFile = None,
    part: Parts = None,
    simulator: Simulator = "verilator",
    json: Json = False,
) -> None:
    """Count the cycles of forward, error, gradient and update passes.

    Steady rows are the difference of a run on 16 images and one on 8, so that start and drain are left out; the others
    are whole jobs, from the job's acceptance to its report. Ideal: real multiply-accumulates over the preset's peak.
    The outputs of the peer's cases, the smallest job and fewer bits are compared with the golden model.
    """
    chosen = configuration(preset, config)
    if simulator not in SIMULATORS:
        fail(f"--simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    parts = part or list(PARTS)
    for name in parts:
        if name not in PARTS:
            fail(f"--part must be of {', '.join(PARTS)}, not {name!r}", BAD_INPUT)
    if chosen.store_words < STORE_WORDS:
        fail(f"the cases need {STORE_WORDS} words of the store, {chosen.name} has {chosen.store_words}", BAD_INPUT)
    err.print(f"{simulator}: building and running ...", style="dim")
    measured = run_program(
        replace(chosen, store_words=STORE_WORDS), simulator, "cycles", seconds=3600, arguments=parts, optimise=False
    )
    tables = {f"{PARTS[name][0]}, on {chosen.name}": PARTS[name][1](rows) for name, rows in measured.items()}
    tools = {"verilator": verilator().version, "icarus": icarus().version}
    report_parts("cycles", [chosen], tables, json=json, tools=tools)
