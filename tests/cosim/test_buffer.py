# SPDX-License-Identifier: Apache-2.0
import pytest
from dut_buffer import StoredWindow

from respin.gen.emit import emit
from respin.rtl.buffer.transposer import Transposer
from respin.rtl.config import preset
from respin.sim.runner import build, run


def bench(component, top, module, simulator, *, tests):
    dut = build(top, emit(component, top), simulator=simulator)
    run(dut, module, tests=tests, env={"RESPIN_PRESET": component.config.name})


def test_window(simulator):
    bench(StoredWindow(config=preset("tiny")), "stored_window", "tb_window", simulator, tests=5)


@pytest.mark.parametrize("name", ["default", "large"])
def test_transposer(simulator, name):
    bench(Transposer(config=preset(name)), "transposer", "tb_transposer", simulator, tests=5)


def test_feeder(simulator):
    bench(StoredWindow(config=preset("tiny"), feeder=True), "fed_window", "tb_feeder", simulator, tests=8)
