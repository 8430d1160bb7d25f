# SPDX-License-Identifier: Apache-2.0
"""The registers of the accelerator: the one source of the hardware, the documents, the C header and the firmware.

Standard library only.
"""

import importlib.metadata
import re
from dataclasses import dataclass

from respin.rtl.config import WRITE_SCHEMES, AcceleratorConfig
from respin.rtl.host.register_map import Access, Field, Half, Register, RegisterMap
from respin.rtl.jobs import LOG2_RATE

WINDOW_BITS = 12
"""The window has 4 KB."""
MAGIC = int.from_bytes(b"RSPN", "little")
INDEX_BITS = 24
"""Bits of the number of a descriptor."""
STEP_BITS = 20
"""Bits of a training step's number (docs/arithmetic.md, Randomness)."""
PROGRAM_ALIGNMENT_BITS = 8
"""A program starts at a multiple of 256 bytes."""

_COUNTERS_BASE = 0x100


@dataclass(frozen=True, kw_only=True, slots=True)
class Counter:
    """One counter.

    Parameters
    ----------
    name, description:
        For people; ``name`` is also the member's.
    width:
        32 or 64; it wraps.
    step:
        Bits of what is added in a cycle; 0 if it is counted elsewhere and only shown here.
    """

    name: str
    description: str
    width: int = 64
    step: int = 1


STAGES = {
    "window": "window addressing",
    "read": "MRAM reader",
    "engine": "engine",
    "feed": "weight-gradient feeder",
    "depthwise": "depthwise unit",
    "vector": "vector path",
    "gather": "gather unit",
    "loss": "loss head",
    "update": "update unit",
}
"""Units whose busy cycles are counted, by the names that jobs give them."""

COUNTERS = (
    Counter(name="cycles", description="Cycles in which a program ran."),
    Counter(name="engine_busy", step=32, description="Cycles in which the dot slices worked."),
    Counter(name="starved_rows", step=32, description="Cycles in which the dot slices waited for rows."),
    Counter(name="starved_words", step=32, description="Cycles in which the dot slices waited for words."),
    Counter(name="stalled", step=32, description="Cycles in which the dot slices waited for room for results."),
    Counter(name="dma_bytes_read", step=6, description="Bytes that the DMA read."),
    Counter(name="dma_bytes_written", step=6, description="Bytes that the DMA wrote."),
    Counter(name="dma_stalled", description="Cycles in which the DMA had something to do and no data moved."),
    *(
        Counter(name=f"{stage}_cycles", width=32, description=f"Cycles in which the {title} was busy.")
        for stage, title in STAGES.items()
    ),
    Counter(name="descriptors_done", width=32, description="Descriptors that ended well."),
    Counter(name="rows_read", width=32, step=0, description="MRAM rows read and corrected."),
    Counter(name="rows_written", width=32, step=0, description="MRAM rows written."),
    Counter(name="strips_pulsed", width=32, step=0, description="Strips that got a write pulse."),
    Counter(name="bits_flipped", width=32, step=0, description="MTJs that writes turned over."),
    Counter(name="retries", width=32, step=0, description="Attempts of row writes after the first one."),
    Counter(name="words_corrected", width=32, step=0, description="Codewords with a corrected bit."),
    Counter(name="uncorrectable", width=32, step=0, description="Codewords beyond correction."),
    Counter(name="writes_locked", width=32, step=0, description="Writes refused because their row is locked."),
    Counter(name="rows_scrubbed", width=32, step=0, description="MRAM rows that the scrubber read."),
    Counter(name="rows_repaired", width=32, step=0, description="Of these, rows rewritten in place."),
    Counter(name="rows_remapped", width=32, step=0, description="MRAM rows given to a spare."),
    Counter(name="scrub_late", width=32, step=0, description="Rows that fell due while the one before still waited."),
)
"""What is counted, in the order of the registers."""

INTERRUPTS = {
    "done": "A program ended well.",
    "error": "A program ended with an error.",
    "uncorrectable": "A row was read that is beyond correction.",
    "spares_low": "Few spare rows are left.",
    "memory": "A procedure on the memory's regions ended.",
}
"""What interrupts the host, from bit 0 on."""


