# SPDX-License-Identifier: Apache-2.0
"""Damaged programs: each ends, with the error and the descriptor that a model in Python names, or runs; no row outside
the program's is written, and none at all by a program that is refused."""

import os
import random
import zlib
from collections import Counter
from dataclasses import dataclass

import cocotb
from descriptor_model import DescriptorModel
from machine_bench import CONFIG, start
from program_samples import DATA, ROWS, small_samples

from respin.firmware_model.descriptors import Descriptor, checksum, list_program, program_header, seal
from respin.firmware_model.machine import Machine, ProgramError
from respin.firmware_model.structures import from_bits, leaves, to_bits
from respin.rtl.sequencer.descriptor import (
    BODIES,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    PROGRAM_HEADER,
    Header,
    Opcode,
    ProgramInfo,
)
from respin.rtl.sequencer.errors import ErrorCode, HeaderProblem
from respin.rtl.sequencer.header import compiled_for
from respin.sim.runner import seed
from respin.sim.streams import cycles_of
from respin.sim.transport import TransportError

CASES = int(os.environ["MACHINE_CASES"])
LIMIT = 300_000
"""Cycles after which a program that is good is let go: its job is a long one."""
BASE, FAR = 0x1000, 0x4000_0000
"""Addresses of the program, and past the memory."""
STATIC = {ErrorCode.HEADER, ErrorCode.CRC, ErrorCode.OPCODE, ErrorCode.FIELD}
"""Errors that are found before anything runs."""


@dataclass
class Program:
    """A program's blocks, the number of descriptors that the register names, and what was done to it."""

    header: bytes
    descriptors: list[bytes]
    count: int
    what: str = "nothing"
    rows: range = ROWS

    @classmethod
    def of(cls, *descriptors: Descriptor) -> "Program":
        """A good one."""
        program = cls(b"", [descriptor.pack() for descriptor in [*descriptors, Descriptor(opcode=Opcode.END)]], 0)
        program.seal()
        return program

    @property
    def content(self) -> bytes:
        return self.header + b"".join(self.descriptors)

    def seal(self) -> None:
        """Make the header right again for the descriptors."""
        self.header = program_header(CONFIG, self.descriptors, row_first=self.rows.start, row_count=len(self.rows))
        self.count = len(self.descriptors)


