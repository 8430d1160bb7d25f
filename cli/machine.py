# SPDX-License-Identifier: Apache-2.0
"""The whole machine, compiled: generated, wrapped with its bank models and external memory, and built."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out, connect, flipped

from respin.cli.console import err
from respin.cli.pictures import Pictures
from respin.firmware_model.compiler import INPUT_AREA, PROVISION, ROWS_AREA, TRAIN, WORD_BYTES
from respin.firmware_model.descriptors import Descriptor, pack_program, read_header
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.layout import IntArray
from respin.firmware_model.machine import Machine, ProgramSession
from respin.gen.emit import emit
from respin.gen.versions import versions
from respin.golden.memory.secded import Weights, decode, encode
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.machine import Machine as MachineHardware
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode
from respin.rtl.sequencer.ports import INDEX_BITS, EdgeNote
from respin.sim.banks import model_plusargs, with_banks
from respin.sim.compiled import CompiledMachine, build_machine, drive
from respin.sim.memory import with_memory
from respin.sim.runner import SimulationError, build_folder, seed
from respin.sim.tables import NO_FAULTS, FaultRates, table_for

TOP = "respin_machine"
ROOT = Path(__file__).resolve().parents[1]
MEMORY_LOG2 = 25
"""Binary logarithm of the bytes of external memory that a compiled machine has at least."""


class WatchedMachine(Component):
    """A machine, and ports that show the ends of its descriptors (:data:`respin.sim.compiled.WATCHES`).

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    descriptor_done : Out(1), descriptor : Out(24)
        A descriptor ends in this cycle; the one under way.
    reported : Out(1)
        A job reports.
    note : Out(EdgeNote)
        What the sequencer notes of tensors of errors.
    s_axi, m_axi, irq, banks
        As of :class:`respin.rtl.machine.Machine`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self._machine = MachineHardware(config=config)
        super().__init__({
            **self._machine.signature.members,
            "descriptor_done": Out(1),
            "descriptor": Out(INDEX_BITS),
            "reported": Out(1),
            "note": Out(EdgeNote),
        })

    def elaborate(self, platform: object) -> Module:
        """Connect the machine's own ports through, and those of what it is made of."""
        m = Module()
        m.submodules.machine = machine = self._machine
        for name in ("s_axi", "m_axi"):
            connect(m, flipped(getattr(self, name)), getattr(machine, name))
        for outer, inner in zip(self.banks, machine.banks, strict=True):
            connect(m, inner, flipped(outer))
        inside = machine._machine  # the ports of what a machine is made of
        m.d.comb += [
            self.irq.eq(machine.irq),
            self.descriptor_done.eq(inside.control.descriptor_done),
            self.descriptor.eq(inside.control.current),
            self.reported.eq(inside.reported),
            self.note.eq(inside.note),
        ]
        return m


def machine_verilog(config: AcceleratorConfig) -> str:
    """Return the Verilog of a :class:`WatchedMachine`, kept from the last time unless the generator has changed."""
    sources = [*sorted((ROOT / "rtl").rglob("*.py")), ROOT / "gen" / "emit.py", Path(__file__)]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    with build_folder(f"{TOP}-verilog", [asdict(config), digest, versions()]) as (folder, built):
        path = folder / f"{TOP}.v"
        if not built:
            path.write_text(emit(WatchedMachine(config=config), TOP, config=config), encoding="utf-8")
        return path.read_text(encoding="utf-8")


def compiled_machine(
    config: AcceleratorConfig, *, memory: int = 1 << MEMORY_LOG2, faults: FaultRates = NO_FAULTS
) -> CompiledMachine:
    """Generate a machine and compile it, or find it compiled, and reset it.

    Parameters
    ----------
    config:
        The machine.
    memory:
        Bytes of external memory that are needed; there are as many as the next power of two, at least 32 MB.
    faults:
        How the banks err; the macro's cycle counts follow from the configuration's device.
    """
    words = 1 << max(MEMORY_LOG2, (memory - 1).bit_length()) - (WORD_BYTES - 1).bit_length()
    texts = with_banks(machine_verilog(config), TOP, rows=config.mram_rows, bench="banked")
    library = build_machine(with_memory(texts, "banked", words=words))
    with TemporaryDirectory() as folder:  # the bank models read their files when they are made
        plusargs = model_plusargs(Path(folder), table=table_for(config, seed=seed(), rates=faults))
        machine = CompiledMachine(library, config, plusargs=plusargs)
    machine.reset()
    return machine


def rows_of(machine: CompiledMachine) -> Weights:
    """Return every row's weights (rows, 32), by global row, corrected, without a read of the machine's.

    Raises
    ------
    SimulationError
        If a row is beyond correction.
    """
    decoded = decode(machine.cells())
    if decoded.uncorrectable.any():
        raise SimulationError(f"row {int(decoded.uncorrectable.argmax())} is beyond correction")
    return decoded.weights


