# SPDX-License-Identifier: Apache-2.0
"""The depthwise unit's benches, with 4 multipliers and, on Verilator, with 32."""

from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.rtl.imc.depthwise import DepthwiseUnit
from respin.sim.runner import build, run


def bench(name, simulator):
    dut = build("depthwise", emit(DepthwiseUnit(config=preset(name)), "depthwise"), simulator=simulator)
    run(dut, "tb_depthwise", env={"DEPTHWISE_PRESET": name}, tests=4)


def test_depthwise(simulator):
    bench("tiny", simulator)


def test_depthwise_of_the_default_preset():
    bench("default", "verilator")
