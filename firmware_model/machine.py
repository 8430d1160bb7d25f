# SPDX-License-Identifier: Apache-2.0
"""Drives the whole machine: puts a program image into external memory, starts its programs, takes results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

import numpy as np

from respin.firmware_model.compiler import (
    BIAS_AREA,
    INFER,
    LABELS_AREA,
    LOGITS_AREA,
    PROVISION,
    SAVE,
    TRAIN,
)
from respin.firmware_model.descriptors import pack_program
from respin.firmware_model.emitter import WORD_BYTES
from respin.firmware_model.image import ImageError, ProgramImage
from respin.firmware_model.job_parts import SUM_BYTES
from respin.firmware_model.layout import IntArray, StoreTensor, words_tensor
from respin.firmware_model.training import label_words
from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.host.registers import COUNTERS, register_map
from respin.rtl.jobs import LOG2_RATE
from respin.rtl.mram.keeper_ports import KeeperError
from respin.rtl.mram.ports import Outcome
from respin.rtl.ports import Fault
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode, HeaderProblem, Problem

_INFO = {
    ErrorCode.HEADER: HeaderProblem,
    ErrorCode.OPCODE: Opcode,
    ErrorCode.FIELD: Problem,
    ErrorCode.DMA: DmaError,
    ErrorCode.JOB: Fault,
    ErrorCode.ROW: Outcome,
    ErrorCode.MEMORY: KeeperError,
}
"""What the information that comes with an error means."""


class MachineTransport(Protocol):
    """How a driver reaches a machine's registers and the memory that both see."""

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write external memory; ``address`` and the length are multiples of 32."""

    async def read_memory(self, address: int, count: int) -> bytes:
        """Read external memory; ``address`` and ``count`` are multiples of 32."""

    async def write_register(self, offset: int, value: int) -> None:
        """Write a register; raises an error of its own if the machine refuses."""

    async def read_register(self, offset: int) -> int:
        """Read a register."""

    async def wait_interrupt(self) -> None:
        """Return once the interrupt line is high; raises an error of its own if that takes too long."""


class ProgramError(Exception):
    """A program ended with an error.

    Parameters
    ----------
    code:
        What ended it.
    index:
        The descriptor that did.
    info:
        What came with it.
    """

    def __init__(self, code: ErrorCode, index: int, info: int) -> None:
        self.code, self.index, self.info = code, index, info
        super().__init__(f"descriptor {index}: {code.name} {self._meaning()}".rstrip())

    def _meaning(self) -> str:
        if self.code is ErrorCode.ROW and self.info == UNCORRECTABLE_ROW:
            return "UNCORRECTABLE"
        names: dict[int, str] = {member.value: member.name for member in _INFO.get(self.code, ())}
        return names.get(self.info, str(self.info) if self.info else "")


class Machine:
    """The registers of a machine, by name.

    Parameters
    ----------
    config:
        What the machine was generated from.
    transport:
        How it is reached.
    """

    def __init__(self, config: AcceleratorConfig, transport: MachineTransport) -> None:
        self.config = config
        self.transport = transport
        self._registers = register_map(config)

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        await self.transport.write_register(self._registers.register(name).offset, value)

    async def read(self, name: str) -> int:
        """Read a register."""
        return await self.transport.read_register(self._registers.register(name).offset)

    async def read_field(self, register: str, field: str) -> int:
        """Read a field of a register."""
        place = self._registers.register(register).field(field)
        return (await self.read(register) & place.mask) >> place.low

    async def write_fields(self, register: str, *fields: str) -> None:
        """Write a register with ones in the named fields of one bit and zeros elsewhere."""
        found = self._registers.register(register)
        await self.write(register, sum(found.field(field).mask for field in fields))

    async def write_values(self, register: str, values: Mapping[str, int]) -> None:
        """Write a register with these values of its fields and zeros elsewhere."""
        found = self._registers.register(register)
        await self.write(register, sum(value << found.field(name).low for name, value in values.items()))

    async def counters(self) -> dict[str, int]:
        """Read every counter, by name."""
        counters = {}
        for counter in COUNTERS:
            name = counter.name.upper()
            if counter.width == 32:
                counters[counter.name] = await self.read(name)
            else:  # reading the low half keeps the high one
                low = await self.read(f"{name}_LOW")
                counters[counter.name] = await self.read(f"{name}_HIGH") << 32 | low
        return counters

    async def run(self, address: int, count: int, *, seed: int = 0, step: int = 0, log2_rate: int = 0) -> None:
        """Run the program at ``address`` to its end.

        Raises
        ------
        ProgramError
            If it ends with an error.
        ValueError
            If ``log2_rate`` does not fit its register.
        """
        half = 1 << LOG2_RATE.width - 1
        if not -half <= log2_rate < half:
            raise ValueError(f"log2_rate must be in {-half}..{half - 1}, not {log2_rate!r}")
        values = {
            "PROGRAM_BASE": address,
            "PROGRAM_COUNT": count,
            "SEED": seed,
            "STEP": step,
            "LOG2_RATE": log2_rate % (2 * half),
        }
        for name, value in values.items():
            await self.write(name, value)
        await self.write_fields("IRQ_ENABLE", "done", "error")
        await self.write_fields("CONTROL", "start")
        await self.transport.wait_interrupt()
        failed = await self.read_field("IRQ_STATUS", "error")
        await self.write_fields("IRQ_STATUS", "done", "error")
        if failed:
            code = ErrorCode(await self.read("ERROR_CODE"))
            raise ProgramError(code, await self.read("ERROR_INDEX"), await self.read("ERROR_INFO"))


class ProgramSession:
    """A network that runs as programs.

    Parameters
    ----------
    machine:
        The machine.
    image:
        What :class:`respin.firmware_model.compiler.Compiler` made for it.
    seed, step:
        Key of the random numbers, and training steps taken so far.

    Raises
    ------
    ImageError
        If the image is for another configuration, or learns and cannot save what it measures.
    """

    def __init__(self, machine: Machine, image: ProgramImage, *, seed: int = 0, step: int = 0) -> None:
        if image.config != machine.config:
            ours, its = asdict(machine.config), asdict(image.config)
            name = next(name for name in ours if ours[name] != its[name])
            raise ImageError(f"the image must be for a machine with {name} {ours[name]!r}, not {its[name]!r}")
        if TRAIN in image.programs and SAVE not in image.programs:
            raise ImageError(f"the image learns and has no program {SAVE}: an earlier version made it, compile it anew")
        self.machine, self.image = machine, image
        self.seed, self.step = seed, step

    async def provision(self) -> None:
        """Put the image into external memory, and weights, constants and what is known of scales into the machine."""
        content = self.image.content
        await self.machine.transport.write_memory(self.image.base, content + bytes(-len(content) % WORD_BYTES))
        await self._run(PROVISION)

    async def resume(self) -> None:
        """Put into the machine what it keeps beside rows: the constants, with the biases that the rows hold, and what
        training had measured at the last :meth:`save`.

        For a machine whose power was gone; external memory holds the image still. The steps taken are the caller's to
        know (``step``).
        """
        area, original = self.image.areas[PROVISION], self.image.bytes_of(PROVISION)
        made = [each for each in self.image.descriptors(PROVISION) if each.opcode is not Opcode.ROWS]
        await self.machine.transport.write_memory(area.address, pack_program(self.image.config, made))
        await self.machine.run(area.address, len(made), seed=self.seed)
        await self.machine.transport.write_memory(area.address, original)

    async def save(self) -> None:
        """Write what training has measured into its rows, as a commit wants it: training then goes on after a loss of
        power as if there had been none."""
        await self._run(SAVE)

    async def infer(self, x: IntArray) -> IntArray:
        """Run the network forward on a batch (N, C, H, W), int8 or uint8 as it takes it; returns the logits
        (N, classes)."""
        await self._write_input(x)
        await self._run(INFER)
        return await self.logits()

    async def train(self, x: IntArray, labels: Sequence[int], *, log2_rate: int) -> None:
        """Take one training step on a batch."""
        await self._write_input(x)
        content = b"".join(word.to_bytes(WORD_BYTES, "little") for word in label_words(labels))
        await self._write_area(LABELS_AREA, content)
        await self._run(TRAIN, log2_rate=log2_rate)
        self.step += 1

    async def logits(self) -> IntArray:
        """Return the logits (N, classes) of the last batch."""
        return (await self.output())[:, :, 0, 0]

    async def output(self) -> IntArray:
        """Return what the network made of the last batch (N, C, H, W): int8, uint8, or int32 where it is raw sums."""
        area, about = self.image.areas[LOGITS_AREA], self.image.tensors[LOGITS_AREA]
        content = await self.machine.transport.read_memory(area.address, area.size)
        words = [int.from_bytes(content[at : at + WORD_BYTES], "little") for at in range(0, len(content), WORD_BYTES)]
        made = words_tensor(words, StoreTensor(0, about.shape, about.signed))
        if BIAS_AREA not in self.image.areas:
            return made
        parts = made.astype(np.uint32).reshape(SUM_BYTES, -1, *about.shape[1:])
        shifts = np.arange(0, 8 * SUM_BYTES, 8, dtype=np.uint32).reshape(-1, 1, 1, 1, 1)
        sums = np.bitwise_or.reduce(parts << shifts, axis=0).view(np.int32)
        bias = np.frombuffer(self.image.bytes_of(BIAS_AREA), dtype="<i4")
        total: IntArray = sums + bias[:, None, None]
        return total

    async def _write_input(self, x: IntArray) -> None:
        for name, content in self.image.input_content(x).items():
            await self._write_area(name, content)

    async def _write_area(self, name: str, content: bytes) -> None:
        area = self.image.areas[name]
        if len(content) != area.size:
            raise ValueError(f"{name} must have {area.size // WORD_BYTES} words, not {len(content) // WORD_BYTES}")
        await self.machine.transport.write_memory(area.address, content)

    async def _run(self, program: str, *, log2_rate: int = 0) -> None:
        address = self.image.areas[program].address
        await self.machine.run(address, self.image.count(program), seed=self.seed, step=self.step, log2_rate=log2_rate)
