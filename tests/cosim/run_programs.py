# SPDX-License-Identifier: Apache-2.0
"""Inference-only networks as programs on the whole machine: all in one simulation, one after the other."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from dut_machine import build_machine
from numpy.typing import NDArray

from respin.firmware_model.compiler import Compiler
from respin.firmware_model.placement import Placement
from respin.golden.inference import InferenceNetwork
from respin.rtl.config import preset
from respin.sim.banks import model_plusargs
from respin.sim.runner import run, seed
from respin.sim.tables import NO_FAULTS, table_for

CONFIG = preset("tiny")
Array = NDArray[np.generic]


def run_on_machine(jobs: Sequence[tuple[InferenceNetwork, Array]]) -> list[Array]:
    """Return what each network makes of its input, as compiled programs in a simulation of the smallest machine."""
    dut = build_machine(CONFIG, "verilator")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (network, x) in enumerate(jobs):
            placement = Placement(CONFIG, network, x.shape, training=False)
            Compiler(placement).compile({}).save(folder / f"{number}.program")
            np.save(folder / f"{number}-input.npy", x)
        env = {"MACHINE_CONFIG": json.dumps(asdict(CONFIG)), "MACHINE_FOLDER": name, "OMP_NUM_THREADS": "1"}
        plusargs = model_plusargs(folder, table=table_for(CONFIG, seed=seed(), rates=NO_FAULTS))
        run(dut, "tb_programs", tests=1, env=env | {"MACHINE_COUNT": str(len(jobs))}, plusargs=plusargs, seconds=900)
        return [np.load(folder / f"{number}-output.npy") for number in range(len(jobs))]
