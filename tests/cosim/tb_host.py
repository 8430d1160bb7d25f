# SPDX-License-Identifier: Apache-2.0
"""The host's side between bus models that nobody here wrote, with waits on every channel."""

import os
import random
from dataclasses import replace

import cocotb
from amaranth.lib import data
from cocotb.triggers import Combine
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from host_model import OKAY, SLVERR, RegisterModel

from respin.gen.registers.constants import constants
from respin.rtl.config import preset
from respin.rtl.host.dma_ports import DmaCommand, DmaError, DmaStatus
from respin.rtl.host.host import COUNTS, DMA_COUNTERS
from respin.rtl.host.registers import COUNTERS, register_map
from respin.sim.axi import AxiMonitor
from respin.sim.payload import pack
from respin.sim.runner import seed
from respin.sim.streams import StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = replace(preset(os.environ["HOST_PRESET"]), watchdog_cycles=int(os.environ["HOST_WATCHDOG"]))
BEAT = CONFIG.axi_bits // 8
WORD = data.StructLayout({"data": 256, "last": 1})
MEMORY = 1 << 16
BROKEN = range(0xC000, 0xD000)
"""A page of the memory that answers with errors."""
NONE, REFUSED, FAILED, TIMEOUT = ({"error": int(kind.value)} for kind in
                                  (DmaError.NONE, DmaError.REFUSED, DmaError.SLVERR, DmaError.TIMEOUT))  # fmt: skip


class Registers:
    """The register port by the names of the generated constants."""

    def __init__(self, dut, *, waits: float) -> None:
        self.at: dict[str, int] = {}
        exec(constants(register_map(CONFIG)), self.at)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        write, read = self.master.write_if, self.master.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)
        pause(channels, waits, "registers")

    async def write_bytes(self, address: int, content: bytes) -> int:
        return int((await self.master.write(address, content)).resp)

    async def write(self, name: str, value: int) -> int:
        return await self.write_bytes(self.at[name], value.to_bytes(4, "little"))

    async def read_at(self, address: int) -> tuple[int, int]:
        answer = await self.master.read(address, 4)
        return int(answer.resp), int.from_bytes(answer.data, "little")

    async def read(self, name: str) -> int:
        response, value = await self.read_at(self.at[name])
        assert response == OKAY, name
        return value

    async def field(self, register: str, field: str) -> int:
        name = f"{register}__{field}"
        return (await self.read(register) & self.at[f"{name}_bm"]) >> self.at[f"{name}_bp"]

    async def counter(self, name: str) -> int:
        low = await self.read(f"{name}_LOW")
        return low | await self.read(f"{name}_HIGH") << 32


def pause(channels, waits: float, name: str) -> None:
    """Have each channel wait at random."""
    if waits:
        for number, channel in enumerate(channels):
            rng = random.Random(f"{seed()} {name} {number}")
            channel.set_pause_generator(iter(lambda rng=rng: rng.random() < waits, None))


class Memory:
    """External memory, one page of which answers with errors."""

    def __init__(self, dut, *, waits: float) -> None:
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=MEMORY)
        write, read = self.ram.write_if, self.ram.read_if
        self.channels = {
            "aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel,
            "ar": read.ar_channel, "r": read.r_channel,
        }  # fmt: skip
        pause(self.channels.values(), waits, "memory")
        plain_read, plain_write = read._read, write._write

        async def guarded_read(address, length):
            if address in BROKEN:
                raise OSError("broken page")
            return await plain_read(address, length)

        async def guarded_write(address, content):
            if address in BROKEN:
                raise OSError("broken page")
            await plain_write(address, content)

        read._read, write._write = guarded_read, guarded_write
        self.ram.write(0, random.Random(f"{seed()} memory").randbytes(MEMORY))

    def words(self, address: int, count: int) -> list[dict[str, int]]:
        """What reading gives: broken pages read 0, the last word is filled up with zeros."""
        content = bytearray(self.ram.read(address, count))
        for place in range(count):
            if address + place in BROKEN:
                content[place] = 0
        pieces = [content[at : at + 32] for at in range(0, count, 32)]
        return [
            {"data": int.from_bytes(piece, "little"), "last": int(number == len(pieces) - 1)}
            for number, piece in enumerate(pieces)
        ]


