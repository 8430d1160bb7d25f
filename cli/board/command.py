# SPDX-License-Identifier: Apache-2.0
"""The ``respin board`` group of commands."""

import typer

from respin.cli.board.demo import demo
from respin.cli.board.info import info
from respin.cli.board.simulate import simulate

board = typer.Typer(
    name="board",
    help="A machine on an FPGA board, over a serial line: what is there, a training step on it, a simulated one.",
    no_args_is_help=True,
)
board.command()(info)
board.command()(demo)
board.command()(simulate)
