# SPDX-License-Identifier: Apache-2.0
"""Faults of jobs that run beside others: the program ends with the number of the one that had it, and the next runs."""

from dataclasses import replace

import pytest
from random_network import Add, Conv, Module, Plan, build, images_of

from respin.cli.network.trial import Trial
from respin.firmware_model.compiler import INFER
from respin.firmware_model.machine import ProgramError
from respin.rtl.config import preset
from respin.rtl.sequencer.descriptor import Opcode
from respin.sim.compiled import drive

PLAN = Plan(
    channels=19,
    size=(20, 15),
    batch=4,
    steps=(
        Conv(outputs=19, kernel=(4, 14), stride=3, padding=(2, 0, 0, 0), groups=19),
        Conv(outputs=19, kernel=(4, 4), stride=3, padding=(0, 0, 1, 2), groups=19),
        Module(of=2, hidden=5, kernel=5, pool=1),
        Add(of=(2,)),
    ),
    flat=True,
    seed=1,
)
WRONG = [0, 8]
"""Columns of one codeword on two strips: beyond correction."""


def test_a_fault_beside_another_job_is_that_jobs(request: pytest.FixtureRequest) -> None:
    """Each row image is damaged in turn; the first job that reads it is named."""
    if request.config.getoption("--job-slots") != 2:
        pytest.skip("needs a machine with two job slots: --job-slots 2")
    x, labels = images_of(PLAN)
    config = replace(preset("tiny"), job_slots=2)
    trial = Trial.of_network(
        config, build(PLAN), x, labels, batch=PLAN.batch, seed=PLAN.seed, settled=0, say=lambda _: None
    )
    trial.start(honest=True)
    trial.infer()
    descriptors, cells = trial.session.image.descriptors(INFER), trial.machine.cells()
    readers: dict[int, list[int]] = {}
    for number, descriptor in enumerate(descriptors):
        if descriptor.opcode is Opcode.JOB and descriptor.body["read"].get("count"):
            readers.setdefault(descriptor.body["read"].get("base", 0), []).append(number)
    assert any(descriptors[numbers[0]].beside for numbers in readers.values())
    for row, numbers in readers.items():
        damaged = cells[row : row + 1].copy()
        damaged[0, WRONG] ^= 1
        trial.machine.put_cells_without_writing(row, damaged)
        with pytest.raises(ProgramError, match=rf"descriptor {numbers[0]}: JOB UNCORRECTABLE"):
            drive(trial.session.infer(x[: PLAN.batch].numpy()))
        trial.machine.put_cells_without_writing(row, cells[row : row + 1])
    trial.infer()
    assert not trial.comparison.different, trial.comparison.differences
