# SPDX-License-Identifier: Apache-2.0
"""Program images of the digits network: what is in them, files, and what cannot be compiled or loaded."""

import zlib
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest

from respin.firmware_model.compiler import (
    INFER,
    PROVISION,
    ROWS_AREA,
    SAVE,
    TRAIN,
    Compiler,
    require_whole_reads,
)
from respin.firmware_model.descriptors import Descriptor, read_header
from respin.firmware_model.image import Area, ImageError, ProgramImage
from respin.firmware_model.job_parts import Randomness
from respin.firmware_model.machine import Machine, ProgramError, ProgramSession
from respin.firmware_model.placement import SCALING, Placement
from respin.firmware_model.program import EdgeState, Program
from respin.firmware_model.scaling import Scaling, scaling_of_rows
from respin.firmware_model.storage import CapacityError
from respin.golden import digits
from respin.golden.backbones import InputFormat
from respin.golden.digits_network import build_network
from respin.golden.network import FanInEdge
from respin.rtl.config import preset
from respin.rtl.jobs import Pass
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.errors import ErrorCode
from respin.rtl.sequencer.scaling import scaling_rows
from respin.sim.compiled import drive

CONFIG = preset("tiny")


@cache
def network():
    known, task = digits.load_task(0), digits.load_task(digits.CLASSES)
    backbone = digits.pretrain(known, seed=1)
    return build_network(backbone, known.train_images, task.train_images, seed=1)


def placement(config=CONFIG, *, training=True):
    return Placement(config, network(), (2, 9, digits.SIDE, digits.SIDE), training=training)


@cache
def image(base: int = 0, *, training: bool = True) -> ProgramImage:
    return Compiler(placement(training=training), base).compile(network().initial_parameters())


def descriptors(of: ProgramImage, program: str) -> list[Descriptor]:
    content = of.bytes_of(program)
    return [Descriptor.unpack(content[at : at + 256]) for at in range(256, len(content), 256)]


def test_the_training_program_has_all_of_a_step():
    step = descriptors(image(), TRAIN)
    net = network()
    edges = [descriptor for descriptor in step if "first" in descriptor.flags]
    assert [edge.tensor for edge in edges] == [edge.tensor for edge in net.edges]
    assert [edge.tensor for edge in edges if "fan_in" in edge.flags] == [
        edge.tensor for edge in net.edges if isinstance(edge, FanInEdge)
    ]
    last = [descriptor for descriptor in step if descriptor.kind is Pass.GRADIENT and "last" in descriptor.flags]
    assert len(last) == len(net.gradients)
    assert [d.opcode for d in step].count(Opcode.BIASES) == len(net.gradients)
    assert step[-1].opcode is Opcode.END
    assert read_header(image().bytes_of(TRAIN)[:256])["count"] == image().count(TRAIN) == len(step)


def test_a_program_may_write_what_it_trains_and_nothing_else():
    place = placement()
    windows = {
        name: (header["row_first"], header["row_first"] + header["row_count"])
        for name in image().programs
        if (header := read_header(image().bytes_of(name)[:256]))
    }
    assert windows[PROVISION] == (0, place.rows.used)
    assert windows[INFER] == (0, 0)
    first, end = windows[TRAIN]
    trained = [place.rows.images[layer.name] for layer in network().trained]
    assert min(base for base, _ in trained) == first
    assert max(base + rows for base, rows in trained) <= end < place.rows.used + 1
    assert all(base + rows <= first for name, (base, rows) in place.rows.images.items() if name == "stem")
    assert windows[SAVE] == (end, end + scaling_rows(CONFIG)) == (end, place.rows.used)
    saves, ends = descriptors(image(), SAVE)
    assert (saves.opcode, ends.opcode) == (Opcode.SAVE, Opcode.END)
    restores = descriptors(image(), PROVISION)[-2]
    assert (restores.opcode, restores.body["row"]) == (Opcode.RESTORE, saves.body["row"])


def test_provisioning_writes_the_scales_that_it_is_given():
    place, known = placement(), {3: Scaling(shift=9, exponent=-4), 20: Scaling(order=-31)}
    given = Compiler(place).compile(network().initial_parameters(), scaling=known)
    base, count = place.rows.images[SCALING]
    for made, want in ((given, known), (image(), {})):
        rows = np.frombuffer(made.bytes_of(ROWS_AREA), dtype=np.int8).reshape(-1, 32)
        assert scaling_of_rows(rows[base : base + count]) == want


def test_an_inference_image_has_no_training_program():
    assert image(training=False).programs == (PROVISION, INFER)


def test_an_image_can_lie_anywhere():
    moved = image(0x40000)
    assert moved.areas["input"].address == image().areas["input"].address + 0x40000
    assert descriptors(moved, INFER)[0].body["address"] == moved.areas["input"].address
    assert len(moved.content) == len(image().content)


def test_the_file_holds_the_image(tmp_path):
    path = tmp_path / "digits.image"
    image().save(path)
    assert ProgramImage.load(path) == image()
    assert "JOB loss tensor" in "\n".join(image().listing(TRAIN))


