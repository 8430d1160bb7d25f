# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import pytest
from dut_vector_path import VectorPath

from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.sim.runner import build, run

OPERATORS, PAUSES = 7, 2
CONFIGS = {
    "tiny": (preset("tiny"), 4),
    "default": (preset("default"), 3),
}


@pytest.mark.icarus_runs("tiny")
@pytest.mark.long("default")
@pytest.mark.parametrize("name", CONFIGS)
def test_gather(name, simulator):
    config, cases = CONFIGS[name]
    if simulator == "icarus":
        cases = 1
    dut = build("vector_path", emit(VectorPath(config=config), "vector_path"), simulator=simulator)
    env = {"RESPIN_CONFIG": json.dumps(asdict(config)), "RESPIN_CASES": str(cases)}
    run(dut, "tb_gather", tests=OPERATORS * PAUSES + 1, env=env)
