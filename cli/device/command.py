# SPDX-License-Identifier: Apache-2.0
"""The ``respin device`` group of commands."""

import typer

from respin.cli.device.campaign import campaign
from respin.cli.device.plot import plot
from respin.cli.device.show import show
from respin.cli.device.sweep import sweep

device = typer.Typer(
    name="device",
    help="A memory device: its parameters, write errors from the macrospin solver, pictures, fault campaigns.",
    no_args_is_help=True,
)
device.command()(show)
device.command()(sweep)
device.command()(plot)
device.command()(campaign)
