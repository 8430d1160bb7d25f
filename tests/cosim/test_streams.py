# SPDX-License-Identifier: Apache-2.0
import pytest
from dut_streams import QueuedSum

from respin.gen.emit import emit
from respin.sim.runner import SimulationError, build, run


@pytest.fixture
def dut(simulator):
    return build("queued_sum", emit(QueuedSum(), "queued_sum"), simulator=simulator)


def test_drivers_and_monitors(dut):
    run(dut, "tb_streams", tests=7)


def test_a_bench_that_runs_too_few_tests_fails(dut):
    with pytest.raises(SimulationError, match="1 tests ran, not 2"):
        run(dut, "tb_streams", only=["a_wrong_value_is_named"], tests=2)


def test_a_run_that_takes_too_long_is_ended(dut):
    with pytest.raises(SimulationError, match="was ended after 0.01 s"):
        run(dut, "tb_streams", tests=7, seconds=0.01)


def test_a_build_that_fails_shows_why(simulator):
    with pytest.raises(SimulationError, match="(?s)broken.*missing"):
        build("broken", "module broken(input clk);\n  missing nowhere(clk);\nendmodule\n", simulator=simulator)
