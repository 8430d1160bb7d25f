# SPDX-License-Identifier: Apache-2.0
"""The parameters of a SAS-MRAM device: read from one TOML file, checked, each with its unit and its source."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

DEVICE_FOLDER = Path(__file__).parent / "devices"
SOURCES = ("published", "assumption")
GEOMETRIES = ("x", "y")
PULSE_ENTRIES = 16
"""Entries of a macro's pulse table: the pins' ``pulse`` has 4 bits."""
STT_OVERHANG_NS = 1.0
"""By how much STT must outlast SOT on geometry x, or thermal noise picks the state."""

_LIMITS: dict[str, tuple[str, float, float]] = {
    "mtj.length": ("nm", 1, 1000),
    "mtj.width": ("nm", 1, 1000),
    "mtj.free_layer": ("nm", 0.1, 20),
    "mtj.demagnetisation_long": ("1", 0, 1),
    "mtj.demagnetisation_short": ("1", 0, 1),
    "mtj.saturation": ("MA/m", 0.01, 5),
    "mtj.damping": ("1", 0, 1),
    "mtj.out_of_plane_field": ("T", -5, 5),
    "mtj.out_of_plane_sigma": ("T", 0, 1),
    "mtj.curie_temperature": ("K", 400, 3000),
    "mtj.interface_exponent": ("1", 0, 10),
    "mtj.vcma": ("fJ/(V*m)", -1000, 1000),
    "mtj.barrier": ("nm", 0.1, 10),
    "mtj.stability": ("1", 1, 1000),
    "mtj.stability_sigma": ("1", 0, 0.5),
    "mtj.critical_current_sigma": ("1", 0, 0.1),
    "mtj.attempt_time": ("ns", 0.001, 1000),
    "mtj.spin_hall_efficiency": ("1", 0, 10),
    "mtj.spin_hall_field_like": ("1", -10, 10),
    "mtj.spin_transfer_efficiency": ("1", 0, 1),
    "mtj.spin_transfer_field_like": ("1", -10, 10),
    "mtj.resistance_area": ("ohm*um2", 0.01, 1e6),
    "mtj.resistance_parallel": ("ohm", 1, 1e9),
    "mtj.tmr": ("1", 0, 100),
    "mtj.tmr_half_voltage": ("V", 0.01, 10),
    "mtj.resistance_sigma": ("1", 0, 0.5),
    "mtj.access_resistance": ("ohm", 0, 1e9),
    "mtj.endurance": ("1", 1, 1e18),
    "strip.thickness": ("nm", 0.1, 100),
    "strip.width": ("nm", 1, 10000),
    "strip.resistivity": ("uohm*cm", 1, 1e5),
    "strip.pitch": ("nm", 1, 10000),
    "strip.oersted": ("1", -1, 1),
    "strip.grounded_ends": ("1", 1, 2),
    "strip.strips_per_pulse": ("1", 1, 72),
    "strip.transistors_per_bit": ("1", 0.1, 100),
    "read.voltage": ("V", 0.001, 2),
    "read.phase_time": ("ns", 0.01, 1e6),
    "read.phases": ("1", 1, 4),
    "read.sense_sigma": ("uA", 0.0001, 1e4),
    "read.reference_pairs": ("1", 1, 1024),
    "read.weak_limit": ("1", 1, 6),
    "read.disturbed_state": ("1", 0, 1),
    "read.critical_current": ("uA", 0.1, 1e5),
    "write.stt_start": ("ns", 0, 1000),
    "write.rise_time": ("ns", 0, 100),
    "write.relaxation": ("ns", 4, 1e6),
    "write.staggered_end": ("1", 0, 1),
    "write.stagger": ("ns", 0, 100),
    "write.sot_reference": ("uA", 0.1, 1e5),
    "write.stt_reference": ("uA", 0.1, 1e5),
    "write.probit_reference": ("1", -10, 40),
    "write.probit_per_sot": ("1/uA", -10, 10),
    "write.probit_per_stt": ("1/uA", -10, 10),
    "write.probit_to_parallel": ("1", -10, 10),
    "write.probit_keep": ("1", -10, 10),
    "write.resolution": ("1", 0, 1),
    "write.return_onset": ("uA", 0, 1e6),
    "write.return_reference": ("uA", 0, 1e6),
    "write.return_probit": ("1", -10, 40),
    "write.return_probit_slope": ("1/uA", -10, 0),
    "energy.sot_pulse": ("fJ", 0, 1e9),
    "energy.stt_parallel": ("fJ", 0, 1e9),
    "energy.stt_antiparallel": ("fJ", 0, 1e9),
    "energy.return_loss": ("fJ", 0, 1e9),
    "energy.driver_factor": ("1", 1, 100),
    "specification.unpowered_27c": ("h", 0, 1e9),
    "specification.unpowered_85c": ("h", 0, 1e9),
    "specification.scrub_27c": ("h", 0, 1e9),
    "specification.scrub_85c": ("h", 0, 1e9),
}
"""Every parameter of a device file with its unit and the range in which it can mean anything."""

_INTEGERS = frozenset({
    "strip.grounded_ends", "strip.strips_per_pulse", "read.phases", "read.reference_pairs", "read.disturbed_state",
    "write.staggered_end",
})  # fmt: skip


class DeviceError(ValueError):
    """A device file that cannot be used; the message names the file, the parameter, the rule and the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One figure of a device: ``source`` says whether it is published or an assumption of this project."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """One entry of the macro's pulse table: currents in uA, times in ns."""

    sot: float
    sot_time: float
    stt: float
    stt_time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """A write-error figure from a solver run that the closed form is fitted to; currents in uA."""

    sot: float
    stt: float
    error: float
    bound: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device. ``device["mtj.tmr"]`` is a parameter's value in the unit that ``parameters["mtj.tmr"]`` names."""

    name: str
    geometry: str
    parameters: Mapping[str, Parameter]
    pulses: tuple[Pulse, ...]
    pulse_source: str
    anchors: tuple[Anchor, ...]

    def __getitem__(self, name: str) -> float:
        return self.parameters[name].value

    @property
    def strip_resistance(self) -> float:
        """Resistance of a whole strip, four pitches long, in ohm."""
        area = self["strip.thickness"] * self["strip.width"]
        return 10 * self["strip.resistivity"] * 4 * self["strip.pitch"] / area

    @property
    def supports_erase(self) -> bool:
        """Whether SOT alone writes a known state, as the scheme ``erase_program`` needs."""
        return self.geometry == "y"


