# SPDX-License-Identifier: Apache-2.0
"""A program from a file, on a compiled machine, fed with pictures."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from respin.cli.console import err
from respin.cli.machine import compiled_machine, provision_without_writing, rows_of
from respin.cli.pictures import Pictures
from respin.firmware_model.compiler import INPUT_AREA, ROWS_AREA, SAVE, TRAIN
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.layout import IntArray
from respin.firmware_model.machine import Machine, ProgramSession
from respin.rtl.config import ROW_WEIGHTS
from respin.sim.compiled import CompiledMachine, drive

_REHEARSED_RATE = -1
"""Binary logarithm of the learning rate of a step that is only rehearsed: it writes rows."""


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

    def start(self, *, honest: bool, fast_at: str | None = None) -> None:
        """Build the machine and provision it: pulse by pulse if ``honest``, else its rows are put there.

        ``fast_at`` names a program (INFER, TRAIN) by a run of which the machine is compiled a second time.
        """
        twice = "" if fast_at is None else " twice"
        err.print(f"{self.image.config.name}: generating and compiling{twice}, if it is not there yet ...", style="dim")
        rehearsal = None if fast_at is None else (fast_at, partial(self._rehearse, fast_at))
        memory = self.image.base + self.image.memory
        self._stand_on(compiled_machine(self.image.config, memory=memory, fast_at=rehearsal), honest=honest)

    def _stand_on(self, machine: CompiledMachine, *, honest: bool) -> None:
        self.machine = machine
        self.session = ProgramSession(Machine(self.image.config, machine), self.image, seed=self._seed)
        with self.progress("provisioning"):
            if honest:
                drive(self.session.provision())
            else:
                provision_without_writing(self.session, machine)

    def _rehearse(self, program: str, machine: CompiledMachine) -> None:
        """Run a program once with pictures."""
        self._stand_on(machine, honest=False)
        with self.progress(f"rehearsing: {program}"):
            if program == TRAIN:
                places = next(iter(self.pictures.training_batches(seed=self._seed)))
                x = self.pictures.take(places).numpy()
                self.train(x, self.pictures.labels[places].tolist(), log2_rate=_REHEARSED_RATE)
            else:
                self.infer(self.pictures.take(next(iter(self.pictures.batches(self.batch)))).numpy())

    def infer(self, x: IntArray) -> IntArray:
        """Return the logits of a batch."""
        drive(self.session.machine.write_fields("CONTROL", "clear_counters"))
        return drive(self.session.infer(x))

    def train(self, x: IntArray, labels: Sequence[int], *, log2_rate: int) -> tuple[int, IntArray]:
        """Take a training step; returns how many rows were written, and the logits before it."""
        drive(self.session.machine.write_fields("CONTROL", "clear_counters"))
        drive(self.session.train(x, labels, log2_rate=log2_rate))
        return drive(self.session.machine.read("ROWS_WRITTEN")), drive(self.session.logits())

    def counters(self) -> dict[str, int]:
        """Return what the machine's counters say of the last program, by name."""
        return drive(self.session.machine.counters())

    def program_cycles(self) -> int:
        """Return the cycles that the last program took, by the machine's own counter."""
        return self.counters()["cycles"]

    def learned(self) -> ProgramImage:
        """Return the program with the trained rows and the scales as they are now, so that it goes on from there.

        No register or program reads rows: they are taken out of the simulated array, corrected.
        """
        drive(self.session.save())
        array, content = rows_of(self.machine), bytearray(self.image.content)
        first = self.image.areas[ROWS_AREA].address - self.image.base
        for written in (self.image.writable_rows(TRAIN), self.image.writable_rows(SAVE)):
            rows = array[written.start : written.stop].tobytes()
            at = first + ROW_WEIGHTS * written.start
            content[at : at + len(rows)] = rows
        return replace(self.image, content=bytes(content))

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
