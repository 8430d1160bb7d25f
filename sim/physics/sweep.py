# SPDX-License-Identifier: Apache-2.0
"""Write errors over many points: which points, what the trials say of each, and the table that keeps it."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr
from scipy.stats import beta

from respin.sim.device import DEVICE_FOLDER, Device
from respin.sim.physics.llg import TRIALS_PER_BLOCK
from respin.sim.physics.trials import Point, count_errors, first_pulse

CONFIDENCE = 0.95
TEMPERATURES = (-40.0, 25.0, 85.0)
OUT_OF_PLANE = (0.07, 0.08, 0.09, 0.10, 0.11, 0.12, 0.13, 0.20)
SHARES = (0.7, 0.7875, 0.9, 1.0)
"""Of the first pulse's currents: on ``scrubbed`` 280, 315, 360 and 400 uA."""
_BLOCKS_PER_TASK = 4
"""A second or two of work: an interrupt from the keyboard waits for what has begun."""
_SOLVER = 1
"""Counts changes of the solver that change results."""
_UNITS = {
    "sot": "sot_ua", "sot_time": "sot_time_ns", "stt": "stt_ua", "stt_time": "stt_time_ns",
    "out_of_plane": "out_of_plane_t", "relaxation": "relaxation_ns",
}  # fmt: skip


class SweepError(ValueError):
    """A table of results that cannot be used; one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the trials of a point gave."""

    point: Point
    trials: int
    errors: int

    @property
    def error(self) -> float:
        """Share of errors."""
        return self.errors / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval of 95 %: it holds the true probability at least that often."""
        rest = (1 - CONFIDENCE) / 2
        low = beta.ppf(rest, self.errors, self.trials - self.errors + 1) if self.errors else 0.0
        high = beta.ppf(1 - rest, self.errors + 1, self.trials - self.errors) if self.errors < self.trials else 1.0
        return float(low), float(high)

    @property
    def extrapolated(self) -> bool:
        """Whether no trial went wrong, so that the figure is no measurement but a bound or a fit's."""
        return self.errors == 0


_OF_FORMS_ALONE = ("mtj.critical_current_sigma",)
"""What only the closed forms use: the solver's MTJs vary in what their critical currents follow from."""


def digest(device: Device) -> str:
    """Return a name of everything that the results of a device's trials depend on, beside seed and number of trials."""
    names = [name for name in sorted(device.parameters) if name.startswith(("mtj.", "strip.", "write."))]
    values = {name: device[name] for name in names if name not in _OF_FORMS_ALONE}
    text = json.dumps([_SOLVER, device.geometry, values])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Which points


def with_tail(device: Device, point: Point, sot_time: float, tail: float) -> Point:
    """Return the point with another SOT time and another time in ns by which STT outlasts it."""
    return replace(point, sot_time=sot_time, stt_time=round(sot_time + tail - device["write.stt_start"], 6))


def standard_points(device: Device) -> list[Point]:
    """Return the points of a device's standard table.

    Geometry x: a plane of SOT and STT currents up to the first pulse's; from a weak and the full SOT current cuts along
    the pulse's length, the tail, the temperature and the out-of-plane field; all four transitions. Geometry y: SOT
    alone and STT alone, each over current, time and temperature.
    """
    if device.geometry == "y":
        return _erase_points(device)
    first = first_pulse(device)
    tail = device["write.stt_start"] + first.stt_time - first.sot_time
    points = [
        replace(first, sot=round(first.sot * x, 6), stt=round(first.stt * y, 6))
        for x in SHARES
        for y in (0.5, 0.75, 0.9, 1.0)
    ]
    weak = replace(first, sot=round(first.sot * SHARES[0], 6))
    for begin in (weak, first):
        points += [with_tail(device, begin, round(first.sot_time * factor, 6), tail) for factor in (0.6, 0.8, 1.2, 1.4)]
        points += [with_tail(device, begin, first.sot_time, length) for length in (0.6, 1.0, 1.4, 2.2)]
        points += [replace(begin, celsius=celsius) for celsius in TEMPERATURES]
        points += [replace(begin, out_of_plane=field) for field in OUT_OF_PLANE]
    points += [replace(weak, state=state, target=target) for state, target in ((0, 0), (1, 0), (1, 1))]
    return list(dict.fromkeys(points))


def _erase_points(device: Device) -> list[Point]:
    erase, program = first_pulse(device, "erase"), first_pulse(device, "program")
    points = [
        replace(erase, sot=round(erase.sot * share, 6), sot_time=time, celsius=celsius)
        for share in (0.4, 0.6, 0.8, 1.0)
        for time in (0.5, 1.0)
        for celsius in TEMPERATURES
    ]
    points += [
        replace(program, stt=round(program.stt * factor, 6), stt_time=time, celsius=celsius)
        for factor in (1.0, 2.0, 3.0, 4.0)
        for time in (2.0, 5.0, 10.0)
        for celsius in TEMPERATURES
    ]
    return points


# Trials


