# SPDX-License-Identifier: Apache-2.0
"""``respin report``: energy, latency, area and endurance of a program, each figure with its source."""

from pathlib import Path
from typing import Annotated, Any

import typer

from respin.cli.console import BAD_INPUT, Json, fail, out, print_json, print_rows, require
from respin.cli.output import require_file


def report(
    program: Annotated[Path, typer.Argument(help="A program image.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(
            "--run", show_default=False,
            help="A folder of pictures, in folders by class: run the program on the compiled machine and count.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", "-n", min=0, help="Training steps of such a run.")] = 10,
    settle: Annotated[
        int, typer.Option(min=0, help="Training steps before them that are not counted: scales settle, an edge a step.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(help="A shipped device or a device file; the program's own if left out."),
    ] = None,
    costs: Annotated[
        Path | None, typer.Option(help="A file of costs instead of sim/costs.toml.", show_default=False)
    ] = None,
    area: Annotated[
        Path | None,
        typer.Option(
            "--area", show_default=False,
            help="What `respin bench area --json` printed of the program's configuration: the area of its logic, too.",
        ),
    ] = None,
    steps_per_day: Annotated[
        float, typer.Option(min=1e-3, max=1e9, help="Training steps a day, for endurance.")
    ] = 86400.0,
    factor: Annotated[float, typer.Option(min=1.001, max=1e3, help="How far each figure moves, down and up.")] = 2.0,
    page: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("build") / "report.html",
    json: Json = False,
) -> None:
    """Say what a program costs: energy by part, latency, area, endurance, what they hang on, published silicon beside.

    Counts are predicted from the program's fields, or with --run measured by the machine's counters, as far as it has
    them; the page says of each which it is. Every figure has its source, or the word assumption.
    """
    require("learn", "torch", "matplotlib", "jinja2", "pillow")
    from respin.cli.report.blocks import read_blocks
    from respin.cli.report.measured import measure
    from respin.cli.report.model import report as made_report
    from respin.cli.report.page import write_page
    from respin.firmware_model.image import ProgramImage
    from respin.golden.data import SourceError
    from respin.sim.cost import COSTS, load_costs
    from respin.sim.device import load

    require_file(page)
    try:
        image = ProgramImage.load(program)
        chosen, prices = load(device or image.config.device), load_costs(costs or COSTS)
        blocks = None if area is None else read_blocks(area, image.config)
        measured = None if images is None else measure(program, images, steps=steps, settle=settle)
        found: dict[str, Any] = {"program": program.name} | made_report(
            image, chosen, prices, measured=measured, steps_per_day=steps_per_day, factor=factor, blocks=blocks
        )
        write_page(page, found)
    except (SourceError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    if json:
        print_json(found)
        return
    for made in found["programs"]:
        rows = [
            {"part": row["part"], "microjoules": _micro(row["joules"]), "share": row["share"]}
            for row in made["parts"]
        ]
        known = "" if made["complete"] else ", MRAM writes not known without --run"
        print_rows(rows, title=f"{made['program']}, {made['images']} images: {1e6 * made['joules']:,.3g} µJ{known}")
        out.print(
            f"{made['cycles']:,.0f} cycles ({made['cycles_basis']}), {1e3 * made['seconds']:,.3g} ms", highlight=False
        )
    space = found["area"]
    rows = [{"part": row["part"], "mm2": row["mm2"]} for row in space["parts"]]
    without = "" if space["logic"] else ", logic not known without --area"
    print_rows(rows, title=f"area, by assumptions: {space['mm2']:.3g} mm²{without}")
    out.print(f"{page}: all of it, with sources", markup=False, highlight=False)


def _micro(joules: float | None) -> float | None:
    return None if joules is None else 1e6 * joules
