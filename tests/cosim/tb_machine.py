# SPDX-License-Identifier: Apache-2.0
"""The whole machine by hand-written programs: what each opcode does, how programs end, what a small job costs."""

import random
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from machine_bench import CONFIG, rows, start
from program_samples import DATA, small_samples

from respin.firmware_model.descriptors import Descriptor, checksum, pack_program, seal
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Requantise, Source
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor, depthwise_rows, table_entry, tensor_words, words_tensor
from respin.firmware_model.machine import Machine, ProgramError
from respin.firmware_model.scaling import Scaling, rows_of_scaling, scaling_of_rows
from respin.firmware_model.structures import from_bits, to_bits
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.ports import Fault
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, PROGRAM_HEADER, Opcode
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode, HeaderProblem, Problem
from respin.rtl.sequencer.scaling import scaling_rows
from respin.sim.banks import Backdoor
from respin.sim.runner import seed
from respin.sim.streams import cycles_of

BASE = 0x1000
FIXED_COST = 64
"""Cycles that a small job may take beyond its own, from one's end to the next one's."""
END = Descriptor(opcode=Opcode.END)
ROWS = {"row_first": 0, "row_count": CONFIG.usable_rows}


async def put(machine: Machine, *descriptors: Descriptor, content: bytes | None = None) -> int:
    """Put a program into memory; returns how many descriptors it has."""
    program = pack_program(CONFIG, [*descriptors, END], **ROWS) if content is None else content
    await machine.transport.write_memory(BASE, program)
    return len(program) // DESCRIPTOR_BYTES - 1


async def run(machine: Machine, *descriptors: Descriptor, content: bytes | None = None) -> None:
    await machine.run(BASE, await put(machine, *descriptors, content=content), log2_rate=-3)


async def refused(
    machine: Machine, *descriptors: Descriptor, content: bytes | None = None
) -> tuple[ErrorCode, int, int]:
    """Run a program that must end with an error; returns code, index and information."""
    with pytest.raises(ProgramError) as told:
        await run(machine, *descriptors, content=content)
    return told.value.code, told.value.index, told.value.info


def transfer(opcode: Opcode, address: int, base: int, words: int) -> Descriptor:
    """A LOAD or STORE of one row."""
    return Descriptor(opcode=opcode, body={"address": address, "base": base, "words": words, "rows": 1})


def content_of(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(32, "little") for word in words)


async def words_at(machine: Machine, address: int, count: int) -> list[int]:
    content = await machine.transport.read_memory(address, 32 * count)
    return [int.from_bytes(content[at : at + 32], "little") for at in range(0, len(content), 32)]


@cocotb.test()
async def a_program_by_hand(dut):
    """LOAD, a job that waits for it, STORE; counters and status afterwards. The example of docs/sequencer.md."""
    machine = await start(dut)
    rng = np.random.default_rng(seed())
    x, y = StoreTensor(0, (1, 32, 4, 4), True), StoreTensor(16, (1, 32, 4, 4), True)
    values = rng.integers(-128, 128, size=x.shape)
    await machine.transport.write_memory(DATA, content_of(tensor_words(values)))
    job = JobBuilder(CONFIG).gather(y, [Source(tensor=x, mult=3)], finish=Requantise(shift=2))
    await machine.write_fields("CONTROL", "clear_counters")
    await run(
        machine,
        transfer(Opcode.LOAD, DATA, x.base, x.words),
        Descriptor.of_job(job).waiting(),
        transfer(Opcode.STORE, DATA + 0x1000, y.base, y.words),
    )
    got = words_tensor(await words_at(machine, DATA + 0x1000, y.words), y)
    np.testing.assert_array_equal(got, np.clip((values * 3 + 2) >> 2, -128, 127))
    assert await machine.read("DESCRIPTORS_DONE") == 4
    assert await machine.read("CURRENT") == 3
    assert await machine.read_field("STATUS", "done") == 1
    assert await machine.read_field("STATUS", "running") == 0
    assert await machine.read("DMA_BYTES_WRITTEN_LOW") == 32 * y.words
    assert await machine.read("GATHER_CYCLES") > 0
    assert await machine.read("CYCLES_LOW") > await machine.read("VECTOR_CYCLES") > 0


