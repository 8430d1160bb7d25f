# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit's benches: one multiplier to a lane, several, and fewer lanes than channels."""

import json
from dataclasses import asdict, replace

import pytest

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.imc.depthwise import DepthwiseUnit
from respin.sim.runner import build, run

ON_ICARUS = ["jobs_under_back_pressure"]
"""Icarus takes its time over wide selections."""
FEW = replace(preset("small"), name="few", depthwise_taps=2)


@pytest.mark.parametrize("config", [preset("tiny"), FEW], ids=lambda config: config.name)
def test_depthwise(config: AcceleratorConfig, simulator: str) -> None:
    only = ON_ICARUS if simulator == "icarus" else []
    dut = build("depthwise", emit(DepthwiseUnit(config=config), "depthwise"), simulator=simulator)
    env = {"ACCELERATOR_CONFIG": json.dumps(asdict(config))}
    run(dut, "tb_depthwise", env=env, only=only, tests=len(only) or 5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["default", "large"])
def test_depthwise_of_larger_presets(name: str) -> None:
    test_depthwise(preset(name), "verilator")