def provision_without_writing(session: ProgramSession, machine: CompiledMachine) -> None:
    """Do what :meth:`ProgramSession.provision` does, but for the rows: they are put into the array directly.

    Hundreds of thousands of rows cost as many write pulses. Here the array begins as if it had been written before; the
    rest of the program, the table and its biases, runs on the machine. Counters and cycles tell nothing of provisioning
    then.
    """
    image = session.image
    blocks = image.bytes_of(PROVISION)[DESCRIPTOR_BYTES:]
    made = [
        Descriptor.unpack(blocks[at : at + DESCRIPTOR_BYTES]) for at in range(0, len(blocks), DESCRIPTOR_BYTES)
    ]
    for descriptor in made:
        if descriptor.opcode is Opcode.ROWS:
            at, count = descriptor.body["address"] - image.base, descriptor.body["count"]
            rows = np.frombuffer(image.content, dtype=np.int8, count=ROW_WEIGHTS * count, offset=at)
            machine.put_cells_without_writing(descriptor.body["row"], encode(rows.reshape(count, ROW_WEIGHTS)))
    rest = [descriptor for descriptor in made if descriptor.opcode is not Opcode.ROWS]
    program, area = pack_program(image.config, rest), image.areas[PROVISION]
    drive(machine.write_memory(image.base, image.content + bytes(-len(image.content) % WORD_BYTES)))
    drive(machine.write_memory(area.address, program))
    drive(session.machine.run(area.address, len(rest), seed=session.seed))
    drive(machine.write_memory(area.address, image.bytes_of(PROVISION)))


class Runner:
    """A program on a compiled machine, fed with pictures.

    Parameters
    ----------
    image:
        The program.
    pictures:
        What it is fed with.
    seed:
        Key of the machine's random numbers.
    """

    def __init__(self, image: ProgramImage, pictures: Pictures, *, seed: int = 1) -> None:
        self.image, self.pictures = image, pictures
        self.batch = image.tensors[INPUT_AREA].shape[0]
        self._seed = seed

    @classmethod
    def of_file(cls, program: Path, folder: Path, *, seed: int = 1) -> "Runner":
        """Read a program and find the pictures in a folder; raises ImageError or ValueError, one line."""
        image = ProgramImage.load(program)
        return cls(image, Pictures.of_folder(folder, image), seed=seed)

    def start(self, *, honest: bool) -> None:
        """Build the machine and provision it: pulse by pulse if ``honest``, else its rows are put there."""
        err.print(f"{self.image.config.name}: generating and compiling, if it is not there yet ...", style="dim")
        self.machine = compiled_machine(self.image.config, memory=self.image.base + self.image.memory)
        self.session = ProgramSession(Machine(self.image.config, self.machine), self.image, seed=self._seed)
        with self.progress("provisioning"):
            if honest:
                drive(self.session.provision())
            else:
                provision_without_writing(self.session, self.machine)

    def infer(self, x: IntArray) -> IntArray:
        """Return the logits of a batch."""
        drive(self.session.machine.write_fields("CONTROL", "clear_counters"))
        return drive(self.session.infer(x))

    def train(self, x: IntArray, labels: Sequence[int], *, rate: int) -> tuple[int, IntArray]:
        """Take a training step; returns how many rows were written, and the logits before it."""
        drive(self.session.machine.write_fields("CONTROL", "clear_counters"))
        drive(self.session.train(x, labels, rate=rate))
        return drive(self.session.machine.read("ROWS_WRITTEN")), drive(self.session.logits())

    def program_cycles(self) -> int:
        """Return the cycles that the last program took, by the machine's own counter."""
        low, high = (drive(self.session.machine.read(f"CYCLES_{half}")) for half in ("LOW", "HIGH"))
        return high << 32 | low

    def learned(self) -> ProgramImage:
        """Return the program with the trained rows as they are in the array now, so that it goes on from there.

        No register or program reads rows: they are taken out of the simulated array, corrected.
        """
        window = read_header(self.image.bytes_of(TRAIN)[:DESCRIPTOR_BYTES])
        first, count = window["row_first"], window["row_count"]
        rows = rows_of(self.machine)[first : first + count].tobytes()
        at = self.image.areas[ROWS_AREA].address - self.image.base + ROW_WEIGHTS * first
        content = self.image.content[:at] + rows + self.image.content[at + len(rows) :]
        return replace(self.image, content=content)

    @contextmanager
    def progress(self, what: str) -> Iterator[None]:
        """Show on the terminal that the machine runs, and how fast."""
        cycles, began = self.machine.cycles, time.perf_counter()
        with err.status(what) as status:

            def show() -> None:
                done, seconds = self.machine.cycles - cycles, time.perf_counter() - began
                status.update(f"{what}: {done:,} cycles, {done / max(seconds, 1e-9):,.0f} a second")

            self.machine.on_cycles = show
            yield
            self.machine.on_cycles = None
