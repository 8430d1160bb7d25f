# SPDX-License-Identifier: Apache-2.0
"""The configuration of the accelerator: frozen dataclasses, the named presets and the TOML reader.

Standard library only, so that every part of the project, the golden model included, may import it.
"""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

ROW_WEIGHTS = 32
"""INT8 weights in one MRAM row."""
ROW_COLUMNS = 288
"""MTJ columns in one row: 4 SECDED(72,64) codewords of 72 bits."""
STRIPS = 72
"""Heavy-metal strips in one row, four MTJs each."""
BLOCK = 32
"""Channels in one word of the activation store, and pixels in one block of a weight-gradient pass."""
PAGE_SPARES = 8
"""Spare rows whose entries share a row of the spare map."""
MAX_ROWS = 1 << 24
"""Rows of all banks that a row's address can tell apart."""
REGION_ROWS = 18
"""Rows that a memory with regions has at least: both copies of the region table, a header and a row of content."""
PLANES = 8
"""Bit-planes in one word of the activation store."""

MAX_BATCH = 255
"""The most images that a job can be about: what its count holds."""

RANDOM_ROUNDS = 16
"""Rounds of the Simon32/64 cipher that make one random number (docs/arithmetic.md, Randomness)."""

DEVICES = ("default", "scrubbed", "erasable")
WRITE_SCHEMES = ("sas", "erase_program")
AXI_BITS = (32, 64, 128, 256)


