# SPDX-License-Identifier: Apache-2.0
"""The cocotb transport: a host at the ports of the simulated accelerator.

Between transfers nothing in Python runs with the clock: a job of a million cycles costs two callbacks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import ShapeLike
from cocotb import start_soon
from cocotb.triggers import First, RisingEdge, Timer

from respin.sim.payload import pack, unpack

PERIOD_NS = 10
_LIGHT = ("DEPTHWISE", "GATHER")
"""Passes of the jobs that go to the second slot, where there is one."""


class TransportError(Exception):
    """The accelerator did not answer."""


class CocotbTransport:
    """Moves words, rows and jobs through the streams of the top's host side.

    Parameters
    ----------
    dut:
        The top's handle.
    shapes:
        Shape of the payload of each structured stream: ``job``, ``report``, ``row_write``, ``row_written``,
        ``row_read``, ``row_data``, ``store_write``, ``store_read``, ``table_write``.
    limit_cycles:
        Longest wait for an answer; the accelerator's own watchdog is expected to be faster.
    """

    def __init__(self, dut: Any, shapes: Mapping[str, ShapeLike], *, limit_cycles: int = 50_000_000) -> None:
        self._dut = dut
        self._shapes = shapes
        self._limit_ns = limit_cycles * PERIOD_NS
        self._edge = RisingEdge(dut.clk)
        for name in ("job", "row_write", "row_read", "store_write", "store_read", "table_write"):
            getattr(dut, f"{name}__valid").value = 0
        for name in ("report", "row_written", "row_data", "store_data"):
            getattr(dut, f"{name}__ready").value = 1
        self._two_slots = hasattr(dut, "light_job__valid")
        if self._two_slots:
            dut.light_job__valid.value = 0
            dut.light_report__ready.value = 1

    async def _send(self, stream: str, values: Sequence[Any]) -> None:
        """Offer values one after the other until each is taken."""
        payload, valid, ready = (getattr(self._dut, f"{stream}__{wire}") for wire in ("payload", "valid", "ready"))
        shape = self._shapes[stream]
        valid.value = 1
        for value in values:
            payload.value = pack(shape, value)
            await self._edge
            while not ready.value:
                await self._edge
        valid.value = 0

    async def _receive(self, stream: str, count: int) -> list[int]:
        """Take ``count`` values of a stream that is always ready, as bits."""
        payload, valid = getattr(self._dut, f"{stream}__payload"), getattr(self._dut, f"{stream}__valid")
        taken: list[int] = []
        waited = 0
        while len(taken) < count:
            await self._edge
            if valid.value:
                taken.append(int(payload.value))
                waited = 0
            else:
                waited += 1
                if waited * PERIOD_NS > self._limit_ns or waited > 100_000:
                    raise TransportError(f"{stream}: {len(taken)} of {count} values came, then none in {waited} cycles")
        return taken

    async def write_store(self, base: int, words: Sequence[int]) -> None:
        """Put 256-bit words into the store from ``base`` on."""
        await self._send("store_write", [{"addr": base + i, "data": word} for i, word in enumerate(words)])

    async def read_store(self, base: int, count: int) -> list[int]:
        """Take ``count`` words out of the store."""
        await self._send("store_read", [{"base": base, "count": count}])
        return await self._receive("store_data", count)

    async def write_row(self, row: int, data: int) -> Mapping[str, int]:
        """Write one row of 32 weights; the controller's status."""
        # A write is taken in the very cycle in which its status is given.
        answer = start_soon(self._receive("row_written", 1))
        await self._send("row_write", [{"row": row, "data": data}])
        (bits,) = await answer
        return unpack(self._shapes["row_written"], bits)

    async def read_rows(self, base: int, count: int) -> list[Mapping[str, int]]:
        """Read rows; each is ``data`` and ``uncorrectable``."""
        await self._send("row_read", [{"base": base, "count": count, "tiles": 1, "repeats": 1}])
        rows = await self._receive("row_data", count)
        return [{"data": bits & ((1 << 256) - 1), "uncorrectable": bits >> 256} for bits in rows]

    async def write_table(self, index: int, entries: Sequence[int]) -> None:
        """Put 72-bit entries into the vector path's table from ``index`` on."""
        await self._send("table_write", [{"index": index + i, "entry": entry} for i, entry in enumerate(entries)])

    async def run(self, job: Mapping[str, Any]) -> Mapping[str, int]:
        """Offer a job, wait for its report.

        Raises
        ------
        TransportError
            If no report comes.
        """
        slot = "light_" if self._two_slots and job["kind"].name in _LIGHT else ""
        payload, valid = (getattr(self._dut, f"{slot}job__{wire}") for wire in ("payload", "valid"))
        report_valid, report_payload = (getattr(self._dut, f"{slot}report__{wire}") for wire in ("valid", "payload"))
        payload.value = pack(self._shapes["job"], job)
        valid.value = 1
        done = RisingEdge(report_valid)
        first = await First(done, Timer(self._limit_ns, "ns"))
        if first is not done:
            raise TransportError(f"no report within {self._limit_ns // PERIOD_NS} cycles")
        await self._edge  # at the edge all that follows from ``valid`` has settled
        report = int(report_payload.value)
        valid.value = 0
        return unpack(self._shapes["report"], report)
