# SPDX-License-Identifier: Apache-2.0
"""The macrospin solver against what is known in closed form."""

import dataclasses
import math
import os

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j1

from respin.sim.device import load
from respin.sim.physics import llg
from respin.sim.physics.demagnetisation import circular_cylinder, ellipsoid, elliptic_cylinder
from respin.sim.physics.llg import BOLTZMANN, GAMMA, integrate
from respin.sim.physics.macrospin import Macrospin, magnetisation_ratio, resistance
from respin.sim.physics.pulses import on_strip, single, trapezoid
from respin.sim.physics.trials import Point, count_errors, first_pulse, paths, strip_errors

SEED = int(os.environ.get("RESPIN_SEED", "1"))
PS = 1e-12
NO_PATH = np.zeros((0, 3, 1))


def changed(device, **values):
    parameters = dict(device.parameters)
    for key, value in values.items():
        name = key.replace("__", ".")
        parameters[name] = dataclasses.replace(parameters[name], value=value)
    return dataclasses.replace(device, parameters=parameters)


def run(state, parameters, *, steps, drive=(0, 0, 0, 0), sign=1.0, dt=PS, every=0, rng=None):
    """Integrate under a constant drive; returns the path where one is kept."""
    trials = state.shape[1]
    path = np.zeros((steps // every if every else 0, 3, trials))
    rows = np.tile(np.array(drive, dtype=float), (steps + 1, 1))
    rng = rng or np.random.Generator(np.random.SFC64(SEED))
    integrate(rng, state, np.zeros(trials), sign, rows, parameters, dt, every, path)
    return path


def tilted(angle, sign=1.0):
    return np.array([[sign * math.cos(angle)], [math.sin(angle)], [0.0]])


@pytest.fixture
def device():
    return load("scrubbed")


# Demagnetising factors


def test_a_sphere_has_a_third_along_each_axis():
    assert ellipsoid(3, 3, 3) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize("shape", [(100, 50, 2), (7, 3, 5), (1, 1, 1)])
def test_factors_add_up_to_one(shape):
    assert sum(ellipsoid(*shape)) == pytest.approx(1)
    assert sum(elliptic_cylinder(*shape)) == pytest.approx(1)


def test_a_prolate_ellipsoid_has_osborns_factor():
    aspect = 3.0
    root = math.sqrt(aspect**2 - 1)
    expected = (aspect / root * math.log(aspect + root) - 1) / root**2
    assert ellipsoid(aspect, 1, 1)[0] == pytest.approx(expected)


def test_a_cylinder_as_long_as_it_is_wide_has_its_published_factor():
    assert circular_cylinder(np.array([1.0]))[0] == pytest.approx(0.3116, abs=5e-5)
    assert elliptic_cylinder(5, 5, 5)[2] == pytest.approx(0.3116, abs=5e-5)


def test_an_elliptic_cylinder_is_the_integral_of_its_shape_amplitude():
    a, b, t = 50.0, 25.0, 2.0

    def along(angle):
        cos, sin = (math.cos(angle) / a) ** 2, (math.sin(angle) / b) ** 2
        step = t * math.sqrt(cos + sin)
        far = 2000
        near = quad(lambda q: j1(q) ** 2 / q * (1 + math.expm1(-q * step) / (q * step)), 1e-12, far, limit=4000)[0]
        beyond = (1 / far - 1 / (2 * far**2 * step)) / math.pi  # J1(q)^2 is 1/(pi q) on average
        return (near + beyond) * cos / (cos + sin)

    angles = np.linspace(0, math.pi / 2, 17)
    expected = 2 * np.trapezoid([along(angle) for angle in angles], angles) * 2 / math.pi
    assert elliptic_cylinder(2 * a, 2 * b, t)[0] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("name", "long", "short"), [("default", 0.0230, 0.0607), ("scrubbed", 0.0192, 0.0509)])
def test_the_shipped_devices_factors_are_those_of_their_ellipse_within_three_percent(name, long, short):
    device = load(name)
    assert (device["mtj.demagnetisation_long"], device["mtj.demagnetisation_short"]) == (long, short)
    shape = (device["mtj.length"], device["mtj.width"], device["mtj.free_layer"])
    assert elliptic_cylinder(*shape)[:2] == pytest.approx((long, short), rel=0.03)
    free = changed(device, mtj__demagnetisation_long=0.0, mtj__demagnetisation_short=0.0)
    assert Macrospin(device=free).stability == pytest.approx(device["mtj.stability"], rel=0.03)


# The free layer


@pytest.mark.parametrize("name", ["default", "scrubbed", "erasable"])
def test_the_shape_gives_the_device_files_stability(name):
    device = load(name)
    assert Macrospin(device=device).stability == pytest.approx(device["mtj.stability"], rel=0.005)


def test_magnetisation_falls_with_temperature(device):
    assert magnetisation_ratio(device, 27.0) == 1
    assert magnetisation_ratio(device, -40.0) > 1 > magnetisation_ratio(device, 85.0)
    with pytest.raises(ValueError, match=r"temperature must be in -273.15..826.85 degrees Celsius, not 900"):
        magnetisation_ratio(device, 900.0)


def test_resistance_at_its_ends(device):
    parallel, tmr, half = (device[f"mtj.{key}"] for key in ("resistance_parallel", "tmr", "tmr_half_voltage"))
    assert resistance(device, 0.3, 1.0) == pytest.approx(parallel)
    assert resistance(device, 0.0, -1.0) == pytest.approx(parallel * (1 + tmr))
    assert resistance(device, half, -1.0) == pytest.approx(parallel * (1 + tmr / 2))  # what the half voltage means


def test_the_oersted_field_is_amperes_far_from_the_strip(device):
    narrow = changed(device, strip__width=1.0, strip__thickness=0.1, mtj__free_layer=20.0, strip__oersted=1.0)
    expected = llg.MU0 * 1e-6 / (2 * math.pi * 10.05e-9)
    assert Macrospin(device=narrow).oersted_field == pytest.approx(expected, rel=0.002)


def test_a_step_longer_than_a_picosecond_is_refused(device):
    with pytest.raises(ValueError, match="dt must be above 0 and at most 1e-12 s, not 2e-12"):
        Macrospin(device=device).parameters(2 * PS)


def test_an_easy_axis_that_is_none_is_refused(device):
    with pytest.raises(ValueError, match="scrubbed: the easy axis must have the smallest field of the three"):
        Macrospin(device=device, out_of_plane=0.02).equilibrium(np.random.default_rng(SEED), 4, bit=0)


# Motion without noise


def test_without_damping_energy_is_conserved(device):
    spin = Macrospin(device=changed(device, mtj__damping=0.0))
    state = np.array([[0.6], [0.48], [0.64]])
    path = run(state, spin.parameters(PS), steps=2000, every=1)[:, :, 0]
    energy = (spin.hard * path**2).sum(axis=1)
    assert np.ptp(energy) < 1e-4 * energy.mean()
    assert np.ptp(path[:, 0]) > 0.1  # it does move


@pytest.mark.parametrize("applied", [0.0, 0.1])
def test_small_precession_has_kittels_frequency(device, applied):
    spin = Macrospin(device=changed(device, mtj__damping=0.0))
    parameters = spin.parameters(PS, applied=(applied, 0, 0))
    wave = run(tilted(0.01), parameters, steps=4000, every=1)[:, 1, 0]
    up = np.flatnonzero((wave[:-1] < 0) & (wave[1:] >= 0))
    crossings = up - wave[up] / (wave[up + 1] - wave[up])
    frequency = (len(crossings) - 1) / ((crossings[-1] - crossings[0]) * PS)
    easy, short, out = spin.hard
    expected = GAMMA / (2 * math.pi) * math.sqrt((short - easy + applied) * (out - easy + applied))
    assert frequency == pytest.approx(expected, rel=1e-3)


def grows(spin, drive, *, sign, m_sign):
    """Whether a small deviation from ``m_sign`` along the easy axis grows under a drive."""
    state = np.roll(tilted(1e-3, m_sign), spin.easy, axis=0)
    path = run(state, spin.parameters(PS, thermal=False), steps=20_000, drive=drive, sign=sign, every=10)[:, :, 0]
    deviation = 1 - np.abs(path[:, spin.easy])
    return deviation[-100:].max() > deviation[:100].max()


@pytest.mark.parametrize("damping", [0.01, 0.02, 0.04])
def test_the_critical_stt_is_proportional_to_the_damping(device, damping):
    """``a_T = alpha (B_y + B_z - 2 B_x) / 2`` (Sun 2000), below which an antiparallel state is stable."""
    spin = Macrospin(device=changed(device, mtj__damping=damping))
    easy, short, out = spin.hard
    critical = damping * (short + out - 2 * easy) / 2
    assert not grows(spin, (0, 0, 0.97 * critical, 0), sign=1.0, m_sign=-1.0)
    assert grows(spin, (0, 0, 1.03 * critical, 0), sign=1.0, m_sign=-1.0)
    assert not grows(spin, (0, 0, 1.03 * critical, 0), sign=-1.0, m_sign=-1.0)


def test_sot_along_the_easy_axis_has_the_same_threshold():
    spin = Macrospin(device=load("erasable"))
    short, easy, out = spin.hard
    critical = spin.device["mtj.damping"] * (short + out - 2 * easy) / 2
    assert not grows(spin, (0.97 * critical, 0, 0, 0), sign=1.0, m_sign=-1.0)
    assert grows(spin, (1.03 * critical, 0, 0, 0), sign=1.0, m_sign=-1.0)


@pytest.mark.parametrize(("ratio", "stays"), [(0.98, True), (1.02, False)])
def test_sot_across_an_easy_axis_switches_at_half_the_anisotropy_field(ratio, stays):
    """A perpendicular easy axis: the tilt ``sin 2 theta = 2 a_S / B_K`` exists up to ``a_S = B_K / 2``."""
    parameters = np.zeros(llg.PARAMETERS)
    parameters[[llg.HARD_X, llg.HARD_Y]] = 0.1
    parameters[[llg.P_X, llg.DAMPING]] = 1.0, 0.5
    strength = ratio * 0.05
    rows = np.zeros((40_001, 4))
    rows[:, 0] = strength * np.minimum(np.arange(40_001) / 20_000, 1)
    state = np.array([[0.0], [0.0], [1.0]])
    integrate(np.random.default_rng(SEED), state, np.zeros(1), 1.0, rows, parameters, PS, 0, NO_PATH)
    if stays:
        assert state[2, 0] == pytest.approx(math.cos(math.asin(ratio) / 2), abs=1e-3)
    else:
        assert abs(state[2, 0]) < 0.1


def test_halving_the_step_quarters_the_error_without_noise(device):
    spin = Macrospin(device=device)

    def end(divisor):
        state = tilted(0.7)
        run(state, spin.parameters(PS, thermal=False), steps=1000 * divisor, drive=(0.03, 0, 0.002, 0), dt=PS / divisor)
        return state

    exact = end(32)
    errors = [np.linalg.norm(end(divisor) - exact) for divisor in (1, 2, 4)]
    assert 3.5 < errors[0] / errors[1] < 4.5
    assert 3.5 < errors[1] / errors[2] < 4.5


# Thermal noise


class Prepared:
    """A generator that returns given variates one after another."""

    def __init__(self, variates):
        self.variates = iter(variates.ravel().tolist())

    def standard_normal(self):
        return next(self.variates)


def test_paths_converge_when_the_step_shrinks(device):
    """Strong convergence: one Brownian path, taken in coarser and coarser steps."""
    spin, trials, fine = Macrospin(device=device), 4, 1600
    noise = np.random.default_rng(SEED).standard_normal((fine, 3, trials))

    def end(steps):
        group = fine // steps
        coarse = noise.reshape(steps, group, 3, trials).sum(axis=1) / math.sqrt(group)
        state = np.repeat(tilted(0.3), trials, axis=1)
        dt = 200 * PS / steps
        rows = np.tile([0.02, 0, 0.002, 0], (steps + 1, 1))
        parameters = spin.parameters(dt)
        parameters[llg.THERMAL] *= 5  # so that the error is the noise's
        # Not the compiled function but its source, which takes any generator.
        integrate.py_func(
            Prepared(coarse), state, np.zeros(trials), 1.0, rows, parameters, dt, 0, np.zeros((0, 3, trials))
        )
        return state

    exact = end(fine)
    errors = [np.sqrt(((end(steps) - exact) ** 2).mean()) for steps in (200, 400, 800)]
    assert errors[0] < 0.02
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] > 2 * errors[2]


