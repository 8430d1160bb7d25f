# SPDX-License-Identifier: Apache-2.0
import pytest
from dut_mram import build_mram, run_case
from mram_cases import MAINTAINED, SPARED, SPARED_EIGHT

from respin.rtl.mram.memory import MaintainedMemory


@pytest.mark.long(SPARED_EIGHT.name)
@pytest.mark.parametrize("config", MAINTAINED.values(), ids=MAINTAINED)
def test_the_memory_equals_golden_where_rows_fail(config, tmp_path):
    only = ["equals_golden", "marches_as_golden"]
    dut = build_mram(MaintainedMemory, config, "verilator")
    run_case(dut, "tb_memory", config, "rows", tmp_path, tests=2, only=only)


def test_without_faults(simulator, tmp_path):
    only = ["marches_as_golden", "scrubs_as_golden", "rows_past_the_content_are_refused", "the_log_overflows"]
    dut = build_mram(MaintainedMemory, SPARED, simulator)
    run_case(dut, "tb_memory", SPARED, "none", tmp_path, tests=4, only=only)
