# SPDX-License-Identifier: Apache-2.0
import pytest
from mram_cases import MAINTAINED, SPARED, case

from respin.gen.emit import emit
from respin.rtl.mram.memory import MaintainedMemory
from respin.sim.banks import BANK_MODEL, model_plusargs, with_banks
from respin.sim.runner import build, run


def built(config, simulator):
    verilog = emit(MaintainedMemory(config=config), "memory")
    texts = with_banks(verilog, "memory", rows=config.mram_rows)
    return build("bench", texts, simulator=simulator, files=[BANK_MODEL])


def start(config, faults, simulator, folder, **options):
    drawn = case(config, faults)
    cells = [bank.cells for bank in drawn.golden().banks]
    plusargs = model_plusargs(folder, table=drawn.table, cells=cells, defects=drawn.defects)
    env = {"MRAM_CONFIG": config.name, "MRAM_FAULTS": faults, "MRAM_FOLDER": str(folder)}
    return run(built(config, simulator), "tb_memory", env=env, plusargs=plusargs, **options)


@pytest.mark.parametrize("config", MAINTAINED.values(), ids=MAINTAINED)
def test_the_memory_equals_golden_where_rows_fail(config, tmp_path):
    start(config, "rows", "verilator", tmp_path, tests=2, only=["equals_golden", "marches_as_golden"])


def test_without_faults(simulator, tmp_path):
    only = ["marches_as_golden", "scrubs_as_golden", "rows_past_the_content_are_refused", "the_log_overflows"]
    start(SPARED, "none", simulator, tmp_path, tests=4, only=only)
