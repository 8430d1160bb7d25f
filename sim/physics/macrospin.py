# SPDX-License-Identifier: Apache-2.0
"""The macrospin of a device's free layer: what the equation of motion needs, worked out from the device file.

Axes: the strip's current flows along x, its spin points along y, z is out of plane. The easy axis, along which the
reference layer points, is x on geometry x and y on geometry y. Bits: 0 is parallel, 1 antiparallel.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from respin.sim.device import Device
from respin.sim.physics import llg
from respin.sim.physics.demagnetisation import elliptic_cylinder
from respin.sim.physics.llg import BOLTZMANN, CHARGE, GAMMA, HBAR, MU0

ROOM_CELSIUS = 27.0
"""The temperature that a device file's figures are for."""
KELVIN = 273.15
LONGEST_STEP = 1e-12
"""Longest time step in s."""
_FARTHEST = 0.96
"""Squared distance from the easy axis up to which equilibrium is drawn: at it the energy is 24/25 of the barrier's."""


def magnetisation_ratio(device: Device, celsius: float) -> float:
    """Saturation magnetisation over that at 27 degrees, by Bloch's law ``1 - (T/T_C)^1.5``.

    Raises
    ------
    ValueError
        At or above the Curie temperature.
    """
    curie = device["mtj.curie_temperature"]
    if not 0 < celsius + KELVIN < curie:
        raise ValueError(f"temperature must be in {-KELVIN:g}..{curie - KELVIN:g} degrees Celsius, not {celsius:g}")
    return (1 - ((celsius + KELVIN) / curie) ** 1.5) / (1 - ((ROOM_CELSIUS + KELVIN) / curie) ** 1.5)


def resistance(device: Device, volt: float | np.ndarray, cosine: float | np.ndarray) -> float | np.ndarray:
    """Return an MTJ's resistance in ohm at a voltage, ``cosine`` being that of the angle between the two layers."""
    bias, tmr = 1 + (volt / device["mtj.tmr_half_voltage"]) ** 2, device["mtj.tmr"]
    return device["mtj.resistance_parallel"] * (bias + tmr) / (bias + tmr * (1 + cosine) / 2)


def demagnetisation(device: Device) -> tuple[float, float]:
    """Factors along and across the ellipse: the device file's, or those of its elliptic cylinder where it gives 0."""
    long, short, _ = elliptic_cylinder(device["mtj.length"], device["mtj.width"], device["mtj.free_layer"])
    return device["mtj.demagnetisation_long"] or long, device["mtj.demagnetisation_short"] or short


