# SPDX-License-Identifier: Apache-2.0
"""The serial line's ends on lines that are not right, and the RAM that link and DMA share."""

import re

import pytest
from amaranth.hdl import Module, Value
from amaranth.lib.wiring import Component, In, connect, flipped
from amaranth.sim import Simulator
from host_bench import Bench, command

from respin.rtl.host.axi import AxiLite, join
from respin.rtl.host.dma_read import DmaRead
from respin.rtl.host.dma_write import DmaWrite
from respin.rtl.link.memory import Ram, SharedMemory
from respin.rtl.link.uart import UartReceiver, UartTransmitter, bit_cycles

CLOCK_HZ, PERIOD = 1_000_000, 1e-6
SIZE = 4096


@pytest.mark.parametrize(
    ("clock_hz", "baud", "cycles"),
    [(12_000_000, 115_200, 104), (12_000_000, 1_000_000, 12), (25_000_000, 115_200, 217), (921_600, 115_200, 8)],
)
def test_cycles_of_a_bit(clock_hz, baud, cycles):
    assert bit_cycles(clock_hz, baud) == cycles


@pytest.mark.parametrize(
    ("baud", "message"),
    [
        (2_000_000, "baud must be at most clock_hz / 8 (1500000), not 2000000"),
        (1_150_000, "baud must be within 2 % of clock_hz / 10 (1200000), not 1150000"),
        (0, "baud must be in 1..1000000000, not 0"),
    ],
)
def test_rates_that_are_refused(baud, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        bit_cycles(12_000_000, baud)


def received(cycles: int, edges: list[tuple[float, int]]) -> list[tuple[int, int]]:
    """What a receiver of ``cycles`` cycles a bit makes of levels that each last so many bits: bytes and errors."""
    dut = UartReceiver(clock_hz=CLOCK_HZ, baud=round(CLOCK_HZ / cycles))
    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    found = []

    async def line(ctx):
        await ctx.delay(0.37 * PERIOD)
        for bits, level in [(2, 1), *edges, (3, 1)]:
            ctx.set(dut.rx, level)
            await ctx.delay(bits * cycles * PERIOD)

    async def listen(ctx):
        while True:
            _, _, valid, byte, error = await ctx.tick().sample(
                dut.o.valid, dut.o.payload.data, dut.o.payload.error
            )  # fmt: skip
            if valid:
                found.append((byte, error))

    simulator.add_testbench(line)
    simulator.add_testbench(listen, background=True)
    simulator.run()
    return found


def levels(content: bytes, rate: float = 1.0, stop: int = 1) -> list[tuple[float, int]]:
    return [(rate, level) for byte in content for level in (0, *(byte >> bit & 1 for bit in range(8)), stop)]


@pytest.mark.parametrize("cycles", [8, 104])
@pytest.mark.parametrize("rate", [0.97, 1.0, 1.03])
def test_a_sender_that_is_off(cycles, rate):
    """Bytes without a pause between them, up to 3 % too fast or too slow."""
    content = bytes([0x55, 0x00, 0xFF, 0x80])
    assert received(cycles, levels(content, rate)) == [(byte, 0) for byte in content]


def test_glitches_and_breaks():
    """Short pulses change nothing; a missing stop bit is told, and a break is one byte until the line rises."""
    quiet = [(1, 1), (0.2, 0), (3, 1)]
    byte = levels(b"\xa5")
    pierced = [part for bits, level in byte for part in ((0.2, level), (0.05, 1 - level), (0.75, level))]
    broken = levels(b"\x3c", stop=0)
    edges = [*quiet, *byte, *pierced, *broken, (2, 1), (40, 0), (2, 1), *byte]
    assert received(104, edges) == [(0xA5, 0), (0xA5, 0), (0x3C, 1), (0x00, 1), (0xA5, 0)]


def test_what_is_sent_is_what_is_received():
    """Start bit, eight bits and a whole stop bit, each of the same length, and a line at rest between."""
    cycles = 8
    dut = UartTransmitter(clock_hz=CLOCK_HZ, baud=CLOCK_HZ // cycles)
    bench = Bench(dut, "transmitter")
    content = bytes([0x00, 0xFF, 0x7E])
    bench.source(dut.i, content)
    seen = []

    async def listen(ctx):
        for _ in range(10 * cycles * len(content) + 60):
            seen.append((await ctx.tick().sample(dut.tx))[-1])

    bench.run(listen)
    at = 0
    for byte in content:
        at = seen.index(0, at)
        bits = [seen[at + cycles * place : at + cycles * (place + 1)] for place in range(10)]
        assert all(len(set(bit)) == 1 for bit in bits)
        assert [bit[0] for bit in bits] == [0, *(byte >> place & 1 for place in range(8)), 1]
        at += 10 * cycles
    assert set(seen[at:]) == {1}


class SharedRam(Component):
    """A RAM with the machine's two kinds of DMA on it, and the link's port."""

    def __init__(self, bits: int) -> None:
        self.reader = DmaRead(data_bits=bits, watchdog=2000, max_beats=16)
        self.writer = DmaWrite(data_bits=bits, watchdog=2000, max_beats=16)
        self.shared, self.ram = SharedMemory(data_bits=bits, size=SIZE), Ram(data_bits=bits, size=SIZE)
        super().__init__({"link": In(AxiLite(32, 32))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.reader, m.submodules.writer = self.reader, self.writer
        m.submodules.shared, m.submodules.ram = self.shared, self.ram
        join(m, flipped(self.shared.dma), self.reader.axi)
        join(m, flipped(self.shared.dma), self.writer.axi)
        connect(m, flipped(self.link), self.shared.link)
        connect(m, self.shared.ram, self.ram.port)
        return m


@pytest.mark.parametrize("bits", [32, 128])
def test_everybody_gets_what_is_theirs(bits):
    """The writer, the reader and the link at once, each in its own part; then the reader sees what all have written."""
    dut = SharedRam(bits)
    bench = Bench(dut, f"shared {bits}")
    beat = bits // 8
    first, part = bench.random.randbytes(1024), bench.random.randbytes(1024)
    words = [bench.random.getrandbits(32) for _ in range(24)]
    link = dut.link
    bench.watch(dut.shared.dma, "ar", "r", "aw", "w", "b")

    def beats(content):
        return [int.from_bytes(content[at : at + beat], "little") for at in range(0, len(content), beat)]

    writes = bench.source(dut.writer.command, [command(0, 1024), command(1024, 1024), command(SIZE, beat)])
    bench.source(dut.writer.data, [*beats(first), *beats(part), 1], idle=0.2)
    statuses, _ = bench.sink(dut.writer.status)
    read, _ = bench.sink(dut.reader.data, stall=0.3)
    read_statuses, _ = bench.sink(dut.reader.status)

    async def write(ctx, address, value, strobe=15):
        ctx.set(link.awaddr, address)
        ctx.set(link.wdata, value)
        ctx.set(link.wstrb, strobe)
        ctx.set(link.awvalid, 1)
        ctx.set(link.wvalid, 1)
        ctx.set(link.bready, 1)
        await ctx.tick().until(link.awready & link.wready)
        ctx.set(link.awvalid, 0)
        ctx.set(link.wvalid, 0)
        return (await ctx.tick().sample(Value.cast(link.bresp)).until(link.bvalid))[-1]

    async def look(ctx, address):
        ctx.set(link.araddr, address)
        ctx.set(link.arvalid, 1)
        ctx.set(link.rready, 1)
        await ctx.tick().until(link.arready)
        ctx.set(link.arvalid, 0)
        return (await ctx.tick().sample(link.rdata, Value.cast(link.rresp)).until(link.rvalid))

    async def ask_reader(ctx, address, count):
        ctx.set(Value.cast(dut.reader.command.payload), command(address, count))
        ctx.set(dut.reader.command.valid, 1)
        await ctx.tick().until(dut.reader.command.ready)
        ctx.set(dut.reader.command.valid, 0)

    async def work(ctx):
        await ask_reader(ctx, 3072, 1024)
        for place, word in enumerate(words):
            assert await write(ctx, 2048 + 4 * place, word) == 0
            *_, value, response = await look(ctx, 2048 + 4 * place)
            assert (value, response) == (word, 0)
        assert await write(ctx, 2048, 0xFFFFFFFF, 0b0100) == 0
        assert await write(ctx, SIZE, 0) == 3
        assert (await look(ctx, 1 << 31))[-1] == 3
        while len(statuses) < 3 or not read_statuses:
            await ctx.tick()
        read.clear()
        await ask_reader(ctx, 0, 2048 + 96)
        while len(read_statuses) < 2:
            await ctx.tick()
        await ask_reader(ctx, SIZE, beat)
        while len(read_statuses) < 3:
            await ctx.tick()
        await ctx.tick().repeat(5)

    bench.run(work)
    words[0] |= 0xFF0000
    content = first + part + b"".join(word.to_bytes(4, "little") for word in words)
    assert [value & (1 << bits) - 1 for value in read][:-1] == beats(content)
    assert statuses == [0, 0, 3]
    assert read_statuses == [0, 0, 3]
    assert len(writes) == 3
