# SPDX-License-Identifier: Apache-2.0
"""What the benches of the bank controller run on: configuration, device table and defects of each case."""

from dataclasses import dataclass, replace

import numpy as np

from respin.golden.memory import Memory, Outcome
from respin.golden.memory.secded import encode
from respin.rtl.config import AcceleratorConfig, preset
from respin.sim import defects, device, tables
from respin.sim.runner import seed

TINY = replace(preset("tiny"), name="mram_tiny", mram_rows=32, spare_rows=0, watchdog_cycles=1024)
TWO = replace(TINY, name="mram_two", banks=2, ecc_decoders=2, write_scheme="erase_program")
EIGHT = replace(preset("default"), name="mram_eight", mram_rows=16, spare_rows=0, write_retries=2, watchdog_cycles=1024)
CONFIGS = {config.name: config for config in (TINY, TWO, EIGHT)}
SPARED = replace(TINY, name="memory_spared", spare_rows=3, gray_code=True)
SPARED_TWO = replace(TWO, name="memory_two", spare_rows=5, remap_defects=True)
SPARED_EIGHT = replace(EIGHT, name="memory_eight", spare_rows=1)
MAINTAINED = {config.name: config for config in (SPARED, SPARED_TWO, SPARED_EIGHT)}
"""Configurations with spare rows, of which some banks use up all under many faults."""
POWERCUT = replace(TINY, name="powercut", mram_rows=16, spare_rows=2, regions=0)

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
    "rows": (
        tables.FaultRates(write_error=0.02, erase_error=0.02, read_error=1e-4, read_disturb=1e-4),
        defects.DefectRates(stuck_cells=2e-3, weak_cells=0.02),
    ),
}
"""Transient and static faults by name: nothing; what exercises corrections and retries; what also makes writes fail;
rows beyond what the code bears, among others rows 5 and 6 of bank 0."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration under a fault rate: what the bank models and the golden model are given."""

    config: AcceleratorConfig
    table: np.ndarray
    defects: list[np.ndarray]
    weights: np.ndarray
    """Content to begin with, ``int8[usable_rows, 32]``."""

    def golden(self) -> Memory:
        memory = Memory(config=self.config, table=self.table, defects=self.defects)
        memory.preload(0, self.weights)
        return memory


def spoil(defect_map: np.ndarray, row: int) -> None:
    """Make a row of a bank one that holds no data: two columns of each codeword are stuck, one at either state."""
    for codeword in range(4):
        defects.stick(defect_map, row, 40 + codeword, 0)
        defects.stick(defect_map, row, 80 + codeword, 1)


def case(config: AcceleratorConfig, faults: str) -> Case:
    """Draw a case; the same names and seed give the same one."""
    rates, defect_rates = FAULTS[faults]
    name = "erasable" if config.write_scheme == "erase_program" else config.device
    table = tables.fault_table(device.load(name), clock_mhz=config.clock_mhz, seed=seed(), rates=rates)
    maps = [
        defects.draw_defects(config.mram_rows, bank=bank, seed=seed(), rates=defect_rates)
        for bank in range(config.banks)
    ]
    if faults == "rows":
        for row in (5, 6):
            spoil(maps[0], row)
    elif faults != "none":
        defects.kill_strip(maps[0], row=3, strip=17, pattern=0b0110)
        defects.kill_strip(maps[-1], row=4, strip=70, pattern=0b1001)
    weights = np.random.default_rng(seed()).integers(-128, 128, (config.usable_rows, 32), dtype=np.int8)
    return Case(config=config, table=table, defects=maps, weights=weights)


@dataclass(frozen=True, kw_only=True)
class PowercutCase:
    """A small memory, row 5 of which lies on a spare; row 6 bears its own content and not the opposite."""

    table: np.ndarray
    defects: np.ndarray
    weights: np.ndarray
    cells: np.ndarray
    damage: dict[str, tuple[int, int]]
    """A row and its columns with errors on two strips: row 4, or copy 0 of the spare map."""


def powercut_case() -> PowercutCase:
    """Make the case; row 3 has errors on one strip."""
    config = POWERCUT
    table = tables.fault_table(
        device.load(config.device), clock_mhz=config.clock_mhz, seed=seed(), rates=tables.NO_FAULTS
    )
    weights = np.random.default_rng(seed()).integers(-128, 128, (config.usable_rows, 32), dtype=np.int8)
    bears = encode(weights)
    stuck = defects.no_defects(config.mram_rows)
    for row, columns in ((5, 1 - bears[5]), (6, bears[6])):
        for column in (40, 80):
            defects.stick(stuck, row, column, int(columns[column]))
    memory = Memory(config=config, table=table, defects=[stuck])
    memory.preload(0, weights)
    assert memory.write(5, weights[5]).outcome is Outcome.OK
    cells = memory.banks[0].cells
    cells[3, [36, 38]] ^= 1
    damage = {}
    for name, row in (("rows", 4), ("map", config.usable_rows)):
        columns = cells[row].copy()
        columns[[12, 37]] ^= 1
        damage[name] = (row, defects.to_integers(columns[None])[0])
    return PowercutCase(table=table, defects=stuck, weights=weights, cells=cells, damage=damage)
