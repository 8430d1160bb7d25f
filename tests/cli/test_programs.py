# SPDX-License-Identifier: Apache-2.0
"""``respin run`` and ``respin train-rtl`` with a small program on the compiled machine, and what users do wrong."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_backbone import BESIDE, CLASSES, SIDE, small_backbone, small_images
from test_cli import respin

from respin.cli.machine import compiled_machine
from respin.cli.runner import Runner
from respin.firmware_model.compiler import INFER, ROWS_AREA, TRAIN, Compiler
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.machine import Machine
from respin.firmware_model.placement import Placement
from respin.firmware_model.scaling import scaling_of_training
from respin.golden.builder import build_network
from respin.golden.schedule import Schedule
from respin.golden.trainer import TrainingState, train_step
from respin.rtl.config import preset
from respin.sim.compiled import drive
from respin.sim.runner import seed

BATCH = 2
NAMES = ("calm", "ripple", "swell", "wave")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A program file, a folder of pictures by class, the network and the pictures as the files lie in it."""
    folder = tmp_path_factory.mktemp("program")
    compiled_machine(preset("tiny"))  # here, where it may take as long as it takes
    backbone = small_backbone(seed(), beside=(BESIDE[0], BESIDE[2]))
    images = small_images(8, seed())
    network = build_network(backbone, images.images, CLASSES, seed=seed(), batch=BATCH)
    placement = Placement(preset("tiny"), network, (BATCH, 3, SIDE, SIDE), training=True)
    image = replace(
        Compiler(placement).compile(network.initial_parameters()), input_format=backbone.input, classes=NAMES
    )
    image.save(folder / "small.image")
    replace(image, input_format=None).save(folder / "blind.image")
    pictures = folder / "pictures"
    for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        path = pictures / NAMES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    order = sorted(range(len(images)), key=lambda number: (NAMES[images.labels[number]], f"{number}.png"))
    return folder, network, backbone.input.to_integer(images.images[order]), images.labels[order]


