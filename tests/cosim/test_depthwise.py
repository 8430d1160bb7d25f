# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit's benches: one multiplier to a lane, several, and fewer lanes than channels."""

import json
from dataclasses import asdict, replace

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.imc.depthwise import DepthwiseUnit
from respin.sim.runner import build, run


def bench(config: AcceleratorConfig, simulator: str) -> None:
    dut = build("depthwise", emit(DepthwiseUnit(config=config), "depthwise"), simulator=simulator)
    run(dut, "tb_depthwise", env={"ACCELERATOR_CONFIG": json.dumps(asdict(config))}, tests=5)


def test_depthwise(simulator: str) -> None:
    bench(preset("tiny"), simulator)


def test_depthwise_with_several_taps(simulator: str) -> None:
    bench(replace(preset("small"), depthwise_taps=2), simulator)


def test_depthwise_of_the_default_preset() -> None:
    bench(preset("default"), "verilator")


def test_depthwise_of_the_large_preset() -> None:
    bench(preset("large"), "verilator")
