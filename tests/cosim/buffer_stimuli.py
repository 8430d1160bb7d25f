# SPDX-License-Identifier: Apache-2.0
"""What the benches of the buffer units share: filling the store and disturbing its readers."""

import os
import random

import cocotb
from buffer_reference import random_store, to_word
from cocotb.triggers import RisingEdge
from dut_buffer import FILL

from respin.rtl.config import preset
from respin.sim.runner import seed
from respin.sim.streams import StreamDriver, reset, start_clock

CONFIG = preset(os.environ.get("RESPIN_PRESET", "tiny"))


async def filled_store(dut, chooser: random.Random):
    """Reset the design and fill its store; return what it holds, as bytes."""
    start_clock(dut)
    dut.other__valid.value = 0
    dut.other__addr.value = 0
    fill = StreamDriver(dut, "fill")
    await reset(dut)
    store = random_store(chooser, CONFIG.store_words)
    await fill.send(*(address | to_word(word) << FILL["data"].offset for address, word in enumerate(store)))
    return store


def disturb(dut, probability: float) -> None:
    """Have another reader, which goes first, use the store in some of the cycles."""
    chooser = random.Random(f"{seed()} other")

    async def read() -> None:
        while True:
            dut.other__valid.value = int(chooser.random() < probability)
            dut.other__addr.value = chooser.randrange(CONFIG.store_words)
            await RisingEdge(dut.clk)

    cocotb.start_soon(read())
