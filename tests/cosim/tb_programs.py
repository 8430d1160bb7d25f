# SPDX-License-Identifier: Apache-2.0
"""Program files and inputs from a folder, one after the other; what they make is put beside them."""

import os

import cocotb
import numpy as np
from machine_bench import FOLDER, start

from respin.firmware_model.image import ProgramImage
from respin.firmware_model.machine import ProgramSession


@cocotb.test()
async def programs_of_a_folder(dut):
    machine = await start(dut)
    for number in range(int(os.environ["MACHINE_COUNT"])):
        session = ProgramSession(machine, ProgramImage.load(FOLDER / f"{number}.program"))
        await session.provision()
        await session.infer(np.load(FOLDER / f"{number}-input.npy"))
        np.save(FOLDER / f"{number}-output.npy", await session.output())
