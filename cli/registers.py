# SPDX-License-Identifier: Apache-2.0
"""``respin registers``: the register map as documents and sources."""

from pathlib import Path
from typing import Annotated

import typer

from respin.cli.console import BAD_INPUT, ConfigFile, Preset, configuration, fail, out, require
from respin.gen.folder import FolderError
from respin.gen.registers.folder import INDEX, write
from respin.gen.registers.peakrdl import TOOLS

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder; build/registers unless given.", show_default=False)
]


def registers(preset: Preset = None, config: ConfigFile = None, folder: Out = None) -> None:
    """Write the register map as SystemRDL, HTML, Markdown, a C header and Python constants.

    The layout is the same for every configuration; what CONFIG registers read is that of the one named. The folder
    appears whole or not at all.
    """
    chosen = configuration(preset, config)
    require("registers", *TOOLS)
    folder = folder or Path("build") / "registers"
    try:
        files = write(chosen, folder)
    except FolderError as error:
        fail(str(error), BAD_INPUT)
    for name in files:
        if "/" not in name or name == INDEX:
            out.print(f"{folder / name}", highlight=False, soft_wrap=True)