def good(rng: random.Random, samples: list[Descriptor]) -> Program:
    """A program of a few descriptors."""
    chosen = [rng.choice(samples) for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.5:  # so that what comes after a loss is not skipped
        chosen.insert(0, next(sample for sample in samples if sample.kind.name == "LOSS"))
    program = Program.of(*chosen)
    if rng.random() < 0.25:
        first = rng.choice([0, CONFIG.usable_rows // 2, CONFIG.usable_rows])
        program.rows = range(first, first)
    program.seal()
    return program


def change_fields(block: bytes, rng: random.Random) -> bytes:
    """A field or two of a descriptor changed, and its CRC made right."""
    bits = int.from_bytes(block, "little")
    opcode = from_bits(DESCRIPTOR, bits)["header"]["opcode"]
    places = list(leaves(Header))
    body = {opcode.value: name for opcode, name in BODIES.items()}.get(opcode)
    if body is not None:
        inside = [(name, low + DESCRIPTOR[body].offset, width) for name, low, width in leaves(DESCRIPTOR[body].shape)]
        places += inside + [place for place in inside if bits >> place[1] & ((1 << place[2]) - 1)] * 4
    for _ in range(rng.choice([1, 1, 2])):
        _, low, width = rng.choice(places)
        mask = (1 << width) - 1
        value = bits >> low & mask
        value = rng.choice([value + 1, value - 1, value ^ 1 << rng.randrange(width), rng.getrandbits(width), 0, mask])
        bits = bits & ~(mask << low) | (value & mask) << low
    return seal(bits.to_bytes(DESCRIPTOR_BYTES, "little"))


def damage(program: Program, rng: random.Random) -> None:
    """Do something to a program."""
    blocks = program.descriptors
    at = rng.randrange(len(blocks))
    program.what = rng.choice(["bits"] * 2 + ["fields"] * 5 + ["header", "cut", "noise", "order"])
    if program.what == "bits":
        content = bytearray(program.content)
        for _ in range(rng.choice([1, 1, 2, 5])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        parts = [bytes(content[i : i + DESCRIPTOR_BYTES]) for i in range(0, len(content), DESCRIPTOR_BYTES)]
        program.header, program.descriptors = parts[0], parts[1:]
    elif program.what == "fields":
        blocks[at] = change_fields(blocks[at], rng)
        program.seal()
    elif program.what == "header":
        bits = int.from_bytes(program.header, "little")
        _, low, width = rng.choice(list(leaves(ProgramInfo)))
        bits ^= rng.choice([1 << rng.randrange(width), rng.getrandbits(width)]) << low
        program.header = seal(bits.to_bytes(DESCRIPTOR_BYTES, "little"))
    elif program.what == "cut":
        left = rng.randrange(len(blocks))
        if rng.random() < 0.5:
            program.descriptors = blocks[:left] + [bytes(DESCRIPTOR_BYTES)] * (len(blocks) - left)
        else:
            program.count = rng.choice([left, len(blocks) + 1, 0, (1 << 24) - 1])
            if rng.random() < 0.5 and program.count:
                info = from_bits(PROGRAM_HEADER, int.from_bytes(program.header, "little"))["info"]
                info["count"] = program.count
                info["checksum"] = checksum(blocks[: program.count])
                bits = to_bits(PROGRAM_HEADER, {"info": info})
                program.header = seal(bits.to_bytes(DESCRIPTOR_BYTES, "little"))
    elif program.what == "noise":
        blocks[at] = rng.randbytes(DESCRIPTOR_BYTES)
        if rng.random() < 0.5:
            blocks[at] = seal(blocks[at])
            program.seal()
    else:
        rng.shuffle(blocks)
        if rng.random() < 0.5:
            program.seal()


def judge(program: Program) -> tuple[ErrorCode, int] | None:
    """The error that must end a program, before it has an effect if it may write rows, and its descriptor."""
    if seal(program.header) != program.header or _header_problem(program) is not HeaderProblem.NONE:
        return ErrorCode.HEADER, 0
    info = from_bits(PROGRAM_HEADER, int.from_bytes(program.header, "little"))["info"]
    rows = range(info["row_first"], info["row_first"] + info["row_count"])
    model = DescriptorModel(CONFIG, rows)
    for index in range(program.count):
        block = program.descriptors[index] if index < len(program.descriptors) else bytes(DESCRIPTOR_BYTES)
        if seal(block) != block:
            return ErrorCode.CRC, index
        fields = from_bits(DESCRIPTOR, int.from_bytes(block, "little"))
        why = model.judge(fields, last=index + 1 == program.count)
        if why:
            return ErrorCode.OPCODE if why == "opcode" else ErrorCode.FIELD, index
    if zlib.crc32(b"".join(block[-4:] for block in program.descriptors[: program.count])) != info["checksum"]:
        return ErrorCode.HEADER, program.count - 1
    return None


def _header_problem(program: Program) -> HeaderProblem:
    info = from_bits(PROGRAM_HEADER, int.from_bytes(program.header, "little"))["info"]
    if info["magic"] != int.from_bytes(b"RPRG", "little"):
        return HeaderProblem.MAGIC
    if info["version"] != 2:
        return HeaderProblem.VERSION
    if info["count"] != program.count or not program.count or BASE + 256 * (program.count + 1) > 1 << 32:
        return HeaderProblem.COUNT
    if any(info[name] != value for name, value in compiled_for(CONFIG).items()):
        return HeaderProblem.CONFIGURATION
    if info["row_first"] + info["row_count"] > CONFIG.usable_rows:
        return HeaderProblem.ROWS
    return HeaderProblem.NONE


class Fuzzer:
    """A machine, and what came of the programs."""

    def __init__(self, dut, machine: Machine) -> None:
        self._dut, self._machine = dut, machine
        self.ends: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Something to load, rows to read, a table, and shifts for the errors."""
        rng = random.Random(f"{seed()} data")
        await self._machine.transport.write_memory(DATA, rng.randbytes(0x2000))
        provision = [
            Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 0, "count": 140}),
            Descriptor(opcode=Opcode.ROWS, body={"address": DATA, "row": 395, "count": 2}),
            Descriptor(opcode=Opcode.LOAD, body={"address": DATA, "base": 0, "words": 200, "rows": 1}),
            Descriptor(opcode=Opcode.END),
        ]
        blocks = [descriptor.pack() for descriptor in provision]
        header = program_header(CONFIG, blocks, row_count=CONFIG.usable_rows)
        await self._machine.transport.write_memory(BASE, header + b"".join(blocks))
        await self._machine.run(BASE, len(blocks), seed=1, step=2, log2_rate=-3)
        await self._machine.write("STEP", 3)

    async def run(self, program: Program) -> None:
        """Run one and hold it against the model."""
        want = judge(program)
        dut, machine = self._dut, self._machine
        # What lies behind it is no part of an earlier one.
        await machine.transport.write_memory(BASE, program.content + bytes(32 * DESCRIPTOR_BYTES // 32))
        info = from_bits(PROGRAM_HEADER, int.from_bytes(program.header, "little"))["info"]
        usable = want is None
        dut.first_row.value = info["row_first"] & 0x1FFFFFF if usable else 0
        dut.end_row.value = (info["row_first"] + info["row_count"]) & 0x1FFFFFF if usable else 0
        dut.forget.value = 1
        await cycles_of(dut, 1)
        dut.forget.value = 0
        # What may write no row runs up to what is wrong with it, or to an error before that.
        begins = want is None or not info["row_count"]
        code = await self._end_of(program, begins)
        assert not dut.outside.value, f"a row outside the program's was written: {program.what}"
        if want is not None:
            ran_into = begins and code[0] not in {ErrorCode.NONE, *STATIC} and code[1] < want[1]
            assert code == want or ran_into, f"{program.what}: {code} where the model has {want}"
            assert dut.writes.value == 0, f"{program.what}: a row was written by a program that was refused"
        else:
            assert code[0] not in STATIC, f"{program.what}: {code} where the model lets it run"
        self.ends[code[0].name] += 1

    async def _end_of(self, program: Program, begins: bool) -> tuple[ErrorCode, int]:
        machine = self._machine
        try:
            await machine.run(BASE, program.count, seed=1, step=2, log2_rate=-3)
        except ProgramError as error:
            told = error
        except TransportError:
            assert begins, f"{program.what}: no end"
            self.ends["long"] += 1
            await self._reset()
            return ErrorCode.NONE, 0
        else:
            return ErrorCode.NONE, 0
        assert told.index < max(program.count, 1)
        if not await machine.read_field("STATUS", "ready"):
            # Jobs that the check lets pass must not wait for each other.
            assert told.code is ErrorCode.DMA, f"{program.what}: {told}"
            await self._reset()
        return told.code, told.index

    async def _reset(self) -> None:
        await self._machine.write_fields("CONTROL", "soft_reset")
        for _ in range(3 * CONFIG.watchdog_cycles // 8):
            if await self._machine.read_field("STATUS", "ready"):
                return
        raise AssertionError("the machine is not ready after a soft reset")


@cocotb.test()
async def damaged_programs_end_as_the_model_says(dut):
    machine = await start(dut, limit_cycles=LIMIT)
    fuzzer = Fuzzer(dut, machine)
    await fuzzer.prepare()
    rng = random.Random(f"{seed()} programs")
    samples = small_samples(CONFIG)
    for sample in samples:
        await fuzzer.run(Program.of(sample))
    assert fuzzer.ends == {"NONE": len(samples)}, fuzzer.ends
    # Damage seldom makes an address past the memory, so one is given.
    await fuzzer.run(Program.of(Descriptor(opcode=Opcode.LOAD, body={"address": FAR, "words": 1, "rows": 1})))
    for number in range(CASES):
        program = good(rng, samples)
        damage(program, rng)
        try:
            await fuzzer.run(program)
        except AssertionError as error:
            listing = "\n".join(list_program(program.content))
            raise AssertionError(f"case {number}: {error}\n{listing}") from error
        if number % 500 == 499:
            dut._log.info(f"{number + 1} cases: {dict(fuzzer.ends)}")
    dut._log.info(f"ends: {dict(fuzzer.ends)}")
    assert fuzzer.ends["long"] * 100 < CASES, "too many programs were let go"
    for code in (ErrorCode.NONE, ErrorCode.HEADER, ErrorCode.CRC, ErrorCode.OPCODE, ErrorCode.FIELD, ErrorCode.DMA):
        assert fuzzer.ends[code.name], f"no program ended with {code.name}"
