# SPDX-License-Identifier: Apache-2.0
"""``respin demo``: the main job, from nothing to a trained module, in one command."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from respin.cli.console import (
    BAD_INPUT,
    ConfigFile,
    Json,
    Preset,
    configuration,
    err,
    fail,
    out,
    print_json,
    require,
    seed_option,
)
from respin.cli.demo.options import ENVIRONMENT, MEMORY_FILES, REFUSED, DemoOptions
from respin.cli.demo.result import DemoResult
from respin.cli.output import require_folder
from respin.cli.simulation import build_accelerator
from respin.firmware_model.storage import CapacityError
from respin.gen.folder import FolderError
from respin.gen.verilog import write
from respin.rtl.config import AcceleratorConfig
from respin.sim.banks import model_plusargs
from respin.sim.device import DeviceError
from respin.sim.runner import SIMULATORS, Build, SimulationError, run
from respin.sim.tables import FaultRates, table_for
from respin.sim.tools import ToolError

FOLDER = Path("build") / "demo"
LIMIT_SECONDS = 3 * 3600

Simulator = Annotated[str, typer.Option(help=f"One of {', '.join(SIMULATORS)}.")]
Rate = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="In place of the device's own.", show_default=False)]


def demo(
    preset: Preset = None,
    config: ConfigFile = None,
    simulator: Simulator = "verilator",
    steps: Annotated[int, typer.Option(min=1, help="Training steps in the hardware.")] = 60,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Images in a step.")] = 16,
    test_images: Annotated[int, typer.Option(min=0, help="Test images run through the hardware, too.")] = 32,
    seed: Annotated[int, seed_option("Of weights, batches, rounding and faults.")] = 1,
    write_error: Rate = 1e-3,
    read_error: Rate = 1e-6,
    folder: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = FOLDER,
    as_json: Json = False,
) -> None:
    """Train a Rep-Net module on real images inside the simulated hardware, faults included.

    Generates the Verilog, builds the simulation, pretrains a small backbone on the digits 0 to 4, writes it into the
    simulated MRAM and learns the digits 5 to 9 on the device. Every tensor of every step must equal golden's, bit
    for bit; the first difference ends the run. Leaves a page to look at: OUT/report.html.
    """
    chosen = configuration(preset, config)
    require("learn", "torch", "scikit-learn", "matplotlib", "jinja2")
    if simulator not in SIMULATORS:
        fail(f"--simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}", BAD_INPUT)
    if test_images % batch:
        fail(f"--test-images must be a multiple of --batch ({batch}), not {test_images}", BAD_INPUT)
    options = DemoOptions(
        config=chosen,
        simulator=simulator,
        steps=steps,
        batch=batch,
        test_images=test_images,
        seed=seed,
        write_error=write_error,
        read_error=read_error,
        folder=str(folder.absolute()),
    )
    require_folder(folder)
    try:
        dut = _build(chosen, simulator, folder)
        _simulate(dut, options)
    except FolderError as error:
        fail(str(error), BAD_INPUT)
    except (SimulationError, ToolError, CapacityError, DeviceError) as error:
        fail(str(error))
    from respin.cli.demo.report import write_report  # matplotlib comes with the extra `learn` only

    result = DemoResult.read(folder / "result.json")
    cells = np.load(folder / "cells.npz")
    page = folder / "report.html"
    write_report(page, result, before=cells["before"], after=cells["after"])
    if as_json:
        print_json(json.loads((folder / "result.json").read_text(encoding="utf-8")))
    else:
        _summarise(result, page)


def _build(config: AcceleratorConfig, simulator: str, folder: Path) -> Build:
    """Generate and build, saying how long each took."""
    began = time.monotonic()
    with err.status(f"generating the Verilog of {config.name}"):
        write(config, folder / "verilog")
    err.print(f"Verilog of [b]{config.name}[/b] in {folder / 'verilog'} ({time.monotonic() - began:.0f} s)")
    began = time.monotonic()
    with err.status(f"building the simulation with {simulator} (a minute or two; kept for the next time)"):
        dut = build_accelerator(config, simulator)
    err.print(f"simulation built with {simulator} ({time.monotonic() - began:.0f} s)")
    return dut


def _simulate(dut: Build, options: DemoOptions) -> None:
    """Run the bench in a thread and show its events as they come."""
    folder = Path(options.folder)
    path = options.write()
    (folder / "events.jsonl").unlink(missing_ok=True)
    rates = FaultRates(write_error=options.write_error, read_error=options.read_error)
    plusargs = model_plusargs(folder / MEMORY_FILES, table=table_for(options.config, seed=options.seed, rates=rates))
    failures: list[SimulationError] = []

    def work() -> None:
        try:
            run(
                dut,
                "respin.cli.demo.program",
                tests=1,
                env={ENVIRONMENT: str(path), "RESPIN_SEED": str(options.seed), "OMP_NUM_THREADS": "1"},
                plusargs=plusargs,
                seconds=LIMIT_SECONDS,
            )
        except SimulationError as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    refused = _show(thread, folder / "events.jsonl")
    thread.join()
    if refused is not None:
        raise CapacityError(refused)
    if failures:
        raise failures[0]


def _follow(thread: threading.Thread, path: Path) -> Iterator[dict[str, Any]]:
    """Events of the file as they are written, until the thread ends."""
    while not path.is_file():
        if not thread.is_alive():
            return
        time.sleep(0.1)
    with path.open(encoding="utf-8") as lines:
        partial = ""
        while True:
            alive = thread.is_alive()
            line = lines.readline()
            if line.endswith("\n"):
                yield json.loads(partial + line)
                partial = ""
            elif not alive:
                return
            else:
                partial += line
                time.sleep(0.1)


def _show(thread: threading.Thread, path: Path) -> str | None:
    """Show phases as a bar each, steps as a line each; returns why the network was refused, if it was."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        bar = None
        for event in _follow(thread, path):
            if event["event"] == "phase":
                if bar is not None:
                    progress.update(bar, total=progress.tasks[bar].total or 1, completed=progress.tasks[bar].total or 1)
                bar = progress.add_task(event["name"], total=event.get("total"), note="")
            elif event["event"] in ("rows", "tested") and bar is not None:
                progress.update(bar, completed=event["done"])
            elif event["event"] == "step" and bar is not None:
                note = (
                    f"loss {event['loss']:.2f}, batch {100 * event['accuracy']:.0f} % right, "
                    f"{event['cycles']:,} cycles, {event['tensors']} tensors equal"
                )
                progress.update(bar, completed=event["step"] + 1, note=note)
            elif event["event"] == "accuracy":
                progress.console.print(f"test accuracy {event['when']}: [b]{100 * event['value']:.1f} %[/b]")
            elif event["event"] == REFUSED:
                return str(event["message"])
    return None


