# SPDX-License-Identifier: Apache-2.0
"""``respin train-rtl``: training steps of a program on the compiled machine."""

import time
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from respin.cli.console import BAD_INPUT, Json, err, fail, print_json, print_rows, require, seed_option
from respin.cli.output import require_file, whole
from respin.cli.run import Honest, Images, Program, Twice

FIRST_RATE, LAST_RATE = -1.0, -7.0
"""Binary logarithms of the learning rate of the first and the last step, unless others are given."""


def train_rtl(
    program: Program,
    images: Images,
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="Training steps.")] = 10,
    first: Annotated[
        float, typer.Option(min=-128, max=0, help="Binary logarithm of the learning rate of the first step.")
    ] = FIRST_RATE,
    last: Annotated[float, typer.Option(min=-128, max=0, help="Of the last step.")] = LAST_RATE,
    seed: Annotated[int, seed_option("Of the machine's random numbers and the pictures' order.")] = 1,
    provision: Honest = False,
    compile_twice: Twice = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", show_default=False,
            help="Write the program with what was learned and measured; rows are taken out of the simulated array.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train a program on pictures in folders by class, on the whole machine, cycle by cycle.

    The machine computes no loss that could be read: a step shows how many pictures of its batch were classified right
    before it, its cycles, and what it wrote. The shifts of errors settle from the loss down, an edge a step: the
    first trained layers begin to learn after as many steps as edges lie before them. A program that --out wrote has the
    shifts of its last step and goes on at once, and one that was compiled with --settle begins with them.
    """
    require("learn", "torch", "pillow")
    import torch

    from respin.cli.runner import Runner
    from respin.firmware_model.compiler import TRAIN
    from respin.firmware_model.image import ImageError
    from respin.golden.data import SourceError
    from respin.golden.schedule import Schedule

    schedule = Schedule(steps=steps, first=first, last=last)
    rows: list[dict[str, Any]] = []
    try:
        runner = Runner.of_file(program, images, seed=seed)
        pictures = runner.pictures
        if TRAIN not in runner.image.programs:
            raise ImageError(f"{program}: has no training program; it was compiled for inference")
        batches = list(islice(pictures.training_batches(seed=seed), steps))
        if out is not None:
            require_file(out)
        pictures.require_readable(chain(*batches))
        runner.start(honest=provision, fast_at=TRAIN if compile_twice else None)
        for step, places in enumerate(batches):
            labels = pictures.labels[places]
            began = time.perf_counter()
            with runner.progress(f"step {step} of {steps}"):
                x = pictures.take(places).numpy()
                written, logits = runner.train(x, labels.tolist(), log2_rate=schedule.log2_rate(step))
            cycles = runner.program_cycles()
            rows.append({
                "step": step,
                "log2_rate": schedule.log2_rate(step),
                "right": int((torch.from_numpy(logits).argmax(1) == labels).sum()),
                "pictures": runner.batch,
                "rows_written": written,
                "cycles": cycles,
                "cycles_per_second": round(cycles / (time.perf_counter() - began)),
            })
            err.print(", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in rows[-1].items()), style="dim")
        if out is not None:
            with whole(out) as beside:
                runner.learned().save(beside)
    except (ImageError, SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    if json:
        print_json({"config": asdict(runner.image.config), "rows": rows})
    else:
        print_rows(rows, title=f"{program.name} on {runner.image.config.name}")