@dataclass(frozen=True, kw_only=True)
class Macrospin:
    """A free layer at a temperature.

    Parameters
    ----------
    device:
        The device.
    celsius:
        Temperature. The saturation magnetisation follows Bloch's law, the interface anisotropy a power of it.
    out_of_plane:
        Effective out-of-plane field at 27 degrees in T; the device's unless given.
    """

    device: Device
    celsius: float = ROOM_CELSIUS
    out_of_plane: float | None = None

    @property
    def kelvin(self) -> float:
        """Temperature in K."""
        return self.celsius + KELVIN

    @cached_property
    def saturation(self) -> float:
        """Saturation magnetisation in A/m."""
        return self.device["mtj.saturation"] * 1e6 * magnetisation_ratio(self.device, self.celsius)

    @property
    def area(self) -> float:
        """Area of the ellipse in m^2."""
        return math.pi / 4 * self.device["mtj.length"] * self.device["mtj.width"] * 1e-18

    @property
    def thickness(self) -> float:
        """Thickness of the free layer in m."""
        return self.device["mtj.free_layer"] * 1e-9

    @cached_property
    def moment(self) -> float:
        """``Ms V`` in A m^2."""
        return self.saturation * self.area * self.thickness

    @cached_property
    def easy(self) -> int:
        """Index of the easy axis."""
        return 0 if self.device.geometry == "x" else 1

    @cached_property
    def hard(self) -> np.ndarray:
        """Demagnetising field at ``m = 1`` along each axis in T (3), interface anisotropy included.

        At 27 degrees its third component is the device's out-of-plane field: what is left of ``mu0 Ms N_z`` after the
        interface anisotropy. Both change with temperature, each in its own way.
        """
        long, short = demagnetisation(self.device)
        field = MU0 * self.saturation
        ratio = magnetisation_ratio(self.device, self.celsius)
        at_room = self.device["mtj.out_of_plane_field"] if self.out_of_plane is None else self.out_of_plane
        interface = MU0 * self.saturation / ratio * (1 - long - short) - at_room
        out = field * (1 - long - short) - interface * ratio ** (self.device["mtj.interface_exponent"] - 1)
        in_plane = (long, short) if self.easy == 0 else (short, long)
        return np.array([field * in_plane[0], field * in_plane[1], out])

    @cached_property
    def stability(self) -> float:
        """Energy barrier over kT, over the lower one of the two saddles."""
        others = [self.hard[axis] for axis in range(3) if axis != self.easy]
        return float(self.moment * (min(others) - self.hard[self.easy]) / (2 * BOLTZMANN * self.kelvin))

    @cached_property
    def sot_field(self) -> float:
        """Damping-like SOT ``a_S`` in T for each uA of strip current."""
        density = 1e-6 / (self.device["strip.width"] * self.device["strip.thickness"] * 1e-18)
        return HBAR * self.device["mtj.spin_hall_efficiency"] * density / (
            2 * CHARGE * self.saturation * self.thickness
        )  # fmt: skip

    @cached_property
    def oersted_field(self) -> float:
        """Field of the strip's current at the middle of the free layer in T for each uA: that of a bar of finite width
        and thickness, of infinite length, over its middle."""
        width, thickness = self.device["strip.width"] * 1e-9, self.device["strip.thickness"] * 1e-9

        def integral(height: float) -> float:
            return height * math.atan(width / (2 * height)) + width / 4 * math.log(height**2 + width**2 / 4)

        near = self.thickness / 2
        density = 1e-6 / (width * thickness)
        return self.device["strip.oersted"] * MU0 * density / math.pi * (integral(near + thickness) - integral(near))

    @cached_property
    def stt_field(self) -> float:
        """Damping-like STT ``a_T`` in T for each uA through the MTJ."""
        return HBAR * self.device["mtj.spin_transfer_efficiency"] * 1e-6 / (
            2 * CHARGE * self.moment
        )  # fmt: skip

    @cached_property
    def vcma_field(self) -> float:
        """By how much a volt across the MTJ lowers the out-of-plane field, in T/V."""
        barrier = self.device["mtj.barrier"] * 1e-9
        return 2 * self.device["mtj.vcma"] * 1e-15 / (self.saturation * self.thickness * barrier)

    def parameters(
        self, dt: float, *, thermal: bool = True, applied: tuple[float, float, float] = (0, 0, 0)
    ) -> np.ndarray:
        """Return the row of constants that :func:`respin.sim.physics.llg.integrate` takes.

        Parameters
        ----------
        dt:
            Time step in s, 1 ps at most.
        thermal:
            Whether there is a thermal field.
        applied:
            A constant field in T.

        Raises
        ------
        ValueError
            For a step that is not in 0..1 ps.
        """
        if not 0 < dt <= LONGEST_STEP:
            raise ValueError(f"dt must be above 0 and at most 1e-12 s, not {dt!r}")
        damping = self.device["mtj.damping"]
        row = np.zeros(llg.PARAMETERS)
        row[[llg.HARD_X, llg.HARD_Y, llg.HARD_Z]] = self.hard
        row[llg.P_X + self.easy] = 1
        row[llg.DAMPING] = damping
        row[llg.THERMAL] = thermal * math.sqrt(2 * damping * BOLTZMANN * self.kelvin / (GAMMA * self.moment * dt))
        row[llg.SOT_FIELD_LIKE] = self.device["mtj.spin_hall_field_like"]
        row[llg.STT_FIELD_LIKE] = self.device["mtj.spin_transfer_field_like"]
        row[llg.VCMA] = self.vcma_field
        row[llg.TMR] = self.device["mtj.tmr"]
        row[llg.HALF_VOLTAGE] = self.device["mtj.tmr_half_voltage"]
        row[llg.RESISTANCE] = self.device["mtj.resistance_parallel"]
        row[[llg.APPLIED_X, llg.APPLIED_Y, llg.APPLIED_Z]] = applied
        return row

    def drive(self, strip: np.ndarray, stt: np.ndarray) -> np.ndarray:
        """Return the drive (times, 4) of currents in uA, each (times): the strip's under the MTJ and the MTJ's own."""
        return np.stack([self.sot_field * strip, self.oersted_field * strip, self.stt_field * stt, stt * 1e-6], axis=1)

    def equilibrium(self, rng: np.random.Generator, trials: int, *, bit: int) -> np.ndarray:
        """Draw ``m`` (3, trials) from thermal equilibrium about one of the two states.

        The energy is quadratic in the two components across the easy axis, exactly; the sphere's measure is
        ``1/|m_easy|`` in them. So normal variates are drawn and accepted by that measure.

        Raises
        ------
        ValueError
            If the device's easy axis is none, its field being larger than one of the others.
        """
        others = [axis for axis in range(3) if axis != self.easy]
        excess = self.hard[others] - self.hard[self.easy]
        if excess.min() <= 0:
            raise ValueError(
                f"{self.device.name}: the easy axis must have the smallest field of the three at {self.celsius:g} "
                f"degrees Celsius, not {np.array2string(self.hard, precision=4)} T along x, y, z"
            )
        sigma = np.sqrt(BOLTZMANN * self.kelvin / (self.moment * excess))
        drawn = np.empty((2, 0))
        while drawn.shape[1] < trials:
            across = sigma[:, None] * rng.standard_normal((2, 2 * trials))
            square = (across**2).sum(axis=0)
            inside = square < _FARTHEST
            accept = rng.random(2 * trials) * np.sqrt(np.where(inside, 1 - square, 1)) < math.sqrt(1 - _FARTHEST)
            drawn = np.concatenate([drawn, across[:, inside & accept]], axis=1)
        state = np.empty((3, trials))
        state[others] = drawn[:, :trials]
        state[self.easy] = (1 - 2 * bit) * np.sqrt(1 - (state[others] ** 2).sum(axis=0))
        return state