def test_thermal_fluctuations_have_the_variance_of_equipartition(device):
    """``Ms V (B_i - B_easy + B_applied) <m_i^2> = kT`` about a stiff axis, within 3 %."""
    spin, applied = Macrospin(device=changed(device, mtj__damping=0.1)), 0.3
    parameters, rng = spin.parameters(PS, applied=(applied, 0, 0)), np.random.Generator(np.random.SFC64(SEED))
    state = np.repeat(tilted(0.0), 1024, axis=1)
    run(state, parameters, steps=1000, rng=rng)
    path = run(state, parameters, steps=10_000, every=20, rng=rng)
    stiffness = spin.moment * (spin.hard[1:] - spin.hard[0] + applied)
    ratio = (path[:, 1:] ** 2).mean(axis=(0, 2)) * stiffness / (BOLTZMANN * spin.kelvin)
    assert ratio == pytest.approx(1, abs=0.03)


def test_equilibrium_is_drawn_as_the_solver_keeps_it(device):
    spin, rng = Macrospin(device=device), np.random.Generator(np.random.SFC64(SEED))
    state = spin.equilibrium(rng, 4096, bit=1)
    assert np.abs((state**2).sum(axis=0) - 1).max() < 1e-12
    assert state[0].max() < 0
    before = (state[1:] ** 2).mean(axis=1)
    run(state, spin.parameters(PS), steps=3000, rng=rng)
    assert (state[1:] ** 2).mean(axis=1) == pytest.approx(before, rel=0.1)


