# SPDX-License-Identifier: Apache-2.0
"""Closed forms of a device's faults: probabilities of a write error, a read error, a read disturb and a retention loss.

States and targets are bits: 0 is parallel, 1 antiparallel. Position 0..3 is the MTJ's place on its strip.
docs/device.md derives the formulas; a later solver run replaces the figures in the device file, not these functions.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from respin.sim.device import Device, Pulse

POSITIONS = 4
ROOM_CELSIUS = 27.0
KELVIN = 273.15
YEAR = 365.25 * 86400
LOSSES_A_YEAR = 0.01
"""Codewords of a whole memory that retention may take beyond repair in a year, where scrubs are planned."""
CODEWORDS, CODEWORD_BITS = 4, 72
THERMAL_FORM_LIMIT = 0.5
"""Read current over critical current up to which thermal activation describes read disturb."""
STT_END_ORDER = (1, 2, 0, 3)
"""Order in which a staggered pulse ends its STT currents: the inner MTJs, with the longest ways to ground, first."""

CLASS_NORMAL, CLASS_HIGH, CLASS_LOW = range(3)
"""Static class of a cell: resistance within the weak limit, above it (a parallel state reads badly), or below it."""
CLASSES = 3

STATIC_EDGES = (1.0, 2.0, 3.0)
"""Standard deviations between the static classes of stability and of critical current: class 0 is up to the first edge
towards what fails more often (less stability, more critical current), the last one past the last edge."""
STATIC_CLASSES = len(STATIC_EDGES) + 1


def tail(probit: float) -> float:
    """Q(x): the upper tail of the normal distribution."""
    return 0.5 * math.erfc(probit / math.sqrt(2))


def _segments(device: Device) -> list[float]:
    """Strip resistance from ground to MTJ 0, between MTJs, and from MTJ 3 to ground, in ohm."""
    pitch = device.strip_resistance / POSITIONS
    last = pitch / 2 if device["strip.grounded_ends"] == 2 else math.inf
    return [pitch / 2, pitch, pitch, pitch, last]


def _ladder(device: Device) -> np.ndarray:
    """Conductance matrix of the four MTJ nodes on the strip, in siemens."""
    conductance = [1 / ohm for ohm in _segments(device)]
    matrix = np.zeros((POSITIONS, POSITIONS))
    for node in range(POSITIONS):
        matrix[node, node] = conductance[node] + conductance[node + 1]
        if node:
            matrix[node, node - 1] = matrix[node - 1, node] = -conductance[node]
    return matrix


def segment_currents(device: Device, injected: Sequence[float]) -> np.ndarray:
    """Currents (5) in the strip's segments, positive from MTJ 0 to MTJ 3, of those injected at its MTJs; one unit."""
    voltage = np.linalg.solve(_ladder(device), np.array(injected))
    return -np.diff(voltage, prepend=0.0, append=0.0) / np.array(_segments(device))


# Static variation


def static_fractions() -> list[float]:
    """Share of the cells that lie past each of :data:`STATIC_EDGES`."""
    return [tail(edge) for edge in STATIC_EDGES]


