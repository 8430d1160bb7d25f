# SPDX-License-Identifier: Apache-2.0
"""The whole machine, its banks and external memory compiled into one library: nothing in Python runs with the clock.

>>> library = build_machine(texts, config)              # texts of respin.sim.memory.with_memory
>>> machine = CompiledMachine(library, config)
>>> machine.reset()
>>> drive(ProgramSession(Machine(config, machine), image).provision())
"""

import ctypes
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from respin.rtl.config import PLANES, ROW_COLUMNS, AcceleratorConfig
from respin.sim import tools
from respin.sim.banks import BANK_MODEL
from respin.sim.held import with_held_inputs
from respin.sim.memory import MEMORY_MODEL
from respin.sim.runner import SimulationError, build_folder, control_file, execute, tail, write_texts
from respin.sim.transport import TransportError

Result = TypeVar("Result")

TOP = "compiled"
_BENCH = f"TOP.{TOP}.bench"
WATCHES = ("descriptor_done", "descriptor", "reported", "job_cycles", "note")
"""Ports of the bench, besides those of a machine, by which a :class:`CompiledMachine` sees descriptors end."""
WORD_BYTES = 32

_LIBRARY = "compiled.so"
_HEADER = Path(__file__).parent / "cpp" / "bench.h"
_HARNESS = _HEADER.with_name("machine.cpp")
_VISIBLE = (
    ("axi_memory", "words"),
    ("sas_mram_bank", "cells"),
    ("*.accelerator.store", "plane_*"),
)
"""Arrays that are reached as they lie in memory: module and name."""
_DESIGN = f"{_BENCH}.machine.dut.machine.sequenced"
"""Scope of what is inside a machine's registers and DMA."""
_BUILD_SECONDS = 3600
"""Bound on each step of a compilation: minutes for a large machine, much more where a computer is busy."""
_SLICE = 50_000
"""Cycles between two looks at what Python has to do: an interrupt from the keyboard, a progress bar."""
_ANSWER_CYCLES = 1000
"""Longest wait for an answer of the register port."""
_RESET_CYCLES = 8


def _make(compiler: str = "", linker: str = "") -> list[str]:
    """The command that compiles what Verilator wrote, with further options of compiler and linker."""
    options = [f"OPT_FAST=-O2 {compiler}", f"OPT_GLOBAL=-O2 {compiler}", f"LDFLAGS={linker}"]
    return ["make", "-f", f"V{TOP}.mk", _LIBRARY, f"-j{os.cpu_count() or 1}", *options]


_PLAIN = _make()
_COUNTING = _make("-fprofile-generate -DRESPIN_COUNTING", "-fprofile-generate")
_COUNTED = _make("-fprofile-use -Wno-missing-profile")
"""Of a library as it is, of one that counts which branches are taken, and of one that is made by such counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What a library is to be fast at: ``name`` says what, ``play`` does it with the library at a path."""

    name: str
    play: Callable[[Path], None]


def drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine over a :class:`CompiledMachine`, whose methods never wait for one another.

    Raises
    ------
    RuntimeError
        If it waits for something else.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine must wait for nothing but a compiled machine")