def test_files_that_are_no_image_are_told(tmp_path):
    path = tmp_path / "x.image"
    with pytest.raises(ImageError, match=r"x\.image: cannot be read"):
        ProgramImage.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(ImageError, match=r"x\.image: is no program image"):
        ProgramImage.load(path)
    image().save(path)
    whole = path.read_bytes()
    for wrong in (whole[:-1], whole[:40], whole[:2000] + b"\xff" + whole[2001:], whole[:8]):
        path.write_bytes(wrong)
        with pytest.raises(ImageError, match=r"x\.image: is damaged or cut short"):
            ProgramImage.load(path)
    body = whole[:-4].replace(b'"lanes": 8', b'"lanes": 9')
    path.write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    with pytest.raises(ImageError, match=r"x\.image: lanes must be a power of two, not 9"):
        ProgramImage.load(path)


def test_images_that_contradict_themselves_are_refused():
    with pytest.raises(ImageError, match="area rows must lie in"):
        replace(image(), areas={**image().areas, "rows": Area(address=1 << 30, size=32)})
    with pytest.raises(ImageError, match="program label must be an area"):
        replace(image(), programs=("label",))


def test_an_image_says_how_pixels_become_its_input(tmp_path):
    form = InputFormat(mean=(0.0,) * 9, deviation=(1.0,) * 9, scale=0.5, signed=False)
    whole = replace(image(), input_format=form, classes=tuple("56789"))
    whole.save(tmp_path / "x.image")
    found = ProgramImage.load(tmp_path / "x.image")
    assert (asdict(found.input_format), found.classes) == (asdict(form), tuple("56789"))
    assert image().input_format is None
    for wrong, message in (
        (replace(form, mean=(0.0,)), "input_format must have a mean and a deviation for each of 9 channels"),
        (replace(form, deviation=(0.0,) * 9), "deviations and scale of input_format must be above 0"),
        (replace(form, scale=-1.0), "deviations and scale of input_format must be above 0"),
        (replace(form, signed=True), "signed of input_format must be False, as of the input"),
    ):
        with pytest.raises(ImageError, match=message):
            replace(image(), input_format=wrong)
    with pytest.raises(ImageError, match="classes must be 5 names, not 2"):
        replace(image(), classes=("a", "b"))


def test_what_cannot_be_compiled_is_told():
    with pytest.raises(ValueError, match="base must be a multiple of 4096"):
        Compiler(placement(), 256)
    with pytest.raises(CapacityError, match="the tables end at 8: raise tensor_ids"):
        Compiler(placement(replace(CONFIG, tensor_ids=8)))


def test_a_job_reads_rows_of_one_region():
    place = Placement(CONFIG, network(), (2, 9, digits.SIDE, digits.SIDE), training=True, task=3)
    step = descriptors(Compiler(place).compile(network().initial_parameters()), TRAIN)
    require_whole_reads(step, place.regions)
    backbone, task = place.regions
    jobs_end = place.rows.images[SCALING][0] - task.start
    assert task.slot_rows == jobs_end + scaling_rows(CONFIG)
    require_whole_reads(step, [backbone, replace(task, slot_rows=jobs_end)])
    for cut in ([backbone], [backbone, replace(task, slot_rows=jobs_end - 1)]):
        with pytest.raises(ValueError, match=r"descriptor \d+ reads rows \d+ to \d+, which must lie in one region"):
            require_whole_reads(step, cut)


def test_a_session_takes_its_own_machines_image():
    with pytest.raises(ImageError, match=r"must be for a machine with slices 8, not 4"):
        ProgramSession(Machine(replace(CONFIG, slices=8), transport=None), image())
    with pytest.raises(ImageError, match=r"has no program save: an earlier version made it, compile it anew"):
        ProgramSession(Machine(CONFIG, transport=None), replace(image(), programs=(PROVISION, INFER, TRAIN)))


def test_errors_say_what_they_mean():
    assert str(ProgramError(ErrorCode.FIELD, 7, 7)) == "descriptor 7: FIELD AGREEMENT"
    assert str(ProgramError(ErrorCode.ROW, 2, 255)) == "descriptor 2: ROW UNCORRECTABLE"
    assert str(ProgramError(ErrorCode.CRC, 3, 0)) == "descriptor 3: CRC"
    assert str(ProgramError(ErrorCode.DMA, 3, 77)) == "descriptor 3: DMA 77"


def test_an_edge_for_a_step_is_the_plan_with_its_exponents():
    place = placement()
    program = Program(place, Randomness())
    (edge,) = (edge for edge in network().edges if isinstance(edge, FanInEdge))
    plan = program.edge(edge)
    states = {name: EdgeState(exponent=exponent, alive=alive) for name, exponent, alive in zip(
        plan.sources, (-40, 9), (True, False), strict=True
    )}  # fmt: skip
    run = plan.at(states, {edge.name: -200})
    (job,) = run.task.jobs
    assert run.incoming == -40  # the other one is all zero
    assert job["rebase"] == -128
    assert [source["align"] for source in job["gather"]["sources"][:2]] == [0, 0]
    assert run.fraction == edge.fraction + 15
    alive = {name: replace(state, alive=True) for name, state in states.items()}
    (job,) = plan.at(alive, {}).task.jobs
    assert (job["rebase"], [source["align"] for source in job["gather"]["sources"][:2]]) == (0, [39, 0])
    assert "rebase" not in plan.task.jobs[0]


@pytest.mark.parametrize("log2_rate", [-129, 128])
def test_a_rate_that_does_not_fit_is_refused(log2_rate: int) -> None:
    with pytest.raises(ValueError, match=rf"log2_rate must be in -128\.\.127, not {log2_rate}"):
        drive(Machine(CONFIG, transport=None).run(0, 1, log2_rate=log2_rate))
