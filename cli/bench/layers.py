# SPDX-License-Identifier: Apache-2.0
"""``respin bench layers``: where the cycles of a whole network go, layer by layer, by the cycle model."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from respin.cli.bench.report import report_parts
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail, require
from respin.cli.output import require_picture
from respin.rtl.config import AcceleratorConfig

if TYPE_CHECKING:
    from respin.firmware_model.placement import Placement
    from respin.firmware_model.program import Program, Task
    from respin.golden.network import IntegerNetwork

Row = dict[str, Any]

DIGITS = "digits"
CLASSES = 10
CALIBRATION_IMAGES = 16
ROOM = {"mram_rows": 1 << 18, "store_words": 1 << 20, "table_channels": 1 << 16, "tensor_ids": 4096}
"""Memory for any network here: what a layer's jobs take does not hang on it, only whether they are cut in tiles."""


def layers(
    network: Annotated[
        str, typer.Option("--network", "-n", help="digits, efficientnet-lite0 or mobilenet-v2.")
    ] = "efficientnet-lite0",
    preset: Preset = None,
    config: ConfigFile = None,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of an image, pixels; digits have 8.")] = 96,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Images that pass together.")] = 1,
    training: Annotated[bool, typer.Option("--training", help="A training step instead of an inference.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the cycles of each layer into this file, PNG or SVG.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict where the cycles of a backbone with Rep-Net modules go, layer by layer and pass by pass.

    Nothing is simulated: `firmware_model/cycle_model.py` predicts each job from its fields, within a bound that a test
    holds against the hardware. The network is taken to lie in store, table and MRAM as a whole. Left out are rows that
    an update rewrites, and what the host does: packed windows, a pool of the image before them. Ideal: real
    multiply-accumulates over the preset's peak.
    """
    require("learn", "torch", "numba", "scikit-learn")
    from respin.golden.backbones import BACKBONES
    from respin.golden.data import SourceError

    chosen = configuration(preset, config)
    if network not in (DIGITS, *BACKBONES):
        fail(f"--network must be one of {', '.join((DIGITS, *BACKBONES))}, not {network!r}", BAD_INPUT)
    if picture is not None:
        require_picture(picture)
    try:
        made, shape = _network(network, size, batch)
    except SourceError as error:
        fail(str(error))
    rows = list(predict(chosen, made, shape, training=training))
    if picture is not None:
        from respin.cli.bench.layers_picture import draw

        draw(rows, picture, title=f"{network}, batch {batch}, {chosen.name}")
    what = "training step" if training else "inference"
    parts = {f"{network}, {what}, batch {batch}, on {chosen.name}": rows, "All passes": totals(rows)}
    report_parts("layers", [chosen], parts, json=json, tools={})


def predict(
    config: AcceleratorConfig, network: "IntegerNetwork", shape: Sequence[int], *, training: bool
) -> Iterator[Row]:
    """Yield a row for each operation of a network on inputs of ``shape``, in their order."""
    from respin.firmware_model.cycle_model import CycleModel
    from respin.firmware_model.job_parts import Randomness
    from respin.firmware_model.placement import Placement
    from respin.firmware_model.program import Program
    from respin.firmware_model.work import BETWEEN_JOBS
    from respin.sim.tables import READ_CYCLES, table_for

    n, c, h, w = shape
    room = replace(config, **ROOM)
    placement = Placement(room, network, (n, c, h, w), training=training)
    model = CycleModel(room, read_cycles=int(table_for(config, seed=1)[READ_CYCLES]))
    for task in _tasks(placement, Program(placement, Randomness())):
        cycles = sum(model.cycles(job) + BETWEEN_JOBS for job in task.jobs)
        ideal = task.macs / config.peak_macs_per_cycle
        yield {
            "case": task.name,
            "steady": False,
            "pass": task.stage,
            "unit": task.jobs[0]["kind"].name.lower(),
            "preset": config.name,
            "jobs": len(task.jobs),
            "cycles": cycles,
            "ideal_cycles": ideal,
            "utilisation": round(ideal / cycles, 4),
        }


def totals(rows: list[Row]) -> list[Row]:
    """Sum rows up by pass and unit, and over all."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["pass"], row["unit"]), []).append(row)
    groups["total", "all"] = rows
    everything = sum(row["cycles"] for row in rows)
    summed = []
    for (stage, unit), members in groups.items():
        cycles, ideal = (sum(row[key] for row in members) for key in ("cycles", "ideal_cycles"))
        summed.append(
            {
                "case": "all",
                "steady": False,
                "pass": stage,
                "unit": unit,
                "preset": members[0]["preset"],
                "jobs": sum(row["jobs"] for row in members),
                "cycles": cycles,
                "ideal_cycles": ideal,
                "utilisation": round(ideal / cycles, 4),
                "share": round(cycles / everything, 4),
            }
        )
    return summed


def _network(name: str, size: int, batch: int) -> "tuple[IntegerNetwork, tuple[int, int, int, int]]":
    """An integer network of the backbone's shapes, calibrated on noise: cycles do not hang on values."""
    import torch

    from respin.golden.backbones import load_backbone
    from respin.golden.builder import build_network

    if name == DIGITS:
        from respin.golden.digits import load_task, pretrain
        from respin.golden.digits_network import describe

        backbone, side = describe(pretrain(load_task(0), seed=1)), 8
    else:
        backbone, side = load_backbone(name, lambda line: err.print(line)), size
    generator = torch.Generator().manual_seed(1)
    channels = backbone.stem.inputs
    shape = (CALIBRATION_IMAGES, channels, side, side)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return build_network(backbone, images, CLASSES, seed=1, batch=batch), (batch, channels, side, side)


def _tasks(placement: "Placement", program: "Program") -> "Iterator[Task]":
    """The tasks of an inference or of a training step, in their order."""
    network = placement.network
    yield from program.forward()
    if placement.training:
        yield program.loss()
        for edge in network.edges:
            yield program.edge(edge).task
        for gradient in network.gradients:
            yield program.gradient(gradient).task
