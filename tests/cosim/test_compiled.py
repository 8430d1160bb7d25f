# SPDX-License-Identifier: Apache-2.0
"""The compiled machine: a backbone of inverted residuals with Rep-Net modules, every tensor against golden."""

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_backbone import BESIDE, CLASSES, small_backbone, small_images

from respin.cli.machine import compiled_machine, provision_without_writing, rows_of
from respin.cli.network.trial import Trial
from respin.firmware_model.compiler import INFER, PROVISION
from respin.firmware_model.machine import Machine, ProgramSession
from respin.golden.builder import build_network
from respin.rtl.config import preset
from respin.sim.compiled import CompiledMachine, Rehearsal, build_library, drive
from respin.sim.runner import seed
from respin.sim.transport import TransportError

CONFIG = preset("tiny")
"""One machine for all of them: it is compiled once."""
BATCH = 2
SETTLED = 4
CYCLES = 100
COUNTER = """
`timescale 1ns / 1ps
module counter (
    input wire clk,
    input wire rst,
    input wire down,
    output wire [7:0] count
);
    reg [7:0] value;
    assign count = value;
    always @(posedge clk) value <= rst ? 8'd0 : down ? value - 8'd1 : value + 8'd1;
endmodule
"""


@pytest.fixture(scope="module")
def machine() -> CompiledMachine:
    return compiled_machine(CONFIG)


@pytest.fixture(scope="module")
def trial() -> Trial:
    backbone, images = small_backbone(seed(), beside=(BESIDE[0], BESIDE[2])), small_images(64, seed())
    network = build_network(backbone, images.images, CLASSES, seed=seed(), batch=BATCH)
    x = backbone.input.to_integer(images.images)
    made = Trial.of_network(
        CONFIG, network, x, images.labels, batch=BATCH, seed=seed(), settled=SETTLED, say=print
    )  # fmt: skip
    made.start(honest=True)
    return made


def test_every_tensor_of_a_network_that_learns(trial):
    """Written by the program, inference and two steps with every edge; then a difference that must be found. Stem and
    first module read packed windows."""
    assert trial.placement.inputs == ("stem windows", "block1.rep.first windows")
    array = rows_of(trial.machine)
    trial.infer()
    rows = [trial.train() for _ in range(2)]
    compared = trial.comparison
    assert compared.different == 0, compared.differences
    assert all(row["edges_run"] == len(trial.network.edges) for row in rows)
    assert compared.tensors > 3 * len(trial.network.layers) + 2 * len(trial.network.edges)
    for row in rows:
        assert sum(part["cycles"] for part in row["parts"]) == row["cycles"]
        operations = row["operations"]
        assert 0 < row["cycles"] - sum(operation["cycles"] for operation in operations) < 1000, "all but the end"
        assert all(operation["first_pass"] == 0 for operation in operations[1:])
        assert operations[0]["first_pass"] > 0
        # Jobs take what is predicted, but for rows that updates rewrite.
        steady = [operation for operation in operations if operation["stage"] == "forward"]
        rewritten = sum(operation["rewrites"] for operation in steady)
        assert abs(rewritten) < 0.02 * sum(operation["cycles"] for operation in steady)
    assert (rows_of(trial.machine) != array).any(), "no weight has moved"

    other = rows_of(trial.machine)
    fresh = compiled_machine(CONFIG)
    session = ProgramSession(Machine(CONFIG, fresh), trial.session.image, seed=seed())
    provision_without_writing(session, fresh)
    np.testing.assert_array_equal(rows_of(fresh), array)
    assert (other != array).any()

    x, _ = trial.batch_of(trial.state.step)
    want = trial.network.forward(x, trial.state.parameters)
    name = trial.network.loss.logits
    wrong = want.tensors[name].clone()
    wrong[1, 0, 0, 0] ^= 1
    watcher = trial._watch(INFER, replace(want, tensors=want.tensors | {name: wrong}))
    trial._run(INFER, watcher, lambda: drive(trial.session.infer(x.numpy())))
    assert compared.different == 1
    assert compared.differences[0].startswith(f"{name}: 1 of ")


def test_memory_and_registers_refuse_what_is_not_there(machine):
    outside = ((16, 32, "address must be"), (0, 33, "count must be"), (1 << 25, 32, "memory ends"))
    for address, count, message in outside:
        with pytest.raises(ValueError, match=message):
            drive(machine.read_memory(address, count))
    with pytest.raises(TransportError, match="a read of register 0xffc was refused"):
        drive(machine.read_register(0xFFC))
    with pytest.raises(ValueError, match="share must be in 0..255, not 256"):
        machine.stall(256)
    with pytest.raises(ValueError, match="words must lie in 0..1023, not 1020..1024"):
        machine.store_words(1020, 5)
    with pytest.raises(ValueError, match="rows must lie in 0..2047, not 2047..2048"):
        machine.put_cells_without_writing(2047, np.zeros((2, 288), dtype=np.uint8))


def test_a_wait_that_is_too_long(machine):
    waiting = CompiledMachine(machine.library, CONFIG, limit_cycles=1000)
    waiting.reset()
    before = waiting.cycles
    with pytest.raises(TransportError, match="no interrupt within 1000 cycles"):
        drive(waiting.wait_interrupt())
    assert waiting.cycles == before + 1000
    waiting.close()


def test_memory_that_pauses_changes_cycles_and_nothing_else(trial, machine):
    """The same inference with a share of waits on each channel of external memory."""
    session = ProgramSession(Machine(CONFIG, machine), trial.session.image, seed=seed())
    provision_without_writing(session, machine)
    x = trial.batch_of(trial.state.step)[0].numpy()
    found, cycles = [], []
    for share in (0, 100):
        machine.stall(share)
        first = machine.cycles
        found.append(torch.from_numpy(drive(session.infer(x))))
        cycles.append(machine.cycles - first)
    machine.stall(0)
    assert torch.equal(*found)
    assert cycles[1] > cycles[0]
    assert PROVISION in session.image.programs


def test_a_library_is_compiled_again_by_its_rehearsal(tmp_path, monkeypatch):
    """Counts are of the rehearsal, written before the second compilation; what is built once is not rehearsed again."""
    monkeypatch.setenv("RESPIN_BUILD", str(tmp_path))
    played, texts, harness = [], {"counter.v": COUNTER}, Path(__file__).with_name("counted.cpp")

    def play(library: Path) -> None:
        assert not list(library.parent.glob("*.gcda"))
        played.append((library, _count(library)))

    for _ in range(2):
        library = build_library(
            "counted", texts, "counter", harness=harness, rehearsal=Rehearsal(name="count", play=play)
        )
    ((counting, count),) = played
    assert counting != library
    assert count == _count(library) == CYCLES + 1
    assert list(library.parent.glob("*.gcda"))


def _count(library: Path) -> int:
    """What the counter has counted after :data:`CYCLES` cycles and the reset's last one."""
    return ctypes.CDLL(str(library)).respin_count(ctypes.c_uint64(CYCLES))
