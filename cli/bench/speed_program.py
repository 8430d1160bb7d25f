# SPDX-License-Identifier: Apache-2.0
"""The bench of ``respin bench sim``: what runs inside the simulator."""

import time
from typing import Any

import cocotb

from respin.cli.bench.simulated import config_of_program, write_figures
from respin.cli.hardware import start
from respin.firmware_model.driver import Driver
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Fields, Requantise
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import AcceleratorConfig

SECONDS = 10
SHAPE = (1, 64, 8, 8)


def convolution(config: AcceleratorConfig) -> Fields:
    """The job: a 1x1 convolution at the store's begin."""
    x = StoreTensor(0, SHAPE, False)
    y = StoreTensor(x.words, SHAPE, False)
    finish = Requantise(table=0)
    return JobBuilder(config).convolution(x, y, rows=0, geometry=Geometry(kh=1, kw=1), finish=finish)


@cocotb.test()
async def speed(dut: Any) -> None:
    """Run a 1x1 convolution again and again and count its cycles."""
    config = config_of_program()
    driver = Driver(config, await start(dut))
    job = convolution(config)
    cycles, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        cycles += (await driver.run(job))["cycles"]
    write_figures({"cycles": cycles, "seconds": time.perf_counter() - began})