def version() -> tuple[int, int, int]:
    """Return major, minor and patch of the package's version."""
    text = importlib.metadata.version("respin")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ValueError(f"the version of the package must begin with major.minor, not {text!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _log2(config: AcceleratorConfig, *names: str, spacing: int) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=f"{name}_log2", low=spacing * place, width=spacing, access=Access.RO,
            reset=getattr(config, name).bit_length() - 1, description=f"Binary logarithm of `{name}`.",
        )
        for place, name in enumerate(names)
    )  # fmt: skip


def _identity(config: AcceleratorConfig) -> tuple[Register, ...]:
    major, minor, patch = version()

    def constant(name: str, low: int, width: int, value: int, description: str) -> Field:
        return Field(name=name, low=low, width=width, access=Access.RO, reset=value, description=description)

    scheme = WRITE_SCHEMES.index(config.write_scheme)
    schemes = ", ".join(f"{number} `{name}`" for number, name in enumerate(WRITE_SCHEMES))
    return (
        Register(
            name="ID", offset=0x000, description="Tells that this is the accelerator.",
            fields=(constant("magic", 0, 32, MAGIC, "0x4E505352: the bytes `RSPN`."),),
        ),
        Register(
            name="VERSION", offset=0x004, description="Version of what made the hardware.",
            fields=(
                constant("patch", 0, 8, patch, "Third number of the version."),
                constant("minor", 8, 8, minor, "Second number of the version."),
                constant("major", 16, 8, major, "First number of the version."),
            ),
        ),
        Register(
            name="CONFIG0", offset=0x008, description="The engine and the memory's banks.",
            fields=_log2(config, "lanes", "slices", "pixels", "banks", "transposers", "ecc_decoders", "vector_width",
                         "depthwise_lanes", spacing=4),
        ),
        Register(
            name="CONFIG1", offset=0x00C, description="Sizes of memories.",
            fields=_log2(config, "store_words", "mram_rows", "table_channels", "acc_depth", spacing=8),
        ),
        Register(
            name="CONFIG2", offset=0x010, description="Clock, writes, the width of the DMA, spares.",
            fields=(
                constant("clock_mhz", 0, 16, config.clock_mhz, "`clock_mhz`."),
                constant("write_retries", 16, 4, config.write_retries, "`write_retries`."),
                constant("write_scheme", 20, 4, scheme, f"`write_scheme`: {schemes}."),
                constant("axi_bits_log2", 24, 4, config.axi_bits.bit_length() - 1, "Binary logarithm of `axi_bits`."),
                constant("spare_rows", 28, 4, config.spare_rows, "`spare_rows`."),
            ),
        ),
        Register(
            name="CONFIG3", offset=0x014, description="The bound on every wait, tables of scales, the depthwise unit.",
            fields=(
                constant("watchdog_cycles", 0, 24, config.watchdog_cycles, "`watchdog_cycles`."),
                constant("tensor_ids_log2", 24, 4, config.tensor_ids.bit_length() - 1,
                         "Binary logarithm of `tensor_ids`."),
                constant("depthwise_taps", 28, 4, config.depthwise_taps, "`depthwise_taps`."),
            ),
        ),
        Register(
            name="CONFIG4", offset=0x018,
            description="Regions of the memory, when rows are remapped, what rows hold; job slots.",
            fields=(
                constant("regions", 0, 4, config.regions, "`regions`."),
                constant("remap_defects", 4, 1, int(config.remap_defects), "`remap_defects`."),
                constant("gray_code", 5, 1, int(config.gray_code), "`gray_code`."),
                constant("job_slots", 6, 2, config.job_slots, "`job_slots`."),
            ),
        ),
    )  # fmt: skip


