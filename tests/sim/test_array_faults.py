# SPDX-License-Identifier: Apache-2.0
"""The Python bank: a plain memory without faults; with them each mechanism as often as its probability says."""

from dataclasses import replace

import numpy as np
import pytest

from respin.sim.array import Bank, Command, ProtocolError
from respin.sim.defects import (
    HIGH,
    LOW,
    STUCK,
    VALUE,
    DefectRates,
    draw_defects,
    from_integers,
    kill_strip,
    no_defects,
    read_rows,
    to_integers,
    write_rows,
)
from respin.sim.device import load
from respin.sim.draws import Kind
from respin.sim.runner import seed
from respin.sim.tables import (
    DISTURB,
    NO_FAULTS,
    READ_ERROR,
    RETENTION,
    STATIC,
    WRITE_ERROR,
    FaultRates,
    fault_table,
    plain_table,
    threshold,
)

ROWS = 32
ONES = np.ones(288, dtype=np.uint8)


def _bank(device="default", *, defects=None, **rates):
    faults = {**dict.fromkeys(FaultRates.__slots__, 0.0), **rates}
    table = fault_table(load(device), clock_mhz=100, seed=seed(), rates=FaultRates(**faults))
    return Bank(ROWS, table=table, defects=defects)


def _sixteen(start=0):
    mask = np.zeros(72, dtype=np.uint8)
    mask[(start + np.arange(16)) % 72] = 1
    return mask


def _assert_rate(count, trials, probability):
    """Within six standard deviations of the binomial."""
    deviation = np.sqrt(trials * probability * (1 - probability))
    assert abs(count - trials * probability) < 6 * deviation, f"{count} of {trials}, expected {trials * probability:g}"


@pytest.mark.parametrize("table", [plain_table(), fault_table(load("default"), clock_mhz=100, rates=NO_FAULTS)])
def test_without_faults_it_is_a_plain_memory(table):
    bank, mirror = Bank(ROWS, table=table), np.zeros((ROWS, 288), dtype=np.uint8)
    generator = np.random.default_rng(seed())
    for _ in range(500):
        row, mask = int(generator.integers(ROWS)), _sixteen(int(generator.integers(72)))
        data = generator.integers(0, 2, 288).astype(np.uint8)
        bank.write_sas(row, mask, data, int(generator.integers(16)))
        mirror[row] = np.where(np.repeat(mask, 4), data, mirror[row])
        assert (bank.read(row) == mirror[row]).all()
    bank.age()
    assert (bank.cells == mirror).all()
    assert bank.statistics.write_errors == bank.statistics.read_errors == bank.statistics.lost == 0


@pytest.mark.parametrize("probability", [0.2, 1e-2, 1e-3])
def test_write_errors(probability):
    bank = _bank(write_error=probability)
    generator = np.random.default_rng(seed())
    wrong = 0
    for number in range(1000):
        row, data = number % ROWS, generator.integers(0, 2, 288).astype(np.uint8)
        mask = _sixteen(number)
        bank.write_sas(row, mask, data, 0)
        wrong += int((bank.cells[row] ^ data)[np.repeat(mask, 4) == 1].sum())
    assert wrong == bank.statistics.write_errors
    _assert_rate(wrong, 64_000, probability)


def test_write_errors_follow_pulse_pattern_position_and_state():
    bank = _bank()
    for _, pulse, pattern, position, state in ((0, 1, 0b0110, 2, 0), (1, 3, 0b1111, 0, 1)):
        bank.table[WRITE_ERROR:] = 0
        of_class = bank.table[WRITE_ERROR:].reshape(4, -1)
        of_class[:, pulse * 128 + pattern * 8 + position * 2 + state] = 2**32 - 1
        for tried_pulse, tried_pattern, tried_state in np.ndindex(5, 16, 2):
            bank.cells[0] = tried_state
            data = np.tile(np.array([tried_pattern >> place & 1 for place in range(4)], dtype=np.uint8), 72)
            bank.write_sas(0, _sixteen(), data, tried_pulse)
            wrong = (bank.cells[0] ^ data)[:64].reshape(16, 4)
            hit = (tried_pulse, tried_pattern, tried_state) == (pulse, pattern, state)
            assert (wrong == (hit & (np.arange(4) == position))).all()


def test_read_errors_are_transient():
    bank = _bank(read_error=1e-3)
    flips = sum(int(bank.read(number % ROWS).sum()) for number in range(2000))
    assert flips == bank.statistics.read_errors
    _assert_rate(flips, 2000 * 288, 1e-3)
    assert not bank.cells.any()


def test_read_errors_follow_class_position_and_state():
    defects = no_defects(ROWS)
    defects[:, HIGH, 0:96] = 1
    defects[:, LOW, 96:192] = 1
    bank = _bank(defects=defects)
    cell_class = np.repeat([1, 2, 0], 96)
    for wanted in np.ndindex(3, 4, 2):
        bank.table[READ_ERROR : READ_ERROR + 24] = 0
        bank.table[READ_ERROR + wanted[0] * 8 + wanted[1] * 2 + wanted[2]] = 2**32 - 1
        for state in (0, 1):
            bank.cells[1] = state
            hit = (cell_class == wanted[0]) & (np.arange(288) % 4 == wanted[1]) & (state == wanted[2])
            assert ((bank.read(1) ^ state) == hit).all()


