# SPDX-License-Identifier: Apache-2.0
"""A board by its pins: a host writes and reads memory over the serial line."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, Timer

from respin.firmware_model.frames import Answers, request
from respin.rtl.link.protocol import Command, Status
from respin.sim.runner import seed

CLOCK_NS = 1000 / int(os.environ["BOARD_MHZ"])
BIT_NS = round(1e9 / int(os.environ["BOARD_BAUD"]))
MEMORY_BYTES = int(os.environ["BOARD_MEMORY"])
SILENCE_NS = 500 * BIT_NS


class Host:
    """Asks over the line, and hears the answer."""

    def __init__(self, dut) -> None:
        self._dut, self._number = dut, 0
        dut.rx.value = 1

    async def ask(self, command: Command, address: int, words: int, payload: bytes = b"") -> tuple[Status, bytes]:
        self._number += 1
        listening = cocotb.start_soon(self._listen())
        for byte in request(self._number, command, address, words, payload):
            for level in [0, *(byte >> bit & 1 for bit in range(8)), 1]:
                self._dut.rx.value = level
                await Timer(BIT_NS, "ns")
        content = await listening
        assert content[0] == self._number
        return Status(content[-1]), bytes(content[1:-1])

    async def _listen(self) -> bytes:
        answers = Answers()
        while True:
            start = FallingEdge(self._dut.tx)
            assert await First(start, Timer(SILENCE_NS, "ns")) is start, "the board does not answer"
            await Timer(BIT_NS // 2, "ns")
            byte = 0
            for bit in range(8):
                await Timer(BIT_NS, "ns")
                byte |= int(self._dut.tx.value) << bit
            for content in answers.feed(bytes([byte])):
                assert content is not None, "a broken answer"
                return content


@cocotb.test()
async def memory_over_the_line(dut):
    """Words written are read back, at both ends of memory; past its end the board refuses."""
    cocotb.start_soon(Clock(dut.clock, round(CLOCK_NS * 1000 / 2) * 2, "ps").start())
    host = Host(dut)
    await Timer(1500 * CLOCK_NS // 1, "ns")
    rng = random.Random(seed())
    first, last = rng.randbytes(24), rng.randbytes(8)
    assert await host.ask(Command.WRITE_MEMORY, 0, 6, first) == (Status.OKAY, b"")
    assert await host.ask(Command.WRITE_MEMORY, MEMORY_BYTES - 8, 2, last) == (Status.OKAY, b"")
    assert await host.ask(Command.READ_MEMORY, 0, 6) == (Status.OKAY, first)
    assert await host.ask(Command.READ_MEMORY, MEMORY_BYTES - 8, 2) == (Status.OKAY, last)
    status, _ = await host.ask(Command.READ_MEMORY, MEMORY_BYTES, 1)
    assert status is Status.REFUSED
    status, _ = await host.ask(Command.READ_REGISTERS, 0, 1)
    assert status is Status.TIMEOUT
