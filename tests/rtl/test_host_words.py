# SPDX-License-Identifier: Apache-2.0
"""Store words out of beats and back, and several readers on one port."""

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out, connect, flipped
from host_bench import AxiMemory, Bench, command

from respin.rtl.host.arbiter import ReadArbiter
from respin.rtl.host.axi import Axi4, Axi4Read, AxiLite
from respin.rtl.host.dma_read import DmaRead
from respin.rtl.host.words import BeatsToWords, WordsToBeats

WIDTHS = [32, 64, 128, 256]
PACES = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)]


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_beats_to_words(bits, idle, stall):
    dut = BeatsToWords(data_bits=bits)
    bench = Bench(dut, f"words {bits} {idle} {stall}")
    beats, expected = [], []
    for length in (1, 2, 8, 9, 64, *(bench.random.randint(1, 40) for _ in range(6))):
        items = [bench.random.getrandbits(bits) for _ in range(length)]
        beats += [item | (place == length - 1) << bits for place, item in enumerate(items)]
        content = sum(item << (bits * place) for place, item in enumerate(items))
        words = -(-length * bits // 256)
        expected += [(content >> (256 * n)) % (1 << 256) | (n == words - 1) << 256 for n in range(words)]
    taken = bench.source(dut.i, beats, idle=idle)
    values, cycles = bench.sink(dut.o, stall=stall)

    async def wait(ctx):
        await ctx.tick().repeat(6 * len(beats) + 50)

    bench.run(wait)
    assert values == expected
    if (idle, stall) == (0.0, 0.0):
        assert taken == list(range(taken[0], taken[0] + len(beats)))
        assert cycles[-1] == taken[-1] + dut.latency


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_words_to_beats(bits, idle, stall):
    dut = WordsToBeats(data_bits=bits)
    bench = Bench(dut, f"beats {bits} {idle} {stall}")
    words = [bench.random.getrandbits(256) for _ in range(30)]
    bench.source(dut.i, words, idle=idle)
    values, cycles = bench.sink(dut.o, stall=stall)

    async def wait(ctx):
        await ctx.tick().repeat(6 * 30 * 256 // bits + 50)

    bench.run(wait)
    assert values == [word >> low & (1 << bits) - 1 for word in words for low in range(0, 256, bits)]
    if (idle, stall) == (0.0, 0.0):
        assert cycles == list(range(cycles[0], cycles[0] + len(values)))


def test_an_incomplete_word_can_be_dropped():
    dut = BeatsToWords(data_bits=64)
    bench = Bench(dut, "drop")
    taken = bench.source(dut.i, [1, 2, 3, *(4 | (1 << 64) * (n == 3) for n in range(4))])
    values, _ = bench.sink(dut.o)

    async def process(ctx):
        while len(taken) < 2:
            await ctx.tick()
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(20)

    bench.run(process)
    word = sum(4 << (64 * n) for n in range(4))
    assert len(taken) == 7
    assert values == [word | 1 << 256]


def test_the_rest_of_a_word_can_be_dropped():
    dut = WordsToBeats(data_bits=64)
    bench = Bench(dut, "drop")
    words = [sum(number << (64 * place) for place, number in enumerate(part)) for part in ((1, 2, 3, 4), (5, 6, 7, 8))]
    bench.source(dut.i, words)

    async def process(ctx):
        await ctx.tick().repeat(3)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.o.ready, 0)
        assert ctx.get(dut.o.payload) == 2
        ctx.set(dut.clear, 1)
        await ctx.tick().repeat(2)
        assert (ctx.get(dut.o.valid), ctx.get(dut.i.ready)) == (0, 0)
        ctx.set(dut.clear, 0)
        await ctx.tick().repeat(2)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 5)

    bench.run(process)


class Readers(Component):
    """Engines behind an arbiter."""

    def __init__(self, count: int) -> None:
        self.arbiter = ReadArbiter(clients=count, data_bits=64)
        self.engines = [DmaRead(data_bits=64, watchdog=500, max_beats=8) for _ in range(count)]
        super().__init__({"axi": Out(Axi4Read(64, 32, self.arbiter.id_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = self.arbiter
        for number, engine in enumerate(self.engines):
            m.submodules[f"engine_{number}"] = engine
            connect(m, engine.axi, self.arbiter.clients[number])
        connect(m, self.arbiter.axi, flipped(self.axi))
        return m


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_readers_share_a_port(count, stall):
    dut = Readers(count)
    bench = Bench(dut, f"readers {count} {stall}")
    memory = AxiMemory(bench, dut.axi, 1 << 14, stall=stall, latency=3)
    runs = []
    for engine in dut.engines:
        jobs = [(8 * bench.random.randrange(1024), 8 * bench.random.randint(1, 60)) for _ in range(8)]
        bench.source(engine.command, [command(*job) for job in jobs])
        beats, cycles = bench.sink(engine.data, stall=stall)
        statuses, _ = bench.sink(engine.status, stall=stall)
        bench.watch(engine.axi, "ar", "r")
        runs.append((jobs, beats, cycles, statuses))

    async def wait(ctx):
        for _ in range(7000):
            await ctx.tick()
            if all(len(statuses) == len(jobs) for jobs, _, _, statuses in runs):
                break

    bench.run(wait)
    for jobs, beats, _, statuses in runs:
        assert statuses == [0] * len(jobs)
        content = b"".join(memory.bytes[address : address + count] for address, count in jobs)
        assert b"".join((beat % (1 << 64)).to_bytes(8, "little") for beat in beats) == content
    if count > 1:  # in turn: the last ones end at about the same time
        assert max(cycles[0] for _, _, cycles, _ in runs) < min(cycles[-1] for _, _, cycles, _ in runs) / 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BeatsToWords(data_bits=48), "data_bits must be one of 32, 64, 128, 256, not 48"),
        (lambda: WordsToBeats(data_bits="64"), "data_bits must be an integer, not '64'"),
        (lambda: ReadArbiter(clients=0, data_bits=64), "clients must be in 1..16, not 0"),
        (lambda: AxiLite(12, 48), "data_width must be 32 or 64, not 48"),
        (lambda: AxiLite(0), "addr_width must be in 1..64, not 0"),
        (lambda: Axi4(512), "data_bits must be in 1..256, not 512"),
        (lambda: Axi4(64, 32, 0), "id_bits must be in 1..32, not 0"),
        (lambda: Axi4(64, 8), "addr_bits must be in 12..64, not 8"),
    ],
)
def test_parameters_are_checked(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
