# SPDX-License-Identifier: Apache-2.0
"""The smallest module that learns, as programs on a machine: provisioned pulse by pulse and trained against golden."""

import os

import cocotb
from machine_bench import CONFIG, Notes, start
from network_checks import compare_inference, compare_step

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden import digits
from respin.golden.small_module import small_module
from respin.golden.trainer import TrainingState
from respin.sim.runner import seed

STEPS, BATCH = int(os.environ["MACHINE_STEPS"]), int(os.environ["MACHINE_BATCH"])
LOG2_RATE = 0
"""The largest learning rate there is: weights move from the first gradient on."""


@cocotb.test()
async def a_module_that_learns(dut):
    """Steps until each trained tensor moves: logits, weights, biases, exponents, shifts; then inference."""
    task = digits.load_task(digits.CLASSES)
    network = small_module(task.train_images, seed=seed())
    placement = Placement(CONFIG, network, (BATCH, *task.train_images.shape[1:]), training=True)
    state = TrainingState.initial(network, seed())
    session = ProgramSession(await start(dut), Compiler(placement).compile(state.parameters), seed=seed())
    await session.provision()
    notes = Notes(dut)
    valid, moves = 0, {}
    for index in digits.batch_indices(len(task.train_labels), steps=STEPS, batch=BATCH, seed=seed()):
        batch = task.train_images[index], task.train_labels[index]
        record, valid = await compare_step(dut, session, placement, notes, state, batch, log2_rate=LOG2_RATE)
        moves = {name: int(update.move.count_nonzero()) for name, update in record.updates.items()}
        dut._log.info(f"moved: {moves}")
        state = record.after
    await compare_inference(session, network, state.parameters, task.test_images[:BATCH])
    assert valid == len(network.edges), f"{valid} of {len(network.edges)} edges had a valid scale"
    assert len(moves) == 2 * len(network.trained), moves
    assert all(moves.values()), moves
