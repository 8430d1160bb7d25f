# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import pytest

from respin.gen.emit import emit
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.vector.unit import VectorUnit
from respin.sim.runner import build, run

CONFIGS = {
    "tiny": (preset("tiny"), 12),
    "ragged": (
        AcceleratorConfig(
            name="ragged", lanes=8, slices=16, pixels=4, banks=1, vector_width=4, depthwise_lanes=8, table_channels=128
        ),
        12,
    ),
    "wide": (
        AcceleratorConfig(name="wide", slices=32, pixels=2, banks=1, vector_width=32, table_channels=128),
        8,
    ),
}


@pytest.mark.icarus_runs("tiny")
@pytest.mark.long("wide")
@pytest.mark.parametrize("name", CONFIGS)
def test_vector_unit(name, simulator):
    config, cases = CONFIGS[name]
    if simulator == "icarus" and name != "tiny":
        cases = 2
    text = emit(VectorUnit(config=config), "vector_unit")
    dut = build("vector_unit", text, simulator=simulator)
    env = {"RESPIN_CONFIG": json.dumps(asdict(config)), "RESPIN_CASES": str(cases)}
    run(dut, "tb_vector", tests=4, env=env)
