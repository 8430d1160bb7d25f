# SPDX-License-Identifier: Apache-2.0
"""``respin network``: a pretrained network with its Rep-Net modules learns on the whole machine, against golden."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

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
    print_rows,
    require,
    seed_option,
)
from respin.cli.output import require_picture
from respin.rtl.config import preset

ROOM = replace(preset("default"), name="whole", mram_rows=1 << 16, tensor_ids=512)
"""The preset ``default`` with memory for a whole network."""


def network(
    backbone: Annotated[str, typer.Option(help="A backbone of `respin learn --list`.")] = "efficientnet-lite0",
    dataset: Annotated[str, typer.Option(help="A data set of that list, or a folder of images.")] = "cifar10",
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of an image, pixels.")] = 96,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Images in a step.")] = 2,
    steps: Annotated[
        int, typer.Option("--steps", "-n", min=0, help="Training steps on the machine; 0: inference alone.")
    ] = 1,
    settled: Annotated[
        int,
        typer.Option(
            min=0,
            help="Steps that golden alone takes before, from scales that are all valid; the machine starts where they"
            " end. With 0 both start with none: scales become valid an edge a step, from the loss down.",
        ),
    ] = 8,
    presets: Preset = None,
    config: ConfigFile = None,
    seed: Annotated[int, seed_option("Of everything random.")] = 1,
    provision: Annotated[
        bool, typer.Option("--provision", help="Write the MRAM rows by the program, pulse by pulse.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the cycles of the last program's operations into this file, PNG or SVG.")
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Run a whole network on the whole machine and compare every tensor with golden, bit for bit.

    One inference, then training steps: activations, masks, errors with their shifts and exponents, and afterwards the
    weights, biases and transposed images in the array. One difference makes the command fail.

    Tables say where the cycles of the programs went: by operation of the last one, and by what they were spent on.
    """
    require("learn", "torch", "numba", "pillow")
    from respin.cli.network.trial import Trial
    from respin.firmware_model.storage import CapacityError
    from respin.golden.backbones import BACKBONES
    from respin.golden.data import SourceError

    chosen = ROOM if presets is None and config is None else configuration(presets, config)
    if backbone not in BACKBONES:
        fail(f"--backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}", BAD_INPUT)
    if size % 32:
        fail(f"--size must be a multiple of 32, by which the backbones shrink an image, not {size}", BAD_INPUT)
    if picture is not None:
        require_picture(picture)
    try:
        trial = Trial.make(chosen, backbone, dataset, size=size, batch=batch, seed=seed, settled=settled, say=_say)
        trial.start(honest=provision, training=steps > 0)
        runs = [trial.infer()] + [trial.train() for _ in range(steps)]
    except (SourceError, CapacityError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    if picture is not None:
        from respin.cli.network.picture import draw

        draw(runs[-1]["operations"], picture, title=f"{backbone}, {runs[-1]['program']}, batch {batch}, {chosen.name}")
    compared = trial.comparison
    summary = {
        "backbone": backbone,
        "batch": batch,
        "runs": [{key: value for key, value in run.items() if key not in ("operations", "parts")} for run in runs],
        "edges": len(trial.network.edges),
        "tensors_compared": compared.tensors,
        "numbers_compared": compared.numbers,
        "different": compared.different,
        "differences": compared.differences,
    }
    if json:
        tables = {"operations": runs[-1]["operations"], "parts": [run["parts"] for run in runs]}
        print_json({"config": asdict(chosen), "summary": summary, **tables})
    else:
        print_rows(runs[-1]["operations"], title=f"{backbone}, {runs[-1]['program']}, batch {batch}, {chosen.name}")
        for run in runs:
            print_rows(run["parts"], title=f"Where the cycles of {run['program']} went")
        print_rows(summary["runs"], title="Programs")
        out.print(f"{compared.numbers:,} numbers in {compared.tensors:,} tensors compared with golden")
    if compared.different:
        fail(f"{compared.different} differ from golden; the first: {compared.differences[0]}")


def _say(line: str) -> None:
    err.print(line, style="dim", markup=False, highlight=False)
