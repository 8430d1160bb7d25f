# SPDX-License-Identifier: Apache-2.0
"""Random reads and writes of bytes through the port of the RAM, the ends of every cell among them."""

import os
import random

import cocotb
from cocotb.triggers import FallingEdge

from respin.sim.runner import seed
from respin.sim.streams import reset, start_clock

WORD_BYTES = int(os.environ["SPRAM_BITS"]) // 8
WORDS = int(os.environ["SPRAM_BYTES"]) // WORD_BYTES
CELL_WORDS = 1 << 14


@cocotb.test()
async def reads_give_what_was_written(dut):
    start_clock(dut)
    dut.port__strobe.value = 0
    dut.port__address.value = 0
    await reset(dut)
    chooser = random.Random(seed())
    ends = [end for first in range(0, WORDS, CELL_WORDS) for end in (first, first + 1, first + CELL_WORDS - 1)]
    addresses = ends + [chooser.randrange(WORDS) for _ in range(30)]
    content = {address: [None] * WORD_BYTES for address in addresses}
    read, compared = None, 0
    for _ in range(4000):
        await FallingEdge(dut.clk)
        if read is not None:
            seen = dut.port__read_data.value
            for place, byte in enumerate(content[read]):
                if byte is not None:
                    assert int(seen[8 * place + 7 : 8 * place]) == byte, (read, place)
                    compared += 1
        address = chooser.choice(addresses)
        strobe = chooser.choice([0, chooser.randrange(1 << WORD_BYTES)])
        data = chooser.randbytes(WORD_BYTES)
        dut.port__address.value = address
        dut.port__strobe.value = strobe
        dut.port__write_data.value = int.from_bytes(data, "little")
        for place in range(WORD_BYTES):
            if strobe >> place & 1:
                content[address][place] = data[place]
        read = None if strobe else address
    assert compared > 1000