def _require_int(owner: object, name: str, low: int, high: int, *, power_of_two: bool = False) -> None:
    value = getattr(owner, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")
    if power_of_two and value & (value - 1):
        raise ValueError(f"{name} must be a power of two, not {value!r}")


def _require_bool(owner: object, name: str) -> None:
    value = getattr(owner, name)
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {value!r}")


def _require_choice(owner: object, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceleratorConfig:
    """One accelerator.

    Parameters
    ----------
    name:
        What the configuration is called in reports and manifests.
    lanes:
        K: products summed by one dot slice in a cycle. A row of 32 weights takes ``32 / lanes`` beats.
    slices:
        M: output channels computed side by side.
    pixels:
        P: operand words streamed side by side against the same latched rows.
    banks:
        B: SAS-MRAM banks. Rows are interleaved over them: row ``r`` lies in bank ``r mod B``.
    mram_rows:
        Rows of one bank.
    store_words:
        Words of the activation store; a word holds 8 bit-planes of 32 channels (256 bits).
    acc_depth:
        Entries in each of the two halves of the partial-sum memory; an entry holds ``M * P`` int32.
    transposers:
        T: 32x32 bit transposers working side by side on the planes of a block.
    ecc_decoders:
        SECDED(72,64) decoders shared by all banks; a row takes ``4 / ecc_decoders`` cycles.
    vector_width:
        V: channels processed by the vector path in a cycle.
    depthwise_lanes:
        Channels processed by the depthwise unit in a cycle.
    depthwise_taps:
        Taps of a kernel row that the depthwise unit multiplies with a word side by side.
    table_channels:
        Entries in the on-chip table of per-channel quantiser constants.
    clock_mhz:
        Core clock in MHz; the macro's cycle counts follow from it and from the device file.
    device:
        Name of the device parameter file (``sim/devices``).
    write_scheme:
        ``sas`` (unipolar SOT with bipolar STT, one pulse) or ``erase_program`` (SOT erase, then STT program).
    write_retries:
        Further pulses after the first, each with the next entry of the macro's pulse table.
    spare_rows:
        Spare rows of each bank, which stand for rows that fail; 0 leaves remapping out. They and their map take the
        last rows of the memory.
    remap_defects:
        A spare row also replaces a row that a write leaves with columns wrong that SECDED repairs.
    gray_code:
        Rows hold the Gray code of each byte, so that a weight that changes by one pulses fewer strips.
    watchdog_cycles:
        Longest wait of any unit on another one, in cycles; then it ends with an error.
    tensor_ids:
        Tensor ids that have an entry in the tables of scales: two for each trained layer, one for each backward edge
        and for the loss.
    axi_bits:
        Bits of data of the AXI4 port to external memory: 32, 64, 128 or 256.
    regions:
        Regions of MRAM that the chip can keep apart, at most 15: their locks, and the two slots of the task that is
        trained (docs/memory.md). 0 leaves all of that out.
    job_slots:
        Jobs under way at a time. With 2 the depthwise and gather units have a window and a vector path of their own and
        work beside the engine (docs/decisions/0037-two-job-slots.md).

    Raises
    ------
    TypeError
        For a value of the wrong type.
    ValueError
        For a value out of its range, or a combination that cannot be built.
    """

    name: str
    lanes: int = 32
    slices: int = 32
    pixels: int = 1
    banks: int = 8
    mram_rows: int = 512
    store_words: int = 4096
    acc_depth: int = 256
    transposers: int = 2
    ecc_decoders: int = 4
    vector_width: int = 8
    depthwise_lanes: int = 32
    depthwise_taps: int = 3
    table_channels: int = 1024
    clock_mhz: int = 100
    device: str = "default"
    write_scheme: str = "sas"
    write_retries: int = 3
    spare_rows: int = 2
    remap_defects: bool = False
    gray_code: bool = False
    watchdog_cycles: int = 65535
    tensor_ids: int = 128
    axi_bits: int = 64
    regions: int = 8
    job_slots: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, not {self.name!r}")
        if not self.name.isidentifier():
            raise ValueError(f"name must be letters, digits and underscores, no digit first, not {self.name!r}")
        _require_int(self, "lanes", 8, 32, power_of_two=True)
        _require_int(self, "slices", 4, 32, power_of_two=True)
        _require_int(self, "pixels", 1, 8, power_of_two=True)
        _require_int(self, "banks", 1, 64, power_of_two=True)
        _require_int(self, "mram_rows", 16, 1 << 20, power_of_two=True)
        _require_int(self, "store_words", 64, 1 << 20, power_of_two=True)
        _require_int(self, "acc_depth", 64, 4096, power_of_two=True)
        _require_int(self, "transposers", 1, 8, power_of_two=True)
        _require_int(self, "ecc_decoders", 1, 4, power_of_two=True)
        _require_int(self, "vector_width", 1, 32, power_of_two=True)
        _require_int(self, "depthwise_lanes", 4, 32, power_of_two=True)
        _require_int(self, "depthwise_taps", 1, 8)
        _require_int(self, "table_channels", 32, 65536, power_of_two=True)
        _require_int(self, "clock_mhz", 1, 1000)
        _require_choice(self, "device", DEVICES)
        _require_choice(self, "write_scheme", WRITE_SCHEMES)
        _require_int(self, "write_retries", 0, 14)
        _require_int(self, "spare_rows", 0, 8)
        _require_bool(self, "remap_defects")
        _require_bool(self, "gray_code")
        _require_int(self, "watchdog_cycles", 1024, (1 << 24) - 1)
        _require_int(self, "tensor_ids", 2, 4096, power_of_two=True)
        _require_int(self, "axi_bits", AXI_BITS[0], AXI_BITS[-1], power_of_two=True)
        _require_int(self, "regions", 0, 15)
        _require_int(self, "job_slots", 1, 2)
        if self.vector_width > self.slices:
            raise ValueError(f"vector_width must be at most slices ({self.slices}), not {self.vector_width!r}")
        if self.depthwise_lanes < self.vector_width:
            raise ValueError(
                f"depthwise_lanes must be at least vector_width ({self.vector_width}), not {self.depthwise_lanes!r}"
            )
        if self.total_rows > MAX_ROWS:
            raise ValueError(f"banks * mram_rows must be at most {MAX_ROWS}, not {self.total_rows}")
        if self.regions and self.usable_rows < REGION_ROWS:
            raise ValueError(
                f"regions needs {REGION_ROWS} rows besides spares and their map, there are {self.usable_rows}: raise "
                "banks or mram_rows, or lower spare_rows"
            )

    @property
    def beats(self) -> int:
        """Cycles in which one 32-weight row meets one bit-plane: ``32 / K``."""
        return ROW_WEIGHTS // self.lanes

    @property
    def peak_macs_per_cycle(self) -> int:
        """INT8 multiply-accumulates a cycle at full speed: ``M * P * K / 8``."""
        return self.slices * self.pixels * self.lanes // PLANES

    @property
    def total_rows(self) -> int:
        """Rows of all banks together."""
        return self.banks * self.mram_rows

    @property
    def first_spare_row(self) -> int:
        """First spare row; the spares take the rows from here on, so each lies in the bank of its number modulo B."""
        return self.total_rows - self.banks * self.spare_rows

    @property
    def map_pages(self) -> int:
        """Pages of the spare map: a row holds the entries of ``PAGE_SPARES`` spares."""
        return -(-self.banks * self.spare_rows // PAGE_SPARES)

    @property
    def usable_rows(self) -> int:
        """Rows for content, from row 0 on; after them come the spare map, each page twice, and the spares."""
        return self.first_spare_row - 2 * self.map_pages


PRESETS: dict[str, AcceleratorConfig] = {
    config.name: config
    for config in (
        AcceleratorConfig(
            name="tiny", lanes=8, slices=4, pixels=1, banks=1, mram_rows=2048, store_words=1024, acc_depth=64,
            transposers=1, ecc_decoders=1, vector_width=2, depthwise_lanes=4, depthwise_taps=1, table_channels=1024,
            tensor_ids=64, axi_bits=32, regions=4,
        ),
        AcceleratorConfig(
            name="nano", lanes=8, slices=4, pixels=1, banks=1, mram_rows=64, store_words=256, acc_depth=64,
            transposers=1, ecc_decoders=1, vector_width=1, depthwise_lanes=4, depthwise_taps=1, table_channels=64,
            spare_rows=0, clock_mhz=12, tensor_ids=64, axi_bits=32, regions=0,
        ),
        AcceleratorConfig(
            name="small", lanes=32, slices=8, pixels=1, banks=2, mram_rows=512, store_words=1024, acc_depth=128,
            transposers=1, ecc_decoders=2, vector_width=4, depthwise_lanes=8, table_channels=256, clock_mhz=50,
            spare_rows=4,
        ),
        AcceleratorConfig(name="default", job_slots=2),
        AcceleratorConfig(
            name="large", lanes=32, slices=32, pixels=4, banks=32, mram_rows=16384, store_words=65536, acc_depth=256,
            transposers=8, vector_width=32, depthwise_taps=5, table_channels=4096, tensor_ids=256, axi_bits=256,
            regions=15, spare_rows=4,
        ),
    )
}  # fmt: skip


def preset(name: str) -> AcceleratorConfig:
    """Return the preset called ``name``; raises ValueError naming the ones there are."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]


def load(path: Path) -> AcceleratorConfig:
    """Read a configuration from a TOML file.

    The file's keys are the parameters of :class:`AcceleratorConfig`; ``base = "PRESET"`` starts from a preset
    instead of the defaults. ``name`` is the file's stem unless given.

    Raises
    ------
    ValueError, TypeError
        Naming the file, the parameter, the rule and the value.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: is not TOML: {error}") from error
    known = [field.name for field in fields(AcceleratorConfig)]
    for key in table:
        if key != "base" and key not in known:
            raise ValueError(f"{path}: {key} is no parameter; the parameters are base, {', '.join(known)}")
    values: dict[str, Any] = {"name": path.stem}
    try:
        if "base" in table:
            values |= asdict(preset(table["base"])) | values
        return AcceleratorConfig(**(values | {key: value for key, value in table.items() if key != "base"}))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error