def slowest_rate(stability, scale, cells=200):
    """Smallest eigenvalue above 0 of the axial Fokker-Planck equation (Brown 1963), in units of ``scale``.

    ``dP/dt = d/du [(1 - u^2) (dP/du + P dE/du)]``, E = -stability u^2, discretised with detailed balance.
    """
    edges = np.linspace(-1, 1, cells + 1)
    middle, width = (edges[1:] + edges[:-1]) / 2, 2 / cells
    weight = np.exp(stability * middle**2)
    exchange = (1 - edges[1:-1] ** 2) * np.exp(stability * edges[1:-1] ** 2) / width**2
    matrix = np.zeros((cells, cells))
    for place, rate in enumerate(exchange):
        matrix[place, place] += rate / weight[place]
        matrix[place + 1, place + 1] += rate / weight[place + 1]
        matrix[place, place + 1] = matrix[place + 1, place] = -rate / math.sqrt(weight[place] * weight[place + 1])
    return scale * np.linalg.eigvalsh(matrix)[1]


def test_escape_over_a_small_barrier_is_neel_and_browns():
    """Against the Fokker-Planck equation, whose limit for a high barrier is ``2 alpha gamma B_K sqrt(D/pi) e^-D``."""
    anisotropy, damping, stability = 0.1, 0.3, 2.0
    parameters = np.zeros(llg.PARAMETERS)
    parameters[[llg.HARD_Y, llg.HARD_Z]] = anisotropy
    parameters[[llg.P_X, llg.DAMPING]] = 1.0, damping
    energy_ratio = anisotropy / (2 * stability)  # kT / (Ms V) in T
    parameters[llg.THERMAL] = math.sqrt(2 * damping * energy_ratio / (GAMMA * PS))
    rate = slowest_rate(stability, damping * GAMMA * energy_ratio / (1 + damping**2))
    high = 2 * damping * GAMMA * anisotropy / (1 + damping**2) * math.sqrt(8 / math.pi) * math.exp(-8.0)
    assert slowest_rate(8.0, damping * GAMMA * anisotropy / 16 / (1 + damping**2)) == pytest.approx(high, rel=0.15)
    state = np.repeat(tilted(0.0), 16384, axis=1)
    rng, steps = np.random.Generator(np.random.SFC64(SEED)), round(1 / rate / PS)
    run(state, parameters, steps=steps // 2, rng=rng)
    early = state[0].mean()
    run(state, parameters, steps=steps, rng=rng)
    assert math.log(early / state[0].mean()) * 1e12 / steps == pytest.approx(rate, rel=0.12)


# Writes


def test_a_trapezoid_has_its_nominal_area():
    time = np.arange(0, 5, 0.001)
    assert trapezoid(time, 0.5, 1.5, 0.1).sum() * 0.001 == pytest.approx(1, abs=1e-3)
    assert trapezoid(time, 0.5, 1.5, 0.0).sum() * 0.001 == pytest.approx(1, abs=1e-3)


def test_each_operation_has_its_currents(device):
    pulse = device.pulses[0]
    for operation, sot, stt in (("sas", 400, 100), ("erase", 400, 0), ("program", 0, 100)):
        currents = single(device, operation, pulse, relaxation=4.0, dt=0.001)
        assert (currents.strip.max(), currents.stt.max()) == pytest.approx((sot, stt))
        assert currents.strip[-1] == currents.stt[-1] == 0


def test_on_a_strip_stt_currents_end_one_after_another(device):
    currents = on_strip(device, device.pulses[0], 0b1111, relaxation=4.0, dt=0.001)
    last = [int(np.flatnonzero(each.stt).max()) for each in currents]
    assert last[1] < last[2] < last[0] < last[3]
    assert last[3] == pytest.approx(2900, abs=2)
    # Alone at the end, the outer MTJ's current splits 7 to 1 between the ends of four pitches.
    assert currents[3].strip[2700] == pytest.approx(100 * (7 / 8 - 1 / 8) / 2, rel=1e-6)
    alike = on_strip(changed(device, write__staggered_end=0), device.pulses[0], 0b1111, relaxation=4.0, dt=0.001)
    assert alike[0].strip[2000] == pytest.approx(-alike[3].strip[2000])


def test_trials_do_not_depend_on_how_they_are_shared_out(device):
    point = dataclasses.replace(first_pulse(device), sot=250.0)
    whole = count_errors(device, point, seed=SEED, first=0, blocks=4)
    assert whole == sum(count_errors(device, point, seed=SEED, first=first, blocks=2) for first in (0, 2))
    assert whole > 0
    one, other = (paths(device, point, seed=seed)[1] for seed in (SEED, SEED + 1))
    assert not np.array_equal(one, other)


def test_stt_selects_the_state_and_too_little_sot_scrambles(device):
    point = first_pulse(device)
    assert count_errors(device, point, seed=SEED, first=0, blocks=4) == 0
    without = dataclasses.replace(point, stt=0.0)
    assert 80 < count_errors(device, without, seed=SEED, first=0, blocks=4) < 176  # of 256: a coin's toss


def test_on_geometry_y_sot_alone_erases():
    device = load("erasable")
    assert count_errors(device, first_pulse(device, "erase"), seed=SEED, first=0, blocks=2) == 0


def test_a_strip_takes_its_pattern(device):
    errors = strip_errors(device, 0b0110, seed=SEED, blocks=2)
    assert len(errors) == 4
    assert max(errors) < 20


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="operation must be one of sas, erase, program, not 'write'"):
        Point(operation="write", sot=1, sot_time=1, stt=1, stt_time=1, out_of_plane=0.1)