def _control() -> tuple[Register, ...]:
    def pulse(name: str, low: int, description: str) -> Field:
        return Field(name=name, low=low, width=1, access=Access.PULSE, member=name, description=description)

    def shown(name: str, low: int, description: str) -> Field:
        return Field(name=name, low=low, width=1, access=Access.RO, member=name, description=description)

    return (
        Register(
            name="CONTROL", offset=0x020, description="What the host asks for.",
            fields=(
                pulse("start", 0, "Run the program."),
                pulse("abort", 1, "End the program after the descriptor under way."),
                pulse("soft_reset", 2, "Reset a machine that the watchdog stopped; registers keep their values."),
                pulse("clear_counters", 3, "Count from 0 again."),
                pulse("march", 8, "Test all MRAM rows if no program runs and there is no region table; destroys "
                      "their content."),
                pulse("next_error", 9, "Drop the error that MEMORY_ERROR shows and show the next one."),
            ),
        ),
        Register(
            name="STATUS", offset=0x024, description="What the machine does.",
            fields=(
                shown("running", 0, "A program runs."),
                shown("ready", 1, "A program may be started."),
                shown("done", 2, "The last program ended well."),
                shown("error", 3, "The last program ended with an error."),
            ),
        ),
        Register(
            name="IRQ_STATUS", offset=0x028, description="What happened; writing 1 clears a flag.",
            fields=tuple(
                Field(name=name, low=place, width=1, access=Access.W1C, member=f"irq_{name}", description=text)
                for place, (name, text) in enumerate(INTERRUPTS.items())
            ),
        ),
        Register(
            name="IRQ_ENABLE", offset=0x02C, description="Which flags of IRQ_STATUS raise the interrupt line.",
            fields=tuple(
                Field(name=name, low=place, width=1, access=Access.RW, description=f"The line follows {name}.")
                for place, name in enumerate(INTERRUPTS)
            ),
        ),
    )  # fmt: skip


def _program() -> tuple[Register, ...]:
    def whole(name: str, offset: int, low: int, width: int, access: Access, text: str, lock: str = "") -> Register:
        field = Field(
            name="value", low=low, width=width, access=access, member=name.lower(), description=text
        )  # fmt: skip
        return Register(
            name=name, offset=offset, description=text, fields=(field,), locked_by=lock, strict=access is Access.RW
        )

    aligned = PROGRAM_ALIGNMENT_BITS
    return (
        whole("PROGRAM_BASE", 0x030, aligned, 32 - aligned, Access.RW,
              "Byte address of the program, a multiple of 256.", "running"),
        whole("PROGRAM_COUNT", 0x034, 0, INDEX_BITS, Access.RW, "Descriptors of the program.", "running"),
        whole("SEED", 0x038, 0, 32, Access.RW, "Seed of the random numbers of the updates."),
        whole("STEP", 0x03C, 0, STEP_BITS, Access.RW, "Number of the training step."),
        whole("ERROR_CODE", 0x040, 0, 8, Access.RO, "Why the last program ended; 0 for no error."),
        whole("ERROR_INDEX", 0x044, 0, INDEX_BITS, Access.RO, "Number of the descriptor that ended it."),
        whole("ERROR_INFO", 0x048, 0, 32, Access.RO, "More about the error, by ERROR_CODE."),
        whole("CURRENT", 0x04C, 0, INDEX_BITS, Access.RO, "Number of the descriptor under way."),
        whole("LOG2_RATE", 0x050, 0, LOG2_RATE.width, Access.RW,
              "Binary logarithm of the training step's learning rate, in two's complement."),
    )  # fmt: skip


