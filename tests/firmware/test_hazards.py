# SPDX-License-Identifier: Apache-2.0
"""Programs for two job slots: jobs do run side by side, and a program that lets go on what is disturbed is refused."""

from dataclasses import replace

import pytest
from tiled_network import tiled_network

from respin.firmware_model.compiler import INFER, TRAIN, Compiler
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import slot_of, stands_alone
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.hazards import HazardError, refuse_hazards
from respin.firmware_model.job_parts import Requantise, Source
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.placement import Placement
from respin.golden.network import initial_parameters
from respin.rtl.config import preset
from respin.rtl.sequencer.descriptor import Opcode

CONFIG = replace(preset("tiny"), name="pair", job_slots=2)
END = Descriptor(opcode=Opcode.END)


def tensor(base: int) -> StoreTensor:
    return StoreTensor(base, (1, 32, 4, 4), True)


def convolution(x: int, y: int, *, table: int = 0) -> Descriptor:
    finish = Requantise(table=table)
    return Descriptor.of_job(
        JobBuilder(CONFIG).convolution(tensor(x), tensor(y), rows=0, geometry=Geometry(kh=1, kw=1), finish=finish)
    )


def copy(x: int, y: int) -> Descriptor:
    return Descriptor.of_job(JobBuilder(CONFIG).gather(tensor(y), [Source(tensor=tensor(x))], finish=Requantise()))


def transfer(opcode: Opcode, base: int) -> Descriptor:
    body = {"address": 0, "pitch": 0, "base": base, "base_pitch": 0, "words": 16, "rows": 1}
    return Descriptor(opcode=opcode, body=body)


BESIDE = {
    "reads what is being made": (convolution(0, 16), copy(16, 32)),
    "writes what is being read": (convolution(0, 16), copy(32, 0)),
    "writes what is being written": (convolution(0, 16), copy(32, 16)),
    "one word of it": (convolution(0, 16), copy(31, 64)),
    "the dense job is the second": (copy(0, 16), convolution(16, 32)),
    "a STORE of what is being made": (convolution(0, 16), transfer(Opcode.STORE, 16)),
    "a LOAD into what is being read": (convolution(0, 16), transfer(Opcode.LOAD, 0)),
    "constants in use": (
        convolution(0, 16, table=32),
        Descriptor(opcode=Opcode.TABLE, body={"address": 0, "index": 63, "count": 1}),
    ),
}


@pytest.mark.parametrize("what", BESIDE)
def test_a_program_that_breaks_the_rule_is_refused(what: str) -> None:
    first, second = BESIDE[what]
    own = slot_of(second)
    beside = 3 if own is None else 1 << 1 - own
    with pytest.raises(HazardError, match=r"descriptor 1 \(\w+\) touches what 0 \(JOB\)"):
        refuse_hazards([first, replace(second, beside=beside), END], CONFIG)
    refuse_hazards([first, second, END], CONFIG)  # it waits
    refuse_hazards([first, replace(second, beside=beside), END], preset("tiny"))  # one slot: it waits in any case


def test_a_job_two_before_is_looked_at() -> None:
    """A light job may outlast a dense one: the next dense one meets it still."""
    beside = replace(convolution(64, 80), beside=2)
    program = [copy(0, 16), beside, replace(convolution(16, 96), beside=2), END]
    with pytest.raises(HazardError, match=r"descriptor 2 \(JOB\) touches what 0"):
        refuse_hazards(program, CONFIG)


def test_transfers_that_nothing_waits_for_are_refused() -> None:
    load = transfer(Opcode.LOAD, 0)
    with pytest.raises(HazardError, match=r"descriptor 1 \(JOB\) touches what 0 \(LOAD\)"):
        refuse_hazards([load, copy(0, 16), END], CONFIG)
    refuse_hazards([load, copy(0, 16).waiting(), END], CONFIG)


@pytest.mark.parametrize("words", [1024, 8192], ids=["in tiles", "whole"])
def test_compiled_programs_run_side_by_side(words: int) -> None:
    """The compiler looks for hazards itself; taking a wait away that is there makes one."""
    config = replace(CONFIG, store_words=words)
    network = tiled_network((16, 16), seed=1)
    place = Placement(config, network, (2, 6, 16, 16), training=True)
    assert place.inference.resident == (words == 8192)
    image = Compiler(place).compile(initial_parameters(network.layers))
    for program in (INFER, TRAIN):
        descriptors = image.descriptors(program)
        joined = {descriptor.beside for descriptor in descriptors if slot_of(descriptor) is not None}
        assert joined & {1, 2}
        needed = 0
        for number, descriptor in enumerate(descriptors):
            own = slot_of(descriptor)
            if own is None or stands_alone(descriptor) or descriptor.beside:
                continue
            bold = [*descriptors[:number], replace(descriptor, beside=1 << 1 - own), *descriptors[number + 1 :]]
            try:
                refuse_hazards(bold, config)
            except HazardError:
                needed += 1
        assert needed > 0
