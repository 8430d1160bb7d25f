# SPDX-License-Identifier: Apache-2.0
"""What the timing diagrams of the documentation show: bank controller, engine, sequencer and link at work."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imc_bench
from amaranth.hdl import Module, Signal
from amaranth.sim import SimulatorContext
from imc_model import EngineCase, row_bits, word_bits
from link_bench import frame
from mram_bench import Bench, random_row
from timing import Lane, Recorder

from respin.firmware_model.descriptors import Descriptor, pack_program
from respin.firmware_model.job_parts import Requantise, Source
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import preset
from respin.rtl.host.registers import MAGIC
from respin.rtl.imc.engine import Engine
from respin.rtl.interfaces import BankCommand
from respin.rtl.link.bridge import LinkBridge
from respin.rtl.link.protocol import FLAG
from respin.rtl.mram.ports import Outcome
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.sequencer import Sequencer

READ_CYCLES, WRITE_CYCLES = 2, 3
"""What a command keeps a macro busy for, in the pictures; a device file says what it is."""


BYTE_CYCLES = 10
"""Between two bytes of a link's host: a line takes longer."""


def _hex(byte: int) -> str:
    return f"{byte:02x}"


def _command(value: int) -> str:
    """One letter, which fits a cycle."""
    return {BankCommand.READ: "R", BankCommand.WRITE_SAS: "W"}[BankCommand(value)]


def _bank(bench: Bench, number: int, *, writes: bool) -> tuple[str, list[Lane]]:
    pins = bench.dut.banks[number]
    active = pins.cmd.as_value() != BankCommand.IDLE.value
    lanes = [
        Lane("cmd", pins.cmd.as_value(), _command, active),
        Lane("row", pins.row, str, active),
        Lane("busy", pins.busy),
        Lane("rvalid", pins.rvalid),
    ]
    if writes:
        written = active & (pins.cmd.as_value() != BankCommand.READ.value)
        lanes.insert(2, Lane("strips", pins.strip_mask, lambda mask: str(mask.bit_count()), written))
        lanes.insert(3, Lane("pulse", pins.pulse, str, written))
    return f"bank {number}", lanes


def read() -> dict[str, Any]:
    """Five rows out of two banks."""
    config = replace(preset("tiny"), name="read", banks=2, mram_rows=64, ecc_decoders=4, watchdog_cycles=1024)
    bench = Bench(config, read_cycles=READ_CYCLES, write_cycles=WRITE_CYCLES)
    rng = random.Random(1)
    for row in range(8):
        bench.store(row, random_row(rng))
    dut = bench.dut
    recorder = Recorder(
        [
            ("job", [Lane("valid", dut.read.valid), Lane("ready", dut.read.ready)]),
            _bank(bench, 0, writes=False),
            _bank(bench, 1, writes=False),
            ("rows", [Lane("valid", dut.rows.valid), Lane("ready", dut.rows.ready)]),
        ],
        cycles=20,
    )

    async def driver(ctx: SimulatorContext) -> None:
        await bench.read(ctx, 0, 5)

    async def taker(ctx: SimulatorContext) -> None:
        await bench.rows(ctx, 5)

    bench.run(driver, taker, recorder.process)
    return recorder.wavejson("Five rows read (R) from two banks, taken as they come")


def write() -> dict[str, Any]:
    """A row of which two strips change, one of them at the second pulse only."""
    config = replace(preset("tiny"), name="write", mram_rows=64, ecc_decoders=4, watchdog_cycles=1024)
    bench = Bench(config, read_cycles=READ_CYCLES, write_cycles=WRITE_CYCLES)
    row = [0] * 32
    bench.store(3, row)
    changed = [1, *row[1:]]
    old = bench.columns(3)
    bench.store(3, changed)
    differing = old ^ bench.columns(3)
    bench.store(3, row)
    (bank,) = bench.banks
    bank.needs[3] = {differing.bit_length() - 1: 1}
    dut = bench.dut
    recorder = Recorder(
        [
            ("request", [Lane("valid", dut.write.valid), Lane("ready", dut.write.ready)]),
            _bank(bench, 0, writes=True),
            (
                "status",
                [
                    Lane("valid", dut.written.valid),
                    Lane("outcome", dut.written.p.outcome, lambda value: Outcome(value).name, dut.written.valid),
                ],
            ),
        ],
        cycles=44,
    )

    async def writer(ctx: SimulatorContext) -> None:
        status = await bench.write(ctx, 3, data=changed)
        assert Outcome(status["outcome"]) is Outcome.OK

    bench.run(writer, recorder.process)
    return recorder.wavejson("A differential write: read (R), compare, pulse what differs (W), verify, pulse again")


def engine() -> dict[str, Any]:
    """Two tiles of two words, one step, four slices, three bits."""
    config = replace(preset("tiny"), name="engine", lanes=32, slices=4, vector_width=2)
    dut = Engine(config=config)
    case = EngineCase(seed=1, slices=4, pixels=1, items=4, tile=2, steps=1, bits=4)
    got: list[int] = []
    lanes = [
        (name, [Lane("valid", getattr(dut, name).valid), Lane("ready", getattr(dut, name).ready)])
        for name in ("job", "rows", "words", "results")
    ]
    recorder = Recorder(
        [*lanes, ("engine", [Lane("idle", dut.idle), Lane("busy cycles", dut.counters.busy, str)])], cycles=44
    )
    imc_bench.simulate(
        dut,
        [imc_bench.drain(dut.results, got, 4, 0.0, 1, 200), recorder.process],
        imc_bench.feed(dut.job, [case.job], 0.0, 1),
        imc_bench.feed(dut.rows, [row_bits(row) for row in case.rows], 0.0, 1),
        imc_bench.feed(dut.words, [word_bits(word) for word in case.words], 0.0, 1),
    )
    return recorder.wavejson("Two tiles of two words against four latched rows, four bit-planes a word")