@cocotb.test()
async def windows_of_memory(dut):
    """Two-dimensional LOAD and STORE beside each other and beside jobs."""
    machine = await start(dut)
    rng = random.Random(seed())
    dut.stall.value = 60
    words = [rng.getrandbits(256) for _ in range(64)]
    await machine.transport.write_memory(DATA, content_of(words))
    load = Descriptor(
        opcode=Opcode.LOAD,
        body={"address": DATA + 32, "pitch": 320, "base": 100, "base_pitch": 7, "words": 5, "rows": 4},
    )
    store = Descriptor(
        opcode=Opcode.STORE,
        body={"address": DATA + 0x2000, "pitch": 96, "base": 100, "base_pitch": 7, "words": 3, "rows": 4},
    )
    await machine.transport.write_memory(DATA + 0x2000, bytes(32 * 12))
    await run(machine, load, store.waiting(), replace(load, body={**load.body, "base": 200}))
    got = await words_at(machine, DATA + 0x2000, 12)
    assert got == [words[1 + 10 * row + word] for row in range(4) for word in range(3)]


@cocotb.test()
async def rows_table_and_biases(dut):
    """ROWS writes what a depthwise pass then reads; BIASES adds rows to the table's entries."""
    machine = await start(dut)
    rng = np.random.default_rng(seed())
    x, y = StoreTensor(0, (1, 32, 3, 3), True), StoreTensor(16, (1, 32, 3, 3), True)
    values = rng.integers(-128, 128, size=x.shape)
    weights, biases = rng.integers(-127, 128, size=(32, 1, 1, 1)), rng.integers(-127, 128, size=32)
    base = rng.integers(-1000, 1000, size=32)
    await machine.transport.write_memory(DATA, content_of(tensor_words(values)))
    written = np.concatenate([depthwise_rows(weights), biases[None].astype(np.int8)])
    await machine.transport.write_memory(DATA + 0x1000, written.tobytes())
    entries = [table_entry(bias=int(bias), mult=5000, shift=17, lo=-128, hi=127) for bias in base]
    await machine.transport.write_memory(DATA + 0x2000, b"".join(entry.to_bytes(16, "little") for entry in entries))
    job = JobBuilder(CONFIG).depthwise(x, y, rows=70, geometry=Geometry(kh=1, kw=1), finish=Requantise(table=96))
    body = {"address": DATA + 0x2000, "index": 96, "count": 32}
    await run(
        machine,
        transfer(Opcode.LOAD, DATA, x.base, x.words),
        Descriptor(opcode=Opcode.ROWS, body={"address": DATA + 0x1000, "row": 70, "count": 2}),
        Descriptor(opcode=Opcode.TABLE, body=body),
        Descriptor(opcode=Opcode.BIASES, body={**body, "row": 71, "shift": 3}),
        Descriptor.of_job(job).waiting(),
        transfer(Opcode.STORE, DATA + 0x3000, y.base, y.words),
    )
    sums = values * weights.reshape(1, 32, 1, 1) + (base + (biases << 3)).reshape(1, 32, 1, 1)
    got = words_tensor(await words_at(machine, DATA + 0x3000, y.words), y)
    np.testing.assert_array_equal(got, np.clip((sums * 5000 + (1 << 16)) >> 17, -128, 127))
    np.testing.assert_array_equal((await rows(dut))[70:72], written)
    assert await machine.read("ROWS_WRITTEN") == 2
    assert await machine.read("ROWS_READ") == 2


