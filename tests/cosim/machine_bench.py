# SPDX-License-Identifier: Apache-2.0
"""What the benches of the whole machine share: its start, its rows, its notes of edges."""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from respin.firmware_model.machine import Machine
from respin.golden.memory.secded import decode
from respin.rtl.config import AcceleratorConfig
from respin.rtl.sequencer.ports import EdgeNote
from respin.sim.banks import Backdoor, dumped_cells
from respin.sim.machine import MachineBench
from respin.sim.payload import unpack
from respin.sim.streams import cycles_of, reset, start_clock

CONFIG = AcceleratorConfig(**json.loads(os.environ["MACHINE_CONFIG"]))
FOLDER = Path(os.environ["MACHINE_FOLDER"])


async def start(dut: Any, *, limit_cycles: int = 50_000_000) -> Machine:
    """Start the clock, reset the machine, and return the way to it."""
    for name in ("backdoor_bank", "backdoor_row", "backdoor_wdata", "first_row", "end_row", "forget"):
        getattr(dut, name).value = 0
    dut.backdoor_op.value = int(Backdoor.NONE)
    transport = MachineBench(dut, limit_cycles=limit_cycles)
    start_clock(dut)
    await reset(dut, cycles=4)
    await cycles_of(dut, 4)
    return Machine(CONFIG, transport)


async def rows(dut: Any) -> np.ndarray:
    """Every row's weights (rows, 32), by global row, corrected."""
    dut.backdoor_op.value = int(Backdoor.DUMP)
    await cycles_of(dut, 1)
    dut.backdoor_op.value = int(Backdoor.NONE)
    await cycles_of(dut, 1)
    banks = np.stack([dumped_cells(FOLDER, bank) for bank in range(CONFIG.banks)], axis=1)
    decoded = decode(banks.reshape(-1, banks.shape[-1]))
    assert not decoded.uncorrectable.any()
    return decoded.weights


class Notes:
    """The last note of each tensor of errors since :meth:`forget`."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.by_tensor: dict[int, dict[str, Any]] = {}
        cocotb.start_soon(self._watch())

    def forget(self) -> None:
        """Start anew."""
        self.by_tensor.clear()

    async def _watch(self) -> None:
        ends = RisingEdge(self._dut.reported)
        edge = RisingEdge(self._dut.clk)
        while True:
            await ends
            for _ in range(2):  # what a job's report makes known is noted in the cycle after it
                await edge
                note = unpack(EdgeNote, int(self._dut.note.value))
                if note["valid"]:
                    self.by_tensor[note["tensor"]] = note
