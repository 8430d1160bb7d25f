# SPDX-License-Identifier: Apache-2.0
"""``respin device plot``: pictures of a device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from respin.cli.console import BAD_INPUT, err, fail, out, require, seed_option
from respin.cli.device.choice import Name, chosen, require_solver
from respin.cli.device.style import STYLE
from respin.cli.output import require_folder, whole
from respin.sim.device import Device

if TYPE_CHECKING:
    from respin.sim.physics.sweep import Outcome

PICTURES = ("write_error", "trajectories", "read_margin", "retention", "strip")
FORMATS = ("svg", "png", "pdf")

Only = Annotated[
    str | None, typer.Option("--only", metavar="LIST", help=f"Some of {', '.join(PICTURES)}.", show_default=False)
]
Format = Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")]
Table = Annotated[
    Path | None,
    typer.Option("--table", help="The sweep's table; build/device/NAME.csv or the shipped one.", show_default=False),
]
Seed = Annotated[int, seed_option("Seed of the trajectories.")]
Folder = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder; build/device/NAME unless given.", show_default=False)
]


def plot(
    name: Name = "default", only: Only = None, form: Format = "svg", table: Table = None, seed: Seed = 1,
    folder: Folder = None,
) -> None:  # fmt: skip
    """Draw a device's write errors, trajectories, read margins, retention, its strip's currents and errors."""
    device = chosen(name)
    require_solver()
    require("learn", "matplotlib")
    wanted = only.split(",") if only else list(PICTURES)
    for each in wanted:
        if each not in PICTURES:
            fail(f"--only must be some of {', '.join(PICTURES)}, not {each!r}", BAD_INPUT)
    if form not in FORMATS:
        fail(f"--format must be one of {', '.join(FORMATS)}, not {form!r}", BAD_INPUT)
    outcomes = _outcomes(device, table) if "write_error" in wanted else []
    import matplotlib as mpl

    from respin.cli.device import pictures

    draw = {
        "write_error": lambda: pictures.write_error(device, outcomes),
        "trajectories": lambda: pictures.trajectories(device, seed=seed),
        "read_margin": lambda: pictures.read_margin(device),
        "retention": lambda: pictures.retention(device),
        "strip": lambda: pictures.strip(device),
    }
    folder = folder or Path("build") / "device" / device.name
    require_folder(folder)
    for each in wanted:
        if each == "strip" and device.geometry == "y":
            err.print("strip: left out, on geometry y SOT and STT come in pulses of their own", highlight=False)
            continue
        if each == "write_error" and not outcomes:
            err.print(f"write_error: left out, there is no table; respin device sweep {name} makes it", highlight=False)
            continue
        path = folder / f"{each}.{form}"
        with mpl.rc_context(STYLE), whole(path) as beside:
            # The same figures give the same bytes.
            draw[each]().savefig(
                beside, metadata=None if form == "png" else {"Date" if form == "svg" else "CreationDate": None}
            )
        out.print(str(path), highlight=False, soft_wrap=True)


def _outcomes(device: Device, table: Path | None) -> "list[Outcome]":
    from respin.sim.physics.sweep import SweepError, read_table, standard_outcomes

    path = table or Path("build") / "device" / f"{device.name}.csv"
    if table is None and not path.is_file():
        return standard_outcomes(device)
    try:
        return read_table(path, device)
    except SweepError as error:
        fail(str(error), BAD_INPUT)
