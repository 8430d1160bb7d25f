# SPDX-License-Identifier: Apache-2.0
"""Watches AXI channels: an offered transfer must stay offered, unchanged, until it is taken.

Bus models answer transfers, but none of them checks this; a manager or subordinate that breaks it works with some
partners and not with others.
"""

from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

CHANNELS = {
    "aw": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "w": ("data", "strb", "last"),
    "b": ("id", "resp"),
    "ar": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "r": ("id", "data", "resp", "last"),
}
"""Channels and what they carry; AXI4-Lite has part of it."""


class AxiMonitor:
    """Check every channel of a bundle in every cycle.

    Parameters
    ----------
    dut, prefix:
        The module's handle and the bundle's name: ``m_axi`` for ``m_axi_awaddr`` and so on.
    """

    def __init__(self, dut: Any, prefix: str, *, clock: str = "clk", reset: str = "rst") -> None:
        self._edge, self._reset = RisingEdge(getattr(dut, clock)), getattr(dut, reset)
        self.transfers = dict.fromkeys(CHANNELS, 0)
        """How many transfers were taken, by channel."""
        self.waited = dict.fromkeys(CHANNELS, 0)
        """In how many cycles one was offered and not taken."""
        for channel, names in CHANNELS.items():
            if hasattr(dut, f"{prefix}_{channel}valid"):
                there = [name for name in ("valid", "ready", *names) if hasattr(dut, f"{prefix}_{channel}{name}")]
                wires = {name: getattr(dut, f"{prefix}_{channel}{name}") for name in there}
                cocotb.start_soon(self._watch(channel, wires))

    async def _watch(self, channel: str, wires: dict[str, Any]) -> None:
        valid, ready = wires.pop("valid"), wires.pop("ready")
        held: dict[str, Any] | None = None
        while True:
            await self._edge
            if self._reset.value != 0:
                held = None
                continue
            offered = bool(valid.value)  # an unknown value raises: a handshake must never be X
            assert held is None or offered, f"{channel}: valid fell before the transfer was taken"
            content = {name: wire.value for name, wire in wires.items()} if offered else None
            assert held is None or content == held, f"{channel}: {held} became {content} while it waited"
            taken = offered and bool(ready.value)
            self.transfers[channel] += taken
            self.waited[channel] += offered and not taken
            held = None if taken else content
