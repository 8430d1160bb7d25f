# SPDX-License-Identifier: Apache-2.0
"""Which device a command is about, and what it needs to be installed."""

from typing import Annotated

import typer

from respin.cli.console import BAD_INPUT, fail, require
from respin.sim.device import Device, DeviceError, load, shipped

Name = Annotated[
    str, typer.Argument(metavar="DEVICE", help=f"One of {', '.join(shipped())}, or a device file (.toml).")
]


def chosen(name: str) -> Device:
    """Return the device; ends with exit code 2 and one line if there is none or its file is malformed."""
    try:
        return load(name)
    except DeviceError as error:
        fail(str(error), BAD_INPUT)


def require_solver() -> None:
    """End with one line if what the solver is built on is not installed."""
    require("learn", "numba", "scipy")
