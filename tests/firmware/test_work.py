# SPDX-License-Identifier: Apache-2.0
"""What units do in a program, against sums by hand. ``default`` has M = K = 32, P = 1, V = 8; ``large`` P = 4."""

import pytest

from respin.firmware_model.cycle_model import CycleModel
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Requantise, Source, StoreSums
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.work import KEYS, Work, job_fields
from respin.rtl.config import preset
from respin.rtl.sequencer.descriptor import Opcode

CONFIG = preset("default")
THREE, POINT = Geometry(kh=3, kw=3, pad_y=1, pad_x=1), Geometry(kh=1, kw=1)


def tensor(channels: int, side: int, images: int = 1) -> StoreTensor:
    return StoreTensor(0, (images, channels, side, side), signed=True)


def work_of(job, config=CONFIG) -> dict[str, int]:
    """The counts of a job that went through a descriptor's bytes, those that are 0 left out, and its cycles."""
    descriptor = Descriptor.unpack(Descriptor.of_job(job).pack())
    counts = Work(config, read_cycles=1).of_job(job_fields(descriptor))
    return {name: count for name, count in counts.items() if count and name != "cycles"}


def test_a_convolution():
    """64 to 40 channels, 3x3, on 6x6: 2 blocks of 9 taps for each of 2 tiles of outputs."""
    job = JobBuilder(CONFIG).convolution(
        tensor(64, 6), tensor(40, 6), rows=0, geometry=THREE, finish=Requantise(shift=3)
    )  # fmt: skip
    engine = 2 * 18 * 36 * 8
    assert work_of(job) == {
        "rows_read": 2 * 18 * 32,
        "engine_cycles": engine,
        "bit_macs": engine * 1024,
        "accumulations": engine * 32,
        "macs": 2 * 18 * 36 * 32 * 32,
        "channels_finished": 36 * 40,
        "store_words": 2 * 18 * 36 + 2 * 36,
    }


def test_a_group_of_pixels_is_padded():
    """Nine pixels in groups of four take three of them; fewer bits take fewer planes; sums are stored in four bytes."""
    job = JobBuilder(preset("large")).convolution(
        tensor(32, 3), tensor(32, 3), rows=0, geometry=POINT, finish=StoreSums(), bits=5
    )
    counts = work_of(job, preset("large"))
    assert counts["engine_cycles"] == 3 * 5
    assert counts["bit_macs"] == 3 * 5 * 32 * 32 * 4
    assert counts["macs"] == 9 * 32 * 32
    assert counts["store_words"] == 9 + 4 * 9


def test_a_depthwise_convolution():
    """A word serves the three taps of a kernel row, so 4 outputs of a row take 6 columns."""
    job = JobBuilder(CONFIG).depthwise(
        tensor(64, 4), tensor(64, 4), rows=0, geometry=THREE, finish=Requantise(shift=3)
    )  # fmt: skip
    assert work_of(job) == {
        "rows_read": 2 * 9,
        "depthwise_macs": 64 * 16 * 9,
        "macs": 64 * 16 * 9,
        "channels_finished": 16 * 64,
        "store_words": 2 * 4 * 6 * 3 + 2 * 16,
    }


def test_a_gathered_sum():
    """A pool of 2x2: 4 elements for each of 4 outputs, read anew for each 8 of 32 channels."""
    halves = (2, 1, 0, 1)
    job = JobBuilder(CONFIG).gather(
        tensor(32, 2), [Source(tensor=tensor(32, 4), y=halves, x=halves)], finish=Requantise(shift=2)
    )
    assert work_of(job) == {"elements_gathered": 16 * 32, "channels_finished": 4 * 32, "store_words": 16 * 4 + 4}


def test_a_gradient():
    """64 inputs, 32 outputs, 40 pixels: two blocks of pixels, 32 sums for each of two steps and output."""
    (job,) = JobBuilder(CONFIG).gradient_sums(
        StoreTensor(0, (1, 64, 5, 8), True), StoreTensor(99, (1, 32, 5, 8), True), 200, geometry=POINT
    )
    counts = work_of(job.job)
    assert counts["engine_cycles"] == 2 * 64 * 8
    assert counts["macs"] == 2 * 32 * 64 * 32
    assert counts["store_words"] == 40 * 2 + 40 + 4 * 64
    assert "rows_read" not in counts, "its rows are errors"


def test_transfers_and_descriptors():
    """A header; each descriptor twice; 3 rows of 5 words in, 2 words out, 7 entries of a table, 40 biases, 3 rows."""
    program = [
        Descriptor(opcode=Opcode.LOAD, body={"rows": 3, "words": 5}),
        Descriptor(opcode=Opcode.STORE, body={"rows": 1, "words": 2}),
        Descriptor(opcode=Opcode.TABLE, body={"count": 7}),
        Descriptor(opcode=Opcode.BIASES, body={"count": 40}),
        Descriptor(opcode=Opcode.ROWS, body={"count": 3}),
        Descriptor(opcode=Opcode.END),
    ]
    counts = Work(CONFIG, read_cycles=1).of_program(program, writes_rows=True)
    without = Work(CONFIG, read_cycles=1).of_program(program, writes_rows=False)
    assert counts["descriptor_bytes"] - without["descriptor_bytes"] == 6 * 256
    parts = {
        "descriptor_bytes": 256 + 2 * 6 * 256, "tensor_bytes": 17 * 32, "table_bytes": 47 * 16, "row_bytes": 3 * 32,
    }  # fmt: skip
    assert {name: counts[name] for name in parts} == parts
    assert counts["external_bytes"] == sum(parts.values())
    assert counts["store_words"] == 17
    assert counts["rows_read"] == 2
    assert counts.keys() == set(KEYS)


@pytest.mark.parametrize("count", [1, 3])
def test_cycles_of_a_program_are_its_jobs_and_what_lies_between(count):
    job = JobBuilder(CONFIG).gather(tensor(32, 2), [Source(tensor=tensor(32, 2))], finish=Requantise())
    found = Work(CONFIG, read_cycles=1).of_program([Descriptor.of_job(job)] * count, writes_rows=False)
    assert found["cycles"] == count * (CycleModel(CONFIG, read_cycles=1).cycles(job) + 5)
    assert found["lane_cycles"] == found["cycles"] * 1024
