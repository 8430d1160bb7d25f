# SPDX-License-Identifier: Apache-2.0
"""The golden array and the simulated bank, written apart, agree on every cell over long random runs of commands."""

import numpy as np
import pytest

from respin.golden.memory import Pulse, SasMramArray
from respin.sim.array import Bank, Command
from respin.sim.defects import DefectRates, draw_defects
from respin.sim.device import load
from respin.sim.runner import seed
from respin.sim.tables import FaultRates, fault_table

ROWS = 40
BANK = 5
RATES = {
    "heavy": FaultRates(write_error=0.1, erase_error=0.1, read_error=0.02, read_disturb=0.01, retention=0.02),
    "light": FaultRates(write_error=1e-2, erase_error=1e-3, read_error=1e-3, read_disturb=0, retention=1e-3),
    "disturb": FaultRates(write_error=0, erase_error=0, read_error=0, read_disturb=1e-3, retention=0),
    "none": FaultRates(write_error=0, erase_error=0, read_error=0, read_disturb=0, retention=0),
    "own": FaultRates(),
}


def _pair(device, rates, defective):
    table = fault_table(load(device), clock_mhz=100, seed=seed(), rates=RATES[rates], age_seconds=1e6)
    if rates == "heavy":
        # Every threshold its own value, neighbours far apart: a wrong index shows.
        table[4:7] = [1 << 31, 1 << 30, 1 << 29]  # of the static classes
        table[8:12] = [1 << 24, 5 << 24, 2 << 24, 9 << 24]
        table[32:56] = np.arange(24) * 7 % 24 << 24
        table[112:144] = np.arange(32) * 11 % 32 << 22
        table[160:224] = np.arange(64) * 13 % 64 << 25
        table[8192:] = np.arange(8192, dtype=np.uint64) * 2654435761 % 2**32
    drawn = DefectRates(stuck_cells=1e-2, dead_strips=1e-2, weak_cells=0.1)
    defects = draw_defects(ROWS, bank=BANK, seed=seed(), rates=drawn) if defective else None
    return Bank(ROWS, bank=BANK, table=table, defects=defects), SasMramArray(ROWS, BANK, table, defects)


@pytest.mark.parametrize("defective", [False, True])
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("device", ["scrubbed", "erasable"])
def test_both_arrays_agree(device, rates, defective):
    simulated, golden = _pair(device, rates, defective)
    generator = np.random.default_rng(seed())
    everything = np.arange(ROWS)
    row, strips = 0, np.zeros(72, dtype=np.uint8)
    for number in range(1500):
        command = Command(int(generator.integers(1, 5)))
        if generator.random() < 0.5:
            row = int(generator.integers(ROWS))
        if generator.random() < 0.5:
            strips = (generator.permutation(72) < generator.integers(0, 17)).astype(np.uint8)
        data = generator.integers(0, 2, 288).astype(np.uint8)
        pulse = int(generator.integers(16))
        if command is Command.READ:
            rows = generator.integers(0, ROWS, int(generator.integers(1, 60)))
            seen = [simulated.read(each) for each in rows.tolist()]
            assert (golden.read(rows) == np.array(seen)).all(), number
        else:
            simulated.command(command, row, strips, data, pulse)
            golden.pulse(Pulse(command), row, strips, data, pulse)
        if number % 200 == 100:
            simulated.age()
            golden.age()
        if number % 20 == 10:
            busy = bool(generator.integers(2))
            simulated.cut_power(busy=busy)
            golden.cut(busy=busy)
            everywhere = np.array([simulated.visible(each) for each in everything.tolist()])
            assert (golden.visible(everything) == everywhere).all(), f"power cut after command {number}"
        assert (golden.cells[row] == simulated.cells[row]).all(), f"command {number}: {command!r}"
    assert (golden.cells == simulated.cells).all()
    assert (golden.visible(everything) == np.array([simulated.visible(each) for each in everything])).all()
    assert golden.commands == simulated.commands


def test_one_read_of_many_rows_is_many_reads_of_one():
    """Sequences long enough to be cut, with rows that come again: the cuts must not show."""
    for rates in ("heavy", "disturb", "light"):
        _, together = _pair("scrubbed", rates, True)
        _, apart = _pair("scrubbed", rates, True)
        rows = np.concatenate([np.arange(ROWS)] * 15 + [np.random.default_rng(seed()).integers(0, ROWS, 700)])
        assert (together.read(rows) == np.concatenate([apart.read(rows[i : i + 1]) for i in range(len(rows))])).all()
        assert (together.cells == apart.cells).all()


def test_no_reads_are_no_commands():
    _, golden = _pair("scrubbed", "heavy", False)
    assert golden.read(np.array([], dtype=np.intp)).shape == (0, 288)
    assert golden.commands == 0