def test_read_disturb_stays_in_the_cells():
    bank = _bank(read_disturb=1e-3)
    seen = np.zeros((ROWS, 288), dtype=np.uint8)
    for number in range(2000):
        row = number % ROWS
        assert (bank.read(row) == seen[row]).all()
        seen[row] = bank.cells[row]
    _assert_rate(bank.statistics.disturbed, 2000 * 288, 1e-3)


@pytest.mark.parametrize("device", ["default", "scrubbed"])
def test_a_device_of_its_own_rates_hardly_errs(device):
    bank = Bank(ROWS, table=fault_table(load(device), clock_mhz=100, seed=seed()))
    for number in range(500):
        bank.write_sas(number % ROWS, _sixteen(number), ONES, 0)
        bank.read(number % ROWS)
    assert bank.statistics.write_errors + bank.statistics.read_errors < 12


def test_static_classes_are_as_frequent_as_they_should_be_and_stay():
    bank = Bank(2000, table=fault_table(load("scrubbed"), clock_mhz=100, seed=seed()))
    drawn = {kind: np.stack([bank.static(row, kind) for row in range(2000)]) for kind in (Kind.STABILITY, Kind.CURRENT)}
    for classes in drawn.values():
        for past, share in enumerate((0.158655, 0.0227501, 0.00134990), start=1):
            _assert_rate(int((classes >= past).sum()), classes.size, share)
    both = (drawn[Kind.STABILITY] >= 1) & (drawn[Kind.CURRENT] >= 1)
    _assert_rate(int(both.sum()), both.size, 0.158655**2)
    bank.age()
    bank.write_sas(7, _sixteen(), ONES, 0)
    again = Bank(2000, table=bank.table)
    assert all((again.static(row, kind) == drawn[kind][row]).all() for row in (0, 7, 1999) for kind in drawn)


def test_each_mechanism_follows_the_static_classes():
    """Thresholds of 0 or 1 by class: what fails is exactly the cells of that class."""
    bank = Bank(8, table=fault_table(load("scrubbed"), clock_mhz=100, seed=seed(), rates=NO_FAULTS))
    bank.table[STATIC : STATIC + 3] = [1 << 31, 1 << 30, 1 << 29]  # half, a quarter, an eighth past the edges
    classes = {kind: np.stack([bank.static(row, kind) for row in range(8)]) for kind in (Kind.STABILITY, Kind.CURRENT)}
    assert all(set(np.unique(found)) == {0, 1, 2, 3} for found in classes.values())
    stable, current = classes[Kind.STABILITY], classes[Kind.CURRENT]
    always = 2**32 - 1
    for wanted in range(4):
        bank.table[RETENTION : RETENTION + 4] = np.arange(4) == wanted
        bank.table[RETENTION : RETENTION + 4] *= always
        bank.cells[:] = 0
        bank.age()
        assert (bank.cells == (stable == wanted)).all()
    bank.table[RETENTION : RETENTION + 4] = 0
    for wanted in np.ndindex(4, 4):
        bank.table[DISTURB : DISTURB + 32] = 0
        bank.table[DISTURB + 8 * wanted[0] + 2 * wanted[1]] = always  # state 0
        bank.cells[:] = 0
        bank.read(5)
        assert (bank.cells[5] == ((stable[5] == wanted[0]) & (current[5] == wanted[1]))).all()
    bank.table[DISTURB : DISTURB + 32] = 0
    for wanted in range(4):
        bank.table[WRITE_ERROR:] = 0
        bank.table[WRITE_ERROR + 2048 * wanted : WRITE_ERROR + 2048 * (wanted + 1)] = always
        bank.write_sas(2, _sixteen(), ONES, 0)
        assert (bank.cells[2, :64] == (current[2, :64] != wanted)).all()


def test_retention_loss():
    bank = _bank(retention=1e-2)
    for _ in range(20):
        bank.age()
    _assert_rate(bank.statistics.lost, 20 * ROWS * 288, 1e-2)


def test_sot_without_stt_scrambles_pulsed_strips_only():
    bank = _bank()
    bank.cells[:] = 1
    ones = 0
    for number in range(500):
        mask = _sixteen(number)
        pulsed = np.repeat(mask, 4) == 1
        bank.cells[3] = 1
        bank.sot_only(3, mask, 0)
        assert bank.cells[3][~pulsed].all()
        ones += int(bank.cells[3][pulsed].sum())
    _assert_rate(ones, 500 * 64, 0.5)
    before = bank.cells.copy()
    bank.stt_only(3, _sixteen(), 1 - ONES, 0)
    assert (bank.cells == before).all(), "STT alone does not write"