@cocotb.test()
async def scales_are_saved_and_restored(dut):
    """RESTORE fills the tables out of rows, SAVE writes them to others; a soft reset empties the tables."""
    machine = await start(dut)
    rng = np.random.default_rng(seed())
    ids = rng.permutation(CONFIG.tensor_ids)
    known = {
        int(number): Scaling(shift=int(rng.integers(64)), exponent=int(rng.integers(-100, 100)), order=int(order))
        for number, order in zip(ids[:40], rng.integers(-200, 200, size=40), strict=True)
    }
    count = scaling_rows(CONFIG)
    await machine.transport.write_memory(DATA, rows_of_scaling(CONFIG, known).tobytes())

    async def held(first: int) -> dict[int, Scaling]:
        return scaling_of_rows((await rows(dut))[first : first + count])

    def at(opcode: Opcode, row: int) -> Descriptor:
        return Descriptor(opcode=opcode, body={"row": row, "count": count})

    written = Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 70, "count": count})
    await run(machine, written, at(Opcode.RESTORE, 70), at(Opcode.SAVE, 120))
    assert await held(70) == await held(120) == known
    await machine.write_fields("CONTROL", "soft_reset")
    while not await machine.read_field("STATUS", "ready"):
        pass
    await run(machine, at(Opcode.SAVE, 70))
    assert await held(70) == {}
    await run(machine, at(Opcode.RESTORE, 120), at(Opcode.SAVE, 70))
    assert await held(70) == known


@cocotb.test()
async def headers_that_are_not_its_own(dut):
    """Each kind of damage to a header has its name, and the machine goes on after it."""
    machine = await start(dut)
    program = pack_program(CONFIG, [Descriptor(opcode=Opcode.BARRIER), END], **ROWS)
    header = from_bits(PROGRAM_HEADER, int.from_bytes(program[:DESCRIPTOR_BYTES], "little"))["info"]

    def changed(**fields: int) -> bytes:
        bits = to_bits(PROGRAM_HEADER, {"info": header | fields})
        return seal(bits.to_bytes(DESCRIPTOR_BYTES, "little")) + program[DESCRIPTOR_BYTES:]

    cases = {
        HeaderProblem.CRC: bytes([program[0] ^ 1]) + program[1:],
        HeaderProblem.MAGIC: changed(magic=0),
        HeaderProblem.VERSION: changed(version=1),
        HeaderProblem.COUNT: changed(count=3),
        HeaderProblem.CONFIGURATION: changed(slices=2 * CONFIG.slices),
        HeaderProblem.ROWS: changed(row_first=1),
        HeaderProblem.CHECKSUM: changed(checksum=checksum([program[DESCRIPTOR_BYTES:][:DESCRIPTOR_BYTES]])),
    }
    for problem, content in cases.items():
        code, _, info = await refused(machine, content=content)
        assert (code, info) == (ErrorCode.HEADER, problem.value), problem
        await run(machine, content=program)


@cocotb.test()
async def descriptors_that_are_refused(dut):
    """Code, number and information of what is wrong with a descriptor; nothing has run by then."""
    machine = await start(dut)
    dut.forget.value = 1
    await cycles_of(dut, 1)
    dut.forget.value = 0
    first = Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 0, "count": 1})
    job = next(sample for sample in small_samples(CONFIG) if sample.opcode is Opcode.JOB)
    wrong = replace(job, body={**job.body, "read": {**job.body["read"], "count": 7}})
    assert await refused(machine, first, first, wrong) == (ErrorCode.FIELD, 2, Problem.AGREEMENT.value)
    assert await refused(machine, first, replace(job, opcode=Opcode.DOT)) == (ErrorCode.OPCODE, 1, Opcode.DOT.value)
    assert await refused(machine, first, END) == (ErrorCode.FIELD, 1, Problem.ORDER.value)
    program = bytearray(pack_program(CONFIG, [first, job, END], **ROWS))
    program[2 * DESCRIPTOR_BYTES + 100] ^= 4
    assert await refused(machine, content=bytes(program)) == (ErrorCode.CRC, 1, 0)
    assert dut.writes.value == 0


