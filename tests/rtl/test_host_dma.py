# SPDX-License-Identifier: Apache-2.0
"""The DMA engines against a memory that waits, answers with errors, or says nothing."""

import pytest
from host_bench import AxiMemory, Bench, command

from respin.rtl.host.dma_read import DmaRead
from respin.rtl.host.dma_write import DmaWrite

NONE, REFUSED, SLVERR, DECERR, TIMEOUT = range(5)
SIZE = 1 << 15
WIDTHS = [32, 64, 128, 256]


class ReadBench(Bench):
    def __init__(self, name, *, bits=64, stall=0.0, latency=0, **parameters):
        self.dut = DmaRead(data_bits=bits, **{"watchdog": 200, **parameters})
        super().__init__(self.dut, name)
        self.bits, self.beat = bits, bits // 8
        self.memory = AxiMemory(self, self.dut.axi, SIZE, stall=stall, latency=latency)
        self.statuses, self.status_cycles = self.sink(self.dut.status, stall=stall)

    def attach(self, jobs, *, stall=0.0, idle=0.0):
        self.source(self.dut.command, [command(*job) for job in jobs], idle=idle)
        self.beats, self.cycles = self.sink(self.dut.data, stall=stall)

    def content(self, jobs):
        """Beats of the jobs, the last ones marked, as bits."""
        beats = []
        for start, count in jobs:
            for at in range(start, start + count, self.beat):
                last = at + self.beat == start + count
                beats.append(int.from_bytes(self.memory.bytes[at : at + self.beat], "little") | last << self.bits)
        return beats

    async def until(self, ctx, count, limit=20_000):
        for _ in range(limit):
            if len(self.statuses) >= count:
                await ctx.tick().repeat(20)
                return
            await ctx.tick()
        raise AssertionError(f"{len(self.statuses)} of {count} statuses after {limit} cycles")


class WriteBench(Bench):
    def __init__(self, name, *, bits=64, stall=0.0, latency=0, **parameters):
        self.dut = DmaWrite(data_bits=bits, **{"watchdog": 200, **parameters})
        super().__init__(self.dut, name)
        self.bits, self.beat = bits, bits // 8
        self.memory = AxiMemory(self, self.dut.axi, SIZE, stall=stall, latency=latency)
        self.statuses, self.status_cycles = self.sink(self.dut.status, stall=stall)

    def attach(self, jobs, data, *, idle=0.0):
        self.source(self.dut.command, [command(*job) for job in jobs], idle=idle)
        self.taken = self.source(self.dut.data, data, idle=idle)

    until = ReadBench.until


