# SPDX-License-Identifier: Apache-2.0
"""Power cuts in the memory's upkeep: some cycles here, every one with ``./nox -s powercut``."""

from dut_mram import build_mram
from mram_cases import POWERCUT, powercut_case

from respin.rtl.mram.memory import MaintainedMemory
from respin.sim.banks import model_plusargs
from respin.sim.runner import run

STEP = 41


def test_old_or_new_content_after_a_power_cut(tmp_path, pytestconfig):
    step = 1 if pytestconfig.getoption("--every-cycle") else STEP
    case = powercut_case()
    plusargs = model_plusargs(tmp_path, table=case.table, cells=[case.cells], defects=[case.defects])
    env = {"POWERCUT_STEP": str(step)}
    dut = build_mram(MaintainedMemory, POWERCUT, "verilator")
    run(dut, "tb_upkeep_power_cut", tests=3, plusargs=plusargs, env=env)
