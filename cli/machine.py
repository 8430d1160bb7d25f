# SPDX-License-Identifier: Apache-2.0
"""The whole machine, compiled: wrapped with its bank models and external memory, built, and provisioned."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from respin.cli.watched_machine import TOP, machine_verilog
from respin.firmware_model.compiler import PROVISION
from respin.firmware_model.emitter import WORD_BYTES
from respin.firmware_model.machine import ProgramSession
from respin.golden.memory.secded import Weights, decode, encode
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.sequencer.descriptor import Opcode
from respin.sim.banks import model_plusargs, with_banks
from respin.sim.compiled import CompiledMachine, Rehearsal, build_machine, drive
from respin.sim.memory import with_memory
from respin.sim.runner import SimulationError, seed
from respin.sim.tables import NO_FAULTS, FaultRates, table_for

MEMORY_LOG2 = 25
"""Binary logarithm of the bytes of external memory that a compiled machine has at least."""


def compiled_machine(
    config: AcceleratorConfig,
    *,
    memory: int = 1 << MEMORY_LOG2,
    faults: FaultRates = NO_FAULTS,
    fast_at: tuple[str, Callable[[CompiledMachine], None]] | None = None,
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
    fast_at:
        The name of what it is to be fast at, and what does that with a machine: it is compiled a second time by which
        branches were taken then.
    """

    def start(library: Path) -> CompiledMachine:
        with TemporaryDirectory() as folder:  # the bank models read their files when they are made
            plusargs = model_plusargs(Path(folder), table=table_for(config, seed=seed(), rates=faults))
            machine = CompiledMachine(library, config, plusargs=plusargs)
        machine.reset()
        return machine

    rehearsal = None
    if fast_at is not None:
        name, play = fast_at

        def rehearse(library: Path) -> None:
            machine = start(library)
            play(machine)
            machine.close()

        rehearsal = Rehearsal(name=name, play=rehearse)
    words = 1 << max(MEMORY_LOG2, (memory - 1).bit_length()) - (WORD_BYTES - 1).bit_length()
    texts = with_banks(machine_verilog(config), TOP, rows=config.mram_rows, bench="banked")
    return start(build_machine(with_memory(texts, "banked", words=words), rehearsal=rehearsal))


def rows_of(machine: CompiledMachine) -> Weights:
    """Return every row's weights (rows, 32), by global row, corrected, without a read of the machine's.

    Raises
    ------
    SimulationError
        If a row is beyond correction.
    """
    decoded = decode(machine.cells(), gray=machine.config.gray_code)
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
    for descriptor in image.descriptors(PROVISION):
        if descriptor.opcode is Opcode.ROWS:
            at, count = descriptor.body["address"] - image.base, descriptor.body["count"]
            rows = np.frombuffer(image.content, dtype=np.int8, count=ROW_WEIGHTS * count, offset=at)
            columns = encode(rows.reshape(count, ROW_WEIGHTS), gray=machine.config.gray_code)
            machine.put_cells_without_writing(descriptor.body["row"], columns)
    drive(machine.write_memory(image.base, image.content + bytes(-len(image.content) % WORD_BYTES)))
    drive(session.resume())
