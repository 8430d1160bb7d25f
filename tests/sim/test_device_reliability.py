# SPDX-License-Identifier: Apache-2.0
"""The closed forms against the figures they were made for, and the table of thresholds made of them."""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import binom

from respin.rtl.config import AcceleratorConfig
from respin.sim import reliability, tables
from respin.sim.device import DeviceError, Pulse, load
from respin.sim.reliability import CLASS_HIGH, CLASS_LOW, CLASS_NORMAL
from respin.sim.tables import NO_FAULTS, FaultRates, fault_table, table_for

DAY = 86400.0
ROWS = 208_000


def _probit(error):
    return -NormalDist().inv_cdf(error)


def _changed(device, **values):
    """The device with other figures: ``mtj__tmr=1.0`` sets ``mtj.tmr``."""
    parameters = dict(device.parameters)
    for key, value in values.items():
        name = key.replace("__", ".")
        parameters[name] = dataclasses.replace(parameters[name], value=value)
    return dataclasses.replace(device, parameters=parameters)


def _beyond_repair(error):
    """Codewords with two or more wrong bits among those of EfficientNet-Lite0's rows."""
    return ROWS * 4 * (1 - (1 - error) ** 72 - 72 * error * (1 - error) ** 71)


def test_the_write_error_plane_meets_the_solver_runs():
    device = load("scrubbed")
    assert len(device.anchors) == 5
    for anchor in device.anchors:
        pulse = Pulse(sot=anchor.sot, sot_time=1.0, stt=anchor.stt, stt_time=2.0)
        error = reliability.intrinsic_write_error(device, pulse, state=0, target=1)
        if anchor.bound:
            assert error <= anchor.error
        else:
            assert abs(_probit(error) - _probit(anchor.error)) < 0.15


def test_a_write_error_is_never_below_what_trials_resolved():
    device = load("default")
    errors = [reliability.write_error(device, device.pulses[15], pattern, 0, 0) for pattern in range(16)]
    assert min(errors) == device["write.resolution"]


@pytest.mark.parametrize(
    ("name", "seconds", "celsius", "expected", "margin"),
    [("scrubbed", DAY, 27, 180, 0.05), ("default", 30 * DAY, 85, 0.005, 0.2)],
)
def test_retention_gives_the_codewords_beyond_repair(name, seconds, celsius, expected, margin):
    error = reliability.retention_loss(load(name), seconds, celsius)
    assert _beyond_repair(error) == pytest.approx(expected, rel=margin)


def test_retention_of_both_devices_at_the_ends():
    assert _beyond_repair(reliability.retention_loss(load("default"), 365 * DAY)) < 1e-3
    assert _beyond_repair(reliability.retention_loss(load("scrubbed"), DAY, 85)) > 0.95 * ROWS * 4


@pytest.mark.parametrize(("name", "celsius"), [("scrubbed", 27), ("default", 85)])
def test_a_scrub_period_meets_what_was_asked_for(name, celsius):
    # The losses a year, from the binomial distribution instead of its first term.
    period = reliability.scrub_period(load(name), rows=ROWS, losses_per_year=0.1, celsius=celsius)
    beyond_repair = binom.sf(1, 72, reliability.retention_loss(load(name), period, celsius))
    lost = ROWS * 4 * beyond_repair * 365.25 * DAY / period
    assert lost == pytest.approx(0.1, rel=0.02)


def test_a_scrub_period_has_bounds():
    assert reliability.scrub_period(load("default"), rows=16) == pytest.approx(10 * 365.25 * DAY)
    with pytest.raises(ValueError, match="losses_per_year must be above"):
        reliability.scrub_period(load("scrubbed"), rows=ROWS, losses_per_year=1e-30, celsius=85)


