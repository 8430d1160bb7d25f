# SPDX-License-Identifier: Apache-2.0
"""A bench program in the simulated accelerator: how a command starts it, and how the two exchange what they know."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from respin.cli.simulation import build_accelerator
from respin.rtl.config import AcceleratorConfig
from respin.sim.banks import model_plusargs
from respin.sim.runner import run
from respin.sim.tables import NO_FAULTS, table_for

FOLDER = Path("build") / "bench"
_FIGURES = "RESPIN_BENCH_FIGURES"
_CONFIG = "RESPIN_BENCH_CONFIG"
_ARGUMENTS = "RESPIN_BENCH_ARGUMENTS"


def run_program(
    config: AcceleratorConfig,
    simulator: str,
    bench: str,
    *,
    seconds: float,
    arguments: Sequence[str] = (),
    optimise: bool = True,
) -> Any:
    """Run the cocotb module ``respin.cli.bench.{bench}_program`` on a faultless memory; returns what it measured.

    ``arguments`` are for the program. Without ``optimise`` it is built faster and runs slower.
    """
    folder = FOLDER / bench
    folder.mkdir(parents=True, exist_ok=True)
    figures = (folder / f"{config.name}-{simulator}.json").absolute()
    run(
        build_accelerator(config, simulator, optimise=optimise),
        f"respin.cli.bench.{bench}_program",
        tests=1,
        env={
            _FIGURES: str(figures),
            _CONFIG: json.dumps(asdict(config)),
            _ARGUMENTS: json.dumps(list(arguments)),
        },
        plusargs=model_plusargs(folder / "memory", table=table_for(config, seed=1, rates=NO_FAULTS)),
        seconds=seconds,
    )
    return json.loads(figures.read_text(encoding="utf-8"))


def config_of_program() -> AcceleratorConfig:
    """The configuration that the running program was started for."""
    return AcceleratorConfig(**json.loads(os.environ[_CONFIG]))


def arguments_of_program() -> list[str]:
    """What the running program was started with."""
    arguments: list[str] = json.loads(os.environ[_ARGUMENTS])
    return arguments


def write_figures(figures: Any) -> None:
    """Hand what the running program measured to the command."""
    Path(os.environ[_FIGURES]).write_text(json.dumps(figures), encoding="utf-8")
