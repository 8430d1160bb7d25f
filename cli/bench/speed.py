# SPDX-License-Identifier: Apache-2.0
"""``respin bench sim``: how fast the accelerator is simulated."""

import time
from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.bench.simulated import run_program
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import SIMULATORS, simulators
from respin.sim.tools import icarus, verilator

COMPILED, TWICE = "compiled", "compiled-twice"
"""The whole machine without cocotb, besides the simulators that cocotb runs on; ``TWICE``: by what a run showed."""
PATHS = (*SIMULATORS, COMPILED, TWICE)
TARGETS = {"verilator": 20_000, COMPILED: 100_000, TWICE: 100_000}
"""Cycles a second of ``default`` with the memory's model in Verilog."""
PROGRAM_JOBS = 100
"""Jobs of a program on the compiled machine: what it takes to begin one is not what is measured."""

Simulator = Annotated[
    str | None, typer.Option("--simulator", "-s", help=f"{', '.join(PATHS)}; all there are unless given.")
]


def sim(preset: Preset = None, config: ConfigFile = None, simulator: Simulator = None, json: Json = False) -> None:
    """Measure simulated cycles a second, the memory's model included, while the engine works.

    A convolution runs again and again for ten seconds: on the accelerator in cocotb on each simulator, and as a program
    on the compiled machine, which is then compiled once more by which branches that took (compiled-twice). Compiling is
    not counted.
    """
    chosen = configuration(preset, config)
    if simulator is not None and simulator not in PATHS:
        fail(f"--simulator must be one of {', '.join(PATHS)}, not {simulator!r}", BAD_INPUT)
    rows = []
    for name in [simulator] if simulator else [*simulators(), COMPILED, TWICE]:
        err.print(f"{name}: building and running ...", style="dim")
        rows.append(measure(chosen, name) if name in SIMULATORS else measure_compiled(chosen, name))
    tools = {"verilator": verilator().version, "icarus": icarus().version}
    report("sim", [chosen], rows, json=json, title=f"Simulation of {chosen.name}", tools=tools)


def measure(config: AcceleratorConfig, simulator: str) -> dict[str, Any]:
    """Run the bench on one simulator."""
    measured: dict[str, float] = run_program(config, simulator, "speed", seconds=1800)
    return _row(config, f"cocotb-{simulator}", measured["cycles"] / measured["seconds"], TARGETS.get(simulator))


def measure_compiled(config: AcceleratorConfig, path: str) -> dict[str, Any]:
    """Run the same convolution as a program on the compiled machine, which is compiled twice if ``path`` says so."""
    from respin.cli.bench.speed_program import SECONDS, convolution
    from respin.cli.machine import compiled_machine
    from respin.firmware_model.descriptors import Descriptor, pack_program
    from respin.firmware_model.machine import Machine
    from respin.rtl.sequencer.descriptor import Opcode
    from respin.sim.compiled import CompiledMachine, drive

    jobs = [Descriptor.of_job(convolution(config))] * PROGRAM_JOBS
    program = pack_program(config, [*jobs, Descriptor(opcode=Opcode.END)])

    def run(transport: CompiledMachine) -> None:
        drive(transport.write_memory(0, program))
        drive(Machine(config, transport).run(0, len(jobs) + 1))

    transport = compiled_machine(config, fast_at=("bench sim", run) if path == TWICE else None)
    first, began = transport.cycles, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        run(transport)
    speed = (transport.cycles - first) / (time.perf_counter() - began)
    return _row(config, path, speed, TARGETS[path])


def _row(config: AcceleratorConfig, path: str, speed: float, target: int | None) -> dict[str, Any]:
    return {
        "preset": config.name,
        "path": path,
        "cycles_per_second": round(speed),
        "target_cycles_per_second": target if config.name == "default" else None,
    }
