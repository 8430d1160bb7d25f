# SPDX-License-Identifier: Apache-2.0
"""The digits network as programs on the whole machine: inference and training steps against golden, bit for bit."""

import os

import cocotb
import numpy as np
from machine_bench import CONFIG, FOLDER, Notes, rows, start
from network_checks import compare_edges, compare_learned

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden import digits
from respin.golden.digits_network import SCHEDULE, build_network
from respin.golden.trainer import TrainingState, train_step
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
    x = images[:BATCH]
    logits = network.loss.logits
    want = network.forward(x, state.parameters).tensors[logits].flatten(1)
    np.testing.assert_array_equal(await session.infer(x.numpy()), want.numpy())

    notes = Notes(dut)
    dut.stall.value = int(os.environ["MACHINE_STALL"])
    order = digits.batch_indices(len(task.train_labels), steps=STEPS, batch=BATCH, seed=seed())
    valid_edges = moved = 0
    for step, index in enumerate(order):
        log2_rate = SCHEDULE.log2_rate(step)
        labels = task.train_labels[index]
        record = train_step(network, state, images[index], labels, log2_rate=log2_rate)
        notes.forget()
        await session.machine.write_fields("CONTROL", "clear_counters")
        await session.train(images[index].numpy(), labels.tolist(), log2_rate=log2_rate)
        cycles, done = [await session.machine.read(name) for name in ("CYCLES_LOW", "DESCRIPTORS_DONE")]
        dut._log.info(f"step {step}: {cycles} cycles, {done} descriptors")
        want = record.activations.tensors[logits].flatten(1)
        np.testing.assert_array_equal(await session.logits(), want.numpy())
        compare_learned(placement, record.after.parameters, await rows(dut), step)
        valid_edges = compare_edges(network, record, notes)
        moved += sum(int(update.move.count_nonzero()) for update in record.updates.values())
        state = record.after
    assert valid_edges == len(network.edges), f"{valid_edges} of {len(network.edges)} edges had a valid scale"
    assert moved > 0