def _summarise(result: DemoResult, page: Path) -> None:
    """The figures that a reader looks for first."""
    out.print()
    out.print(
        f"digits {', '.join(map(str, result.classes))}: "
        f"test accuracy [b]{100 * result.accuracy_before:.1f} %[/b] before, "
        f"[b]{100 * result.accuracy_after:.1f} %[/b] after {len(result.steps)} steps of {result.batch} images"
    )
    elements, tensors = sum(step.elements for step in result.steps), sum(step.tensors for step in result.steps)
    out.print(f"{tensors:,} tensors with {elements:,} numbers compared with golden, all equal")
    for stage in result.stages():
        share = f", {100 * stage.ideal_cycles / stage.cycles:.1f} % of peak" if stage.ideal_cycles else ""
        out.print(f"{stage.name:>9}: {stage.cycles:>11,} cycles in {stage.runs} jobs{share}", highlight=False)
    memory = result.memory
    out.print(
        f"    banks: {memory['rows_read']:,} rows read, {memory['strips_pulsed']:,} strips pulsed, "
        f"{memory['bits_flipped']:,} bits flipped, {memory['retries']:,} retries, "
        f"{memory['words_corrected']:,} codewords corrected, {memory['uncorrectable']:,} beyond correction",
        highlight=False,
    )
    out.print(f"report: {page}", highlight=False, soft_wrap=True)
