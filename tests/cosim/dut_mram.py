# SPDX-License-Identifier: Apache-2.0
"""Designs with the banks' pins, and models of banks with the content and the faults of a case."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component
from mram_cases import case

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig
from respin.sim.banks import BANK_MODEL, model_plusargs, with_banks
from respin.sim.runner import Build, Result, build, run

TOP = "mram"


def build_mram(component: Callable[..., Component], config: AcceleratorConfig, simulator: str) -> Build:
    """Build ``component(config=config)`` with its banks."""
    texts = with_banks(emit(component(config=config), TOP), TOP, rows=config.mram_rows)
    return build("bench", texts, simulator=simulator, files=[BANK_MODEL])


def run_case(dut: Build, bench: str, config: AcceleratorConfig, faults: str, folder: Path, **options: Any) -> Result:
    """Run a bench on the case ``faults`` of ``config``; ``folder`` is for the content of the banks."""
    drawn = case(config, faults)
    cells = [bank.cells for bank in drawn.golden().banks]
    plusargs = model_plusargs(folder, table=drawn.table, cells=cells, defects=drawn.defects)
    env = {"MRAM_CONFIG": config.name, "MRAM_FAULTS": faults, "MRAM_FOLDER": str(folder)}
    return run(dut, bench, env=env, plusargs=plusargs, **options)
