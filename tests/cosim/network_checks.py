# SPDX-License-Identifier: Apache-2.0
"""What a training step left in the machine against what golden's did."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from machine_bench import Notes, rows
from torch import Tensor

from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden.network import IntegerNetwork, Parameters
from respin.golden.trainer import StepRecord, TrainingState, train_step


async def compare_inference(
    session: ProgramSession, network: IntegerNetwork, learned: Mapping[str, Parameters], x: Tensor
) -> None:
    """Run a batch through the machine and through golden: the logits."""
    want = network.forward(x, learned).tensors[network.loss.logits].flatten(1)
    np.testing.assert_array_equal(await session.infer(x.numpy()), want.numpy())


async def compare_step(
    dut: Any,
    session: ProgramSession,
    placement: Placement,
    notes: Notes,
    state: TrainingState,
    batch: tuple[Tensor, Tensor],
    *,
    log2_rate: int,
) -> tuple[StepRecord, int]:
    """Take a training step in golden and in the machine: logits, what is learned, exponents and shifts.

    Returns golden's record, and how many edges had a valid scale.
    """
    x, labels = batch
    network = placement.network
    record = train_step(network, state, x, labels, log2_rate=log2_rate)
    notes.forget()
    await session.machine.write_fields("CONTROL", "clear_counters")
    await session.train(x.numpy(), labels.tolist(), log2_rate=log2_rate)
    cycles, done = [await session.machine.read(name) for name in ("CYCLES_LOW", "DESCRIPTORS_DONE")]
    dut._log.info(f"step {state.step}: {cycles} cycles, {done} descriptors")
    want = record.activations.tensors[network.loss.logits].flatten(1)
    np.testing.assert_array_equal(await session.logits(), want.numpy())
    compare_learned(placement, record.after.parameters, await rows(dut), state.step)
    return record, compare_edges(network, record, notes)


def moved(record: StepRecord) -> int:
    """How many weights and biases moved in a step."""
    return sum(int(update.move.count_nonzero()) for update in record.updates.values())


def compare_learned(placement: Placement, learned: Mapping[str, Parameters], array: np.ndarray, step: int) -> None:
    """Weights, biases and transposed images in the rows of the array (rows, 32)."""
    for layer in placement.network.trained:
        want = learned[layer.name]
        base, count = placement.rows.images[layer.name]
        got = placement.learned_weight(layer.name, array[base : base + count])
        np.testing.assert_array_equal(got.numpy(), want.weight.numpy(), err_msg=f"{layer.name}, step {step}")
        base, count = placement.rows.images[f"{layer.name} bias"]
        got = placement.learned_bias(layer.name, array[base : base + count])
        np.testing.assert_array_equal(got.numpy(), want.bias.numpy(), err_msg=f"{layer.name} bias, step {step}")
        if starts := placement.transposed_images(layer.name):
            for base, image in zip(starts, placement.transposed_rows(layer, want.weight.numpy()), strict=True):
                np.testing.assert_array_equal(array[base : base + len(image)], image)


def compare_edges(network: IntegerNetwork, record: StepRecord, notes: Notes) -> int:
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
