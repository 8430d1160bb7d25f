# SPDX-License-Identifier: Apache-2.0
import pytest
from dut_mram import build_mram, run_case
from mram_cases import CONFIGS

from respin.rtl.mram.controller import MramController


@pytest.mark.icarus_runs("mram_tiny")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("faults", ["some", "many"])
def test_with_faults_it_equals_golden(config, faults, simulator, tmp_path):
    only = ["equals_golden/stall=0.0", "equals_golden/stall=0.6", "the_dead_strip_is_repaired_by_the_code"]
    dut = build_mram(MramController, config, simulator)
    run_case(dut, "tb_mram", config, faults, tmp_path, tests=3, only=only)


@pytest.mark.icarus_runs("mram_tiny")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_without_faults(config, simulator, tmp_path):
    dut = build_mram(MramController, config, simulator)
    run_case(dut, "tb_mram", config, "none", tmp_path, tests=7)
