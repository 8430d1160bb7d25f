# SPDX-License-Identifier: Apache-2.0
"""The stochastic Landau-Lifshitz-Gilbert-Slonczewski equation of one macrospin, integrated for a block of trials.

``dm/dt = -gamma/(1+alpha^2) [m x B + alpha m x (m x B)]`` with

``B = B_ani + B_th + B_along sigma + a_S m x sigma + a_T m x p + b_T p``.

The spin of the strip's current is ``sigma = y``, the reference layer's magnetisation ``p`` a unit vector. The scheme is
Heun's, which converges to the Stratonovich solution, the physical one; after each step ``m`` is scaled to length 1.
The thermal field's three components are independent normal variates, a new one each in every step, of standard
deviation ``sqrt(2 alpha k T / (gamma Ms V dt))``; the same ones serve both of a step's stages. They are not normalised
to a vector of fixed length, which would leave a third of the variance.
"""

from typing import Any

import numpy as np
from numba import njit

GAMMA = 1.76085963e11
"""Gyromagnetic ratio of the electron in rad/(s T)."""
BOLTZMANN = 1.380649e-23
HBAR = 1.054571817e-34
CHARGE = 1.602176634e-19
MU0 = 1.25663706212e-6

TRIALS_PER_BLOCK = 64
"""Trials integrated side by side: enough for the processor's vector units, few enough for its first cache."""

(HARD_X, HARD_Y, HARD_Z, P_X, P_Y, DAMPING, THERMAL, SOT_FIELD_LIKE, STT_FIELD_LIKE, VCMA, TMR, HALF_VOLTAGE,
 RESISTANCE, APPLIED_X, APPLIED_Y, APPLIED_Z) = range(16)  # fmt: skip
PARAMETERS = 16
"""What ``integrate`` takes as its row of parameters; :class:`respin.sim.physics.macrospin.Macrospin` fills it in."""


@njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    rng: Any, state: np.ndarray, hard: np.ndarray, sign: float, drive: np.ndarray, parameters: np.ndarray, dt: float,
    every: int, path: np.ndarray,
) -> None:  # fmt: skip
    """Integrate a block of trials over one pulse, in place.

    Parameters
    ----------
    rng:
        Generator of the thermal field.
    state:
        ``m`` (3, trials), changed in place.
    hard:
        Out-of-plane field of each trial's MTJ in T (trials), added to ``HARD_Z``.
    sign:
        +1 where STT drives towards ``p``, -1 where it drives away.
    drive:
        At each step's edges (steps + 1, 4): ``a_S`` in T, the field along sigma beside the field-like torque in T,
        ``a_T`` in T without its sign, the MTJ's current in A.
    parameters:
        The constants above, in T where they are fields.
    dt:
        Step in s.
    every, path:
        Keep ``m`` after each ``every`` steps in ``path`` (steps // every, 3, trials); 0 keeps nothing.
    """
    trials = state.shape[1]
    hard_x, hard_y, hard_z = parameters[HARD_X], parameters[HARD_Y], parameters[HARD_Z]
    p_x, p_y = parameters[P_X], parameters[P_Y]
    damping, thermal = parameters[DAMPING], parameters[THERMAL]
    sot_field, stt_field, vcma = parameters[SOT_FIELD_LIKE], parameters[STT_FIELD_LIKE], parameters[VCMA]
    applied_x, applied_y, applied_z = parameters[APPLIED_X], parameters[APPLIED_Y], parameters[APPLIED_Z]
    rate = -GAMMA / (1 + damping * damping) * dt
    noise = np.zeros((3, trials))
    voltage = np.zeros(trials)
    soft = hard + hard_z
    for step in range(drive.shape[0] - 1):
        if thermal > 0:
            for component in range(3):
                for trial in range(trials):
                    noise[component, trial] = thermal * rng.standard_normal()
        if vcma != 0:
            current = drive[step, 3]
            for trial in range(trials):
                # The resistance depends on the voltage, which changes little from step to step: one round is enough.
                cosine = state[0, trial] * p_x + state[1, trial] * p_y
                bias = 1 + (voltage[trial] / parameters[HALF_VOLTAGE]) ** 2
                tmr = parameters[TMR]
                voltage[trial] = (
                    current * parameters[RESISTANCE] * (bias + tmr) / (bias + tmr * (1 + cosine) / 2)
                )  # fmt: skip
                soft[trial] = hard[trial] + hard_z - vcma * sign * voltage[trial]
        s0, y0, t0 = drive[step, 0], drive[step, 1], sign * drive[step, 2]
        s1, y1, t1 = drive[step + 1, 0], drive[step + 1, 1], sign * drive[step + 1, 2]
        y0, y1 = y0 + sot_field * s0 + applied_y, y1 + sot_field * s1 + applied_y
        for trial in range(trials):
            x, y, z = state[0, trial], state[1, trial], state[2, trial]
            nx, ny, nz, out = noise[0, trial], noise[1, trial], noise[2, trial], soft[trial]
            # The field, then the torque, at the step's begin ...
            bx = nx + applied_x - hard_x * x - s0 * z - t0 * z * p_y + t0 * stt_field * p_x
            by = ny + y0 - hard_y * y + t0 * z * p_x + t0 * stt_field * p_y
            bz = nz + applied_z - out * z + s0 * x + t0 * (x * p_y - y * p_x)
            cx, cy, cz = y * bz - z * by, z * bx - x * bz, x * by - y * bx
            ax = rate * (cx + damping * (y * cz - z * cy))
            ay = rate * (cy + damping * (z * cx - x * cz))
            az = rate * (cz + damping * (x * cy - y * cx))
            # ... and at the end that it predicts.
            u, v, w = x + ax, y + ay, z + az
            bx = nx + applied_x - hard_x * u - s1 * w - t1 * w * p_y + t1 * stt_field * p_x
            by = ny + y1 - hard_y * v + t1 * w * p_x + t1 * stt_field * p_y
            bz = nz + applied_z - out * w + s1 * u + t1 * (u * p_y - v * p_x)
            cx, cy, cz = v * bz - w * by, w * bx - u * bz, u * by - v * bx
            x += 0.5 * (ax + rate * (cx + damping * (v * cz - w * cy)))
            y += 0.5 * (ay + rate * (cy + damping * (w * cx - u * cz)))
            z += 0.5 * (az + rate * (cz + damping * (u * cy - v * cx)))
            length = 1 / np.sqrt(x * x + y * y + z * z)
            state[0, trial], state[1, trial], state[2, trial] = x * length, y * length, z * length
        if every > 0 and (step + 1) % every == 0:
            path[(step + 1) // every - 1] = state