def run(
    device: Device, points: Sequence[Point], *, trials: int, seed: int, executor: Executor
) -> Iterator[tuple[int, Outcome | None]]:
    """Run the trials of all points on an executor's workers.

    Yields after each piece of work how many trials it was, and the outcome of a point when its last piece is done.
    ``trials`` is rounded up to whole blocks of 64.
    """
    # A mapping that other processes can be sent.
    sent = replace(device, parameters=dict(device.parameters))
    blocks = -(-trials // TRIALS_PER_BLOCK)
    left = dict.fromkeys(points, blocks)
    errors = dict.fromkeys(points, 0)
    work = {}
    for point in points:
        for first in range(0, blocks, _BLOCKS_PER_TASK):
            count = min(_BLOCKS_PER_TASK, blocks - first)
            future = executor.submit(count_errors, sent, point, seed=seed, first=first, blocks=count)
            work[future] = (point, count)
    try:
        for future in as_completed(work):
            point, count = work[future]
            errors[point] += future.result()
            left[point] -= count
            done = Outcome(point=point, trials=blocks * TRIALS_PER_BLOCK, errors=errors[point])
            yield count * TRIALS_PER_BLOCK, done if left[point] == 0 else None
    finally:
        for future in work:
            future.cancel()


# A closed form of the results


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """``Q(z)``, ``z = probit + per_sot (I_SOT - sot) + per_stt (I_STT - stt)``, currents in uA: what a device file's
    ``write.probit_*`` hold."""

    sot: float
    stt: float
    probit: float
    per_sot: float
    per_stt: float

    def error(self, point: Point) -> float:
        """Probability of a write error that the plane gives."""
        z = self.probit + self.per_sot * (point.sot - self.sot) + self.per_stt * (point.stt - self.stt)
        return float(ndtr(-z))


def on_plane(device: Device, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes that differ from the first pulse in their currents alone."""
    first = first_pulse(device)
    return [each for each in outcomes if replace(each.point, sot=first.sot, stt=first.stt) == first]


def fit_plane(device: Device, outcomes: Sequence[Outcome]) -> Plane | None:
    """Fit a plane in probit space by maximum likelihood; None where fewer than three points show errors.

    Points of an error above 20 % are left out: there chance decides, or the SOT does not reach the hill. With weak STT
    errors fall slowly with the SOT current, so the plane is flatter than they are near the first pulse: what it
    extrapolates is too many errors rather than too few.
    """
    first = device.pulses[0]
    used = [each for each in on_plane(device, outcomes) if each.error < 0.2]
    if sum(each.errors > 0 for each in used) < 3:
        return None
    excess = np.array([[each.point.sot / first.sot - 1, each.point.stt / first.stt - 1] for each in used])
    wrong, right = (np.array([value(each) for each in used]) for value in (_wrong, _right))

    def loss(plane: np.ndarray) -> float:
        z = plane[0] + excess @ plane[1:]
        return float(-(wrong * log_ndtr(-z) + right * log_ndtr(z)).sum())

    found = minimize(loss, np.array([3.0, 5.0, 5.0]), method="Nelder-Mead", options={"maxiter": 4000, "maxfev": 4000}).x
    return Plane(
        sot=first.sot,
        stt=first.stt,
        probit=float(found[0]),
        per_sot=float(found[1] / first.sot),
        per_stt=float(found[2] / first.stt),
    )


def _wrong(outcome: Outcome) -> int:
    return outcome.errors


def _right(outcome: Outcome) -> int:
    return outcome.trials - outcome.errors


def estimate(device: Device, outcome: Outcome, plane: Plane | None) -> float:
    """Return the best figure of a point: its share of errors.

    Where there was none it is the plane's, but no more than the interval's end; off the plane it is that end.
    """
    if not outcome.extrapolated:
        return outcome.error
    high = outcome.interval[1]
    return min(high, plane.error(outcome.point)) if plane and on_plane(device, [outcome]) else high


# Tables


def standard_table(device: Device) -> Path:
    """Return where a shipped device's standard table lies."""
    return DEVICE_FOLDER / "sweeps" / f"{device.name}.csv"


def standard_outcomes(device: Device) -> list[Outcome]:
    """Return what the shipped table says of a device; nothing where there is none of just these parameters."""
    path = standard_table(device)
    if not path.is_file():
        return []
    try:
        return read_table(path, device)
    except SweepError:
        return []  # A file of one's own may have a shipped device's name.


def write_table(path: Path, device: Device, outcomes: Sequence[Outcome], *, seed: int) -> None:
    """Write a table of outcomes as CSV, with a first line that says what it was made from."""
    names = [_UNITS.get(field.name, field.name) for field in fields(Point)]
    plane = fit_plane(device, outcomes) if device.geometry == "x" else None
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# device {device.name} digest {digest(device)} seed {seed}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*names, "trials", "errors", "estimate", "low_95", "high_95", "extrapolated"])
        for each in outcomes:
            low, high = each.interval
            figures = [f"{value:.4g}" for value in (estimate(device, each, plane), low, high)]
            flag = int(each.extrapolated)
            rows.writerow([*asdict(each.point).values(), each.trials, each.errors, *figures, flag])
    part.replace(path)


def read_table(path: Path, device: Device, *, seed: int | None = None) -> list[Outcome]:
    """Read a table of outcomes.

    Raises
    ------
    SweepError
        If it is no such table, or was made from other parameters or, where ``seed`` is given, another seed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SweepError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: is not UTF-8 text") from error
    words = lines[0].split() if lines else []
    if len(words) != 7 or words[:2] != ["#", "device"]:
        raise SweepError(f"{path}: is no table of a sweep")
    if words[4] != digest(device):
        raise SweepError(f"{path}: was made from other parameters than those of {device.name}")
    if seed is not None and words[6] != str(seed):
        raise SweepError(f"{path}: was made with seed {words[6]}, not {seed}")
    try:
        return [_outcome(row) for row in csv.DictReader(lines[1:])]
    except (KeyError, TypeError, ValueError) as error:
        raise SweepError(f"{path}: is no table of a sweep: {error}") from error


def _outcome(row: dict[str, Any]) -> Outcome:
    values = {field.name: row[_UNITS.get(field.name, field.name)] for field in fields(Point)}
    convert = {"operation": str, "state": int, "target": int}
    point = Point(**{name: convert.get(name, float)(value) for name, value in values.items()})
    return Outcome(point=point, trials=int(row["trials"]), errors=int(row["errors"]))
