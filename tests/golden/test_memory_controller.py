# SPDX-License-Identifier: Apache-2.0
"""The golden controller: jobs, refusals, write outcomes and counters in cases that can be counted by hand."""

import numpy as np
import pytest

from respin.golden.memory import Counters, Memory, Outcome, WriteResult
from respin.golden.memory.controller import strip_groups
from respin.golden.memory.secded import encode
from respin.rtl.config import AcceleratorConfig
from respin.sim.defects import kill_strip, no_defects, stick
from respin.sim.device import load
from respin.sim.runner import seed
from respin.sim.tables import NO_FAULTS, FaultRates, fault_table

ROWS = 16
BANKS = 2


def _memory(*, defects=None, rates=NO_FAULTS, write_scheme="sas", **given):
    config = AcceleratorConfig(
        **{"name": "test", "banks": BANKS, "mram_rows": ROWS, "spare_rows": 0, "write_scheme": write_scheme, **given}
    )
    device = load("erasable" if write_scheme == "erase_program" else "default")
    return Memory(config=config, table=fault_table(device, clock_mhz=100, seed=seed(), rates=rates), defects=defects)


def _weights(count=None):
    shape = (32,) if count is None else (count, 32)
    return np.random.default_rng(seed()).integers(-128, 128, shape).astype(np.int8)


def test_strips_are_pulsed_in_groups_of_at_most_sixteen():
    groups = strip_groups()
    assert groups.sum(axis=1).tolist() == [16, 16, 16, 16, 8]
    assert (groups.sum(axis=0) == 1).all()
    assert np.flatnonzero(groups[1])[:4].tolist() == [2, 3, 10, 11]
    assert np.flatnonzero(groups[4]).tolist() == list(range(64, 72))


def test_a_read_job_walks_repeats_tiles_and_rows():
    memory, weights = _memory(), _weights(BANKS * ROWS)
    memory.preload(0, weights)
    order = [*range(4, 7), *range(4, 7), *range(7, 10), *range(7, 10)]
    assert (memory.read(4, 3, tiles=2, repeats=2) == weights[order]).all()
    assert memory.counters == Counters(rows_read=12)
    assert [bank.commands for bank in memory.banks] == [6, 6]


@pytest.mark.parametrize(
    ("base", "count", "repeats", "read", "refused"),
    [(0, 32, 1, 32, 0), (0, 33, 1, 0, 1), (31, 1, 2, 1, 1), (20, 5, 4, 10, 1), (32, 1, 1, 0, 1), (99, 0, 3, 0, 0),
     (9, 3, 0, 0, 0)],
)  # fmt: skip
def test_a_repeat_that_leaves_the_memory_ends_the_job(base, count, repeats, read, refused):
    memory = _memory()
    assert len(memory.read(base, count, repeats=repeats)) == read
    assert memory.counters == Counters(rows_read=read, refused=refused)


@pytest.mark.parametrize(("scheme", "commands"), [("sas", 1), ("erase_program", 2)])
def test_a_write_pulses_only_strips_that_differ(scheme, commands):
    memory, weights = _memory(write_scheme=scheme), _weights(4)
    memory.preload(0, weights)
    changed = weights[3].copy()
    changed[9] ^= 1
    differs = encode(changed) ^ encode(weights[3])
    strips = differs.reshape(72, 4).any(axis=1)
    groups = int((strip_groups() & strips).any(axis=1).sum())
    assert memory.write(3, changed) == WriteResult()
    assert memory.counters == Counters(
        raw_reads=2, row_writes=1, bits_flipped=int(differs.sum()),
        strips_pulsed=commands * int(strips.sum()), pulses=commands * groups,
    )  # fmt: skip
    assert (memory.contents(0, 4)[3] == changed).all()
    assert (memory.contents(0, 3) == weights[:3]).all()


def test_an_unchanged_row_is_not_written():
    memory, weights = _memory(), _weights(4)
    memory.preload(0, weights)
    assert memory.write(2, weights[2]) == WriteResult()
    assert memory.counters == Counters(raw_reads=1, row_writes=1, writes_skipped=1)