def _memory() -> tuple[Register, ...]:
    def field(name: str, low: int, width: int, access: Access, description: str) -> Field:
        return Field(
            name=name, low=low, width=width, access=access, member=f"memory_{name}", description=description
        )  # fmt: skip

    def shown(name: str, low: int, description: str, width: int = 1) -> Field:
        return field(name, low, width, Access.RO, description)

    def whole(name: str, offset: int, width: int, access: Access, text: str) -> Register:
        own = Field(name="value", low=0, width=width, access=access, member=name.lower(), description=text)
        return Register(name=name, offset=offset, description=text, fields=(own,))

    return (
        Register(
            name="MEMORY_COMMAND", offset=0x060, locked_by="running",
            description="Procedures on the memory's regions and slots.",
            fields=(
                field("procedure", 0, 4, Access.RW, "What to do: 1 format, 2 begin, 3 commit, 4 roll back, 5 lock, "
                      "6 activate, 7 check, 8 erase."),
                field("region", 8, 4, Access.RW, "Which region, from 0 on; 15 erases everything."),
                field("start", 31, 1, Access.PULSE, "Do it."),
            ),
        ),
        Register(
            name="MEMORY_STATUS", offset=0x064, description="What is known of the memory's regions and slots.",
            fields=(
                shown("ready", 0, "No procedure is under way, start-up neither."),
                shown("formatted", 1, "There is a region table."),
                shown("committed", 2, "The active task has a whole slot."),
                shown("training", 3, "The active task has a working slot."),
                shown("slot", 4, "The slot that the active task's rows lie in."),
                shown("unlocked", 5, "Erasing is allowed."),
                shown("error", 8, "Why the last procedure ended early: 1 not formatted, 2 not now, 3 region, "
                      "4 locked, 5 content, 6 row, 7 table; 0 if it did not.", 4),
            ),
        ),
        whole("MEMORY_ROW", 0x068, 24, Access.RO, "The row of the last procedure's error 6."),
        whole("MEMORY_VERSION", 0x06C, 32, Access.RO, "Commits of the active task."),
        whole("MEMORY_WHOLE", 0x070, 15, Access.RO, "Regions with a whole slot, bit 0 for region 0."),
        whole("MEMORY_KEY", 0x074, 32, Access.RW,
              "0x53415245 after a reset, before any program or procedure, allows erasing until a program starts."),
    )  # fmt: skip


def _upkeep() -> tuple[Register, ...]:
    def shown(name: str, low: int, width: int, description: str) -> Field:
        return Field(
            name=name, low=low, width=width, access=Access.RO, member=f"upkeep_{name}", description=description
        )  # fmt: skip

    return (
        Register(
            name="SCRUB_INTERVAL", offset=0x080, description="How often the scrubber reads a row.",
            fields=(
                Field(name="value", low=0, width=32, access=Access.RW, member="scrub_interval",
                      description="Cycles from row to row; 0 for no scrubbing."),
            ),
        ),
        Register(
            name="UPKEEP_STATE", offset=0x084, description="How the memory's upkeep stands.",
            fields=(
                shown("ready", 0, 1, "The spare map is loaded."),
                shown("marching", 1, 1, "The march test runs, or is to."),
                shown("map_failed", 2, 1, "A copy of the spare map could not be written; no row is remapped any more."),
                shown("spares_low", 3, 1, "Some bank has at most one free spare, or none where it has but one."),
                shown("overflow", 4, 1, "Errors were lost as MEMORY_ERROR's queue of 16 was full; cleared with the "
                      "counters."),
                shown("spares_left", 16, 16, "Free spare rows."),
            ),
        ),
        Register(
            name="MEMORY_ERROR", offset=0x088, description="The oldest error of the memory that was not dropped yet.",
            fields=(
                shown("error", 0, 28, "Its kind in bits 3:0 (0 no error, 1 uncorrectable, 2 defect, 3 write failed, "
                      "4 refused, 5 timeout, 6 remapped, 7 no spare left, 8 spare map not written), its row in the "
                      "others."),
            ),
        ),
    )  # fmt: skip


def _counters() -> tuple[Register, ...]:
    registers = []
    offset = _COUNTERS_BASE
    for counter in COUNTERS:
        name = counter.name.upper()
        parts = [(name, None)] if counter.width == 32 else [(f"{name}_LOW", Half.LOW), (f"{name}_HIGH", Half.HIGH)]
        for part, half in parts:
            text = counter.description
            if half is not None:
                text += f" {half.name.capitalize()} half."
            field = Field(name="value", low=0, width=32, access=Access.RO, member=counter.name, description=text)
            registers.append(Register(name=part, offset=offset, description=text, fields=(field,), half=half))
            offset += 4
    return tuple(registers)


def register_map(config: AcceleratorConfig) -> RegisterMap:
    """Return the registers of an accelerator.

    Parameters
    ----------
    config:
        Its values are what CONFIG0 and those after it read; everything else is alike in all accelerators.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """
    if not isinstance(config, AcceleratorConfig):
        raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
    return RegisterMap(
        name="respin",
        description="Registers of the Respin accelerator.",
        address_bits=WINDOW_BITS,
        registers=(*_identity(config), *_control(), *_program(), *_memory(), *_upkeep(), *_counters()),
        interrupts="IRQ_STATUS",
        enables="IRQ_ENABLE",
    )