@cocotb.test()
async def errors_while_it_runs(dut):
    """Memory that answers with errors, rows beyond correction: the descriptor is named, the next program runs."""
    machine = await start(dut)
    far = 0x4000_0000
    barrier = Descriptor(opcode=Opcode.BARRIER)
    for descriptor in (transfer(Opcode.LOAD, far, 0, 4), transfer(Opcode.STORE, far, 0, 4)):
        got = await refused(machine, barrier, descriptor, barrier, barrier)
        assert got == (ErrorCode.DMA, 1, DmaError.DECERR.value)
        await run(machine, barrier)
    table = Descriptor(opcode=Opcode.TABLE, body={"address": far, "index": 0, "count": 4})
    assert await refused(machine, table) == (ErrorCode.DMA, 0, DmaError.DECERR.value)
    with pytest.raises(ProgramError, match="descriptor 0: DMA DECERR"):
        await machine.run(far, 1)
    await machine.transport.write_memory(DATA, bytes(range(32)) * 4)
    await run(machine, Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 9, "count": 1}))
    dut.backdoor_row.value, dut.backdoor_bank.value = 9, 0
    await cycles_of(dut, 2)
    dut.backdoor_wdata.value = int(dut.backdoor_rdata.value) ^ 0b10001  # two columns of one codeword
    dut.backdoor_op.value = int(Backdoor.POKE)
    await cycles_of(dut, 1)
    dut.backdoor_op.value = int(Backdoor.NONE)
    biases = Descriptor(opcode=Opcode.BIASES, body={"address": DATA, "index": 0, "count": 4, "row": 9})
    assert await refused(machine, barrier, biases) == (ErrorCode.ROW, 1, UNCORRECTABLE_ROW)
    x, y = StoreTensor(0, (1, 8, 1, 1), True), StoreTensor(1, (1, 8, 1, 1), True)
    job = JobBuilder(CONFIG).depthwise(x, y, rows=9, geometry=Geometry(kh=1, kw=1), finish=Requantise())
    assert await refused(machine, Descriptor.of_job(job)) == (ErrorCode.JOB, 0, Fault.UNCORRECTABLE.value)
    assert await machine.read_field("IRQ_STATUS", "uncorrectable") == 1
    await run(machine, Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 9, "count": 1}), biases)


@cocotb.test()
async def memory_that_is_gone(dut):
    """The DMA's watchdog ends the program; until a soft reset others are refused; after it they run."""
    machine = await start(dut)
    long = transfer(Opcode.LOAD, DATA, 0, 200)
    for wait in (3, 400, 900, 1500):
        count = await put(machine, *[long] * 4)
        for name, value in {"PROGRAM_BASE": BASE, "PROGRAM_COUNT": count}.items():
            await machine.write(name, value)
        await machine.write_fields("IRQ_ENABLE", "done", "error")
        await machine.write_fields("CONTROL", "start")
        await cycles_of(dut, wait)
        dut.gone.value = 1
        await machine.transport.wait_interrupt()
        assert await machine.read("ERROR_CODE") == ErrorCode.DMA.value
        assert await machine.read("ERROR_INFO") == DmaError.TIMEOUT.value
        await machine.write_fields("IRQ_STATUS", "done", "error")
        dut.gone.value = 0
        assert await machine.read_field("STATUS", "ready") == 0
        assert await refused(machine, long) == (ErrorCode.RESET_NEEDED, 0, 0)
        await machine.write_fields("CONTROL", "soft_reset")
        for _ in range(CONFIG.watchdog_cycles):
            if await machine.read_field("STATUS", "ready"):
                break
        await run(machine, long, Descriptor(opcode=Opcode.BARRIER))


