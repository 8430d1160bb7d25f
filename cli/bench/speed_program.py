# SPDX-License-Identifier: Apache-2.0
"""The bench of ``respin bench sim``: what runs inside the simulator."""

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb

from respin.cli.hardware import start
from respin.firmware_model.driver import Driver
from respin.firmware_model.jobs import Geometry, JobBuilder, Requantise
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import AcceleratorConfig

FIGURES = "RESPIN_SPEED"
SETTINGS = "RESPIN_SPEED_CONFIG"

SECONDS = 10
SHAPE = (1, 64, 8, 8)


@cocotb.test()
async def speed(dut: Any) -> None:
    """Run a 1x1 convolution again and again and count its cycles."""
    config = AcceleratorConfig(**json.loads(os.environ[SETTINGS]))
    driver = Driver(config, await start(dut))
    x = StoreTensor(0, SHAPE, False)
    y = StoreTensor(x.words, SHAPE, False)
    finish = Requantise(table=0)
    job = JobBuilder(config).convolution(x, y, rows=0, geometry=Geometry(kh=1, kw=1), finish=finish)
    cycles, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        cycles += (await driver.run(job))["cycles"]
    figures = {"cycles": cycles, "seconds": time.perf_counter() - began}
    Path(os.environ[FIGURES]).write_text(json.dumps(figures), encoding="utf-8")
