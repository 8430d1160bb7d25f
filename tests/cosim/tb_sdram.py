# SPDX-License-Identifier: Apache-2.0
"""An SDRAM behind its controller: both ports write and read at random, and the chip's rules are kept."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from respin.rtl.fpga.sdram import SDRAM_BYTES
from respin.sim.runner import seed
from respin.sim.streams import cycles_of, reset

PERIOD_NS = 20
REGIONS = (0, 0x3FF000, SDRAM_BYTES - 4096)
"""Where the test writes: 4 KB each, of which neighbours lie in other banks and rows."""


async def _start(dut):
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    await reset(dut)
    dma = AxiMaster(AxiBus.from_prefix(dut, "dma"), dut.clk, dut.rst)
    link = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "link"), dut.clk, dut.rst)
    while not dut.ready.value:
        await RisingEdge(dut.clk)
    return dma, link


@cocotb.test()
async def the_sdram_is_memory(dut):
    """In one go, as powering up takes as long as all the rest."""
    dma, link = await _start(dut)
    for part in (what_is_written_is_read, both_ports_at_once, past_the_end):
        await part(dut, dma, link)
        assert int(dut.violations.value) == 0, part.__name__


async def what_is_written_is_read(dut, dma, link):
    chooser = random.Random(seed())
    mirror = {}
    for _ in range(40):
        port, most = chooser.choice([(dma, 600), (dma, 600), (link, 16)])
        base = chooser.choice(REGIONS)
        size = chooser.randrange(1, most + 1)
        at = base + chooser.randrange(4096 - size + 1)
        if chooser.random() < 0.5:
            content = chooser.randbytes(size)
            answer = await port.write(at, content)
            mirror |= {at + place: byte for place, byte in enumerate(content)}
        else:
            answer = await port.read(at, size)
            expected = [mirror.get(at + place) for place in range(size)]
            pairs = zip(answer.data, expected, strict=True)
            wrong = [place for place, (seen, byte) in enumerate(pairs) if byte not in (None, seen)]
            assert not wrong, f"bytes {wrong} from {at:#x} on"
        assert answer.resp == AxiResp.OKAY
    assert len(mirror) > 2048


async def both_ports_at_once(dut, dma, link):
    chooser = random.Random(seed() + 1)
    for _ in range(4):
        first, second = chooser.randbytes(900), chooser.randbytes(60)
        writes = [cocotb.start_soon(dma.write(0x1000, first)), cocotb.start_soon(link.write(0x2000, second))]
        for each in writes:
            await each
        reads = [cocotb.start_soon(dma.read(0x1000, 900)), cocotb.start_soon(link.read(0x2000, 60))]
        seen = [await each for each in reads]
        assert [each.data for each in seen] == [first, second]
    before = int(dut.refreshes.value)
    await cycles_of(dut, 4_000)
    since = int(dut.refreshes.value) - before
    assert 10 <= since <= 11, f"{since} refreshes in 80 us: 64 ms have 8192"


async def past_the_end(dut, dma, link):
    content = bytes(range(256))
    await dma.write(0, content)
    for port in (dma, link):
        for at in (SDRAM_BYTES, 1 << 31):
            assert (await port.read(at, 64)).resp == AxiResp.DECERR
            assert (await port.write(at, b"\xff" * 64)).resp == AxiResp.DECERR
    # Bursts that exist and some that do not, all asked for at once.
    asked = [cocotb.start_soon(dma.read(at, 256)) for at in (0, SDRAM_BYTES, 0, SDRAM_BYTES + 256, 0)]
    answers = [await each for each in asked]
    assert [each.resp for each in answers] == [AxiResp.OKAY, AxiResp.DECERR] * 2 + [AxiResp.OKAY]
    assert all(each.data == content for each in answers[::2])
