# SPDX-License-Identifier: Apache-2.0
"""A random network as programs on the whole machine against golden: inference, and steps that begin without scales."""

import pickle

import cocotb
from machine_bench import CONFIG, FOLDER, Notes, start
from network_checks import compare_inference, compare_step
from random_network import build, images_of

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.machine import ProgramSession
from respin.firmware_model.placement import Placement
from respin.golden.trainer import TrainingState

STEPS = 2
LOG2_RATE = -2


@cocotb.test()
async def a_random_network(dut):
    plan = pickle.loads((FOLDER / "plan").read_bytes())
    dut._log.info(f"{plan}")
    network = build(plan)
    images, labels = images_of(plan)
    placement = Placement(CONFIG, network, (plan.batch, *images.shape[1:]), training=True)
    state = TrainingState.initial(network, plan.seed)
    session = ProgramSession(await start(dut), Compiler(placement).compile(state.parameters), seed=plan.seed)
    await session.provision()
    await compare_inference(session, network, state.parameters, images[: plan.batch])
    notes = Notes(dut)
    batches = zip(images.split(plan.batch), labels.split(plan.batch), strict=True)
    for _, batch in zip(range(STEPS), batches, strict=False):
        record, _ = await compare_step(dut, session, placement, notes, state, batch, log2_rate=LOG2_RATE)
        state = record.after
