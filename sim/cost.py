# SPDX-License-Identifier: Apache-2.0
"""What a program costs: counted events times what each costs, by the device file and the file of costs.

The model is a sum of terms. Each names an event and the figures that its energy is made of, so that every figure can be
shown with its source and moved to see what hangs on it.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from respin.rtl.config import BLOCK, PLANES, ROW_COLUMNS, ROW_WEIGHTS
from respin.sim.device import SOURCES, Device

COSTS = Path(__file__).parent / "costs.toml"
"""The costs that ship."""
UNITS = dict.fromkeys(
    (
        "mram.sense", "engine.bit_mac", "engine.accumulate", "engine.latch_bit", "depthwise.mac", "vector.channel",
        "vector.element", "update.sum", "store.bit", "external.bit", "background.lane",
    ),
    "pJ",
) | {
    "area.mtj": "µm²", "area.array_share": "1", "area.sram_bit": "µm²", "area.gate": "µm²", "area.lut6": "gates",
    "area.flip_flop": "gates", "area.logic_share": "1",
}  # fmt: skip
"""What a file of costs says, and in which unit."""
LIMITS = {"pJ": (0, 1e6), "µm²": (0, 1e6), "gates": (0, 1e6), "1": (1e-3, 1)}
"""The least and the most of each."""
DAYS_A_YEAR = 365.25
DEVICE = "device."
"""What the names of the device file's parameters begin with here."""

Values = Mapping[str, float]


class CostError(ValueError):
    """A file of costs that cannot be used; the message names the file, the key, the rule and the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of the model: ``source`` is ``published`` or ``assumption``, ``where`` what it was taken from."""

    value: float
    unit: str
    source: str
    where: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One part of the energy.

    Parameters
    ----------
    part:
        Which of :data:`PARTS` it belongs to.
    event:
        What is counted, of :data:`EVENTS`.
    formula:
        The energy of an event in words.
    figures:
        Names of the figures that it is made of.
    picojoules:
        Their values to the energy of an event, in pJ.
    """

    part: str
    event: str
    formula: str
    figures: tuple[str, ...]
    picojoules: Callable[[Values], float]


PARTS = (
    "MRAM reads", "MRAM writes", "engine", "depthwise", "vector path", "update", "store", "external memory",
    "background",
)  # fmt: skip
EVENTS = {
    "rows_read": "MRAM rows read and corrected",
    "rows_verified": "raw MRAM rows read to compare and to verify",
    "strips_pulsed": "strips that got a write pulse",
    "engine_cycles": "cycles in which the dot slices worked",
    "bit_macs": "bit-MACs of the dot slices",
    "accumulations": "sums that took up a plane",
    "depthwise_macs": "multiply-accumulates of the depthwise unit",
    "channels_finished": "channels of pixels that the vector path finished",
    "elements_gathered": "elements of gathered sums",
    "sums_updated": "gradients that the update unit looked at",
    "store_words": "words read from the store and written to it",
    "external_bytes": "bytes from and to external memory",
    "cycles": "cycles",
    "lane_cycles": "cycles of each lane of the dot slices, busy or not",
}
"""What is counted; ``engine_cycles`` and ``cycles`` cost nothing by themselves."""

_READ = ("device.read.voltage", "device.read.phase_time", "device.mtj.resistance_parallel", "device.mtj.tmr",
         "device.mtj.access_resistance", "mram.sense")  # fmt: skip
_WRITE = ("device.energy.sot_pulse", "device.energy.stt_parallel", "device.energy.stt_antiparallel",
          "device.energy.return_loss", "device.energy.driver_factor")  # fmt: skip


def row_read(of: Values) -> float:
    """Energy of a READ in pJ: of each column V²t/(R + R_access), the mean of P and AP, and its sensing."""
    parallel, access = of["device.mtj.resistance_parallel"], of["device.mtj.access_resistance"]
    antiparallel = parallel * (1 + of["device.mtj.tmr"])
    conductance = (1 / (parallel + access) + 1 / (antiparallel + access)) / 2
    nanojoules = of["device.read.voltage"] ** 2 * conductance * of["device.read.phase_time"]
    return ROW_COLUMNS * (1000 * nanojoules + of["mram.sense"])


def strip_pulse(of: Values) -> float:
    """Energy of a write pulse of a strip in pJ: SOT, STT of two P and two AP, all of the return loss, drivers."""
    stt = 2 * (of["device.energy.stt_parallel"] + of["device.energy.stt_antiparallel"])
    femtojoules = of["device.energy.sot_pulse"] + stt + of["device.energy.return_loss"]
    return femtojoules * of["device.energy.driver_factor"] / 1000


def _single(part: str, event: str, figure: str, formula: str, factor: int = 1) -> Term:
    return Term(
        part=part, event=event, formula=formula, figures=(figure,), picojoules=lambda of: factor * of[figure]
    )  # fmt: skip


_ROW = f"{ROW_COLUMNS} columns: V²t/(R + R_access), mean of P and AP, and sensing"
TERMS = (
    Term(part="MRAM reads", event="rows_read", formula=_ROW, figures=_READ, picojoules=row_read),
    Term(part="MRAM writes", event="rows_verified", formula=_ROW, figures=_READ, picojoules=row_read),
    Term(
        part="MRAM writes", event="strips_pulsed", figures=_WRITE, picojoules=strip_pulse,
        formula="SOT, STT of two P and two AP, the return loss in full, times the drivers' factor",
    ),
    _single("engine", "bit_macs", "engine.bit_mac", "one bit-MAC"),
    _single("engine", "accumulations", "engine.accumulate", "shift and add"),
    _single("engine", "rows_read", "engine.latch_bit", "bits of a row of weights", ROW_WEIGHTS * PLANES),
    _single("depthwise", "depthwise_macs", "depthwise.mac", "one multiply-accumulate"),
    _single("vector path", "channels_finished", "vector.channel", "requantise"),
    _single("vector path", "elements_gathered", "vector.element", "scale and add"),
    _single("update", "sums_updated", "update.sum", "one gradient"),
    _single("store", "store_words", "store.bit", "bits of a word", BLOCK * PLANES),
    _single("external memory", "external_bytes", "external.bit", "bits of a byte", 8),
    _single("background", "lane_cycles", "background.lane", "one lane, one cycle"),
)  # fmt: skip


def load_costs(path: Path = COSTS) -> dict[str, Figure]:
    """Read a file of costs.

    Raises
    ------
    CostError
        Naming the file, the key, what is allowed and what it was.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CostError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CostError(f"{path}: is not TOML: {error}") from error
    found = {}
    for section, entries in table.items():
        if not isinstance(entries, dict):
            raise CostError(f"{path}: {section} must be a table, not {entries!r}")
        found |= {f"{section}.{key}": entry for key, entry in entries.items()}
    for name in UNITS:
        if name not in found:
            raise CostError(f"{path}: {name} is missing")
    for name in found:
        if name not in UNITS:
            raise CostError(f"{path}: {name} is no cost; the costs are {', '.join(UNITS)}")
    return {name: _figure(f"{path}: {name}", found[name], unit) for name, unit in UNITS.items()}


