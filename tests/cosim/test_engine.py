# SPDX-License-Identifier: Apache-2.0
"""The engine's benches: all of them on ``tiny`` and ``small``, the loops and the steady state on ``default``."""

import pytest

from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.rtl.imc.engine import Engine
from respin.sim.runner import build, run

ON_DEFAULT = ["jobs_under_back_pressure", "extremes", "steady_state_is_all_planes"]


def bench(name, simulator, **options):
    dut = build("engine", emit(Engine(config=preset(name)), "engine"), simulator=simulator)
    run(dut, "tb_engine", env={"ENGINE_PRESET": name}, **options)


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_engine(name, simulator):
    bench(name, simulator, tests=8)


def test_engine_of_the_default_preset():
    bench("default", "verilator", only=ON_DEFAULT, tests=len(ON_DEFAULT))
