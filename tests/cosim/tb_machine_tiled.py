# SPDX-License-Identifier: Apache-2.0
"""A network that fits neither store nor table, as programs on the whole machine against golden, bit for bit."""

import os

import cocotb
import torch
from machine_bench import CONFIG, Notes, start
from network_checks import compare_inference, compare_step, moved
from tiled_network import CLASSES, images, tiled_network

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden.trainer import TrainingState
from respin.sim.runner import seed

STEPS, BATCH, STALL = (int(os.environ[f"MACHINE_{name}"]) for name in ("STEPS", "BATCH", "STALL"))
SIZE, WIDE_SIZE = (11, 4), (13, 10)
LOG2_RATE = -2


@cocotb.test()
async def inference_in_bands(dut):
    """Maps of which one alone exceeds the store, and packed windows."""
    network = tiled_network(WIDE_SIZE, seed=seed(), kernel=3, groups=2)
    placement = Placement(CONFIG, network, (BATCH, 6, *WIDE_SIZE), training=False)
    assert placement.inputs == ("first windows",)
    assert not placement.schedule.resident
    assert not placement.table_resident
    image = Compiler(placement).compile(network.initial_parameters())
    session = ProgramSession(await start(dut), image, seed=seed())
    await session.provision()
    dut.stall.value = STALL
    await compare_inference(session, network, network.initial_parameters(), images(BATCH, WIDE_SIZE, seed=seed()))


@cocotb.test()
async def training_in_bands(dut):
    """Steps until every scale is valid and beyond: logits, weights, biases, exponents and shifts."""
    network = tiled_network(SIZE, seed=seed())
    placement = Placement(CONFIG, network, (BATCH, 6, *SIZE), training=True)
    assert not placement.schedule.resident
    assert not placement.table_resident
    state = TrainingState.initial(network, seed())
    session = ProgramSession(await start(dut), Compiler(placement).compile(state.parameters), seed=seed())
    await session.provision()
    notes = Notes(dut)
    dut.stall.value = STALL
    valid = moves = 0
    for step in range(STEPS):
        x = images(BATCH, SIZE, seed=seed() + step)
        labels = torch.tensor([(step + at) % CLASSES for at in range(BATCH)])
        record, valid = await compare_step(dut, session, placement, notes, state, (x, labels), log2_rate=LOG2_RATE)
        moves += moved(record)
        state = record.after
    assert valid == len(network.edges), f"{valid} of {len(network.edges)} edges had a valid scale"
    assert moves > 0
