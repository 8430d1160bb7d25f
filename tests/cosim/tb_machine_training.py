# SPDX-License-Identifier: Apache-2.0
"""The digits network as programs on the whole machine: inference and training steps against golden, bit for bit."""

import os

import cocotb
import numpy as np
from machine_bench import CONFIG, FOLDER, Notes, rows, start

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

    notes, first_row = Notes(dut), rows
    dut.stall.value = int(os.environ["MACHINE_STALL"])
    order = digits.batch_indices(len(task.train_labels), steps=STEPS, batch=BATCH, seed=seed())
    valid_edges = moved = 0
    for step, index in enumerate(order):
        rate = SCHEDULE.rate(step)
        labels = task.train_labels[index]
        record = train_step(network, state, images[index], labels, rate=rate)
        notes.forget()
        await session.machine.write_fields("CONTROL", "clear_counters")
        await session.train(images[index].numpy(), labels.tolist(), rate=rate)
        cycles, done = [await session.machine.read(name) for name in ("CYCLES_LOW", "DESCRIPTORS_DONE")]
        dut._log.info(f"step {step}: {cycles} cycles, {done} descriptors")
        want = record.activations.tensors[logits].flatten(1)
        np.testing.assert_array_equal(await session.logits(), want.numpy())
        array = await first_row(dut)
        for layer in network.trained:
            base, count = placement.rows.images[layer.name]
            learned = record.after.parameters[layer.name]
            got = placement.learned_weight(layer.name, array[base : base + count])
            np.testing.assert_array_equal(got.numpy(), learned.weight.numpy(), err_msg=f"{layer.name}, step {step}")
            base, count = placement.rows.images[f"{layer.name} bias"]
            got = placement.learned_bias(layer.name, array[base : base + count])
            np.testing.assert_array_equal(got.numpy(), learned.bias.numpy(), err_msg=f"{layer.name} bias, step {step}")
            for base, image in zip(
                placement.transposed_images(layer.name), placement.transposed_rows(layer, learned.weight.numpy()),
                strict=bool(placement.transposed_images(layer.name)),
            ):  # fmt: skip
                np.testing.assert_array_equal(array[base : base + len(image)], image)
        valid_edges = _compare_edges(network, record, notes)
        moved += sum(int(update.move.count_nonzero()) for update in record.updates.values())
        state = record.after
    assert valid_edges == len(network.edges), f"{valid_edges} of {len(network.edges)} edges had a valid scale"
    assert moved > 0


def _compare_edges(network, record, notes: Notes) -> int:
    """Exponents and shifts of every edge that ran; returns how many had a valid scale."""
    valid = 0
    for edge in network.edges:
        note = notes.by_tensor.get(edge.tensor)
        if edge.name not in record.edges:
            assert note is None or not note["state"]["usable"], edge.name
            continue
        ran = record.edges[edge.name]
        assert note is not None, edge.name
        assert note["state"]["usable"] == ran.before.valid, edge.name
        assert note["measured"] == (ran.result.largest != 0), edge.name
        if note["measured"]:
            assert note["incoming"] == ran.after.exponent, edge.name
        if ran.before.valid:
            valid += 1
            assert note["shift"] == ran.shift, edge.name
            assert note["state"]["exponent"] == ran.result.exponent, edge.name
            assert note["state"]["alive"] == bool(ran.result.error.any()), edge.name
    return valid