def test_thermal_activation_is_the_closed_form_without_spread():
    sharp = _changed(load("scrubbed"), mtj__stability_sigma=0.0)
    for seconds, ratio in ((1.0, 0.0), (1e6, 0.2), (1e-9, 0.9)):
        expected = -math.expm1(-seconds * 1e9 * math.exp(-43.6 * (1 - ratio)))
        assert reliability.activation(sharp, seconds, current_ratio=ratio) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("state", [0, 1])
def test_the_classes_of_cells_average_to_the_mean_read_error(position, state):
    device = load("default")
    weak = reliability.weak_fraction(device)
    shares = {CLASS_NORMAL: 1 - 2 * weak, CLASS_HIGH: weak, CLASS_LOW: weak}
    errors = {each: reliability.read_error(device, each, position, state) for each in shares}
    average = sum(share * errors[each] for each, share in shares.items())
    assert average == pytest.approx(reliability.mean_read_error(device, position, state), rel=0.01)
    bad, good = (CLASS_HIGH, CLASS_LOW) if state == 0 else (CLASS_LOW, CLASS_HIGH)
    assert errors[bad] > 100 * errors[CLASS_NORMAL] > errors[good]


def test_reading_a_whole_row_at_once_fails_on_a_strip_grounded_at_one_end():
    device = _changed(load("default"), read__phases=1, strip__grounded_ends=1)
    margins = [reliability.sense_margin(device, position, 0)[0] for position in range(4)]
    assert margins[0] > margins[1] > margins[3]
    assert margins[3] < 1.0  # of the sense noise's 1 uA


def test_ending_stt_currents_together_disturbs_strips_of_equal_bits():
    device = load("default")
    abrupt = _changed(device, write__staggered_end=0)
    assert reliability.strip_current(abrupt, 0b1111, 0, 100.0) == pytest.approx(200)
    assert reliability.write_error(abrupt, device.pulses[0], 0b1111, 0, 0) == pytest.approx(0.035, rel=0.01)
    assert reliability.write_error(abrupt, device.pulses[0], 0b0101, 0, 0) == device["write.resolution"]
    assert max(reliability.strip_current(device, 0b1111, position, 120.0) for position in range(4)) < 150


def test_only_one_state_can_be_disturbed():
    device = load("default")
    assert reliability.read_disturb(device, 0) == 0 < reliability.read_disturb(device, 1) < 1e-15


@pytest.mark.parametrize(
    ("probability", "expected"), [(0, 0), (2**-32, 1), (1e-2, 42949673), (0.5, 2**31), (1, 2**32 - 1)]
)
def test_thresholds(probability, expected):
    assert tables.threshold(probability) == expected


@pytest.mark.parametrize(("mhz", "read", "sas"), [(100, 1, 1), (125, 1, 1), (250, 2, 2), (1000, 8, 7), (1, 1, 1)])
def test_cycles_follow_from_the_clock(mhz, read, sas):
    words = fault_table(load("default"), clock_mhz=mhz)
    assert (words[tables.READ_CYCLES], words[tables.WRITE_CYCLES]) == (read, sas)


def test_the_table_holds_each_probability_at_its_place():
    device = load("scrubbed")
    words = fault_table(device, clock_mhz=100, seed=9, age_seconds=DAY)
    assert (words[0], words[1], words[3]) == (9, 0, 16)
    assert words[4:7].tolist() == [tables.threshold(share) for share in (0.15865525393, 0.02275013195, 0.00134989803)]
    for stable in range(4):
        lost = reliability.retention_loss(device, DAY, stability_class=stable)
        assert words[tables.RETENTION + stable] == tables.threshold(lost)
    at = tables.DISTURB + (2 * 4 + 3) * 2 + 1
    assert words[at] == tables.threshold(reliability.read_disturb(device, 1, 2, 3))
    at = tables.READ_ERROR + CLASS_LOW * 8 + 2 * 2 + 1
    assert words[at] == tables.threshold(reliability.read_error(device, CLASS_LOW, 2, 1))
    at = tables.WRITE_ERROR + 2 * 2048 + 3 * 128 + 0b1010 * 8 + 1 * 2 + 0
    assert words[at] == tables.threshold(reliability.write_error(device, device.pulses[3], 0b1010, 1, 0, 2))
    at = tables.ERASE_ERROR + 3 * 16 + 5
    assert words[at] == tables.threshold(reliability.erase_error(device, device.pulses[5], 3))
    assert fault_table(load("erasable"), clock_mhz=100)[tables.ERASES] == 1


