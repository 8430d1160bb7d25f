# SPDX-License-Identifier: Apache-2.0
"""The ``respin bench`` group of commands."""

import typer

from respin.cli.bench.area import area
from respin.cli.bench.cycles import cycles
from respin.cli.bench.fmax import fmax
from respin.cli.bench.generation import gen
from respin.cli.bench.golden import golden
from respin.cli.bench.layers import layers
from respin.cli.bench.speed import sim

bench = typer.Typer(
    name="bench", help="Measure, and show the figures beside their targets (--json for scripts).", no_args_is_help=True
)
bench.command()(area)
bench.command()(cycles)
bench.command()(fmax)
bench.command()(gen)
bench.command()(golden)
bench.command()(layers)
bench.command()(sim)
