# SPDX-License-Identifier: Apache-2.0
"""The Verilog bank model against the Python one, on every simulator: faults of every kind, and none."""

import numpy as np
import pytest
from tb_array import BANK, ROWS

from respin.sim.banks import BANK_MODEL, model_plusargs
from respin.sim.defects import DefectRates, draw_defects, kill_strip
from respin.sim.device import load
from respin.sim.runner import build, run, seed
from respin.sim.tables import FaultRates, fault_table

HEAVY = FaultRates(write_error=0.1, erase_error=0.1, read_error=0.02, read_disturb=0.01, retention=0.05)
LIGHT = FaultRates(write_error=1e-2, erase_error=1e-3, read_error=1e-4, read_disturb=1e-5, retention=0)
DEFECTS = DefectRates(stuck_cells=0.01, dead_strips=0.01, weak_cells=0.05)


@pytest.fixture
def dut(simulator):
    parameters = {"ROWS": ROWS, "ROW_BITS": 5, "BANK": BANK}
    return build("sas_mram_bank", {}, simulator=simulator, files=[BANK_MODEL], parameters=parameters)


def _graded(table):
    """Give every threshold its own value, neighbours far apart, so that a wrong index shows; all classes are common."""
    table = table.copy()
    table[4:7] = [1 << 31, 1 << 30, 1 << 29]  # of the static classes
    table[8:12] = [1 << 24, 5 << 24, 2 << 24, 9 << 24]
    table[32:56] = np.arange(24) * 7 % 24 << 24
    table[112:144] = np.arange(32) * 11 % 32 << 22
    table[160:224] = np.arange(64) * 13 % 64 << 25
    table[8192:] = np.arange(8192, dtype=np.uint64) * 2654435761 % 2**32
    return table


CASES = {
    "geometry_x": (fault_table(load("scrubbed"), clock_mhz=250, seed=seed(), rates=HEAVY), True),
    "geometry_y": (fault_table(load("erasable"), clock_mhz=100, seed=seed() + 1, rates=HEAVY), True),
    "every_threshold_apart_y": (_graded(fault_table(load("erasable"), clock_mhz=100, seed=seed(), rates=LIGHT)), True),
    "every_threshold_apart": (_graded(fault_table(load("default"), clock_mhz=1000, seed=2**32 - 1, rates=LIGHT)), True),
    "light": (fault_table(load("default"), clock_mhz=100, seed=seed(), rates=LIGHT), False),
    "plain": (None, False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verilog_bank_is_the_python_bank(dut, tmp_path, case):
    table, with_defects = CASES[case]
    defects = None
    if table is not None:
        np.save(tmp_path / "table.npy", table)
    if with_defects:
        drawn = draw_defects(ROWS, bank=BANK, seed=seed(), rates=DEFECTS)
        kill_strip(drawn, 3, 71, 0b0110)
        np.save(tmp_path / "defects.npy", drawn)
        defects = [drawn] * (BANK + 1)
    plusargs = model_plusargs(tmp_path, table=table, defects=defects)
    environment = {"ARRAY_FOLDER": str(tmp_path), "ARRAY_COMMANDS": "400"}
    run(dut, "tb_array", tests=5, plusargs=plusargs, env=environment)
