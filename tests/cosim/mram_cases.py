# SPDX-License-Identifier: Apache-2.0
"""What the benches of the bank controller run on: configuration, device table and defects of each case."""

from dataclasses import dataclass, replace

import numpy as np

from respin.golden.memory import Memory
from respin.rtl.config import AcceleratorConfig, preset
from respin.sim import defects, device, tables
from respin.sim.runner import seed

TINY = replace(preset("tiny"), name="mram_tiny", mram_rows=32, watchdog_cycles=1024)
TWO = replace(TINY, name="mram_two", banks=2, ecc_decoders=2, write_scheme="erase_program")
EIGHT = replace(preset("default"), name="mram_eight", mram_rows=16, write_retries=2, watchdog_cycles=1024)
CONFIGS = {config.name: config for config in (TINY, TWO, EIGHT)}

FAULTS = {
    "none": (tables.NO_FAULTS, defects.DefectRates()),
    "some": (
        tables.FaultRates(write_error=0.02, erase_error=0.02, read_error=5e-4, read_disturb=2e-4),
        defects.DefectRates(stuck_cells=2e-4, dead_strips=2e-4, weak_cells=0.02),
    ),
    "many": (
        tables.FaultRates(write_error=0.15, erase_error=0.1, read_error=2e-3, read_disturb=1e-3),
        defects.DefectRates(stuck_cells=2e-3, dead_strips=2e-3, weak_cells=0.02),
    ),
}
"""Transient and static faults by name: nothing; what exercises corrections and retries; what also makes writes fail."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration under a fault rate: what the bank models and the golden model are given."""

    config: AcceleratorConfig
    table: np.ndarray
    defects: list[np.ndarray]
    weights: np.ndarray
    """Content to begin with, ``int8[total_rows, 32]``."""

    def golden(self) -> Memory:
        memory = Memory(config=self.config, table=self.table, defects=self.defects)
        memory.preload(0, self.weights)
        return memory


def case(config: AcceleratorConfig, faults: str) -> Case:
    """Draw a case; the same names and seed give the same one."""
    rates, defect_rates = FAULTS[faults]
    name = "erasable" if config.write_scheme == "erase_program" else config.device
    table = tables.fault_table(device.load(name), clock_mhz=config.clock_mhz, seed=seed(), rates=rates)
    maps = [
        defects.draw_defects(config.mram_rows, bank=bank, seed=seed(), rates=defect_rates)
        for bank in range(config.banks)
    ]
    if faults != "none":
        defects.kill_strip(maps[0], row=3, strip=17, pattern=0b0110)
        defects.kill_strip(maps[-1], row=4, strip=70, pattern=0b1001)
    weights = np.random.default_rng(seed()).integers(-128, 128, (config.total_rows, 32), dtype=np.int8)
    return Case(config=config, table=table, defects=maps, weights=weights)