def _figure(where: str, entry: Any, unit: str) -> Figure:
    keys = {"value", "unit", "source", "where"}
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise CostError(f"{where} must have the keys {', '.join(sorted(keys))}, not {entry!r}")
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CostError(f"{where}: value must be a number, not {value!r}")
    least, most = LIMITS[unit]
    if not least <= value <= most:
        raise CostError(f"{where}: value must be in {least:g}..{most:g}, not {value!r}")
    if entry["unit"] != unit:
        raise CostError(f"{where}: unit must be {unit}, not {entry['unit']!r}")
    if entry["source"] not in SOURCES:
        raise CostError(f"{where}: source must be one of {', '.join(SOURCES)}, not {entry['source']!r}")
    if not isinstance(entry["where"], str) or not entry["where"]:
        raise CostError(f"{where}: where must say what the figure was taken from, not {entry['where']!r}")
    return Figure(value=float(value), unit=unit, source=entry["source"], where=entry["where"])


def figures(device: Device, costs: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return every figure that the model uses, those of the device file as ``device.NAME``."""
    names = dict.fromkeys(name for term in TERMS for name in term.figures)
    return {name: _of_device(device, name) if name.startswith(DEVICE) else costs[name] for name in names}


def _of_device(device: Device, name: str) -> Figure:
    found = device.parameters[name.removeprefix(DEVICE)]
    return Figure(value=found.value, unit=found.unit, source=found.source, where=f"device file {device.name}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """What a term comes to: ``count`` events of ``each`` pJ."""

    term: Term
    count: float
    each: float

    @property
    def joules(self) -> float:
        """All of them."""
        return self.count * self.each * 1e-12


def energies(counts: Values, of: Mapping[str, Figure]) -> list[Energy]:
    """Return the energy of each term whose event was counted; one that was not is absent, not 0."""
    values = {name: figure.value for name, figure in of.items()}
    return [
        Energy(term=term, count=counts[term.event], each=term.picojoules(values))
        for term in TERMS
        if term.event in counts
    ]


def total(counts: Values, of: Mapping[str, Figure]) -> float:
    """Return the energy of all terms that were counted, in J."""
    return sum(energy.joules for energy in energies(counts, of))


@dataclass(frozen=True, kw_only=True, slots=True)
class Swing:
    """A sum with a figure divided, and multiplied, by a factor."""

    name: str
    divided: float
    multiplied: float

    @property
    def span(self) -> float:
        """How far the two lie apart."""
        return abs(self.multiplied - self.divided)


def sensitivity(counts: Values, of: Mapping[str, Figure], factor: float) -> list[Swing]:
    """Return how each figure moves the total energy, in J; errors as :func:`swings`."""
    return swings(of, lambda moved: total(counts, moved), factor)


def swings(of: Mapping[str, Figure], sum_of: Callable[[Mapping[str, Figure]], float], factor: float) -> list[Swing]:
    """Move each figure down and up by a factor, alone; the one that moves ``sum_of`` the figures most comes first.

    Raises
    ------
    ValueError
        If the factor is not above 1.
    """
    if not factor > 1:
        raise ValueError(f"factor must be above 1, not {factor!r}")

    def moved(name: str, by: float) -> float:
        return sum_of({**of, name: replace(of[name], value=of[name].value * by)})

    found = [Swing(name=name, divided=moved(name, 1 / factor), multiplied=moved(name, factor)) for name in of]
    return sorted((swing for swing in found if swing.span), key=lambda swing: -swing.span)


def years(endurance: float, *, pulses_per_step: float, steps_per_day: float) -> float:
    """Years until a strip has had ``endurance`` pulses, at so many pulses a training step and steps a day.

    Raises
    ------
    ValueError
        If one of these is not above 0.
    """
    if not pulses_per_step > 0:
        raise ValueError(f"pulses_per_step must be above 0, not {pulses_per_step!r}")
    if not steps_per_day > 0:
        raise ValueError(f"steps_per_day must be above 0, not {steps_per_day!r}")
    return endurance / (pulses_per_step * steps_per_day * DAYS_A_YEAR)
