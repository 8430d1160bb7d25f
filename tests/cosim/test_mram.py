# SPDX-License-Identifier: Apache-2.0
import pytest
from mram_cases import CONFIGS, case

from respin.gen.emit import emit
from respin.rtl.mram.controller import MramController
from respin.sim.banks import BANK_MODEL, model_plusargs, with_banks
from respin.sim.runner import build, run


def built(config, simulator):
    verilog = emit(MramController(config=config), "mram_controller")
    texts = with_banks(verilog, "mram_controller", rows=config.mram_rows)
    return build("bench", texts, simulator=simulator, files=[BANK_MODEL])


def start(config, faults, simulator, folder, **options):
    drawn = case(config, faults)
    cells = [bank.cells for bank in drawn.golden().banks]
    plusargs = model_plusargs(folder, table=drawn.table, cells=cells, defects=drawn.defects)
    env = {"MRAM_CONFIG": config.name, "MRAM_FAULTS": faults, "MRAM_FOLDER": str(folder)}
    return run(built(config, simulator), "tb_mram", env=env, plusargs=plusargs, **options)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("faults", ["some", "many"])
def test_with_faults_it_equals_golden(config, faults, simulator, tmp_path):
    only = ["equals_golden/stall=0.0", "equals_golden/stall=0.6", "the_dead_strip_is_repaired_by_the_code"]
    start(config, faults, simulator, tmp_path, tests=3, only=only)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_without_faults(config, simulator, tmp_path):
    start(config, "none", simulator, tmp_path, tests=7)
