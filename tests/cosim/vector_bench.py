# SPDX-License-Identifier: Apache-2.0
"""Runs vector jobs on a design with the vector unit in it, and compares the whole store afterwards."""

import json
import os

import cocotb
from cocotb.triggers import RisingEdge, with_timeout
from store_ports import StoreModel, high
from vector_cases import VectorCase

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.vector.table import QuantiserEntry
from respin.sim.payload import pack
from respin.sim.streams import StreamDriver, start_clock

WORDS = 4096
CONFIG = AcceleratorConfig(**json.loads(os.environ["RESPIN_CONFIG"]))
JOB_NS = 2_000_000
"""A bound on any job of these benches."""


class VectorBench:
    """A design with the ports of the vector unit, its table and a store.

    ``ports`` are its StoreRead ports; ``pause`` is the probability with which each port of the store is not ready.
    """

    def __init__(self, dut, reads: list[str], pause: float = 0.0) -> None:
        self.dut = dut
        start_clock(dut)
        self.store = StoreModel(dut, WORDS)
        for port in reads:
            self.store.add_read(port, pause)
        self.store.add_write("write", CONFIG.slices, pause)
        dut.table__valid.value = 0
        self.events = {"busy": 0, "starved": 0, "stalled": 0}
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            for name in self.events:
                self.events[name] += high(getattr(self.dut, name))

    async def load_table(self, entries: list[dict], first: int = 0) -> None:
        """Write table entries from ``first`` on."""
        for index, entry in enumerate(entries, first):
            self.dut.table__valid.value = 1
            self.dut.table__index.value = index
            self.dut.table__entry.value = pack(QuantiserEntry, entry)
            await RisingEdge(self.dut.clk)
        self.dut.table__valid.value = 0

    async def run(self, case: VectorCase, port: StreamDriver, job: dict, feed: StreamDriver | None = None) -> None:
        """Run one job, offered at ``port``, and compare the whole store and the statistics.

        The table has to be loaded; ``feed`` is the stream that carries the sums.
        """
        dut = self.dut
        if case.mask is not None:
            self._put_mask(case)
        before = list(self.store.words)
        dut.seed.value, dut.step.value, dut.tensor.value = case.key
        if feed:
            feed.put(*case.entries(CONFIG))
        await with_timeout(port.send(job), JOB_NS, "ns")
        if feed:
            await with_timeout(feed.drain(), 1000, "ns")
        got, self.store.words = self.store.words, before
        case.apply(self.store)
        wrong = [address for address in range(WORDS) if got[address] != self.store.words[address]]
        assert not wrong, f"words {wrong[:8]} of {job}: {got[wrong[0]]:064x}, not {self.store.words[wrong[0]]:064x}"
        for name, value in case.statistics.items():
            have = int(getattr(dut, name).value)
            assert have == value, f"{name} is {have}, not {value}, for {job}"

    def _put_mask(self, case: VectorCase) -> None:
        job = case.job
        for (i, c, oy, ox), bit in case.pixels(case.mask):
            block, lane = divmod(job["channel0"] + c, BLOCK)
            q = case.pixel(i, oy, ox)
            word = job["mask_base"] + block * job["mask_stride"] + q // 8
            self.store.put_bits(word, q % 8, lane, [bit])