@cocotb.test()
async def soft_reset_at_any_time(dut):
    """In the middle of whatever it does, a soft reset leaves a machine that runs the next program."""
    machine = await start(dut)
    rng = random.Random(seed())
    await machine.transport.write_memory(DATA, rng.randbytes(0x2000))
    samples = small_samples(CONFIG)
    for _ in range(12):
        count = await put(machine, *samples)
        for name, value in {"PROGRAM_BASE": BASE, "PROGRAM_COUNT": count}.items():
            await machine.write(name, value)
        await machine.write_fields("CONTROL", "start")
        await cycles_of(dut, rng.randrange(1, 9000))
        await machine.write_fields("CONTROL", "soft_reset")
        for _ in range(CONFIG.watchdog_cycles):
            if await machine.read_field("STATUS", "ready"):
                break
        await machine.write_fields("IRQ_STATUS", "done", "error")
        await run(machine, *samples)


@cocotb.test()
async def an_abort_ends_a_program(dut):
    """During the check at once, later after the job under way; the next program runs."""
    machine = await start(dut)
    samples = small_samples(CONFIG)
    while not await machine.read_field("MEMORY_STATUS", "ready"):
        pass
    for wait in (300, 9000):
        count = await put(machine, *samples * 2)
        for name, value in {"PROGRAM_BASE": BASE, "PROGRAM_COUNT": count}.items():
            await machine.write(name, value)
        await machine.write_fields("IRQ_ENABLE", "done", "error")
        await machine.write_fields("CONTROL", "start")
        await cycles_of(dut, wait)
        await machine.write_fields("CONTROL", "abort")
        await machine.transport.wait_interrupt()
        assert await machine.read("ERROR_CODE") == ErrorCode.ABORTED.value
        assert 0 < await machine.read("ERROR_INDEX") < count
        await machine.write_fields("IRQ_STATUS", "done", "error")
        await run(machine, *samples)


@cocotb.test()
async def a_small_job_costs_little(dut):
    """From one small job's end to the next one's: the job itself, and at most 64 cycles."""
    machine = await start(dut)
    build = JobBuilder(CONFIG)
    x, y = StoreTensor(0, (1, 32, 2, 2), True), StoreTensor(16, (1, 32, 2, 2), True)
    gather = Descriptor.of_job(build.gather(y, [Source(tensor=x)], finish=Requantise()))
    convolution = Descriptor.of_job(
        build.convolution(x, y, rows=0, geometry=Geometry(kh=1, kw=1), finish=Requantise(shift=9))
    )
    loss = next(sample for sample in small_samples(CONFIG) if sample.kind.name == "LOSS")
    edge = next(sample for sample in small_samples(CONFIG) if "edge" in sample.flags)
    await machine.transport.write_memory(DATA, bytes(32 * 40))
    fill = Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 0, "count": 40})
    await run(machine, fill)
    ends = RisingEdge(dut.reported)
    for name, descriptor in {"gather": gather, "convolution": convolution, "edge": edge}.items():
        count = await put(machine, loss, *[descriptor] * 6)
        times, own = [], []

        async def watch(times: list[int] = times, own: list[int] = own) -> None:
            for _ in range(7):
                await ends
                times.append(int(cocotb.utils.get_sim_time("ns")) // 10)
                own.append(int(dut.job_cycles.value))

        watching = cocotb.start_soon(watch())
        await machine.run(BASE, count)
        await watching
        costs = [after - before - cycles for before, after, cycles in zip(times[1:], times[2:], own[2:], strict=False)]
        dut._log.info(f"{name}: {own[2:]} cycles each, {costs} between them")
        assert max(costs) <= FIXED_COST, f"{name}: {costs}"
    # A program that is refused at its end shows what the first pass takes.
    samples = small_samples(CONFIG)
    await machine.write_fields("CONTROL", "clear_counters")
    assert await refused(machine, *samples, END) == (ErrorCode.FIELD, len(samples), Problem.ORDER.value)
    cycles = await machine.read("CYCLES_LOW")
    dut._log.info(f"first pass: {cycles} cycles, {cycles / (len(samples) + 1):.0f} a descriptor")