def _static_deviations(static_class: int | None, *, reach: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints and weights of a class's part of the normal distribution; None: of all of it, ``reach`` either way."""
    ends = (-reach, *STATIC_EDGES, reach)
    low, high = (-reach, reach) if static_class is None else (ends[static_class], ends[static_class + 1])
    edges = np.linspace(low, high, round((high - low) / step) + 1)
    deviation = (edges[1:] + edges[:-1]) / 2
    weight = np.exp(-(deviation**2) / 2)
    return deviation, weight / weight.sum()


# Write errors


def strip_current(device: Device, pattern: int, position: int, stt: float) -> float:
    """Largest current in uA that other MTJs' STT sends through the strip under ``position`` after its own STT ended.

    ``pattern`` holds the four target bits; ``stt`` is one MTJ's current in uA. Without the staggered end all currents,
    its own included, stop at once and all of them count.
    """
    signs = [1.0 if pattern >> node & 1 else -1.0 for node in range(POSITIONS)]
    flowing = set(range(POSITIONS))
    worst = 0.0
    for ended in STT_END_ORDER if device["write.staggered_end"] else (None,):
        flowing.discard(ended)
        injected = [signs[node] * stt if node in flowing else 0.0 for node in range(POSITIONS)]
        currents = segment_currents(device, injected)
        if position not in flowing or ended is None:
            worst = max(worst, abs(currents[position]), abs(currents[position + 1]))
    return worst


def _sot_probit(device: Device, sot: float) -> float:
    return device["write.probit_reference"] + device["write.probit_per_sot"] * (sot - device["write.sot_reference"])


def _over_class(device: Device, current_class: int | None, error: Callable[[float], float]) -> float:
    """Mean of ``error(critical current over its mean)`` over a class; of the nominal MTJ for None."""
    if current_class is None:
        return error(1.0)
    deviation, weight = _static_deviations(current_class, reach=8, step=0.1)
    ratio = 1 + device["mtj.critical_current_sigma"] * deviation
    return sum(share * error(each) for share, each in zip(weight.tolist(), ratio.tolist(), strict=True))


def intrinsic_write_error(
    device: Device, pulse: Pulse, state: int, target: int, current_class: int | None = None
) -> float:
    """Write error of one MTJ alone: a plane in probit space, never below what the solver's trials resolved.

    An MTJ whose critical currents are r times the mean's sees currents that are r times weaker. ``current_class``: the
    mean over that static class; None: the nominal MTJ.
    """

    def error(ratio: float) -> float:
        probit = (
            _sot_probit(device, pulse.sot / ratio)
            + device["write.probit_per_stt"] * (pulse.stt / ratio - device["write.stt_reference"])
            + device["write.probit_to_parallel"] * (target == 0)
            + device["write.probit_keep"] * (state == target)
        )
        return max(tail(probit), device["write.resolution"])

    return _over_class(device, current_class, error)


def return_error(device: Device, pulse: Pulse, pattern: int, position: int) -> float:
    """Probability that the STT currents' way back through the strip turns an MTJ over again."""
    current = strip_current(device, pattern, position, pulse.stt)
    if current <= device["write.return_onset"]:
        return 0.0
    slope = device["write.return_probit_slope"]
    return tail(device["write.return_probit"] + slope * (current - device["write.return_reference"]))


def write_error(
    device: Device, pulse: Pulse, pattern: int, position: int, state: int, current_class: int | None = None
) -> float:
    """Probability that an MTJ of a pulsed strip ends in the opposite of its target."""
    own = intrinsic_write_error(device, pulse, state, pattern >> position & 1, current_class)
    return own + (1 - own) * return_error(device, pulse, pattern, position)


def erase_error(device: Device, pulse: Pulse, current_class: int | None = None) -> float:
    """Probability that SOT alone leaves an MTJ of geometry y at 1: the STT term of the write error is absent."""

    def error(ratio: float) -> float:
        return max(tail(_sot_probit(device, pulse.sot / ratio)), device["write.resolution"])

    return _over_class(device, current_class, error)


# Reads


def _resistance(device: Device, state: int, volt: float) -> float:
    bias = (volt / device["mtj.tmr_half_voltage"]) ** 2
    tmr = device["mtj.tmr"]
    return device["mtj.resistance_parallel"] * (1 + bias + tmr) / (1 + bias + tmr * (1 - state))


def read_currents(device: Device, states: Sequence[int | None]) -> np.ndarray:
    """Currents in uA of the MTJs read in one phase, solved on the strip ladder; ``None`` is an MTJ not read."""
    read = [node for node in range(POSITIONS) if states[node] is not None]
    volts = dict.fromkeys(read, device["read.voltage"])
    current = np.zeros(POSITIONS)
    for _ in range(40):  # The resistance depends on the voltage across it; this settles within a few rounds.
        ohms = {node: _resistance(device, states[node], volts[node]) for node in read}
        matrix = _ladder(device)
        injected = np.zeros(POSITIONS)
        for node in read:
            matrix[node, node] += 1 / (ohms[node] + device["mtj.access_resistance"])
            injected[node] = device["read.voltage"] / (ohms[node] + device["mtj.access_resistance"])
        strip = np.linalg.solve(matrix, injected)
        for node in read:
            current[node] = (device["read.voltage"] - strip[node]) / (ohms[node] + device["mtj.access_resistance"])
            volts[node] = current[node] * ohms[node]
    return current * 1e6


def _phase_patterns(device: Device, position: int, state: int) -> list[list[int | None]]:
    """All states of the MTJs read in the same phase as ``position``, which holds ``state``."""
    step = int(device["read.phases"])
    others = [node for node in range(position % step, POSITIONS, step) if node != position]
    patterns = []
    for bits in range(1 << len(others)):
        states: list[int | None] = [None] * POSITIONS
        states[position] = state
        for place, node in enumerate(others):
            states[node] = bits >> place & 1
        patterns.append(states)
    return patterns


def sense_margin(device: Device, position: int, state: int) -> tuple[float, float]:
    """Worst distance of the read current to the position's reference, and its static standard deviation, in uA.

    The static part is the cell's resistance and the reference's; a reference is the mean of pairs of P and AP cells.
    """
    extremes = []
    for bit in (0, 1):
        currents = [read_currents(device, states)[position] for states in _phase_patterns(device, position, bit)]
        extremes.append(min(currents) if bit == 0 else max(currents))
    reference = sum(extremes) / 2
    series = device["mtj.access_resistance"]
    sigmas = []
    for bit, current in enumerate(extremes):
        ohm = _resistance(device, bit, current * 1e-6 * _resistance(device, bit, device["read.voltage"]))
        sigmas.append(current * device["mtj.resistance_sigma"] * ohm / (ohm + series))
    of_reference = math.hypot(*sigmas) / 2 / math.sqrt(device["read.reference_pairs"])
    return abs(extremes[state] - reference), math.hypot(sigmas[state], of_reference)


def mean_read_error(device: Device, position: int, state: int) -> float:
    """Read error over all cells and reads: ``Q(margin / sqrt(static^2 + sense^2))``."""
    margin, static = sense_margin(device, position, state)
    return tail(margin / math.hypot(static, device["read.sense_sigma"]))


def read_error(device: Device, cell_class: int, position: int, state: int) -> float:
    """Read error per read of a cell of a static class.

    The resistance is a draw per cell, the sense noise one per read. So cells fall into classes by how far their
    resistance is off, and a weak cell is wrong again and again, where the mean alone would look like soft errors.
    """
    margin, static = sense_margin(device, position, state)
    limit = device["read.weak_limit"]
    ends = {CLASS_NORMAL: (-limit, limit), CLASS_HIGH: (limit, limit + 6), CLASS_LOW: (-limit - 6, -limit)}
    low, high = ends[cell_class]
    edges = np.linspace(low, high, 2001)
    deviation = (edges[1:] + edges[:-1]) / 2
    weight = np.exp(-(deviation**2) / 2)
    # A higher resistance lowers the current: towards the reference in the parallel state, away from it in the other.
    towards = deviation * static * (1 if state == 0 else -1)
    error = np.array([tail((margin - shift) / device["read.sense_sigma"]) for shift in towards])
    return float((error * weight).sum() / weight.sum())


def weak_fraction(device: Device) -> float:
    """Share of cells in each of the two weak classes."""
    return tail(device["read.weak_limit"])


# Thermal activation


def activation(
    device: Device,
    seconds: float,
    *,
    celsius: float = ROOM_CELSIUS,
    current_ratio: float = 0.0,
    stability_class: int | None = None,
) -> float:
    """``P = 1 - exp(-(t/tau0) e^(-stability (1 - i)))``, averaged over a static class of stability, or all of them.

    The stability goes with 1/T: the saturation magnetisation is taken as constant between 27 and 85 degrees.
    """
    mean = device["mtj.stability"] * (ROOM_CELSIUS + KELVIN) / (celsius + KELVIN)
    deviation, weight = _static_deviations(stability_class, reach=12, step=0.005)
    stability = mean * (1 - device["mtj.stability_sigma"] * deviation)
    attempts = seconds * 1e9 / device["mtj.attempt_time"]
    flipped = -np.expm1(-attempts * np.exp(-stability * (1 - current_ratio)))
    return float((flipped * weight).sum())


def retention_loss(
    device: Device, seconds: float, celsius: float = ROOM_CELSIUS, stability_class: int | None = None
) -> float:
    """Probability that a cell left alone for this long has flipped: one of a static class, or any."""
    return activation(device, seconds, celsius=celsius, stability_class=stability_class)


def codeword_losses(device: Device, period: float, *, rows: int, celsius: float = ROOM_CELSIUS) -> float:
    """Codewords a year that retention takes beyond repair, where every row is corrected once in ``period`` seconds."""
    flipped = retention_loss(device, period, celsius)
    pairs = math.comb(CODEWORD_BITS, 2) * flipped**2
    return rows * CODEWORDS * pairs * YEAR / period


def scrub_period(
    device: Device, *, rows: int, losses_per_year: float = LOSSES_A_YEAR, celsius: float = ROOM_CELSIUS
) -> float:
    """Seconds in which the scrubber must have read all rows once, so that at most so many codewords are lost a year.

    Ten years where that is enough. The scrubber's register takes ``period / rows`` in cycles of the clock.

    Raises
    ------
    ValueError
        If once a millisecond is not enough.
    """
    shortest, longest = 1e-3, 10 * YEAR

    def enough(period: float) -> bool:
        return codeword_losses(device, period, rows=rows, celsius=celsius) <= losses_per_year

    if enough(longest):
        return longest
    if not enough(shortest):
        raise ValueError(
            f"losses_per_year must be above {codeword_losses(device, shortest, rows=rows, celsius=celsius):.2g}, "
            f"what a scrub each millisecond leaves at {celsius:g} °C, not {losses_per_year!r}"
        )
    while longest / shortest > 1.001:
        middle = math.sqrt(shortest * longest)
        shortest, longest = (middle, longest) if enough(middle) else (shortest, middle)
    return shortest


def read_disturb(
    device: Device, state: int, stability_class: int | None = None, current_class: int | None = None
) -> float:
    """Probability that one read flips a cell; the read's polarity can disturb one state only.

    Of a cell of two static classes; None: of any stability, of the nominal critical current.
    """
    if state != device["read.disturbed_state"]:
        return 0.0
    states: list[int | None] = [state, None, None, None]
    ratio = read_currents(device, states)[0] / device["read.critical_current"]
    if ratio >= THERMAL_FORM_LIMIT:
        raise ValueError(
            f"read current over critical current must be below {THERMAL_FORM_LIMIT} for the thermal form, "
            f"not {ratio:.2f}"
        )

    def error(critical: float) -> float:
        return activation(
            device, device["read.phase_time"] * 1e-9, current_ratio=ratio / critical, stability_class=stability_class
        )

    return _over_class(device, current_class, error)