def test_run_classifies_as_golden_does(made):
    folder, network, x, labels = made
    done = respin("run", folder / "small.image", "--images", folder / "pictures", "--limit", "5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    want = network.forward(x[:5], network.initial_parameters()).tensors[network.loss.logits].flatten(1)
    assert [row["logits"] for row in found["rows"]] == want.tolist()
    assert [row["class"] for row in found["rows"]] == [NAMES[place] for place in want.argmax(1)]
    assert found["summary"]["right"] == int((want.argmax(1) == labels[:5]).sum())
    assert found["summary"]["labelled"] == found["summary"]["pictures"] == 5


def test_training_learns_what_golden_does(made, tmp_path):
    """The steps of a training whose order is drawn as the command's help says; the weights that it leaves in a file."""
    folder, network, x, labels = made
    steps, learned = 12, tmp_path / "learned.image"
    done = respin(
        "train-rtl", folder / "small.image", "--images", folder / "pictures", "--steps", str(steps),
        "--seed", str(seed()), "--first", "-1", "--last", "-2", "--out", learned, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == steps
    generator, order = torch.Generator().manual_seed(seed()), []
    state = TrainingState.initial(network, seed())
    schedule = Schedule(steps=steps, first=-1, last=-2)
    for step, row in enumerate(rows):
        if len(order) < BATCH:
            order += torch.randperm(len(x), generator=generator).tolist()
        places, order = order[:BATCH], order[BATCH:]
        record = train_step(network, state, x[places], labels[places], log2_rate=schedule.log2_rate(step))
        assert (row["right"], row["log2_rate"]) == (record.correct, schedule.log2_rate(step))
        assert bool(row["rows_written"]) == any(bool(update.move.any()) for update in record.updates.values())
        state = record.after
    placement = Placement(preset("tiny"), network, (BATCH, 3, SIDE, SIDE), training=True)
    want = Compiler(placement).compile(state.parameters, scaling=scaling_of_training(network, state))
    got = ProgramImage.load(learned)
    assert got.bytes_of(ROWS_AREA) == want.bytes_of(ROWS_AREA)
    assert got.bytes_of(ROWS_AREA) != ProgramImage.load(folder / "small.image").bytes_of(ROWS_AREA)
    assert got.classes == NAMES


@pytest.mark.parametrize("program", [INFER, TRAIN])
def test_what_a_machine_is_compiled_twice_by_is_a_run_of_the_program(made, monkeypatch, program):
    """Rehearsed on a machine as it is; afterwards the program runs as if nothing had been."""
    folder, network, x, _ = made
    rehearsed = []

    def fast_machine(config, *, memory, fast_at):
        name, play = fast_at
        machine = compiled_machine(config, memory=memory)
        play(machine)
        rehearsed.append((name, drive(Machine(config, machine).counters())["cycles"]))
        return compiled_machine(config, memory=memory)

    monkeypatch.setattr("respin.cli.runner.compiled_machine", fast_machine)
    runner = Runner.of_file(folder / "small.image", folder / "pictures")
    runner.start(honest=False, fast_at=program)
    ((name, cycles),) = rehearsed
    assert name == program
    want = network.forward(x[:BATCH], network.initial_parameters()).tensors[network.loss.logits].flatten(1)
    assert np.array_equal(runner.infer(x[:BATCH].numpy()), want.numpy())
    # A training step holds an inference, and more.
    assert (cycles > runner.program_cycles()) == (program == TRAIN)


@pytest.mark.parametrize(
    ("command", "program", "pictures", "message"),
    [
        ("run", "none.image", "pictures", "none.image: cannot be read: "),
        ("run", "broken.image", "pictures", "broken.image: is damaged or cut short"),
        ("run", "blind.image", "pictures", "the program does not say how a pixel becomes its input"),
        ("run", "small.image", "nowhere", "nowhere: is no folder"),
        ("run", "small.image", "empty", "empty: holds no picture (.png, "),
        ("train-rtl", "small.image", "stray", "must lie in a folder named by a class: calm, ripple, swell, wave"),
        ("train-rtl", "blind.image", "pictures", "the program does not say how a pixel becomes its input"),
    ],
)
def test_bad_input_gets_one_line(made, command, program, pictures, message):
    folder = made[0]
    (folder / "broken.image").write_bytes((folder / "small.image").read_bytes()[:-9])
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "stray").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(folder / "stray" / "black.png")
    done = respin(command, folder / program, "--images", folder / pictures)
    assert done.returncode == 2
    assert done.stderr.startswith("respin: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_picture(made, tmp_path):
    path = Path(tmp_path) / "calm" / "torn.png"
    path.parent.mkdir()
    path.write_bytes(b"no picture")
    done = respin("run", made[0] / "small.image", "--images", tmp_path)
    assert done.returncode == 2
    assert "torn.png is no image that can be read" in done.stderr.splitlines()[-1]


def test_bench_sim_measures_the_compiled_machine():
    compiled_machine(preset("tiny"))
    done = respin("bench", "sim", "--preset", "tiny", "--simulator", "compiled", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["preset"], row["path"]) == ("tiny", "compiled")
    assert row["cycles_per_second"] > 0


def test_report_measures_what_the_program_says(made, tmp_path):
    """A run's counters agree with the fields of an inference's jobs; energies by hand from the counts."""
    folder, page = made[0], tmp_path / "report.html"
    compiled_machine(preset("tiny"))
    done = respin(
        "report", folder / "small.image", "--run", folder / "pictures", "--steps", "3", "--out", page, "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    infer, train = found["programs"]
    both = {row["event"]: (row["predicted"], row["measured"]) for row in infer["both"]}
    for event in ("rows_read", "engine_cycles", "external_bytes"):
        assert both[event][0] == both[event][1] > 0, event
    (moved,) = (row for row in train["both"] if row["event"] == "external_bytes")
    assert moved["predicted"] == moved["measured"], "what is skipped is fetched all the same"
    predicted, measured = both["cycles"]
    assert 0.9 * measured < predicted < measured, "transfers and the first pass are not in it"
    assert infer["seconds"] == pytest.approx(measured / 100e6)
    for program in (infer, train):
        counts = {term["event"]: term["count"] for term in program["terms"]}
        parts = {row["part"]: row["joules"] for row in program["parts"]}
        assert parts["external memory"] == pytest.approx(counts["external_bytes"] * 244e-12)
        assert parts["store"] == pytest.approx(counts["store_words"] * 80e-12)
        assert parts["background"] == pytest.approx(program["cycles"] * 32 * 0.05e-12), "4 slices of 8 lanes"
        assert sum(parts.values()) == pytest.approx(program["joules"])
        assert program["complete"]
    assert {row["part"]: row["joules"] for row in infer["parts"]}["MRAM writes"] == 0
    seen = found["endurance"]["measured"]
    each_step = {term["event"]: term["count"] for term in train["terms"]}["strips_pulsed"]
    assert seen["pulses"] == pytest.approx(3 * each_step)
    assert seen["years"] == pytest.approx(1e12 / (seen["hottest_pulses_per_step"] * 86400 * 365.25))
    assert seen["years"] > found["endurance"]["years_at_least"], "no strip may be pulsed more than the bound says"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!#)', text), "the page must hold all that it shows"


def test_report_without_a_run_leaves_out_what_it_cannot_know(made, tmp_path):
    """4 slices write a row of a transposed image 8 times, 3 retries each: 32 pulses, 1,000 steps a day."""
    done = respin(
        "report", made[0] / "small.image", "--steps-per-day", "1000", "--out", tmp_path / "report.html", "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    infer, train = found["programs"]
    assert (infer["complete"], train["complete"]) == (True, False)
    assert {row["part"] for row in train["parts"] if row["joules"] is None} == {"MRAM writes"}
    assert all(term["basis"] == "predicted" for term in train["terms"])
    assert found["endurance"]["measured"] is None
    assert found["endurance"]["years_at_least"] == pytest.approx(1e12 / (32 * 1000 * 365.25))
    assert "not known without a run" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.image"], "none.image: cannot be read"),
        (["small.image", "--device", "mine"], "device must be one of default, erasable, scrubbed"),
        (["small.image", "--costs", "none.toml"], "none.toml: cannot be read"),
        (["small.image", "--area", "none.json"], "none.json: cannot be read"),
        (["small.image", "--run", "none"], "none: is no folder"),
        (["small.image", "--out", "small.image/report.html"], "small.image"),
    ],
)
def test_reports_that_cannot_be_made(made, arguments, message):
    done = respin("report", *arguments, cwd=made[0])
    assert done.returncode == 2
    assert done.stderr.startswith("respin: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
