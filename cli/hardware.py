# SPDX-License-Identifier: Apache-2.0
"""The simulated accelerator as a bench sees it."""

from typing import Any

from respin.rtl.jobs import Job, ReadJob
from respin.rtl.mram.ports import ReadRow, WriteStatus
from respin.rtl.ports import HostRange, HostRow, HostWord, Report, TableWrite
from respin.sim.banks import Backdoor
from respin.sim.streams import reset, start_clock
from respin.sim.transport import CocotbTransport

SHAPES = {
    "job": Job,
    "report": Report,
    "store_write": HostWord,
    "store_read": HostRange,
    "table_write": TableWrite,
    "row_write": HostRow,
    "row_written": WriteStatus,
    "row_read": ReadJob,
    "row_data": ReadRow,
}
"""Payloads of the top's streams."""


async def start(dut: Any) -> CocotbTransport:
    """Start the clock, reset the accelerator and return the way to it."""
    for name in ("backdoor_bank", "backdoor_row", "backdoor_wdata"):
        getattr(dut, name).value = 0
    dut.backdoor_op.value = int(Backdoor.NONE)
    dut.clear_counters.value = 0
    if hasattr(dut, "regions"):
        dut.regions.value = 0
    transport = CocotbTransport(dut, SHAPES)
    start_clock(dut)
    await reset(dut)
    return transport
