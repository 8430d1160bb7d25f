# SPDX-License-Identifier: Apache-2.0
"""A network learns in its working slot, commits, loses power, and is what it was at the commit, bit for bit."""

import numpy as np
import pytest
import torch
from small_backbone import BESIDE, CLASSES, small_backbone, small_images

from respin.cli.machine import compiled_machine, rows_of
from respin.firmware_model.compiler import ROWS_AREA, Compiler
from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.machine import Machine, ProgramError, ProgramSession
from respin.firmware_model.memory import Memory, ProcedureError
from respin.firmware_model.placement import SCALING, Placement
from respin.firmware_model.scaling import Scaling, scaling_of_rows, scaling_of_training
from respin.golden.builder import build_network
from respin.golden.network import Parameters
from respin.golden.ops import DelayedScale
from respin.golden.trainer import TrainingState, train_step
from respin.rtl.config import preset
from respin.rtl.mram.keeper_ports import KeeperError
from respin.rtl.mram.regions import RegionTable
from respin.rtl.ports import Fault
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.errors import ErrorCode
from respin.sim.compiled import drive
from respin.sim.runner import seed

CONFIG = preset("tiny")
BATCH, SETTLED, RATE = 2, 2, -4
TASK = 3


def test_a_training_that_loses_power() -> None:
    backbone, images = small_backbone(seed(), beside=(BESIDE[2],)), small_images(64, seed())
    network = build_network(backbone, images.images, CLASSES, seed=seed(), batch=BATCH)
    inputs = backbone.input.to_integer(images.images)

    def batch(state: TrainingState) -> tuple[torch.Tensor, torch.Tensor]:
        first = state.step * BATCH
        return inputs[first : first + BATCH], images.labels[first : first + BATCH]

    golden = TrainingState.initial(network, seed(), scale=DelayedScale(valid=True))
    for _ in range(SETTLED):
        golden = train_step(network, golden, *batch(golden), log2_rate=RATE).after

    placement = Placement(CONFIG, network, (BATCH, *inputs.shape[1:]), training=True, task=TASK)
    backbone_region, region = placement.regions
    image = Compiler(placement, base=0x1000).compile(golden.parameters, scaling=scaling_of_training(network, golden))
    simulation = compiled_machine(CONFIG)
    machine = Machine(CONFIG, simulation)
    memory, session = Memory(machine), ProgramSession(machine, image, seed=seed(), step=golden.step)

    def learned(slot: int) -> dict[str, np.ndarray]:
        """Trained weights and biases of a slot, as they lie in the array."""
        array, moved, found = rows_of(simulation), slot * region.slot_rows, {}
        for layer in network.trained:
            for name, take in ((layer.name, placement.learned_weight), (f"{layer.name} bias", placement.learned_bias)):
                base, count = placement.rows.images[name]
                found[name] = take(layer.name, array[base + moved : base + moved + count]).numpy()
        return found

    def saved(slot: int) -> dict[int, Scaling]:
        """The scales that lie in a slot."""
        base, count = placement.rows.images[SCALING]
        first = base + slot * region.slot_rows
        return scaling_of_rows(rows_of(simulation)[first : first + count])

    def same(slot: int, parameters: dict[str, Parameters]) -> bool:
        rows = learned(slot)
        return all(
            (rows[layer.name] == parameters[layer.name].weight.numpy()).all()
            and (rows[f"{layer.name} bias"] == parameters[layer.name].bias.numpy()).all()
            for layer in network.trained
        )

    def train() -> TrainingState:
        x, labels = batch(golden)
        drive(session.train(x.numpy(), labels.tolist(), log2_rate=RATE))
        return train_step(network, golden, x, labels, log2_rate=RATE).after

    def logits_are_goldens(state: TrainingState) -> bool:
        x, _ = batch(state)
        want = network.forward(x, state.parameters).tensors[network.loss.logits].flatten(1).numpy()
        return bool((drive(session.infer(x.numpy())) == want).all())

    drive(memory.format(RegionTable(regions=placement.regions, active_task=TASK), scratch=0x0))
    with pytest.raises(ProgramError, match="ROW LOCKED"):
        drive(session.provision())
    drive(memory.begin())
    drive(session.provision())
    drive(memory.commit())
    drive(memory.lock(0))
    given = golden
    assert same(0, given.parameters)
    assert saved(0) == scaling_of_training(network, given)

    # Nothing of a training without a working slot.
    x, labels = batch(golden)
    with pytest.raises(ProgramError) as refused:
        drive(session.train(x.numpy(), labels.tolist(), log2_rate=RATE))
    assert (refused.value.code, refused.value.info) == (ErrorCode.JOB, Fault.LOCKED.value)
    assert same(0, given.parameters)
    with pytest.raises(ProgramError, match="ROW LOCKED"):
        drive(session.save())
    drive(session.resume())

    drive(memory.begin())
    golden = train()
    assert same(1, golden.parameters)
    assert same(0, given.parameters)
    assert saved(1) == scaling_of_training(network, given)
    drive(session.save())
    assert saved(1) == scaling_of_training(network, golden)
    drive(machine.run(*commit_program(simulation, image.base + image.memory)))
    committed = golden
    assert drive(memory.state()).version == 2
    with pytest.raises(ProgramError, match="MEMORY ORDER"):
        drive(machine.run(*commit_program(simulation, image.base + image.memory)))

    drive(memory.begin())
    golden = train()
    assert same(0, golden.parameters)
    assert not same(0, committed.parameters)
    simulation.cut_power()

    state = drive(memory.state())
    assert (state.formatted, state.committed, state.version, state.training, state.slot) == (True, True, 2, False, 1)
    assert same(state.slot, committed.parameters)
    drive(session.resume())
    assert logits_are_goldens(committed)

    # The version before went when the training began; without one it would be there.
    with pytest.raises(ProcedureError, match="rollback: CONTENT"):
        drive(memory.rollback())
    drive(memory.begin())
    drive(memory.commit())
    drive(memory.rollback())
    state = drive(memory.state())
    assert (state.version, state.slot) == (2, 1)
    drive(session.resume())
    assert logits_are_goldens(committed)

    # Training goes on from the commit as if nothing had been, with the scales that were measured by then.
    drive(memory.begin())
    golden, session.step = committed, committed.step
    golden = train()
    assert same(0, golden.parameters)
    drive(session.save())
    assert saved(0) == scaling_of_training(network, golden)
    drive(memory.rollback())
    drive(memory.lock(1))
    with pytest.raises(ProcedureError) as locked:
        drive(memory.begin())
    assert locked.value.error is KeeperError.LOCKED
    frozen = rows_of(simulation)[backbone_region.start + 1 : backbone_region.end]
    first = image.areas[ROWS_AREA].address - image.base
    written = np.frombuffer(image.content, dtype=np.int8, count=frozen.size, offset=first)
    assert (frozen == written.reshape(frozen.shape)).all()


def commit_program(simulation, address: int) -> tuple[int, int]:
    """Put a program that commits into external memory."""
    address += -address % 256
    made = [Descriptor(opcode=Opcode.COMMIT), Descriptor(opcode=Opcode.END)]
    drive(simulation.write_memory(address, pack_program(CONFIG, made, row_count=1)))
    return address, len(made)