JOBS = 4
JOB_CYCLES = 60
"""What a job of the sequencer's scene takes; its bench only counts."""


def sequencer() -> dict[str, Any]:
    """From one job's report to the next one's, while the descriptor after that comes in."""
    config = preset("tiny")
    dut = Sequencer(config=config)
    tensor = StoreTensor(0, (1, 8, 1, 1), True)
    job = Descriptor.of_job(JobBuilder(config).gather(tensor, [Source(tensor=tensor)], finish=Requantise()))
    descriptors = [*[job] * JOBS, Descriptor(opcode=Opcode.END)]
    program = pack_program(config, descriptors)
    control, fetch = dut.control, dut.fetch
    reports = Signal(8)

    async def memory(ctx: SimulatorContext) -> None:
        """A word every fourth cycle, as 64 bits a cycle give it: the header, and all descriptors."""
        for _ in range(1 + len(descriptors)):
            ctx.set(fetch.command.ready, 1)
            (command,) = await ctx.tick().sample(fetch.command.payload).until(fetch.command.valid)
            ctx.set(fetch.command.ready, 0)
            for at in range(command.address, command.address + command.bytes, 32):
                await ctx.tick().repeat(3)
                ctx.set(fetch.words.payload.data, int.from_bytes(program[at : at + 32], "little"))
                ctx.set(fetch.words.valid, 1)
                await ctx.tick().until(fetch.words.ready)
                ctx.set(fetch.words.valid, 0)
            ctx.set(fetch.status.valid, 1)
            await ctx.tick().until(fetch.status.ready)
            ctx.set(fetch.status.valid, 0)

    async def accelerator(ctx: SimulatorContext) -> None:
        for _ in range(JOBS):
            ctx.set(dut.job.ready, 1)
            await ctx.tick().until(dut.job.valid)
            ctx.set(dut.job.ready, 0)
            await ctx.tick().repeat(JOB_CYCLES)
            ctx.set(reports, ctx.get(reports) + 1)
            ctx.set(dut.report.valid, 1)
            await ctx.tick().until(dut.report.ready)
            ctx.set(dut.report.valid, 0)

    async def host(ctx: SimulatorContext) -> None:
        ctx.set(control.program_count, len(descriptors))
        ctx.set(control.start, 1)
        await ctx.tick()
        ctx.set(control.start, 0)
        await ctx.tick().until(control.done | control.error)
        assert not ctx.get(control.error)

    recorder = Recorder(
        [
            ("fetch", [Lane("command", fetch.command.valid), Lane("words", fetch.words.valid)]),
            ("job", [Lane("valid", dut.job.valid), Lane("ready", dut.job.ready)]),
            ("report", [Lane("valid", dut.report.valid), Lane("ready", dut.report.ready)]),
            ("host", [Lane("current", control.current, str)]),
        ],
        cycles=80,
        start=(reports == 1) & dut.report.valid,
    )
    imc_bench.simulate(dut, [host, recorder.process], memory, accelerator)
    return recorder.wavejson("The next descriptor is fetched and checked while a job runs")


def link() -> dict[str, Any]:
    """The end of a request that reads the register ID, and the beginning of its answer."""
    dut = LinkBridge()
    port = dut.registers
    line = frame(b"\x05\0" + bytes(4) + b"\0")

    async def host(ctx: SimulatorContext) -> None:
        ctx.set(dut.o.ready, 1)
        for byte in line:
            ctx.set(dut.i.payload.data, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(BYTE_CYCLES - 1)
        await ctx.tick().repeat(60)

    async def registers(ctx: SimulatorContext) -> None:
        ctx.set(port.arready, 1)
        await ctx.tick().until(port.arvalid)
        ctx.set(port.arready, 0)
        await ctx.tick()
        ctx.set(port.rdata, MAGIC)
        ctx.set(port.rvalid, 1)
        await ctx.tick()
        ctx.set(port.rvalid, 0)

    flag = dut.i.valid & (dut.i.payload.data == FLAG)
    flags = Signal(2)
    around = Module()
    around.submodules.dut = dut
    around.d.sync += flags.eq(flags + flag)
    recorder = Recorder(
        [
            ("from the host", [Lane("valid", dut.i.valid), Lane("byte", dut.i.payload.data, _hex, dut.i.valid)]),
            (
                "registers",
                [Lane(name, getattr(port, name)) for name in ("arvalid", "arready", "rvalid", "rready")],
            ),
            ("to the host", [Lane("valid", dut.o.valid), Lane("byte", dut.o.payload, _hex, dut.o.valid)]),
        ],
        cycles=48,
        start=(flags == 1) & flag,
    )
    imc_bench.simulate(around, [host, recorder.process], registers)
    return recorder.wavejson("A register is read: the end of the request, the access, the beginning of the answer")


SCENES: dict[str, Callable[[], dict[str, Any]]] = {
    "bank-read": read,
    "bank-write": write,
    "engine": engine,
    "link": link,
    "sequencer": sequencer,
}
"""By the name of the diagram's file."""
