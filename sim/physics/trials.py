# SPDX-License-Identifier: Apache-2.0
"""Trials of a write: how often an MTJ does not end where it was sent, and the paths it takes.

Trials run in blocks of 64. Each block has a generator of its own, seeded by the run's seed, the point and the block's
number, so a result depends neither on the number of workers nor on the order of the blocks.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from respin.sim.device import Device, Pulse
from respin.sim.physics.llg import TRIALS_PER_BLOCK, integrate
from respin.sim.physics.macrospin import ROOM_CELSIUS, Macrospin
from respin.sim.physics.pulses import OPERATIONS, Currents, on_strip, single

STEP = 1e-12
"""Time step in s."""
STEP_NS = 1e-3
_NO_PATH = np.zeros((0, 3, TRIALS_PER_BLOCK))


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One condition of a write, of a single MTJ.

    Parameters
    ----------
    operation:
        ``sas``, ``erase`` (SOT alone, to 0) or ``program`` (STT alone).
    sot, stt:
        Currents in uA.
    sot_time, stt_time:
        In ns.
    celsius:
        Temperature.
    out_of_plane:
        Effective out-of-plane field at 27 degrees in T.
    state, target:
        The bit before, and the one wanted.
    relaxation:
        Time in ns between the pulse and the moment its result counts.
    """

    operation: str
    sot: float
    sot_time: float
    stt: float
    stt_time: float
    celsius: float = ROOM_CELSIUS
    out_of_plane: float
    state: int = 0
    target: int = 1
    relaxation: float = 4.0

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, not {self.operation!r}")

    @property
    def pulse(self) -> Pulse:
        """Its currents and times."""
        return Pulse(sot=self.sot, sot_time=self.sot_time, stt=self.stt, stt_time=self.stt_time)


def first_pulse(device: Device, operation: str = "sas") -> Point:
    """Return the point of a device's first pulse at 27 degrees, an MTJ that has to change."""
    pulse = device.pulses[0]
    return Point(
        operation=operation,
        **{name: float(value) for name, value in asdict(pulse).items()},
        out_of_plane=device["mtj.out_of_plane_field"],
        relaxation=device["write.relaxation"],
        state=1 if operation == "erase" else 0,
        target=0 if operation == "erase" else 1,
    )


def _generator(seed: int, name: object, block: int) -> np.random.Generator:
    digest = hashlib.sha256(json.dumps(name).encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u4").tolist()
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *words], spawn_key=(block,))))


def count_errors(device: Device, point: Point, *, seed: int, first: int, blocks: int) -> int:
    """Return how many trials of ``blocks`` blocks of 64, from block ``first`` on, do not end at the target."""
    spin = Macrospin(device=device, celsius=point.celsius, out_of_plane=point.out_of_plane)
    currents = single(device, point.operation, point.pulse, relaxation=point.relaxation, dt=STEP_NS)
    drive, parameters = spin.drive(currents.strip, currents.stt), spin.parameters(STEP)
    hard, sign, name = np.zeros(TRIALS_PER_BLOCK), 1.0 - 2 * point.target, list(asdict(point).values())
    errors = 0
    for block in range(first, first + blocks):
        rng = _generator(seed, name, block)
        state = spin.equilibrium(rng, TRIALS_PER_BLOCK, bit=point.state)
        integrate(rng, state, hard, sign, drive, parameters, STEP, 0, _NO_PATH)
        errors += int(np.count_nonzero(state[spin.easy] * sign <= 0))
    return errors


def paths(device: Device, point: Point, *, seed: int, every: int = 10) -> tuple[np.ndarray, np.ndarray, Currents]:
    """Return one block's paths: times in ns (samples), ``m`` (samples, 3, 64), and the currents that drove them."""
    spin = Macrospin(device=device, celsius=point.celsius, out_of_plane=point.out_of_plane)
    currents = single(device, point.operation, point.pulse, relaxation=point.relaxation, dt=STEP_NS)
    drive = spin.drive(currents.strip, currents.stt)
    rng = _generator(seed, list(asdict(point).values()), 0)
    state = spin.equilibrium(rng, TRIALS_PER_BLOCK, bit=point.state)
    path = np.zeros(((len(drive) - 1) // every, 3, TRIALS_PER_BLOCK))
    begin = state.copy()
    parameters, hard = spin.parameters(STEP), np.zeros(TRIALS_PER_BLOCK)
    integrate(rng, state, hard, 1.0 - 2 * point.target, drive, parameters, STEP, every, path)
    time = np.arange(len(path) + 1) * every * STEP_NS
    return time, np.concatenate([begin[None], path]), currents


def strip_errors(device: Device, pattern: int, *, seed: int, blocks: int, celsius: float = ROOM_CELSIUS) -> list[int]:
    """Return the errors of each MTJ of a strip in 64 ``blocks`` writes with the first pulse, all bits changing.

    Every MTJ draws its own out-of-plane field, of the device's spread.
    """
    spin = Macrospin(device=device, celsius=celsius)
    parameters = spin.parameters(STEP)
    wires = on_strip(device, device.pulses[0], pattern, relaxation=device["write.relaxation"], dt=STEP_NS)
    errors = []
    for position, currents in enumerate(wires):
        target = pattern >> position & 1
        drive, sign = spin.drive(currents.strip, currents.stt), 1.0 - 2 * target
        wrong = 0
        for block in range(blocks):
            rng = _generator(seed, ["strip", pattern, position, celsius], block)
            state = spin.equilibrium(rng, TRIALS_PER_BLOCK, bit=1 - target)
            spread = device["mtj.out_of_plane_sigma"] * rng.standard_normal(TRIALS_PER_BLOCK)
            integrate(rng, state, spread, sign, drive, parameters, STEP, 0, _NO_PATH)
            wrong += int(np.count_nonzero(state[spin.easy] * sign <= 0))
        errors.append(wrong)
    return errors
