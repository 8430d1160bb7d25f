# SPDX-License-Identifier: Apache-2.0
"""The driver of the memory's regions on a machine that never gets ready."""

from dataclasses import replace

import pytest

from respin.firmware_model.machine import Machine
from respin.firmware_model.memory import Memory
from respin.rtl.config import preset
from respin.sim.compiled import drive


class SilentTransport:
    """All registers read 0."""

    async def read_register(self, offset: int) -> int:
        return 0


def test_waiting_for_the_start_ends() -> None:
    config = replace(preset("tiny"), mram_rows=64)
    with pytest.raises(TimeoutError, match="the memory is not ready: its start-up waits until all banks have power"):
        drive(Memory(Machine(config, SilentTransport())).state())