SHARES = (0.841344746, 0.135905122, 0.021400234, 0.001349898)
"""Of a normal distribution: below one deviation, between one and two, two and three, past three."""


@pytest.mark.parametrize(("name", "seconds", "celsius"), [("scrubbed", DAY, 27), ("default", 30 * DAY, 85)])
def test_classes_of_stability_make_up_the_average(name, seconds, celsius):
    device = load(name)
    lost = [reliability.retention_loss(device, seconds, celsius, stable) for stable in range(4)]
    assert lost == sorted(lost), "less stable cells lose more"
    together = sum(share * each for share, each in zip(SHARES, lost, strict=True))
    assert together == pytest.approx(reliability.retention_loss(device, seconds, celsius), rel=1e-3)


def test_mtjs_of_high_critical_current_fail_more_often():
    """An MTJ of 1.12 times the mean's critical currents fails as the nominal one at currents 1.12 times smaller."""
    device, pulse = load("scrubbed"), Pulse(sot=360.0, sot_time=1.0, stt=90.0, stt_time=2.0)
    errors = [reliability.intrinsic_write_error(device, pulse, 0, 1, current) for current in range(4)]
    assert errors == sorted(errors)
    weak = [
        reliability.intrinsic_write_error(device, dataclasses.replace(pulse, sot=360 / ratio, stt=90 / ratio), 0, 1)
        for ratio in (1.0, 1.04, 1.08, 1.12, 1.16)
    ]
    assert errors[0] < weak[1] < errors[1] < weak[2] < errors[2] < weak[3] < errors[3] < weak[4]


def test_rates_replace_the_devices_own():
    rates = FaultRates(write_error=1e-2, read_error=1e-4, read_disturb=1e-5, retention=1e-3, erase_error=0.5)
    words = fault_table(load("default"), clock_mhz=100, rates=rates)
    assert set(words[tables.WRITE_ERROR :].tolist()) == {tables.threshold(1e-2)}
    assert set(words[tables.READ_ERROR : tables.READ_ERROR + 24].tolist()) == {tables.threshold(1e-4)}
    assert set(words[tables.ERASE_ERROR : tables.ERASE_ERROR + 64].tolist()) == {2**31}
    assert set(words[tables.DISTURB : tables.DISTURB + 32].tolist()) == {tables.threshold(1e-5)}
    none = fault_table(load("default"), clock_mhz=100, rates=NO_FAULTS)
    assert not np.delete(none, [0, *range(2, 7), *range(64, 112)]).any()


@pytest.mark.parametrize(
    ("value", "error"), [(-0.1, ValueError), (1.1, ValueError), ("x", TypeError), (True, TypeError)]
)
def test_a_wrong_rate_is_refused(value, error):
    with pytest.raises(error, match=r"write_error must be .* not "):
        FaultRates(write_error=value)


@pytest.mark.parametrize(("clock", "seed"), [(0, 1), (100, -1), (100, 1 << 32)])
def test_a_wrong_clock_or_seed_is_refused(clock, seed):
    with pytest.raises(ValueError, match=r"(clock_mhz|seed) must be "):
        fault_table(load("default"), clock_mhz=clock, seed=seed)


def test_a_device_that_cannot_do_the_write_scheme_is_refused():
    with pytest.raises(DeviceError, match="device default has geometry x; write_scheme erase_program needs geometry y"):
        table_for(AcceleratorConfig(name="wrong", write_scheme="erase_program"))
    assert table_for(AcceleratorConfig(name="right"), seed=5)[0] == 5