def test_a_dead_strip_is_retried_then_accepted_and_corrected():
    defects = [no_defects(ROWS) for _ in range(BANKS)]
    weights = _weights()
    kill_strip(defects[1], 2, 0, 0b1111 ^ sum(int(bit) << place for place, bit in enumerate(encode(weights)[:4])))
    memory = _memory(defects=defects, write_retries=2)
    assert memory.write(5, weights) == WriteResult(outcome=Outcome.DEFECT, defects=4, retries=2)
    assert memory.counters.retries == 2
    assert memory.counters.defects_accepted == 4
    assert (memory.read(5, 1)[0] == weights).all()
    assert (memory.counters.words_corrected, memory.counters.uncorrectable) == (4, 0)


def test_two_stuck_bits_in_a_codeword_fail_the_write():
    defects = [no_defects(ROWS) for _ in range(BANKS)]
    target = encode(np.zeros(32, dtype=np.int8))
    for column in (40, 44):
        stick(defects[0], 0, column, 1 - target[column])
    memory = _memory(defects=defects, write_retries=1)
    assert memory.write(0, np.zeros(32, dtype=np.int8)) == WriteResult(outcome=Outcome.FAILED, retries=1)
    assert (memory.counters.writes_failed, memory.counters.defects_accepted) == (1, 0)
    memory.read(0, 1)
    assert (memory.counters.words_corrected, memory.counters.uncorrectable) == (0, 1)


def test_a_request_out_of_range_is_refused_and_counted():
    memory = _memory()
    assert memory.write(BANKS * ROWS, _weights()).outcome is Outcome.REFUSED
    assert memory.raw_read(BANKS * ROWS) is None
    assert memory.raw_write(BANKS * ROWS, encode(_weights()), np.ones(72, dtype=np.uint8), 0) is Outcome.REFUSED
    assert memory.counters == Counters(refused=3)
    assert [bank.commands for bank in memory.banks] == [0, 0]


def test_raw_accesses_go_past_the_code():
    memory = _memory()
    columns = np.random.default_rng(seed()).integers(0, 2, 288).astype(np.uint8)
    assert memory.raw_write(7, columns, np.ones(72, dtype=np.uint8), 3) is Outcome.OK
    assert (memory.raw_read(7) == columns).all()
    assert memory.counters == Counters(raw_reads=1, pulses=5, strips_pulsed=72)


def test_write_verify_makes_rows_whole_under_heavy_write_errors():
    rates = FaultRates(write_error=1e-2, read_error=0, read_disturb=0)
    memory, weights = _memory(rates=rates, write_retries=6), _weights(BANKS * ROWS)
    for _ in range(4):
        for row, content in enumerate(weights):
            assert memory.write(row, content).outcome is Outcome.OK
        assert (memory.read(0, BANKS * ROWS) == weights).all()
        weights = np.roll(weights, 1, axis=0)
    assert memory.counters.retries > 20
    assert memory.counters.words_corrected == memory.counters.uncorrectable == 0


def test_one_defect_map_a_bank_is_asked_for():
    with pytest.raises(ValueError, match="defects must be one map for each of 2 banks, not 1"):
        _memory(defects=[no_defects(ROWS)])


def test_in_gray_code_a_step_of_one_pulses_a_data_strip_and_three_check_strips():
    memory = _memory(gray_code=True)
    weights = np.zeros(32, dtype=np.int8)
    for value in (127, -128, -1, 0, -1):
        weights[5] = value
        memory.write(1, weights)
        assert (memory.read(1, 1)[0] == weights).all()
    # 0 to 127 is no step; 127 to -128 and -1 to 0 change the highest bit alone, -128 to -1 all but that.
    columns = [memory.raw_read(1)]
    weights[5] = 0
    memory.write(1, weights)
    columns.append(memory.raw_read(1))
    assert np.count_nonzero(columns[0] ^ columns[1]) == 4


@pytest.mark.parametrize("gray", [False, True])
def test_the_march_finds_what_is_stuck_either_way(gray):
    defects = [no_defects(ROWS), no_defects(ROWS)]
    stuck = [(0, 3, 17, 0), (1, 5, 40, 1), (0, 2, 280, 1), (1, 0, 270, 0)]  # bank, row, column, value
    for bank, row, column, value in stuck:
        stick(defects[bank], row, column, value)
    memory = _memory(defects=defects, gray_code=gray, spare_rows=4, remap_defects=True)
    memory.march()
    replaced = [entry & 0x3FFFFF for entry in memory.spares.entries if entry >> 22 == 1]  # rows of the spare's own bank
    assert sorted(replaced) == sorted(row for _, row, *_ in stuck)
    assert not memory.contents(0, memory.config.usable_rows).any()
