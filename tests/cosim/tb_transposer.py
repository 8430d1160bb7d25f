# SPDX-License-Identifier: Apache-2.0
"""The transposer: random blocks, single bits, back-pressure on both sides, and its pace."""

import random

import cocotb
import numpy as np
from buffer_reference import random_store, to_word
from buffer_stimuli import CONFIG

from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock


def _blocks(chooser, count):
    """Random blocks, and between them blocks in which one bit is set."""
    blocks = random_store(chooser, 32 * count).reshape(count, 32, 32).copy()
    for block in blocks[1::2]:
        block[:] = 0
        block[chooser.randrange(32), chooser.randrange(32)] = 1 << chooser.randrange(8)
    return blocks


def _words(blocks):
    return [to_word(word) for word in np.ascontiguousarray(blocks).reshape(-1, 32)]


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.6], stall=[0.0, 0.6])
async def transposes_blocks(dut, idle, stall):
    chooser = random.Random(f"{seed()} {idle} {stall}")
    start_clock(dut)
    source, sink = StreamDriver(dut, "i", idle=idle), StreamMonitor(dut, "o", stall=stall)
    await reset(dut)
    blocks = _blocks(chooser, 12)
    source.put(*_words(blocks))
    board = Scoreboard("channels")
    board.check(_words(blocks.transpose(0, 2, 1)), await sink.collect(32 * len(blocks)))
    await cycles_of(dut, 100)
    assert len(sink.values) == board.compared


@cocotb.test()
async def blocks_follow_each_other_without_a_gap(dut):
    start_clock(dut)
    source, sink = StreamDriver(dut, "i"), StreamMonitor(dut, "o")
    await reset(dut)
    source.put(*_words(_blocks(random.Random(seed()), 6)))
    await sink.collect(1)
    await cycles_of(dut, (5 * 32 - 1) * 8 // CONFIG.transposers)
    assert len(sink.values) == 5 * 32
