# SPDX-License-Identifier: Apache-2.0
"""Benches of the stream driver, monitor and scoreboard on :class:`dut_streams.QueuedSum`."""

import random

import cocotb
import pytest
from dut_streams import SUM, TERMS

from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock


def _stimuli(count):
    chooser = random.Random(seed())
    corners = [
        {"gain": gain, "terms": [term] * 3, "offset": offset}
        for gain in (-4, 3) for term in (-16, 15) for offset in (0, 15)
    ]  # fmt: skip
    return corners + [
        {"gain": chooser.randint(-4, 3), "terms": [chooser.randint(-16, 15) for _ in range(3)],
         "offset": chooser.randint(0, 15)}
        for _ in range(count)
    ]  # fmt: skip


def _golden(item):
    return item["gain"] * sum(item["terms"]) + item["offset"]


@cocotb.test()
@cocotb.parametrize(idle=[0.0, 0.5], stall=[0.0, 0.7])
async def keeps_order_and_values_under_back_pressure(dut, idle, stall):
    start_clock(dut)
    source = StreamDriver(dut, "i", TERMS, idle=idle)
    seen = StreamMonitor(dut, "i", TERMS, passive=True)
    sink = StreamMonitor(dut, "o", SUM, stall=stall)
    await reset(dut)
    items = _stimuli(200)
    source.put(*items)
    board = Scoreboard("sum")
    board.check([_golden(item) for item in items], await sink.collect(len(items)))
    await source.drain()
    await cycles_of(dut, 2)
    assert seen.values == items
    assert (source.accepted, board.compared, int(dut.count.value)) == (len(items), len(items), len(items))


@cocotb.test()
async def moves_one_value_a_cycle_without_pauses(dut):
    start_clock(dut)
    source, sink = StreamDriver(dut, "i", TERMS), StreamMonitor(dut, "o", SUM)
    await reset(dut)
    source.put(*_stimuli(92))
    await cycles_of(dut, 110)
    assert len(sink.values) == 100


@cocotb.test()
async def a_wrong_value_is_named(dut):
    start_clock(dut)
    source, sink = StreamDriver(dut, "i", TERMS), StreamMonitor(dut, "o", SUM)
    await reset(dut)
    await source.send(*_stimuli(0))
    got = await sink.collect(8)
    with pytest.raises(AssertionError, match=r"sum\[3\]: expected 2000, got"):
        Scoreboard("sum").check([*got[:3], 2000, *got[4:]], got)


@cocotb.test()
async def values_that_do_not_fit_are_refused(dut):
    start_clock(dut)
    source = StreamDriver(dut, "i", TERMS)
    with pytest.raises(ValueError, match="16 does not fit"):
        source.put({"offset": 16})
    with pytest.raises(ValueError, match="stall must be in 0..1"):
        StreamMonitor(dut, "o", SUM, stall=1.0)
