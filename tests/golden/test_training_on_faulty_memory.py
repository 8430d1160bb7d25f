# SPDX-License-Identifier: Apache-2.0
"""Training whose weights live in golden's memory: with faults that it bears nothing changes, past that it says what."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from respin.golden.digits import batch_indices, pack_windows
from respin.golden.digits_network import BATCH
from respin.golden.memory import Memory, Outcome
from respin.golden.memory.secded import encode
from respin.golden.network import Parameters
from respin.golden.trainer import TrainingState, train_step
from respin.rtl.config import AcceleratorConfig
from respin.sim.defects import VALUE, DefectRates, draw_defects, stick
from respin.sim.device import load
from respin.sim.runner import seed
from respin.sim.tables import NO_FAULTS, FaultRates, fault_table

STEPS = 24
LOG2_RATE = -6
BANKS = 2


@dataclass
class Run:
    """A run's memory and last state, and the rows whose last write was reported as failed."""

    memory: Memory
    rows: np.ndarray
    lost: set[int] = field(default_factory=set)


def _to_rows(parameters):
    content = b"".join(
        tensor.numpy().tobytes() for each in parameters.values() for tensor in (each.weight, each.bias)
    )
    return np.frombuffer(content.ljust(-(-len(content) // 32) * 32, b"\0"), dtype=np.int8).reshape(-1, 32)


def _from_rows(rows, like):
    content, start, found = torch.from_numpy(rows.reshape(-1).copy()), 0, {}
    for name, each in like.items():
        tensors = []
        for tensor in (each.weight, each.bias):
            tensors.append(content[start : start + tensor.numel()].reshape(tensor.shape))
            start += tensor.numel()
        found[name] = Parameters(weight=tensors[0], bias=tensors[1])
    return found


def _train(demonstration, *, rates=NO_FAULTS, defects=None):
    """Each step reads what it learns from the memory, and writes the rows that it changed.

    Rows reported as lost are kept beside the memory.
    """
    network, task = demonstration.network, demonstration.new
    images = pack_windows(task.train_images)
    state = TrainingState.initial(network, seed())
    content = _to_rows(state.parameters)
    config = AcceleratorConfig(name="test", banks=BANKS, mram_rows=256, spare_rows=8)
    assert len(content) <= config.usable_rows
    table = fault_table(load("default"), clock_mhz=100, seed=seed(), rates=rates)
    run = Run(memory=Memory(config=config, table=table, defects=defects), rows=content)

    def write(row, weights):
        outcome = run.memory.write(row, weights).outcome
        (run.lost.add if outcome is Outcome.FAILED else run.lost.discard)(row)

    for row, weights in enumerate(content):
        write(row, weights)
    for index in batch_indices(len(task.train_labels), steps=STEPS, batch=BATCH, seed=seed()):
        read = run.memory.read(0, len(content))
        kept = sorted(run.lost)
        read[kept] = run.rows[kept]
        state = TrainingState(
            step=state.step, seed=state.seed, parameters=_from_rows(read, state.parameters), scales=state.scales,
            step_scales=state.step_scales,
        )  # fmt: skip
        state = train_step(network, state, images[index], task.train_labels[index], log2_rate=LOG2_RATE).after
        run.rows = _to_rows(state.parameters)
        for row in np.flatnonzero((run.rows != read).any(axis=1)).tolist():
            write(row, run.rows[row])
    return run


@pytest.fixture(scope="module")
def fault_free(demonstration):
    return _train(demonstration)


def test_training_moves_many_rows(demonstration, fault_free):
    initial = _to_rows(demonstration.network.initial_parameters())
    assert (fault_free.rows != initial).any(axis=1).sum() > len(initial) // 4
    assert fault_free.memory.counters.words_corrected == fault_free.memory.counters.retries == 0


def _defects(rates):
    return [draw_defects(256, bank=bank, seed=seed(), rates=rates) for bank in range(BANKS)]


def test_faults_that_code_and_spares_bear_change_nothing(demonstration, fault_free):
    """Write errors 1e-2, read flips, stuck cells 1e-4, dead strips; rows 3 and 40 are dead, row 7 has a wrong bit.

    Flips are so rare that in one of some hundred seeds one meets a stuck cell's codeword.
    """
    defects = _defects(DefectRates(stuck_cells=1e-4, dead_strips=1e-4))
    first = encode(_to_rows(demonstration.network.initial_parameters())[7])
    stick(defects[7 % BANKS], 7 // BANKS, 0, 1 - first[0])
    for row in (3, 40):
        defects[row % BANKS][row // BANKS] = 1
        defects[row % BANKS][row // BANKS, VALUE, ::3] = 0
    run = _train(demonstration, rates=FaultRates(write_error=1e-2, read_error=5e-7), defects=defects)
    counters = run.memory.counters
    assert counters.retries > 0
    assert counters.words_corrected > 0
    assert all(run.memory.spares.place(row) != row for row in (3, 40))
    assert counters.uncorrectable == 0
    assert not run.lost
    assert (run.rows == fault_free.rows).all()


def test_past_the_spares_all_that_is_lost_was_reported(demonstration, fault_free):
    """Of a fifth of the rows dead more than the spares take: with the reported ones kept elsewhere nothing changes."""
    run = _train(demonstration, defects=_defects(DefectRates(dead_rows=0.2)))
    in_memory = run.memory.contents(0, len(run.rows))
    differ = np.flatnonzero((in_memory != run.rows).any(axis=1)).tolist()
    assert differ
    assert set(differ) <= run.lost
    assert (run.rows == fault_free.rows).all()