def build_library(
    name: str,
    texts: Mapping[str, str],
    module: str,
    *,
    harness: Path,
    models: Sequence[Path] = (),
    visible: Sequence[tuple[str, str]] = (),
    rehearsal: Rehearsal | None = None,
) -> Path:
    """Compile a bench and what drives it into a shared library, or find it compiled; returns the library.

    With a ``rehearsal`` it is compiled twice, the second time by what the first one counted while the rehearsal was
    played: it takes more than twice as long, and the library is faster at that.

    Parameters
    ----------
    name:
        Of the folder that it is kept in.
    texts, module:
        Verilog by file name, and the name of the bench, which gets held inputs (:mod:`respin.sim.held`).
    harness:
        The C++ that drives it.
    models:
        Further Verilog, written by hand.
    visible:
        Arrays to be found by name: module and signal.
    rehearsal:
        What it is to be fast at.

    Raises
    ------
    respin.sim.tools.ToolError
        If Verilator or something it needs is missing.
    SimulationError
        If it does not build.
    """
    tool = tools.verilator_toolchain()
    if rehearsal is not None:
        tools.profiling_compiler().check()
    texts = with_held_inputs(texts, module, bench=TOP)
    generated = list(texts)
    texts = dict(texts) | {path.name: path.read_text(encoding="utf-8") for path in (*models, harness, _HEADER)}
    texts = {"respin.vlt": control_file(TOP, generated, visible=visible)} | texts
    arguments = ["--cc", "--exe", "--top-module", TOP, "--prefix", f"V{TOP}", "--Mdir", ".", "-o", _LIBRARY]
    arguments += ["-Wall", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "--no-assert"]
    arguments += ["-CFLAGS", "-fPIC -std=gnu++17", "-LDFLAGS", "-shared"]
    steps = [_PLAIN] if rehearsal is None else [_COUNTING, rehearsal.name, _COUNTED]
    with build_folder(name, [tool.version, texts, arguments, steps]) as (folder, built):
        if built:
            return folder / _LIBRARY
        sources = [str(path) for path in write_texts(texts, folder) if path.suffix != ".h"]
        verilate = [tool.path, *arguments, *sources]
        if rehearsal is None:
            _execute([verilate, _PLAIN], folder, tool)
        else:
            _execute([verilate, _COUNTING], folder, tool)
            _count(folder, rehearsal)
            _execute([_COUNTED], folder, tool)
    return folder / _LIBRARY


def _execute(commands: Sequence[Sequence[str]], folder: Path, tool: tools.Tool) -> None:
    log = folder / "build.log"
    try:
        with log.open("a") as output:
            execute(commands, folder, {**os.environ, **tool.environment}, output, _BUILD_SECONDS)
    except RuntimeError as error:
        raise SimulationError(f"{TOP}: {error}; {log} ends with\n{tail(log)}") from None


def _count(folder: Path, rehearsal: Rehearsal) -> None:
    """Play a rehearsal with the library in ``folder``, which counts, and leave nothing of it but the counts."""
    # Of another name than the next one: the loader takes two libraries of one name for the same.
    library = (folder / _LIBRARY).rename(folder / f"counting-{_LIBRARY}")
    rehearsal.play(library)
    ctypes.CDLL(str(library)).respin_write_counts()
    for made in (path for pattern in ("*.o", "*.a", "*.gch") for path in folder.glob(pattern)):
        made.unlink()


def build_machine(texts: Mapping[str, str], module: str = "bench", *, rehearsal: Rehearsal | None = None) -> Path:
    """Compile a machine with its memories; returns the library for :class:`CompiledMachine`.

    Parameters
    ----------
    texts, module:
        What :func:`respin.sim.memory.with_memory` gave, and the name of its bench, which has the :data:`WATCHES` of a
        machine besides its own ports.
    rehearsal:
        As for :func:`build_library`.

    Raises
    ------
    ToolError, SimulationError
        As :func:`build_library`.
    """
    models = (BANK_MODEL, MEMORY_MODEL)
    return build_library(
        "machine-compiled", texts, module, harness=_HARNESS, models=models, visible=_VISIBLE, rehearsal=rehearsal
    )


class _Ending(ctypes.Structure):
    _fields_ = (
        ("cycle", ctypes.c_uint64),
        ("note", ctypes.c_uint64),
        ("index", ctypes.c_uint32),
        ("ran", ctypes.c_uint32),
        ("job_cycles", ctypes.c_uint32),
    )


class _Stop(IntEnum):
    LIMIT, INTERRUPT, DESCRIPTOR = range(3)


