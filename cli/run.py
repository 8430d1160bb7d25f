# SPDX-License-Identifier: Apache-2.0
"""``respin run``: inference of a program on the compiled machine."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from respin.cli.console import BAD_INPUT, Json, err, fail, print_json, print_rows, require

Program = Annotated[Path, typer.Argument(help="A program image.", show_default=False)]
Images = Annotated[
    Path, typer.Option("--images", "-i", help="A folder of pictures, in folders by class or not.", show_default=False)
]
Honest = Annotated[
    bool,
    typer.Option(
        "--provision",
        help="Write the MRAM rows by the program, pulse by pulse; else they are put into the array directly.",
    ),
]
Twice = Annotated[
    bool,
    typer.Option(
        "--compile-twice",
        help="Compile the machine a second time, by a run of this program: minutes more, once, then at least 1.4 times"
        " as fast. It pays from some fifty million cycles on.",
    ),
]


def run(
    program: Program,
    images: Images,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first pictures, so many.", show_default=False)
    ] = None,
    provision: Honest = False,
    compile_twice: Twice = False,
    json: Json = False,
) -> None:
    """Classify pictures with a program, on the whole machine, cycle by cycle."""
    require("learn", "torch", "pillow")
    from respin.cli.runner import Runner
    from respin.firmware_model.compiler import INFER
    from respin.firmware_model.image import ImageError
    from respin.golden.data import SourceError

    try:
        runner = Runner.of_file(program, images)
        pictures = runner.pictures
        count = min(limit or len(pictures), len(pictures))
        pictures.require_readable(range(count))
        runner.start(honest=provision, fast_at=INFER if compile_twice else None)
        rows: list[dict[str, Any]] = []
        logits, cycles, began = [], 0, time.perf_counter()
        for places in pictures.batches(count):
            x = pictures.take(places).numpy()
            with runner.progress(f"{len(rows)} of {count} pictures"):
                found = runner.infer(x)
            cycles += runner.program_cycles()
            for place, row in list(zip(places, found, strict=True))[: count - len(rows)]:
                rows.append({"picture": str(pictures.files[place]), "class": pictures.name(int(row.argmax()))})
                logits.append(row.tolist())
        seconds = time.perf_counter() - began
    except (ImageError, SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    size = runner.batch
    known = [place for place in range(count) if pictures.labels[place] >= 0]
    right = sum(rows[place]["class"] == pictures.name(int(pictures.labels[place])) for place in known)
    summary = {
        "pictures": count,
        "cycles": cycles,
        "cycles_per_image": round(cycles / (-(-count // size) * size)),
        "cycles_per_second": round(cycles / seconds),
        "right": right if known else None,
        "labelled": len(known),
    }
    if json:
        shown = [row | {"logits": values} for row, values in zip(rows, logits, strict=True)]
        print_json({"config": asdict(runner.image.config), "rows": shown, "summary": summary})
        return
    print_rows(rows, title=f"{program.name} on {runner.image.config.name}")
    err.print(
        f"{count} pictures, {summary['cycles_per_image']:,} cycles each, {summary['cycles_per_second']:,} simulated a"
        f" second" + (f"; {right} of {len(known)} right" if known else "")
    )
