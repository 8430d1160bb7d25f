# SPDX-License-Identifier: Apache-2.0
"""Inference-only networks as compiled programs: on a model of descriptors, or on the whole machine in a simulator."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
from descriptor_model import DescriptorModel
from dut_machine import build_machine
from numpy.typing import NDArray
from program_model import ProgramModel

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.descriptors import Descriptor, read_header
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.machine import Machine, ProgramSession
from respin.firmware_model.packing import Packing
from respin.firmware_model.placement import Placement
from respin.firmware_model.structures import from_bits
from respin.golden.inference import InferenceNetwork
from respin.rtl.config import preset
from respin.rtl.sequencer.descriptor import DESCRIPTOR, DESCRIPTOR_BYTES
from respin.sim.banks import model_plusargs
from respin.sim.runner import run, seed
from respin.sim.tables import NO_FAULTS, table_for

CONFIG = replace(preset("tiny"), watchdog_cycles=1024)
"""That of the machine's other benches: one build serves all."""
Array = NDArray[np.generic]
Jobs = Sequence[tuple[InferenceNetwork, Array]]
"""Networks, each with its input (N, C, H, W)."""


def _compiled(number: int, network: InferenceNetwork, x: Array) -> tuple[Placement, ProgramImage]:
    """Compile a job. In every second one the machine walks windows that it would read packed."""
    walked = mock.patch("respin.firmware_model.placement.choose_packing", return_value=Packing())
    with walked if number % 2 else nullcontext():
        placement = Placement(CONFIG, network, x.shape, training=False)
    return placement, Compiler(placement).compile({})


def _check(image: ProgramImage) -> None:
    """The hardware's checks let every descriptor pass."""
    for program in image.programs:
        content = image.bytes_of(program)
        blocks = [content[at : at + DESCRIPTOR_BYTES] for at in range(0, len(content), DESCRIPTOR_BYTES)]
        header = read_header(blocks[0])
        model = DescriptorModel(image.config, range(header["row_first"], header["row_first"] + header["row_count"]))
        for number, block in enumerate(blocks[1:], 1):
            why = model.judge(from_bits(DESCRIPTOR, int.from_bytes(block, "little")), last=number == len(blocks) - 1)
            assert not why, (program, why, Descriptor.unpack(block).line())


class _Memory:
    """External memory of a model, as a machine's transport."""

    def __init__(self, model: ProgramModel) -> None:
        self._model = model

    async def read_memory(self, address: int, count: int) -> bytes:
        return self._model.memory[address : address + count].tobytes()


def run_on_model(jobs: Jobs) -> list[Array]:
    """Return what each network makes of its input, by what its descriptors do in numpy."""
    results = []
    for number, (network, x) in enumerate(jobs):
        placement, image = _compiled(number, network, x)
        _check(image)
        rows = np.zeros((CONFIG.usable_rows, 32), dtype=np.int8)
        for base, content in placement.frozen_rows({}):
            rows[base : base + len(content)] = content
        model = ProgramModel(image, rows, late=True)
        for area, content in image.input_content(x).items():
            model.memory[image.areas[area].address :][: len(content)] = np.frombuffer(content, dtype=np.uint8)
        for program in image.programs:
            model.run(program)
        session = ProgramSession(Machine(CONFIG, _Memory(model)), image)  # type: ignore[arg-type]
        results.append(asyncio.run(session.output()))
    return results


def run_on_machine(jobs: Jobs) -> list[Array]:
    """Return what each network makes of its input, on the smallest machine: one simulation for all."""
    dut = build_machine(CONFIG, "verilator")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (network, x) in enumerate(jobs):
            _compiled(number, network, x)[1].save(folder / f"{number}.program")
            np.save(folder / f"{number}-input.npy", x)
        env = {"MACHINE_CONFIG": json.dumps(asdict(CONFIG)), "MACHINE_FOLDER": name, "MACHINE_COUNT": str(len(jobs))}
        plusargs = model_plusargs(folder, table=table_for(CONFIG, seed=seed(), rates=NO_FAULTS))
        run(dut, "tb_programs", tests=1, env=env | {"OMP_NUM_THREADS": "1"}, plusargs=plusargs, seconds=900)
        return [np.load(folder / f"{number}-output.npy") for number in range(len(jobs))]