class _Answer(IntEnum):
    OKAY, REFUSED, NONE = range(3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The end of a descriptor.

    Parameters
    ----------
    index:
        Its number in the program.
    ran:
        Whether it was a job that ran; false for the other opcodes, and for a job that was skipped.
    cycle:
        Cycles since the simulation began.
    job_cycles:
        Cycles of the job, from its acceptance to its report; 0 if none ran.
    note:
        Bits of what the sequencer notes of its tensor of errors (``respin.rtl.sequencer.ports.EdgeNote``).
    """

    index: int
    ran: bool
    cycle: int
    job_cycles: int
    note: int


def _bind(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, u32, u64, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "open": (handle, [ctypes.c_int, ctypes.POINTER(text)]),
        "close": (None, [handle]),
        "reset": (None, [handle, u64]),
        "cut": (None, [handle, u64]),
        "step": (None, [handle, u64]),
        "run": (ctypes.c_int, [handle, u64, ctypes.c_int]),
        "write": (ctypes.c_int, [handle, u32, u32, u64]),
        "read": (ctypes.c_int, [handle, u32, ctypes.POINTER(u32), u64]),
        "array": (handle, [handle, text, text, ctypes.POINTER(u64)]),
        "stall": (None, [handle, ctypes.c_uint8]),
        "cycles": (u64, [handle]),
        "ending": (None, [handle, ctypes.POINTER(_Ending)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"respin_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class CompiledMachine:
    """A machine, its banks and external memory: a ``MachineTransport`` whose methods never wait (:func:`drive`).

    Parameters
    ----------
    library:
        What :func:`build_machine` returned.
    config:
        What the machine was generated from.
    limit_cycles:
        Longest wait for an interrupt.
    plusargs:
        For the bank models, of :func:`respin.sim.banks.model_plusargs`; without them they are plain memories that
        answer in a cycle.

    Attributes
    ----------
    library, config:
        As given.
    on_descriptor:
        Called with the :class:`Ending` of every descriptor of a program, while what a job made is in the store; the
        machine stands still meanwhile. Without it the machine is not stopped.
    on_cycles:
        Called now and then while a program runs, for showing progress.
    """

    def __init__(
        self,
        library: Path,
        config: AcceleratorConfig,
        *,
        limit_cycles: int = 1_000_000_000,
        plusargs: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.library = library
        self.on_descriptor: Callable[[Ending], None] | None = None
        self.on_cycles: Callable[[], None] | None = None
        self._limit = limit_cycles
        self._library = _bind(library)
        arguments = [text.encode() for text in ("machine", *plusargs)]
        self._handle = self._library.respin_open(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
        self._memory = self._array(f"{_BENCH}.external", "words", WORD_BYTES)
        banks = [f"{_BENCH}.machine.bank_{number}" for number in range(config.banks)]
        self._banks = [self._array(bank, "cells", ROW_COLUMNS // 8) for bank in banks]
        store = f"{_DESIGN}.accelerator.store"
        self._planes = [self._array(store, f"plane_{plane}", 4) for plane in range(PLANES)]

    def close(self) -> None:
        """Free the simulation; nothing of it can be used afterwards, arrays neither."""
        if self._handle:
            self._library.respin_close(self._handle)
            self._handle = None

    def _array(self, scope: str, name: str, item: int) -> np.ndarray:
        """An array of a model as bytes (entries, ``item``), as it lies in memory."""
        size = ctypes.c_uint64()
        at = self._library.respin_array(self._handle, scope.encode(), name.encode(), ctypes.byref(size))
        if not at:
            raise SimulationError(f"the compiled machine must have an array {scope}.{name}")
        return np.ctypeslib.as_array((ctypes.c_uint8 * size.value).from_address(at)).reshape(-1, item)

    # The clock.

    @property
    def cycles(self) -> int:
        """Cycles since the simulation began."""
        cycles: int = self._library.respin_cycles(self._handle)
        return cycles

    def reset(self) -> None:
        """Reset the machine; memories keep what they hold."""
        self._library.respin_reset(self._handle, _RESET_CYCLES)

    def cut_power(self) -> None:
        """Let power go in this cycle, and come back; strips that a pulse has just then end with random bits.

        External memory keeps what it holds.
        """
        self._library.respin_cut(self._handle, _RESET_CYCLES)

    def step(self, cycles: int) -> None:
        """Let ``cycles`` cycles pass."""
        self._library.respin_step(self._handle, cycles)

    def stall(self, share: int) -> None:
        """Make each channel of external memory wait in ``share`` of 256 cycles, 0 to 255."""
        if not 0 <= share <= 255:
            raise ValueError(f"share must be in 0..255, not {share!r}")
        self._library.respin_stall(self._handle, share)

    # Memories.

    def store_words(self, base: int, count: int) -> np.ndarray:
        """Return words of the activation store, uint8 (count, 32): the bytes of each, planes one after the other."""
        if not 0 <= base <= base + count <= self.config.store_words:
            raise ValueError(f"words must lie in 0..{self.config.store_words - 1}, not {base}..{base + count - 1}")
        return np.concatenate([plane[base : base + count] for plane in self._planes], axis=1)

    def cells(self) -> np.ndarray:
        """Return the cells of every row, by global row, uint8 (rows, 288): what is stored, without a read."""
        packed = np.stack(self._banks, axis=1).reshape(-1, ROW_COLUMNS // 8)
        return np.unpackbits(packed, axis=1, bitorder="little")

    def put_cells_without_writing(self, first_row: int, cells: np.ndarray) -> None:
        """Put cells (rows, 288) into the array as if they had always been there, from global row ``first_row`` on.

        No pulse, no cycle, no counter: a shortcut for those who do not study provisioning.
        """
        rows = np.arange(first_row, first_row + len(cells))
        if len(rows) and not 0 <= rows[0] <= rows[-1] < self.config.total_rows:
            raise ValueError(f"rows must lie in 0..{self.config.total_rows - 1}, not {rows[0]}..{rows[-1]}")
        packed = np.packbits(cells, axis=1, bitorder="little")
        for number, bank in enumerate(self._banks):
            own = rows % self.config.banks == number
            bank[rows[own] // self.config.banks] = packed[own]

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write external memory; ``address`` and the length are multiples of 32."""
        self._view(address, len(content))[:] = np.frombuffer(content, dtype=np.uint8)

    async def read_memory(self, address: int, count: int) -> bytes:
        """Read external memory; ``address`` and ``count`` are multiples of 32."""
        return self._view(address, count).tobytes()

    def _view(self, address: int, count: int) -> np.ndarray:
        for name, value in (("address", address), ("count", count)):
            if value % WORD_BYTES:
                raise ValueError(f"{name} must be a multiple of {WORD_BYTES}, not {value!r}")
        if not 0 <= address <= address + count <= self._memory.size:
            raise ValueError(f"memory ends at {self._memory.size:#x}, before {address:#x} + {count:#x}")
        return self._memory.reshape(-1)[address : address + count]

    # Registers.

    async def write_register(self, offset: int, value: int) -> None:
        """Write a register; TransportError if the machine refuses."""
        answer = self._library.respin_write(self._handle, offset, value, _ANSWER_CYCLES)
        self._check(_Answer(answer), f"a write to register {offset:#x}")

    async def read_register(self, offset: int) -> int:
        """Read a register; TransportError if the machine refuses."""
        value = ctypes.c_uint32()
        answer = self._library.respin_read(self._handle, offset, ctypes.byref(value), _ANSWER_CYCLES)
        self._check(_Answer(answer), f"a read of register {offset:#x}")
        return value.value

    @staticmethod
    def _check(answer: _Answer, what: str) -> None:
        if answer is _Answer.REFUSED:
            raise TransportError(f"{what} was refused")
        if answer is _Answer.NONE:
            raise TransportError(f"{what} was not answered within {_ANSWER_CYCLES} cycles")

    async def wait_interrupt(self) -> None:
        """Run until the interrupt line is high; TransportError if that takes too long."""
        end = self.cycles + self._limit
        watch = self.on_descriptor is not None
        while (left := end - self.cycles) > 0:
            stop = _Stop(self._library.respin_run(self._handle, min(left, _SLICE), watch))
            if stop is _Stop.INTERRUPT:
                return
            if stop is _Stop.DESCRIPTOR and self.on_descriptor is not None:
                ended = _Ending()
                self._library.respin_ending(self._handle, ctypes.byref(ended))
                self.on_descriptor(
                    Ending(
                        index=ended.index,
                        ran=bool(ended.ran),
                        cycle=ended.cycle,
                        job_cycles=ended.job_cycles,
                        note=ended.note,
                    )
                )
            elif self.on_cycles is not None:
                self.on_cycles()
        raise TransportError(f"no interrupt within {self._limit} cycles")
