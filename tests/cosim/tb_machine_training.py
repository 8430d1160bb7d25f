# SPDX-License-Identifier: Apache-2.0
"""The digits network as programs on the whole machine: inference and training steps against golden, bit for bit."""

import os

import cocotb
from machine_bench import CONFIG, FOLDER, Notes, start
from network_checks import compare_inference, compare_step, moved

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden import digits
from respin.golden.digits_network import SCHEDULE, build_network
from respin.golden.trainer import TrainingState
from respin.sim.runner import seed

STEPS, BATCH = int(os.environ["MACHINE_STEPS"]), int(os.environ["MACHINE_BATCH"])
FIRST_CLASS = digits.CLASSES


@cocotb.test()
async def training_steps_as_programs(dut):
    """Inference, then steps until every scale is valid and beyond: weights, biases, exponents, shifts and logits."""
    known, task = digits.load_task(0), digits.load_task(FIRST_CLASS)
    backbone = digits.pretrain(known, seed=seed())
    network = build_network(backbone, known.train_images, task.train_images, seed=seed())
    placement = Placement(CONFIG, network, (BATCH, 9, digits.SIDE, digits.SIDE), training=True)
    state = TrainingState.initial(network, seed())
    path = FOLDER / "digits.image"
    Compiler(placement).compile(state.parameters).save(path)
    session = ProgramSession(await start(dut), ProgramImage.load(path), seed=seed())
    await session.provision()
    images = digits.pack_windows(task.train_images)
    await compare_inference(session, network, state.parameters, images[:BATCH])

    notes = Notes(dut)
    dut.stall.value = int(os.environ["MACHINE_STALL"])
    order = digits.batch_indices(len(task.train_labels), steps=STEPS, batch=BATCH, seed=seed())
    valid = moves = 0
    for step, index in enumerate(order):
        batch, log2_rate = (images[index], task.train_labels[index]), SCHEDULE.log2_rate(step)
        record, valid = await compare_step(dut, session, placement, notes, state, batch, log2_rate=log2_rate)
        moves += moved(record)
        state = record.after
    assert valid == len(network.edges), f"{valid} of {len(network.edges)} edges had a valid scale"
    assert moves > 0
