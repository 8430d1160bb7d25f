# SPDX-License-Identifier: Apache-2.0
"""The currents of a pulse as they come and go: in one MTJ alone, and in each of the four MTJs on a strip."""

import math
from dataclasses import dataclass

import numpy as np

from respin.sim.device import Device, Pulse
from respin.sim.reliability import POSITIONS, STT_END_ORDER, segment_currents

OPERATIONS = ("sas", "erase", "program")
"""SOT and STT in one pulse; SOT alone; STT alone."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Currents:
    """Currents in uA at each step's edges: ``strip`` under an MTJ, ``stt`` through it; both (steps + 1)."""

    strip: np.ndarray
    stt: np.ndarray


def trapezoid(time: np.ndarray, start: float, end: float, rise: float) -> np.ndarray:
    """A pulse of height 1 that begins to rise at ``start`` and to fall at ``end``, all in one unit."""
    if rise == 0:
        return ((time >= start) & (time < end)).astype(float)
    return np.clip(np.minimum((time - start) / rise, (end + rise - time) / rise), 0, 1)


def duration(device: Device, operation: str, pulse: Pulse, relaxation: float) -> float:
    """Time in ns from a pulse's first edge to the end of the relaxation behind it."""
    ends = {"sas": device["write.stt_start"] + pulse.stt_time, "erase": 0.0, "program": pulse.stt_time}
    sot_end = 0.0 if operation == "program" else pulse.sot_time
    return max(ends[operation], sot_end) + device["write.rise_time"] + relaxation


def _time(device: Device, operation: str, pulse: Pulse, relaxation: float, dt: float) -> np.ndarray:
    return np.arange(math.ceil(duration(device, operation, pulse, relaxation) / dt - 1e-9) + 1) * dt


def single(device: Device, operation: str, pulse: Pulse, *, relaxation: float, dt: float) -> Currents:
    """Return the currents of one MTJ alone on its strip; times in ns. Its STT's way to ground is left out."""
    time = _time(device, operation, pulse, relaxation, dt)
    rise = device["write.rise_time"]
    start = device["write.stt_start"] if operation == "sas" else 0.0
    strip = pulse.sot * trapezoid(time, 0.0, pulse.sot_time, rise)
    stt = pulse.stt * trapezoid(time, start, start + pulse.stt_time, rise)
    nothing = np.zeros_like(time)
    return Currents(strip=nothing if operation == "program" else strip, stt=nothing if operation == "erase" else stt)


def on_strip(device: Device, pulse: Pulse, pattern: int, *, relaxation: float, dt: float) -> list[Currents]:
    """Return the currents of a strip's four MTJs in one ``sas`` pulse; ``pattern`` holds the four target bits.

    Every STT current flows to ground through the strip, to both sides of its MTJ. Under an MTJ the strip carries the
    pulse's SOT and the mean of the returns in the two segments beside it. Staggered, the STT currents end one after
    another, ``write.stagger`` apart, the last one when the pulse table says.
    """
    time = _time(device, "sas", pulse, relaxation, dt)
    rise, start = device["write.rise_time"], device["write.stt_start"]
    lead = device["write.stagger"] if device["write.staggered_end"] else 0.0
    ends = {mtj: start + pulse.stt_time - lead * (POSITIONS - 1 - place) for place, mtj in enumerate(STT_END_ORDER)}
    stt = [pulse.stt * trapezoid(time, start, ends[mtj], rise) for mtj in range(POSITIONS)]
    strip = [pulse.sot * trapezoid(time, 0.0, pulse.sot_time, rise) for _ in range(POSITIONS)]
    for mtj in range(POSITIONS):
        polarity = 1.0 if pattern >> mtj & 1 else -1.0
        returned = segment_currents(device, [polarity * (mtj == node) for node in range(POSITIONS)])
        for node in range(POSITIONS):
            strip[node] = strip[node] + (returned[node] + returned[node + 1]) / 2 * stt[mtj]
    return [Currents(strip=strip[mtj], stt=stt[mtj]) for mtj in range(POSITIONS)]
