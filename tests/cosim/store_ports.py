# SPDX-License-Identifier: Apache-2.0
"""A store for benches of one unit: words in Python behind StoreRead and StoreWrite ports, with random back-pressure."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from respin.rtl.config import BLOCK, PLANES
from respin.sim.runner import seed

LANES = (1 << BLOCK) - 1
WORD_BITS = BLOCK * PLANES


def high(pin) -> bool:
    """Whether a pin is 1; before the reset it may be unknown."""
    return str(pin.value) == "1"


class StoreModel:
    """``words`` integers of 256 bits, filled at random, served at the ports that were added."""

    def __init__(self, dut, words: int) -> None:
        self._dut = dut
        self._random = random.Random(f"{seed()} store")
        self.words = [self._random.getrandbits(WORD_BITS) for _ in range(words)]
        self.reads = self.writes = 0

    def add_read(self, port: str, stall: float = 0.0) -> None:
        """Serve a StoreRead port, not ready with probability ``stall``; what was not read is noise."""
        cocotb.start_soon(self._serve_read(port, stall))

    def add_write(self, port: str, slices: int, stall: float = 0.0) -> None:
        """Serve a StoreWrite port whose groups are ``slices`` lanes."""
        cocotb.start_soon(self._serve_write(port, slices, stall))

    def _pins(self, port: str, *names: str):
        return [getattr(self._dut, f"{port}__{name}") for name in names]

    async def _serve_read(self, port: str, stall: float) -> None:
        valid, ready, addr, data = self._pins(port, "valid", "ready", "addr", "data")
        ready.value = 0
        edge = RisingEdge(self._dut.clk)
        while True:
            await edge
            word = self._random.getrandbits(WORD_BITS)
            if high(valid) and high(ready):
                word = self.words[int(addr.value)]
                self.reads += 1
            data.value = word
            ready.value = int(self._random.random() >= stall)

    async def _serve_write(self, port: str, slices: int, stall: float) -> None:
        valid, ready, addr, data, planes, groups = self._pins(
            port, "valid", "ready", "addr", "data", "planes", "groups"
        )
        ready.value = 0
        edge = RisingEdge(self._dut.clk)
        held = None
        while True:
            await edge
            if high(valid):
                offer = tuple(int(pin.value) for pin in (addr, data, planes, groups))
                assert held in (None, offer), f"{port} changed while it waited"
                held = offer
                if high(ready):
                    self.put(*offer, slices=slices)
                    self.writes += 1
                    held = None
            else:
                assert held is None, f"{port}: valid fell before the word was taken"
            ready.value = int(self._random.random() >= stall)

    def put(self, addr: int, data: int, planes: int, groups: int, *, slices: int) -> None:
        """Write lane groups of planes of one word."""
        lanes = 0
        for group in range(BLOCK // slices):
            if groups >> group & 1:
                lanes |= ((1 << slices) - 1) << group * slices
        mask = sum(lanes << plane * BLOCK for plane in range(PLANES) if planes >> plane & 1)
        self.words[addr] = (self.words[addr] & ~mask) | (data & mask)

    def put_bytes(self, addr: int, lane0: int, values) -> None:
        """Set the bytes of consecutive lanes of one word."""
        word = self.words[addr]
        for lane, value in enumerate(values, lane0):
            for plane in range(PLANES):
                bit = 1 << (plane * BLOCK + lane)
                word = word | bit if int(value) >> plane & 1 else word & ~bit
        self.words[addr] = word

    def put_bits(self, addr: int, plane: int, lane0: int, bits) -> None:
        """Set the bits of consecutive lanes in one plane of one word."""
        word = self.words[addr]
        for lane, value in enumerate(bits, lane0):
            bit = 1 << (plane * BLOCK + lane)
            word = word | bit if value else word & ~bit
        self.words[addr] = word
