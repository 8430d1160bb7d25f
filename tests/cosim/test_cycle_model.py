# SPDX-License-Identifier: Apache-2.0
"""The cycle model beside the hardware's own count."""

import json
from dataclasses import asdict, replace

from respin.cli.simulation import build_accelerator
from respin.rtl.config import preset
from respin.sim.banks import model_plusargs
from respin.sim.runner import run, seed
from respin.sim.tables import NO_FAULTS, READ_CYCLES, table_for

TINY = replace(preset("tiny"), watchdog_cycles=1024, depthwise_taps=3)
"""As ``test_accelerator`` builds it."""


def test_random_jobs(tmp_path):
    table = table_for(TINY, seed=seed(), rates=NO_FAULTS)
    env = {"ACCELERATOR_CONFIG": json.dumps(asdict(TINY)), "READ_CYCLES": str(table[READ_CYCLES]), "JOBS": "20"}
    dut = build_accelerator(TINY, "verilator")
    run(dut, "tb_cycle_model", tests=1, env=env, plusargs=model_plusargs(tmp_path, table=table))