def random_jobs(bench, count, longest=3000):
    """Ranges that cross bursts and pages, short ones among them."""
    jobs = []
    for _ in range(count):
        beats = bench.random.choice([1, 2, 3, bench.random.randint(1, longest // bench.beat)])
        jobs.append((bench.beat * bench.random.randint(0, SIZE // bench.beat - beats), bench.beat * beats))
    page = 4096 - 2 * bench.beat
    return [*jobs, (page, 4 * bench.beat), (page + bench.beat, bench.beat), (0, 4096)]


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("stall", "latency"), [(0.0, 0), (0.0, 9), (0.5, 2)])
def test_reads(bits, stall, latency):
    bench = ReadBench(f"read {bits} {stall} {latency}", bits=bits, stall=stall, latency=latency)
    jobs = random_jobs(bench, 10)
    bench.attach(jobs, stall=stall, idle=stall)

    async def process(ctx):
        await bench.until(ctx, len(jobs))
        assert not ctx.get(bench.dut.busy)

    bench.run(process)
    assert bench.statuses == [NONE] * len(jobs)
    assert bench.beats == bench.content(jobs)
    assert sum(beats for _, beats in bench.memory.reads) == len(bench.beats)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("stall", "latency"), [(0.0, 0), (0.0, 9), (0.5, 2)])
def test_writes(bits, stall, latency):
    bench = WriteBench(f"write {bits} {stall} {latency}", bits=bits, stall=stall, latency=latency)
    jobs = random_jobs(bench, 10)
    expected = bytearray(bench.memory.bytes)
    data = []
    for start, count in jobs:
        content = bench.random.randbytes(count)
        expected[start : start + count] = content
        data += [int.from_bytes(content[at : at + bench.beat], "little") for at in range(0, count, bench.beat)]
    bench.attach(jobs, data, idle=stall)

    async def process(ctx):
        await bench.until(ctx, len(jobs))
        assert not ctx.get(bench.dut.busy)

    bench.run(process)
    assert bench.statuses == [NONE] * len(jobs)
    assert bench.memory.bytes == expected


@pytest.mark.parametrize("bits", [32, 256])
def test_bursts_are_as_long_as_they_may_be(bits):
    bench = ReadBench("bursts", bits=bits)
    whole = min(256, 4096 * 8 // bits) * bench.beat
    jobs = [(whole - 3 * bench.beat, 3 * whole)]
    bench.attach(jobs)

    async def process(ctx):
        await bench.until(ctx, 1)

    bench.run(process)
    beats = whole // bench.beat
    assert [count for _, count in bench.memory.reads] == [3, beats, beats, beats - 3]


def test_a_stream_read_does_not_pause_between_bursts():
    bench = ReadBench("pace", bits=64, latency=20, max_beats=32)
    bench.attach([(0, 8192)])

    async def process(ctx):
        await bench.until(ctx, 1)

    bench.run(process)
    assert bench.cycles == list(range(bench.cycles[0], bench.cycles[0] + 1024))


@pytest.mark.parametrize("beats", [2, 32])
def test_a_stream_written_does_not_pause_between_bursts(beats):
    bench = WriteBench("pace", bits=64, max_beats=beats, outstanding=8)
    bench.attach([(0, 4096)], list(range(512)))

    async def process(ctx):
        await bench.until(ctx, 1)

    bench.run(process)
    sent = bench.memory.write_cycles
    assert sent == list(range(sent[0], sent[0] + 512))


REFUSED_RANGES = [(4, 64), (0, 12), (0, 0), (0xFFFFFFF8, 16), (0xFFFFF000, 4104)]


def test_what_cannot_be_read_is_refused():
    bench = ReadBench("refused")
    bench.attach([*REFUSED_RANGES, (8, 8)])

    async def process(ctx):
        await bench.until(ctx, 6)

    bench.run(process)
    assert bench.statuses == [REFUSED] * 5 + [NONE]
    assert bench.memory.reads == [(8, 1)]
    assert bench.beats == bench.content([(8, 8)])


def test_what_cannot_be_written_is_refused_and_takes_no_data():
    bench = WriteBench("refused")
    bench.attach([*REFUSED_RANGES, (8, 8)], [7, 8])

    async def process(ctx):
        await bench.until(ctx, 6)

    bench.run(process)
    assert bench.statuses == [REFUSED] * 5 + [NONE]
    assert bench.memory.writes == [(8, 1)]
    assert len(bench.taken) == 1


def test_lengths_may_have_to_be_whole_units():
    bench = WriteBench("units", unit_bytes=32)
    bench.attach([(8, 40), (8, 8), (8, 64)], list(range(8)))

    async def process(ctx):
        await bench.until(ctx, 3)

    bench.run(process)
    assert bench.statuses == [REFUSED, REFUSED, NONE]
    with pytest.raises(ValueError, match="unit_bytes must be a power of two, not 24"):
        DmaWrite(data_bits=64, watchdog=100, unit_bytes=24)


def test_the_last_bytes_of_memory_can_be_read():
    bench = ReadBench("last")
    bench.attach([(0xFFFFF000, 4096)])

    async def process(ctx):
        await bench.until(ctx, 1)

    bench.run(process)
    assert (bench.statuses, len(bench.beats)) == ([NONE], 512)


@pytest.mark.parametrize(("responses", "error"), [
    ({1: 2}, SLVERR), ({1: 3}, DECERR), ({1: 2, 2: 3}, SLVERR), ({0: 3, 1: 2}, DECERR), ({0: 1, 1: 1}, NONE),
])  # fmt: skip
def test_the_first_error_is_told_and_the_rest_goes_on(responses, error):
    jobs = [(0, 3 * 4096), (3 * 4096, 64)]
    read, write = ReadBench("error", latency=2), WriteBench("error", latency=2)
    for bench in (read, write):
        bench.memory.faults.responses = responses

        async def process(ctx, bench=bench):
            await bench.until(ctx, 2)

        if bench is read:
            bench.attach(jobs)
        else:
            bench.attach(jobs, list(range(3 * 512 + 8)))
        bench.run(process)
        assert bench.statuses == [error, NONE]
    assert read.beats == read.content(jobs)
    assert len(write.taken) == 3 * 512 + 8


@pytest.mark.parametrize("channel", ["ar", "r"])
@pytest.mark.parametrize("after", [0, 1, 37, 300])
def test_a_memory_that_falls_silent_while_it_is_read(channel, after):
    bench = ReadBench(f"silent {channel} {after}", watchdog=50, max_beats=16)
    jobs = [(0, 4096), (64, 8), (4096, 256)]
    bench.beats, bench.cycles = bench.sink(bench.dut.data)
    memory = bench.memory

    async def process(ctx):
        port = bench.dut.command
        ctx.set(port.payload.as_value(), command(*jobs[0]))
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.payload.as_value(), command(*jobs[1]))
        await ctx.tick().repeat(after + 3)
        memory.faults.silent.add(channel)
        await bench.until(ctx, 2, limit=400)
        assert bench.statuses[:2] == [TIMEOUT, TIMEOUT]  # the second one at once, as the bus still owes data
        assert bench.status_cycles[1] - bench.status_cycles[0] < 5
        ctx.set(port.valid, 0)
        before = len(bench.beats)
        memory.faults.silent.clear()
        await ctx.tick().repeat(100)
        assert not ctx.get(bench.dut.busy)
        assert len(bench.beats) == before  # what came late was dropped
        ctx.set(port.payload.as_value(), command(*jobs[2]))
        ctx.set(port.valid, 1)
        count = len(bench.statuses)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        await bench.until(ctx, count + 1, limit=300)
        assert bench.statuses[-1] == NONE
        assert bench.beats[before:] == bench.content([jobs[2]])

    bench.run(process)
    whole = bench.content([jobs[0]])
    early = bench.beats[: len(bench.beats) - 32]
    assert early == whole[: len(early)]
    assert len(early) < len(whole)


@pytest.mark.parametrize("channel", ["aw", "w", "b"])
@pytest.mark.parametrize("after", [0, 1, 37, 300])
def test_a_memory_that_falls_silent_while_it_is_written(channel, after):
    bench = WriteBench(f"silent {channel} {after}", watchdog=50, max_beats=16)
    memory = bench.memory
    before = bytes(memory.bytes)

    async def data(ctx):
        """A source that knows nothing of commands."""
        port = bench.dut.data
        number = 0
        ctx.set(port.valid, 1)
        while True:
            ctx.set(port.payload, number)
            number += (await ctx.tick().sample(port.ready))[-1]

    bench.background(data)

    async def process(ctx):
        port = bench.dut.command
        ctx.set(port.payload.as_value(), command(0, 4096))
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        await ctx.tick().repeat(after + 3)
        memory.faults.silent.add(channel)
        await bench.until(ctx, 2, limit=1200)
        assert bench.statuses[:2] == [TIMEOUT, TIMEOUT]
        ctx.set(port.valid, 0)
        memory.faults.silent.clear()
        await ctx.tick().repeat(150)
        assert not ctx.get(bench.dut.busy)
        written = memory.bytes[:4096]
        numbers = [int.from_bytes(written[at : at + 8], "little") for at in range(0, 4096, 8)]
        moved = next(n for n in range(513) if n == 512 or numbers[n] != n)
        assert written[8 * moved :] == before[8 * moved : 4096]  # the bursts' rest was written to nowhere
        count = len(bench.statuses)
        ctx.set(port.payload.as_value(), command(8192, 64))
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        await bench.until(ctx, count + 1, limit=300)
        assert bench.statuses[-1] == NONE
        first = int.from_bytes(memory.bytes[8192:8200], "little")
        assert [int.from_bytes(memory.bytes[at : at + 8], "little") for at in range(8192, 8256, 8)] == list(
            range(first, first + 8)
        )

    bench.run(process)


def test_a_consumer_that_takes_nothing_ends_the_read():
    bench = ReadBench("consumer", watchdog=50)
    bench.source(bench.dut.command, [command(0, 512), command(512, 64)])
    port = bench.dut.data
    bench.watch_stream("data", port)

    async def process(ctx):
        await bench.until(ctx, 2, limit=300)
        assert bench.statuses == [TIMEOUT, TIMEOUT]
        assert ctx.get(port.valid)
        ctx.set(port.ready, 1)
        await ctx.tick().repeat(100)
        assert not ctx.get(port.valid)
        assert not ctx.get(bench.dut.busy)

    bench.run(process)


def test_a_producer_that_gives_nothing_ends_the_write():
    bench = WriteBench("producer", watchdog=50)
    before = bytes(bench.memory.bytes)
    bench.attach([(0, 512), (0, 64)], [1, 2, 3])

    async def process(ctx):
        await bench.until(ctx, 1, limit=300)
        await ctx.tick().repeat(100)
        assert not ctx.get(bench.dut.busy)

    bench.run(process)
    assert bench.statuses[0] == TIMEOUT
    assert bench.memory.bytes[:24] == b"".join(n.to_bytes(8, "little") for n in (1, 2, 3))
    assert bench.memory.bytes[24:] == before[24:]


def test_a_slow_memory_is_no_silent_one():
    bench = ReadBench("slow", watchdog=50, latency=45)
    jobs = [(0, 8)] * 5
    bench.attach(jobs)

    async def process(ctx):
        await bench.until(ctx, 5)

    bench.run(process)
    assert bench.statuses == [NONE] * 5


@pytest.mark.parametrize("engine", [DmaRead, DmaWrite])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"data_bits": 512}, "data_bits must be in 1..256, not 512"),
        ({"data_bits": 96}, "data_bits must be one of 32, 64, 128, 256, not 96"),
        ({"watchdog": 7}, "watchdog must be in 8..16777215, not 7"),
        ({"outstanding": 0}, "outstanding must be in 1..15, not 0"),
        ({"max_beats": 48}, "max_beats must be a power of two, not 48"),
        ({"max_beats": 512}, "max_beats must be in 1..256, not 512"),
        ({"id_bits": "1"}, "id_bits must be an integer, not '1'"),
    ],
)
def test_parameters_are_checked(engine, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message):
        engine(**{"data_bits": 64, "watchdog": 100, **parameters})