def test_erase_then_program_on_geometry_y():
    bank, data = _bank("erasable"), np.tile(np.array([1, 0, 0, 1], dtype=np.uint8), 72)
    bank.cells[:] = 1
    mask = _sixteen()
    pulsed = np.repeat(mask, 4) == 1
    bank.stt_only(2, mask, data, 0)
    assert bank.cells[2].all(), "nothing was erased yet"
    bank.sot_only(2, mask, 0)
    assert (bank.cells[2] == ~pulsed).all()
    bank.stt_only(1, mask, data, 0)
    bank.stt_only(2, mask, data, 0)
    assert (bank.cells[2] == ~pulsed).all(), "the erase was of another row, and is used up"
    bank.sot_only(2, mask, 0)
    bank.stt_only(2, np.ones(72, dtype=np.uint8) & _sixteen(8), data, 0)
    assert (bank.cells[2][:32] == 0).all()
    assert (bank.cells[2][32:64] == data[32:64]).all()
    assert bank.cells[2][64:].all()


def test_erase_errors():
    bank = _bank("erasable", erase_error=1e-2)
    left = 0
    for number in range(500):
        bank.sot_only(0, _sixteen(number), 0)
        left += int(bank.cells[0][np.repeat(_sixteen(number), 4) == 1].sum())
    _assert_rate(left, 500 * 64, 1e-2)


def test_stuck_cells_and_dead_strips_hold_against_writes():
    defects = no_defects(ROWS)
    defects[4, STUCK, 10] = 1
    kill_strip(defects, 4, 5, 0b0110)
    bank = _bank(defects=defects)
    for data in (ONES, 1 - ONES):
        bank.write_sas(4, _sixteen(), data, 0)
        expected = np.where(np.arange(288) < 64, data, 0)
        expected[10] = 0
        expected[20:24] = [0, 1, 1, 0]
        assert (bank.read(4) == expected).all()


def test_defects_are_drawn_at_their_rates():
    rates = DefectRates(stuck_cells=1e-3, dead_strips=2e-3, weak_cells=5e-3)
    drawn = draw_defects(2000, bank=1, seed=seed(), rates=rates)
    cells = 2000 * 288
    _assert_rate(drawn[:, HIGH].sum(), cells, 5e-3)
    _assert_rate(drawn[:, LOW].sum(), cells, 5e-3)
    dead = drawn[:, STUCK].reshape(2000, 72, 4).all(axis=2)
    _assert_rate(dead.sum(), 2000 * 72, 2e-3)
    _assert_rate(drawn[:, STUCK].sum() - 4 * dead.sum(), cells, 1e-3)
    _assert_rate(drawn[:, VALUE].sum(), drawn[:, STUCK].sum(), 0.5)
    assert (draw_defects(2000, bank=1, seed=seed(), rates=rates) == drawn).all()
    assert (draw_defects(2000, bank=2, seed=seed(), rates=rates) != drawn).any()


def test_dead_rows_are_drawn_beside_the_other_defects():
    others = DefectRates(stuck_cells=1e-3, dead_strips=2e-3, weak_cells=5e-3)
    without = draw_defects(2000, bank=1, seed=seed(), rates=others)
    drawn = draw_defects(2000, bank=1, seed=seed(), rates=replace(others, dead_rows=0.1))
    dead = drawn[:, STUCK].all(axis=1)
    _assert_rate(dead.sum(), 2000, 0.1)
    _assert_rate(drawn[dead, VALUE].sum(), 288 * dead.sum(), 0.5)
    assert (drawn[~dead] == without[~dead]).all()


def test_forbidden_commands_are_refused():
    bank = _bank()
    with pytest.raises(ProtocolError, match=r"row must be in 0..31, not 32"):
        bank.read(ROWS)
    with pytest.raises(ProtocolError, match="at most 16 set, not 17"):
        bank.write_sas(0, (np.arange(72) < 17).astype(np.uint8), ONES, 0)
    with pytest.raises(ProtocolError, match="command must be READ"):
        bank.command(Command.IDLE, 0, _sixteen(), ONES, 0)
    with pytest.raises(ValueError, match=r"weak_cells must be in 0..0.5, not 0.6"):
        DefectRates(weak_cells=0.6)


def test_the_same_seed_gives_the_same_faults_and_others_do_not():
    results = []
    for bank_number, bank_seed in ((0, 1), (0, 1), (1, 1), (0, 2)):
        table = fault_table(load("default"), clock_mhz=100, seed=bank_seed, rates=FaultRates(read_error=0.1))
        results.append(Bank(ROWS, bank=bank_number, table=table).read(0).tobytes())
    assert results[0] == results[1]
    assert len(set(results)) == 3


def test_rows_survive_their_file(tmp_path):
    rows = np.random.default_rng(seed()).integers(0, 2, (5, 288)).astype(np.uint8)
    write_rows(rows, tmp_path / "rows.hex")
    assert (read_rows(tmp_path / "rows.hex") == rows).all()
    assert (from_integers(to_integers(rows)) == rows).all()
    assert to_integers(rows[:1])[0] & 1 == rows[0, 0]
    assert threshold(0.25) == 2**30
