# SPDX-License-Identifier: Apache-2.0
"""What every command shares: how it ends with an error, how it prints figures, how it takes a configuration."""

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from respin.gen.versions import package_version
from respin.rtl.config import PRESETS, AcceleratorConfig, load, preset

FAILED = 1
"""Exit code when what was asked for went wrong."""
BAD_INPUT = 2
"""Exit code when what was asked for makes no sense."""

MAX_SEED = (1 << 31) - 1
"""As large as whatever is seeded takes: nextpnr's seeds are 32 bits with a sign."""


def seed_option(says: str, *, least: int = 0) -> Any:
    """Return the option ``--seed``; ``says`` is what it is the seed of."""
    return typer.Option("--seed", min=least, max=MAX_SEED, help=says)


_WIDEST = 1000
"""Letters to a line of a table, at most."""

out = Console()
err = Console(stderr=True)

Preset = Annotated[str | None, typer.Option("--preset", "-p", help=f"One of {', '.join(PRESETS)}.", show_default=False)]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="A configuration from a TOML file.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def fail(message: str, code: int = FAILED) -> NoReturn:
    """Print one line and end with ``code``."""
    err.print(f"respin: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def configuration(name: str | None, file: Path | None, *, otherwise: str = "default") -> AcceleratorConfig:
    """Return the configuration that ``--preset`` or ``--config`` names; ends with exit code 2 if there is none."""
    if name is not None and file is not None:
        fail("--preset and --config exclude each other", BAD_INPUT)
    try:
        return load(file) if file is not None else preset(name or otherwise)
    except (TypeError, ValueError) as error:
        fail(str(error), BAD_INPUT)


def require(extra: str, *packages: str) -> None:
    """End with one line that says what to install if one of ``packages``, which ``extra`` brings, is missing."""
    for name in packages:
        if package_version(name) is None:
            fail(f"{name}: not installed; in the project's folder: pip install -e '.[{extra}]'")


def print_json(value: Any) -> None:
    """Print ``value`` as JSON, as it is: no colours, no line breaks of the terminal's."""
    print(json.dumps(value, indent=2))


def figure(value: Any) -> str:
    """Return a table cell's text: what was not measured stays empty."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def print_rows(rows: list[dict[str, Any]], *, title: str) -> None:
    """Print ``rows`` as a table with a column for each key; below it what all rows say alike, if there are three.

    Figures, and the first column, are printed whole: a table that is too wide for the terminal has longer lines.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    same = [key for key in keys[1:] if len(rows) > 2 and len({repr(row.get(key)) for row in rows}) == 1]
    table = Table(title=title, title_justify="left")
    keys = [key for key in keys if key not in same]
    for key in keys:
        numeric = any(isinstance(row.get(key), int | float) for row in rows)
        cells = [figure(row.get(key)) for row in rows]
        whole = cells if key == keys[0] else [word for cell in cells for word in cell.split()]
        table.add_column(
            key.replace("_", " "),
            justify="right" if numeric else "left",
            min_width=max((len(part) for part in whole), default=0),
        )
    for row in rows:
        table.add_row(*(figure(row.get(key)) for key in keys))
    least = Measurement.get(out, out.options.update(max_width=_WIDEST), table).minimum
    console = out if least <= out.width else Console(width=least)
    console.print(table)
    if same:
        said = ", ".join(f"{key.replace('_', ' ')} {figure(rows[0].get(key))}" for key in same)
        out.print(f"in every row: {said}", highlight=False)
