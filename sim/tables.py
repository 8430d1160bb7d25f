# SPDX-License-Identifier: Apache-2.0
"""The table of 32-bit words that makes a bank model behave like one device: seed, cycles and fault thresholds.

The same words are read by :mod:`respin.sim.array`, by ``verilog/sas_mram_bank.v`` (``$readmemh``) and by the golden
model, so one build of the Verilog serves every device, clock and fault rate. An event of probability ``p`` happens
where a 32-bit draw is below the threshold ``round(p * 2^32)``; the largest threshold is ``2^32 - 1``.

==========  ===========================================================================================
address     word
==========  ===========================================================================================
0           seed of the generator
1           1 where SOT alone erases to 0 (geometry y), 0 where it scrambles
2           cycles of a READ
3           most strips in one pulse
4 + e       thresholds of the static draws: a cell is of class ``c`` or a higher one where it is below word ``3 + c``
8 + c       threshold of a retention loss in one ageing step, ``c`` the class of stability
32 + i      threshold of a read error, ``i = class*8 + position*2 + state``; class 0 normal, 1 high, 2 low
64 + i      cycles of a write command, ``i = (command - 2)*16 + pulse``
112 + i     threshold of a read disturb, ``i = (class of stability*4 + class of critical current)*2 + state``
160 + i     threshold of an erase error (geometry y), ``i = class of critical current*16 + pulse``
8192 + i    threshold of a write error, ``i = class of critical current*2048 + pulse*128 + pattern*8 + position*2 +
            state``; ``pattern`` is the strip's four target bits
==========  ===========================================================================================

Words that are not listed are 0.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from respin.rtl.config import STRIPS, AcceleratorConfig
from respin.sim import reliability
from respin.sim.device import PULSE_ENTRIES, Device, DeviceError, Pulse, load

WORDS = 16384
SEED, ERASES, READ_CYCLES, STRIP_LIMIT, STATIC = range(5)
RETENTION = 8
READ_ERROR = 32
WRITE_CYCLES = 64
DISTURB = 112
ERASE_ERROR = 160
WRITE_ERROR = 8192
WRITE_ERRORS_OF_CLASS = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRates:
    """Probabilities that replace those of the device, for campaigns. ``None`` leaves the device's own.

    Parameters
    ----------
    write_error:
        Per MTJ of a pulsed strip.
    erase_error:
        Per MTJ of a strip erased by SOT alone.
    read_error:
        Per MTJ read, not stored: the next read sees the cell as it is.
    read_disturb:
        Per MTJ read, in either state: the cell itself flips.
    retention:
        Per MTJ and ageing step.
    """

    write_error: float | None = None
    erase_error: float | None = None
    read_error: float | None = None
    read_disturb: float | None = None
    retention: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{field.name} must be a number or None, not {value!r}")
            if not 0 <= value <= 1:
                raise ValueError(f"{field.name} must be in 0..1, not {value!r}")


NO_FAULTS = FaultRates(write_error=0, erase_error=0, read_error=0, read_disturb=0, retention=0)


def threshold(probability: float) -> int:
    """32-bit threshold of a probability."""
    return min(round(probability * 2**32), 2**32 - 1)


def cycles(nanoseconds: float, clock_mhz: float) -> int:
    """Whole clock cycles that a time takes, at least one."""
    return max(1, math.ceil(nanoseconds * clock_mhz / 1000 - 1e-9))


def read_time(device: Device) -> float:
    """Time of one row read in ns."""
    return device["read.phases"] * device["read.phase_time"]


def write_times(device: Device, pulse: int) -> tuple[float, float, float]:
    """Times in ns of WRITE_SAS, SOT_ONLY and STT_ONLY with this pulse, the relaxation before a verify included."""
    entry = device.pulses[pulse]
    ends = (device["write.stt_start"] + entry.stt_time, entry.sot_time, entry.stt_time)
    edges = device["write.rise_time"] + device["write.relaxation"]
    return tuple(max(end, entry.sot_time) + edges if index == 0 else end + edges for index, end in enumerate(ends))


def fault_table(
    device: Device,
    *,
    clock_mhz: float,
    seed: int = 1,
    rates: FaultRates = FaultRates(),
    age_seconds: float = 0.0,
    celsius: float = reliability.ROOM_CELSIUS,
) -> np.ndarray:
    """Words of the table for a device at a clock.

    Parameters
    ----------
    device:
        The device.
    clock_mhz:
        Clock of the macro in MHz.
    seed:
        Seed of the generator, 32 bits.
    rates:
        Probabilities that replace the device's.
    age_seconds, celsius:
        Time and temperature that one ageing step stands for.

    Raises
    ------
    ValueError
        For a clock that is not positive or a seed that has more than 32 bits.
    """
    if not clock_mhz > 0:
        raise ValueError(f"clock_mhz must be positive, not {clock_mhz!r}")
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must be in 0..2^32-1, not {seed!r}")

    def rate(override: float | None, own: float) -> int:
        return threshold(own if override is None else override)

    words = np.zeros(WORDS, dtype=np.uint32)
    words[SEED] = seed
    words[ERASES] = device.supports_erase
    words[READ_CYCLES] = cycles(read_time(device), clock_mhz)
    words[STRIP_LIMIT] = device["strip.strips_per_pulse"]
    classes = reliability.STATIC_CLASSES
    words[STATIC : STATIC + classes - 1] = [threshold(share) for share in reliability.static_fractions()]
    for stable in range(classes):
        lost = reliability.retention_loss(device, age_seconds, celsius, stable)
        words[RETENTION + stable] = rate(rates.retention, lost)
    for stable, current, state in np.ndindex(classes, classes, 2):
        own = reliability.read_disturb(device, state, stable, current) if rates.read_disturb is None else 0.0
        words[DISTURB + (stable * classes + current) * 2 + state] = rate(rates.read_disturb, own)
    for cell_class, position, state in np.ndindex(reliability.CLASSES, 4, 2):
        own = reliability.read_error(device, cell_class, position, state) if rates.read_error is None else 0.0
        words[READ_ERROR + cell_class * 8 + position * 2 + state] = rate(rates.read_error, own)
    for pulse in range(PULSE_ENTRIES):
        for current in range(classes):
            own = reliability.erase_error(device, device.pulses[pulse], current)
            words[ERASE_ERROR + current * PULSE_ENTRIES + pulse] = rate(rates.erase_error, own)
        for command, nanoseconds in enumerate(write_times(device, pulse)):
            words[WRITE_CYCLES + command * 16 + pulse] = cycles(nanoseconds, clock_mhz)
    words[WRITE_ERROR:] = _write_thresholds(device, rates.write_error)
    return words


def _write_thresholds(device: Device, override: float | None) -> np.ndarray:
    if override is not None:
        return np.full(WORDS - WRITE_ERROR, threshold(override), dtype=np.uint32)
    by_pulse = {pulse: _write_thresholds_of_pulse(device, pulse) for pulse in set(device.pulses)}
    return np.stack([by_pulse[pulse] for pulse in device.pulses], axis=1).reshape(-1)


def _write_thresholds_of_pulse(device: Device, pulse: Pulse) -> np.ndarray:
    """By class of critical current, pattern, position and state: what :func:`reliability.write_error` says of them."""
    classes = range(reliability.STATIC_CLASSES)
    own = np.array(
        [
            [[reliability.intrinsic_write_error(device, pulse, state, target, current) for state in (0, 1)]
             for target in (0, 1)]
            for current in classes
        ]
    )  # fmt: skip
    words = np.zeros((len(classes), 16, 4, 2), dtype=np.uint32)
    for pattern, position in np.ndindex(16, 4):
        returned = reliability.return_error(device, pulse, pattern, position)
        alone = own[:, pattern >> position & 1]
        errors = alone + (1 - alone) * returned
        words[:, pattern, position] = [[threshold(error) for error in of_class] for of_class in errors.tolist()]
    return words


def plain_table() -> np.ndarray:
    """The table of a plain memory: no faults, every command one cycle, any number of strips, SOT alone scrambles."""
    words = np.zeros(WORDS, dtype=np.uint32)
    words[READ_CYCLES] = 1
    words[STRIP_LIMIT] = STRIPS
    words[WRITE_CYCLES : WRITE_CYCLES + 48] = 1
    return words


def table_for(config: AcceleratorConfig, *, seed: int = 1, rates: FaultRates = FaultRates()) -> np.ndarray:
    """The table of a configuration's device at its clock; raises DeviceError if it cannot do the write scheme."""
    device = load(config.device)
    if (config.write_scheme == "erase_program") != device.supports_erase:
        raise DeviceError(
            f"device {device.name} has geometry {device.geometry}; write_scheme {config.write_scheme} needs "
            f"geometry {'y' if config.write_scheme == 'erase_program' else 'x'}"
        )
    return fault_table(device, clock_mhz=config.clock_mhz, seed=seed, rates=rates)


def write_table(words: np.ndarray, path: Path) -> None:
    """Write the table as the ``$readmemh`` file that the Verilog model takes with ``+mram_table=``."""
    path.write_text("".join(f"{word:08x}\n" for word in words.tolist()), encoding="ascii")