def _number(where: str, value: Any, low: float, high: float, *, integer: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        raise DeviceError(f"{where} must be {'an integer' if integer else 'a number'}, not {value!r}")
    if not low <= value <= high:
        raise DeviceError(f"{where} must be in {low:g}..{high:g}, not {value!r}")
    return value


def _source(where: str, value: Any) -> str:
    if value not in SOURCES:
        raise DeviceError(f"{where}: source must be one of {', '.join(SOURCES)}, not {value!r}")
    return str(value)


def _keys(where: str, table: Any, required: set[str], optional: set[str] = frozenset()) -> dict[str, Any]:
    """Check that ``table`` is a table with just these keys."""
    if not isinstance(table, dict):
        raise DeviceError(f"{where} must be a table, not {table!r}")
    for key in sorted(required - table.keys()):
        raise DeviceError(f"{where}: {key} is missing")
    for key in sorted(table.keys() - required - optional):
        raise DeviceError(f"{where}: {key} is no key; the keys are {', '.join(sorted(required | optional))}")
    return table


def _parameter(name: str, entry: Any) -> Parameter:
    unit, low, high = _LIMITS[name]
    _keys(name, entry, {"value", "unit", "source"})
    if entry["unit"] != unit:
        raise DeviceError(f"{name}: unit must be {unit}, not {entry['unit']!r}")
    value = _number(name, entry["value"], low, high, integer=name in _INTEGERS)
    return Parameter(value=value, unit=unit, source=_source(name, entry["source"]))


def _pulses(geometry: str, stt_start: float, entries: Any) -> tuple[Pulse, ...]:
    if not isinstance(entries, list) or not 1 <= len(entries) <= PULSE_ENTRIES:
        raise DeviceError(f"pulses.table must be a list of 1..{PULSE_ENTRIES} entries, not {entries!r}")
    pulses = []
    for index, entry in enumerate(entries):
        where = f"pulses.table[{index}]"
        if not isinstance(entry, list) or len(entry) != 4:
            raise DeviceError(f"{where} must be [I_SOT, t_SOT, I_STT, t_STT], not {entry!r}")
        sot, sot_time, stt, stt_time = (_number(where, value, 0, 1e5) for value in entry)
        overhang = stt_start + stt_time - sot_time
        if geometry == "x" and overhang < STT_OVERHANG_NS - 1e-9:
            raise DeviceError(f"{where}: STT must outlast SOT by at least {STT_OVERHANG_NS} ns, not {overhang:g}")
        pulses.append(Pulse(sot=sot, sot_time=sot_time, stt=stt, stt_time=stt_time))
    for index, (weaker, stronger) in enumerate(pairwise(pulses), start=1):
        if stronger.sot < weaker.sot or stronger.stt < weaker.stt:
            raise DeviceError(
                f"pulses.table[{index}] must not be weaker than the entry before it, not {entries[index]!r}"
            )
    # A retry past the table's end repeats its last entry.
    return (*pulses, *[pulses[-1]] * (PULSE_ENTRIES - len(pulses)))


def _anchor(index: int, entry: Any) -> Anchor:
    where = f"anchor[{index}]"
    _keys(where, entry, {"sot", "stt", "error"}, {"bound"})
    bound = entry.get("bound", False)
    if not isinstance(bound, bool):
        raise DeviceError(f"{where}: bound must be true or false, not {bound!r}")
    return Anchor(
        sot=_number(f"{where}: sot", entry["sot"], 0, 1e5),
        stt=_number(f"{where}: stt", entry["stt"], 0, 1e5),
        error=_number(f"{where}: error", entry["error"], 0, 1),
        bound=bound,
    )


def parse(text: str) -> Device:
    """Make a device of the text of a device file; raises DeviceError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeviceError(f"is not TOML: {error}") from error
    sections: dict[str, set[str]] = {}
    for name in _LIMITS:
        section, key = name.split(".")
        sections.setdefault(section, set()).add(key)
    _keys("device", table, {"name", "geometry", "pulses", *sections}, {"anchor"})
    if not isinstance(table["name"], str) or not table["name"].isidentifier():
        raise DeviceError(f"name must be letters, digits and underscores, not {table['name']!r}")
    geometry = table["geometry"]
    if geometry not in GEOMETRIES:
        raise DeviceError(f"geometry must be one of {', '.join(GEOMETRIES)}, not {geometry!r}")
    for section, keys in sections.items():
        _keys(section, table[section], keys)
    parameters = {name: _parameter(name, table[name.split(".")[0]][name.split(".")[1]]) for name in _LIMITS}
    if parameters["read.phases"].value == 3:
        raise DeviceError("read.phases must be one of 1, 2, 4, not 3")
    pulses = _keys("pulses", table["pulses"], {"source", "table"})
    anchors = table.get("anchor", [])
    if not isinstance(anchors, list):
        raise DeviceError(f"anchor must be a list of tables, not {anchors!r}")
    return Device(
        name=table["name"],
        geometry=geometry,
        parameters=MappingProxyType(parameters),
        pulses=_pulses(geometry, parameters["write.stt_start"].value, pulses["table"]),
        pulse_source=_source("pulses", pulses["source"]),
        anchors=tuple(_anchor(index, entry) for index, entry in enumerate(anchors)),
    )


def shipped() -> list[str]:
    """Names of the devices that come with the project."""
    return sorted(path.stem for path in DEVICE_FOLDER.glob("*.toml"))


def load(name: str | Path) -> Device:
    """Load a device: by the name of a shipped one, or from the path of a device file.

    Raises
    ------
    DeviceError
        Naming the file, the parameter, the rule and the value.
    """
    if isinstance(name, str) and not name.endswith(".toml"):
        if name not in shipped():
            raise DeviceError(f"device must be one of {', '.join(shipped())} or a .toml file, not {name!r}")
        path = DEVICE_FOLDER / f"{name}.toml"
    else:
        path = Path(name)
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeviceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DeviceError(f"{path}: is not UTF-8 text") from error
    except DeviceError as error:
        raise DeviceError(f"{path}: {error}") from error
