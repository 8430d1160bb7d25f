# SPDX-License-Identifier: Apache-2.0
"""The ``respin`` command: one file of this folder for each command."""

import os
import sys
import warnings

import typer
from amaranth.hdl import UnusedElaboratable

from respin.cli.bench.command import bench
from respin.cli.bitstream import bitstream
from respin.cli.board.command import board
from respin.cli.compile import compile_network
from respin.cli.console import FAILED, err
from respin.cli.demo.command import demo
from respin.cli.device.command import device
from respin.cli.doctor import doctor
from respin.cli.inspect import inspect
from respin.cli.learn.command import learn
from respin.cli.network.command import network
from respin.cli.registers import registers
from respin.cli.report.command import report
from respin.cli.run import run
from respin.cli.sim import sim
from respin.cli.train_rtl import train_rtl
from respin.cli.verilog import verilog
from respin.sim.runner import SimulationError
from respin.sim.tools import ToolError

app = typer.Typer(
    name="respin",
    help="Generate, simulate and measure an SAS-MRAM in-memory-computing accelerator that learns on the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(doctor)
app.command()(verilog)
app.command()(registers)
app.command()(bitstream)
app.command()(sim)
app.command()(demo)
app.command()(learn)
app.command()(inspect)
app.command("compile")(compile_network)
app.command()(run)
app.command()(train_rtl)
app.command()(network)
app.command()(report)
app.add_typer(bench)
app.add_typer(device)
app.add_typer(board)


def main() -> None:
    """Run the command line; what a user can do something about ends in one line, not in a traceback."""
    warnings.simplefilter("ignore", UnusedElaboratable)  # of hardware whose generation was interrupted
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except typer.TyperException as error:
        code = error.exit_code
        message = error.format_message().rstrip(".")
        if message:  # none where help was shown instead
            context = getattr(error, "ctx", None)
            _complain(f"{message}; see {context.command_path} --help" if context else message)
    except (ToolError, SimulationError) as error:
        code = FAILED
        _complain(str(error))
    except BrokenPipeError:  # as of `respin ... | head -1`: nobody is there to be told
        code = FAILED
        _drop_output()
    except OSError as error:
        code = FAILED
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        _drop_output()
    sys.exit(code)


def _complain(message: str) -> None:
    err.print(f"respin: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


def _drop_output() -> None:
    """Let what is still to be printed vanish, where Python would complain at its end that it cannot be."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