class Bench:
    """The host's side with its surroundings, out of reset."""

    @classmethod
    async def start(cls, dut, *, waits: float = 0.0, stall: float = 0.0) -> "Bench":
        self = cls()
        self.dut, self.random = dut, random.Random(f"{seed()} {waits} {stall}")
        start_clock(dut)
        self.monitors = [AxiMonitor(dut, "s_axi"), AxiMonitor(dut, "m_axi")]
        for name in register_map(CONFIG).inputs | register_map(CONFIG).events:
            if hasattr(dut, f"regs__{name}"):
                getattr(dut, f"regs__{name}").value = 0
        dut.count.value = 0
        await reset(dut, cycles=4)  # before bus models look: they take no unknown value
        self.registers, self.memory = Registers(dut, waits=waits), Memory(dut, waits=waits)
        self.commands = {
            name: StreamDriver(dut, f"{name}_command", DmaCommand, idle=stall) for name in ("fetch", "load", "store")
        }
        self.statuses = {name: StreamMonitor(dut, f"{name}_status", DmaStatus, stall=stall) for name in self.commands}
        self.words = {name: StreamMonitor(dut, f"{name}_words", WORD, stall=stall) for name in ("fetch", "load")}
        self.store = StreamDriver(dut, "store_words", idle=stall)
        await reset(dut, cycles=4)
        await cycles_of(dut, 4)
        return self

    def range(self, pages: range, *, unit: int) -> dict[str, int]:
        """A random range of some pages: short ones, and ones that cross their borders."""
        low, high = 4096 * pages.start, 4096 * pages.stop
        count = unit * self.random.choice([1, 2, self.random.randint(1, 40), self.random.randint(1, 8192 // unit)])
        border = self.random.choice([low, low, *(4096 * page for page in pages)])
        address = border + BEAT * self.random.randint(-16, 512) if self.random.random() < 0.6 else low
        address = min(max(address, low), high - count)
        return {"address": address - address % BEAT, "bytes": count}

    async def read(self, name: str, job: dict[str, int]) -> None:
        """Read a range, and compare."""
        self.commands[name].put(job)
        want = self.memory.words(job["address"], job["bytes"])
        assert await self.words[name].collect(len(want)) == want
        broken = any(at in BROKEN for at in range(job["address"], job["address"] + job["bytes"], BEAT))
        assert await self.statuses[name].get() == (FAILED if broken else NONE)

    async def write(self, job: dict[str, int]) -> None:
        """Write random words into a range, and compare what is there afterwards."""
        address, count = job["address"], job["bytes"]
        content = self.random.randbytes(count)
        want = bytearray(self.ram.read(address, count))
        for place in range(count):
            if address + place not in BROKEN:
                want[place] = content[place]
        self.store.put(*(int.from_bytes(content[at : at + 32], "little") for at in range(0, count, 32)))
        self.commands["store"].put(job)
        broken = any(at in BROKEN for at in range(address, address + count, BEAT))
        assert await self.statuses["store"].get() == (FAILED if broken else NONE)
        assert self.ram.read(address, count) == bytes(want)

    @property
    def ram(self) -> AxiRam:
        return self.memory.ram


@cocotb.test()
async def identity_and_configuration_by_their_names(dut):
    bench = await Bench.start(dut)
    registers = bench.registers
    assert (await registers.read("ID")).to_bytes(4, "little") == b"RSPN"
    for register in register_map(CONFIG).registers:
        if register.name.startswith("CONFIG"):
            for field in register.fields:
                value = await registers.field(register.name, field.name.upper())
                key = field.name.removesuffix("_log2")
                if key != "write_scheme":
                    assert (1 << value if field.name.endswith("_log2") else value) == getattr(CONFIG, key), key


@cocotb.test()
@cocotb.parametrize(waits=[0.0, 0.5])
async def random_register_accesses(dut, waits):
    bench = await Bench.start(dut, waits=waits)
    registers, model = bench.registers, RegisterModel(register_map(CONFIG))
    kept_here = {counter.name for counter in COUNTERS if counter.step}
    shown = [(name, width) for name, width in model.registers.inputs.items() if name not in kept_here]
    ended = {OKAY: 0, SLVERR: 0}
    for _ in range(400):
        if bench.random.random() < 0.3:
            name, width = bench.random.choice(shown)
            model.inputs[name] = bench.random.getrandbits(width)
            getattr(dut, f"regs__{name}").value = model.inputs[name]
        if bench.random.random() < 0.1:
            name = bench.random.choice(list(model.registers.events))
            getattr(dut, f"regs__{name}").value = 1
            await cycles_of(dut, 1)
            getattr(dut, f"regs__{name}").value = 0
            model.event(name)
        address, value, _ = model.random_access(bench.random)
        first = bench.random.choice([0, 0, 0, 1, 2, 3])
        count = 4 if first == 0 and bench.random.random() < 0.7 else bench.random.randint(1, 4 - first)
        if bench.random.random() < 0.5:
            strobe = ((1 << count) - 1) << first
            response = model.write(address, value, strobe)
            content = value.to_bytes(4, "little")[first : first + count]
            assert await registers.write_bytes((address & ~3) + first, content) == response, f"{address:#x}"
        else:
            response, content = model.read(address)
            assert await registers.read_at(address & ~3) == (response, content), f"{address:#x}"
        ended[response] += 1
        await cycles_of(dut, 2)
        assert int(dut.irq.value) == model.interrupt()
        for name, value in model.outputs().items():
            assert int(getattr(dut, f"regs__{name}").value) == value
    assert min(ended.values()) > 50


@cocotb.test()
@cocotb.parametrize(waits=[0.0, 0.4], stall=[0.0, 0.4])
async def three_clients_at_once(dut, waits, stall):
    """Two readers and a writer, each in pages of its own, while the host reads registers."""
    bench = await Bench.start(dut, waits=waits, stall=stall)
    jobs = {
        "fetch": [bench.range(range(5), unit=BEAT) for _ in range(8)],
        "load": [bench.range(range(5, 8), unit=BEAT) for _ in range(8)],
        "store": [bench.range(range(8, 12), unit=32) for _ in range(8)],
    }

    async def reads(name):
        for job in jobs[name]:
            await bench.read(name, job)

    async def writes():
        for job in jobs["store"]:
            await bench.write(job)

    async def host():
        for number in range(60):
            assert await bench.registers.write("SEED", number) == OKAY
            assert await bench.registers.read("SEED") == number

    await Combine(*(cocotb.start_soon(task) for task in (reads("fetch"), reads("load"), writes(), host())))
    await cycles_of(dut, 2)
    assert not dut.busy.value
    moved = {name: sum(job["bytes"] for job in jobs[name]) for name in jobs}
    assert await bench.registers.counter("DMA_BYTES_READ") == moved["fetch"] + moved["load"]
    assert await bench.registers.counter("DMA_BYTES_WRITTEN") == moved["store"]
    seen = bench.monitors[1].transfers
    assert seen["w"] * BEAT == moved["store"]
    assert seen["r"] * BEAT == moved["fetch"] + moved["load"]
    waited = [name for name, cycles in bench.monitors[1].waited.items() if cycles]
    assert set(waited) >= ({"w"} if waits else set()) | ({"r"} if stall else set())


@cocotb.test()
@cocotb.parametrize(waits=[0.0, 0.4])
async def errors_are_told_and_the_rest_goes_on(dut, waits):
    bench = await Bench.start(dut, waits=waits, stall=waits)
    around = BROKEN.start - 64
    for job in ({"address": around, "bytes": 256}, {"address": BROKEN.start, "bytes": 32}, {"address": 0, "bytes": 64}):
        await bench.read("load", job)
        await bench.read("fetch", job)
        await bench.write(job)
    refused = [{"address": 1, "bytes": 32}, {"address": 0, "bytes": 0}, {"address": 0xFFFFFFE0, "bytes": 64}]
    for name in ("fetch", "load", "store"):
        bench.commands[name].put(*refused)
        assert await bench.statuses[name].collect(3) == [REFUSED] * 3
    if BEAT < 32:
        bench.commands["store"].put({"address": 0, "bytes": 32 + BEAT})  # no whole word
        assert await bench.statuses["store"].get() == REFUSED
    await bench.read("load", {"address": 4064, "bytes": 96})


@cocotb.test()
@cocotb.parametrize(channel=["ar", "r", "aw", "w", "b"], after=[14, 19])
async def a_silent_memory_is_given_up_and_taken_up_again(dut, channel, after):
    """``after`` as many cycles a word has come in part, at the widths that make words of several beats."""
    bench = await Bench.start(dut)
    silent = bench.memory.channels[channel]
    client = "load" if channel in ("ar", "r") else "store"
    job = {"address": 4096 - 8 * BEAT, "bytes": 2048}
    if client == "store":
        bench.store.put(*range(64))
    before = bytes(bench.ram.read(job["address"], job["bytes"]))
    silent.pause = channel in ("ar", "aw")
    bench.commands[client].put(job)
    await cycles_of(dut, after)
    silent.pause = True
    assert await bench.statuses[client].get(cycles=20 * CONFIG.watchdog_cycles) == TIMEOUT
    assert dut.busy.value
    next_word = bench.store.accepted
    bench.commands[client].put(job)
    assert await bench.statuses[client].get(cycles=20) == TIMEOUT
    silent.pause = False
    await cycles_of(dut, 600)
    assert not dut.busy.value
    if client == "load":
        early = bench.words["load"].values
        assert early == bench.memory.words(job["address"], job["bytes"])[: len(early)]
        assert len(early) < 64
        await bench.words["load"].collect(len(early))
        await bench.read("load", job)
        return
    written = bench.ram.read(job["address"], job["bytes"])
    sent = b"".join(number.to_bytes(32, "little") for number in range(64))
    moved = 0
    while moved < len(sent) and written[moved : moved + BEAT] == sent[moved : moved + BEAT]:
        moved += BEAT
    assert written[moved:] == before[moved:]
    # The words that had not been taken by then are the next command's: it starts with a whole one.
    if next_word < 64:
        bench.commands["store"].put({"address": 0, "bytes": 32})
        assert await bench.statuses["store"].get() == NONE
        assert bench.ram.read(0, 32) == next_word.to_bytes(32, "little")


@cocotb.test()
async def counters_and_interrupts(dut):
    bench = await Bench.start(dut)
    registers = bench.registers
    totals = dict.fromkeys((name for name, _ in COUNTS), 0)
    widths = {counter.name: counter.width for counter in COUNTERS}
    for _ in range(200):
        steps = {name: bench.random.getrandbits(COUNTS[name].width) for name in totals}
        dut.count.value = pack(COUNTS, steps)
        await cycles_of(dut, 1)
        totals = {name: (totals[name] + steps[name]) % (1 << widths[name]) for name in totals}
    dut.count.value = 0
    await cycles_of(dut, 1)
    for name, total in totals.items():
        upper = name.upper()
        assert (await registers.counter(upper) if widths[name] == 64 else await registers.read(upper)) == total, name
    assert await registers.write("CONTROL", registers.at["CONTROL__CLEAR_COUNTERS_bm"]) == OKAY
    for name in (*totals, *DMA_COUNTERS):
        upper = name.upper()
        assert (await registers.counter(upper) if widths[name] == 64 else await registers.read(upper)) == 0, name

    flag = registers.at["IRQ_STATUS__UNCORRECTABLE_bm"]
    dut.regs__irq_uncorrectable.value = 1
    await cycles_of(dut, 1)
    dut.regs__irq_uncorrectable.value = 0
    await cycles_of(dut, 3)
    assert not dut.irq.value
    assert await registers.write("IRQ_ENABLE", flag) == OKAY
    await cycles_of(dut, 2)
    assert dut.irq.value
    assert await registers.read("IRQ_STATUS") == flag
    assert await registers.write("IRQ_STATUS", flag) == OKAY
    await cycles_of(dut, 2)
    assert not dut.irq.value
