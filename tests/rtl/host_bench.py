# SPDX-License-Identifier: Apache-2.0
"""AXI managers, a memory and stream ends in Amaranth's simulator, with random waits; every channel is watched."""

import os
import random
from dataclasses import dataclass, field

from amaranth.hdl import Value
from amaranth.sim import Simulator

SEED = int(os.environ.get("RESPIN_SEED", "1"))

CHANNELS = {
    "aw": ("awid", "awaddr", "awlen", "awsize", "awburst", "awlock", "awcache", "awprot", "awqos"),
    "w": ("wdata", "wstrb", "wlast"),
    "b": ("bid", "bresp"),
    "ar": ("arid", "araddr", "arlen", "arsize", "arburst", "arlock", "arcache", "arprot", "arqos"),
    "r": ("rid", "rdata", "rresp", "rlast"),
}


class Bench:
    """A simulation; ``cycle`` is the cycle that has begun."""

    def __init__(self, dut, name: str) -> None:
        print(f"RESPIN_SEED={SEED}")
        self.random = random.Random(f"{SEED} {name}")
        self.cycle = 0
        self.simulator = Simulator(dut)
        self.simulator.add_clock(1e-8)
        self.background(self._count)

    async def _count(self, ctx) -> None:
        while True:
            await ctx.tick()
            self.cycle += 1

    def background(self, process) -> None:
        self.simulator.add_testbench(process, background=True)

    def run(self, *testbenches) -> None:
        for testbench in testbenches:
            self.simulator.add_testbench(testbench)
        self.simulator.run()

    def waits(self, probability: float) -> bool:
        return self.random.random() < probability

    def watch(self, axi, *channels: str) -> None:
        """Check that what is offered on the channels stays offered, unchanged, until it is taken."""
        for channel in channels:
            names = [name for name in CHANNELS[channel] if name in axi.signature.members]
            wires = [Value.cast(getattr(axi, name)) for name in names]
            self._watch(channel, getattr(axi, f"{channel}valid"), getattr(axi, f"{channel}ready"), wires)

    def watch_stream(self, name: str, port) -> None:
        self._watch(name, port.valid, port.ready, [Value.cast(port.payload)])

    def _watch(self, name, valid, ready, wires) -> None:
        async def check(ctx) -> None:
            held = None
            while True:
                _, _, offered, taken, *content = await ctx.tick().sample(valid, ready, *wires)
                assert held is None or (offered and content == held), f"{name}: {held} became {offered}, {content}"
                held = content if offered and not taken else None

        self.background(check)

    def source(self, port, values, *, idle: float = 0.0) -> list[int]:
        """Put values into a stream as bits; returns the cycles in which they were taken."""
        taken: list[int] = []

        async def drive(ctx) -> None:
            for value in values:
                while self.waits(idle):
                    await ctx.tick()
                ctx.set(Value.cast(port.payload), value)
                ctx.set(port.valid, 1)
                while not (await ctx.tick().sample(port.ready))[-1]:
                    pass
                ctx.set(port.valid, 0)
                taken.append(self.cycle)

        self.background(drive)
        return taken

    def sink(self, port, *, stall: float = 0.0) -> tuple[list[int], list[int]]:
        """Take everything out of a stream; returns values as bits, and cycles."""
        values: list[int] = []
        cycles: list[int] = []

        async def take(ctx) -> None:
            while True:
                ready = not self.waits(stall)
                ctx.set(port.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(port.valid, Value.cast(port.payload))
                if valid and ready:
                    values.append(payload)
                    cycles.append(self.cycle)

        self.watch_stream(port.__class__.__name__, port)
        self.background(take)
        return values, cycles


def command(address: int, count: int) -> int:
    """A DmaCommand as bits."""
    return address | count << 32


@dataclass
class Faults:
    """What the memory does wrong: answers by page of 4 KB, and silence on channels."""

    responses: dict[int, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)


class AxiMemory:
    """A memory of ``bytes`` on an AXI4 port: bursts one after the other, each beat and burst checked."""

    def __init__(self, bench: Bench, axi, size: int, *, stall: float = 0.0, latency: int = 0) -> None:
        self.bench, self.axi = bench, axi
        self.bytes = bytearray(bench.random.randbytes(size))
        self.stall, self.latency = stall, latency
        self.faults = Faults()
        self.reads: list[tuple[int, int]] = []
        """Bursts read: address and beats."""
        self.writes: list[tuple[int, int]] = []
        self.read_cycles: list[int] = []
        """Cycles of beats on R."""
        self.write_cycles: list[int] = []
        members = axi.signature.members
        self.beat = len(axi.rdata if "rdata" in members else axi.wdata) // 8
        if "araddr" in members:
            self._pending: list[tuple[int, int, int, int]] = []
            bench.background(self._take_reads)
            bench.background(self._answer_reads)
            bench.watch(axi, "ar", "r")
        if "awaddr" in members:
            self._addresses: list[tuple[int, int]] = []
            self._answers: list[int] = []
            bench.background(self._take_write_addresses)
            bench.background(self._take_data)
            bench.background(self._answer_writes)
            bench.watch(axi, "aw", "w", "b")

    def _check_burst(self, address: int, length: int, size: int, burst: int) -> None:
        assert 1 << size == self.beat
        assert burst == 1
        assert address % self.beat == 0
        assert address // 4096 == (address + (length + 1) * self.beat - 1) // 4096, f"{address:#x} +{length + 1}"

    def _answer(self, address: int) -> int:
        return self.faults.responses.get(address // 4096, 0)

    async def _ready(self, ctx, wire, channel: str) -> int:
        ready = channel not in self.faults.silent and not self.bench.waits(self.stall)
        ctx.set(wire, ready)
        return ready

    async def _take_reads(self, ctx) -> None:
        axi = self.axi
        while True:
            ready = await self._ready(ctx, axi.arready, "ar")
            wires = (axi.arvalid, axi.araddr, axi.arlen, axi.arsize, Value.cast(axi.arburst), axi.arid)
            _, _, valid, address, length, size, burst, name = await ctx.tick().sample(*wires)
            if valid and ready:
                self._check_burst(address, length, size, burst)
                self.reads.append((address, length + 1))
                self._pending.append((address, length, name, self.bench.cycle + self.latency))

    async def _answer_reads(self, ctx) -> None:
        axi, bench = self.axi, self.bench
        while True:
            while not self._pending or self._pending[0][3] > bench.cycle or "r" in self.faults.silent:
                await ctx.tick()
            address, length, name, _ = self._pending.pop(0)
            for place in range(length + 1):
                while bench.waits(self.stall) or "r" in self.faults.silent:
                    await ctx.tick()
                at = address + place * self.beat
                ctx.set(axi.rid, name)
                ctx.set(axi.rdata, int.from_bytes(self.bytes[at : at + self.beat], "little"))
                ctx.set(Value.cast(axi.rresp), self._answer(at))
                ctx.set(axi.rlast, place == length)
                ctx.set(axi.rvalid, 1)
                while not (await ctx.tick().sample(axi.rready))[-1]:
                    pass
                self.read_cycles.append(bench.cycle)
                ctx.set(axi.rvalid, 0)

    async def _take_write_addresses(self, ctx) -> None:
        axi = self.axi
        while True:
            ready = await self._ready(ctx, axi.awready, "aw")
            wires = (axi.awvalid, axi.awaddr, axi.awlen, axi.awsize, Value.cast(axi.awburst))
            _, _, valid, address, length, size, burst = await ctx.tick().sample(*wires)
            if valid and ready:
                self._check_burst(address, length, size, burst)
                self.writes.append((address, length + 1))
                self._addresses.append((address, length))

    async def _take_data(self, ctx) -> None:
        """Data may come before its address; bursts are put together when both are there."""
        axi = self.axi
        beats: list[tuple[int, int, int]] = []
        while True:
            ready = await self._ready(ctx, axi.wready, "w")
            _, _, valid, *beat = await ctx.tick().sample(axi.wvalid, axi.wdata, axi.wstrb, axi.wlast)
            if valid and ready:
                beats.append(tuple(beat))
                self.write_cycles.append(self.bench.cycle)
            while self._addresses and len(beats) > self._addresses[0][1]:
                address, length = self._addresses.pop(0)
                for place, (word, strobe, last) in enumerate(beats[: length + 1]):
                    assert last == (place == length)
                    for lane in range(self.beat):
                        if strobe >> lane & 1:
                            self.bytes[address + place * self.beat + lane] = word >> (8 * lane) & 0xFF
                del beats[: length + 1]
                self._answers.append(self._answer(address))

    async def _answer_writes(self, ctx) -> None:
        axi, bench = self.axi, self.bench
        while True:
            while not self._answers or bench.waits(self.stall) or "b" in self.faults.silent:
                await ctx.tick()
            for _ in range(self.latency):
                await ctx.tick()
            ctx.set(Value.cast(axi.bresp), self._answers.pop(0))
            ctx.set(axi.bvalid, 1)
            while not (await ctx.tick().sample(axi.bready))[-1]:
                pass
            ctx.set(axi.bvalid, 0)
