# SPDX-License-Identifier: Apache-2.0
"""``respin verilog``: the accelerator as Verilog."""

from pathlib import Path
from typing import Annotated

import typer

from respin.cli.console import BAD_INPUT, ConfigFile, Preset, configuration, fail, out
from respin.gen.folder import MANIFEST, FolderError
from respin.gen.verilog import write

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder; build/verilog/NAME unless given.", show_default=False)
]


def verilog(preset: Preset = None, config: ConfigFile = None, folder: Out = None) -> None:
    """Write the accelerator's Verilog: the top, its three blocks on their own, and a manifest.

    The manifest names the configuration, tool versions, commit, SHA-256 of each file, and each module's ports with
    their widths and signs. The folder appears whole or not at all; the same input gives the same bytes.
    """
    chosen = configuration(preset, config)
    folder = folder or Path("build") / "verilog" / chosen.name
    try:
        manifest = write(chosen, folder)
    except FolderError as error:
        fail(str(error), BAD_INPUT)
    for name, entry in manifest["files"].items():
        out.print(f"{folder / name}  {entry['bytes']:,} bytes  {entry['title']}", highlight=False, soft_wrap=True)
    out.print(f"{folder / MANIFEST}", highlight=False, soft_wrap=True)
