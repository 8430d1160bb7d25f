# SPDX-License-Identifier: Apache-2.0
"""Tables of write errors: intervals, the fit, files; and the shipped tables."""

import dataclasses
import math
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from scipy.stats import binom, norm

from respin.sim.device import Pulse, load, shipped
from respin.sim.physics.sweep import (
    Outcome,
    SweepError,
    digest,
    estimate,
    fit_plane,
    on_plane,
    read_table,
    run,
    standard_points,
    standard_table,
    with_tail,
    write_table,
)  # fmt: skip
from respin.sim.physics.trials import first_pulse
from respin.sim.tables import write_times

SEED = int(os.environ.get("RESPIN_SEED", "1"))


@pytest.fixture
def device():
    return load("scrubbed")


def outcome(point, errors, trials=1024):
    return Outcome(point=point, trials=trials, errors=errors)


@pytest.mark.parametrize(("errors", "trials"), [(0, 1024), (3, 1024), (1024, 1024), (500, 1024)])
def test_the_interval_is_clopper_and_pearsons(device, errors, trials):
    low, high = outcome(first_pulse(device), errors, trials).interval
    assert low <= errors / trials <= high
    if errors:
        assert binom.sf(errors - 1, trials, low) == pytest.approx(0.025)
    if errors < trials:
        assert binom.cdf(errors, trials, high) == pytest.approx(0.025)


def test_no_error_is_a_bound_not_a_measurement(device):
    none = outcome(first_pulse(device), 0)
    assert none.extrapolated
    assert none.interval[1] == pytest.approx(1 - 0.025 ** (1 / 1024))
    assert estimate(device, none, None) == none.interval[1]


def test_the_fit_finds_the_plane_that_errors_were_made_from(device):
    first, trials = first_pulse(device), 10**7
    made = [
        outcome(each, round(trials * norm.sf(3.5 + 0.02 * (each.sot - 400) + 0.04 * (each.stt - 100))), trials)
        for sot in (300.0, 350.0, 400.0)
        for stt in (70.0, 85.0, 100.0)
        for each in [dataclasses.replace(first, sot=sot, stt=stt)]
    ]
    plane = fit_plane(device, made)
    assert (plane.probit, plane.per_sot, plane.per_stt) == pytest.approx((3.5, 0.02, 0.04), rel=0.01)
    stronger = outcome(dataclasses.replace(first, sot=450.0), 0)
    assert estimate(device, stronger, plane) == pytest.approx(norm.sf(4.5), rel=0.1)
    assert fit_plane(device, made[:2]) is None


def test_the_standard_points_hold_the_anchors_and_the_temperatures(device):
    points = standard_points(device)
    assert len(points) == len(set(points))
    anchors = {(anchor.sot, anchor.stt) for anchor in device.anchors}
    flat = {(each.point.sot, each.point.stt) for each in on_plane(device, [outcome(point, 0) for point in points])}
    assert anchors <= flat
    assert {point.celsius for point in points} >= {-40.0, 25.0, 85.0}
    assert {point.operation for point in standard_points(load("erasable"))} == {"erase", "program"}


def test_a_tail_is_what_stt_outlasts_sot_by(device):
    point = with_tail(device, first_pulse(device), 1.2, 1.5)
    assert point.sot_time + 1.5 == pytest.approx(device["write.stt_start"] + point.stt_time)


def test_results_are_the_same_with_any_number_of_workers(device):
    first = first_pulse(device)
    points = [dataclasses.replace(first, sot=sot) for sot in (240.0, 260.0)]

    def results(workers):
        with ThreadPoolExecutor(workers) as executor:
            steps = list(run(device, points, trials=1100, seed=SEED, executor=executor))
        assert sum(count for count, _ in steps) == 2 * 1152
        return {each.point: each.errors for _, each in steps if each is not None}

    assert results(1) == results(3)


def test_a_device_without_its_read_only_mapping_can_be_sent_to_other_machines(device):
    sent = dataclasses.replace(device, parameters=dict(device.parameters))
    assert digest(pickle.loads(pickle.dumps(sent))) == digest(device)


def test_a_table_is_read_as_it_was_written(device, tmp_path):
    made = [outcome(point, place) for place, point in enumerate(standard_points(device))]
    path = tmp_path / "table.csv"
    write_table(path, device, made, seed=3)
    assert read_table(path, device, seed=3) == made
    with pytest.raises(SweepError, match="table.csv: was made with seed 3, not 4"):
        read_table(path, device, seed=4)
    with pytest.raises(SweepError, match="was made from other parameters than those of default"):
        read_table(path, load("default"))
    path.write_text(path.read_text().replace("sot_ua", "sot_a"))
    with pytest.raises(SweepError, match="is no table of a sweep: 'sot_ua'"):
        read_table(path, device)
    path.write_text("nothing")
    with pytest.raises(SweepError, match="is no table of a sweep"):
        read_table(path, device)
    with pytest.raises(SweepError, match="absent.csv: cannot be read"):
        read_table(tmp_path / "absent.csv", device)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_table_is_of_its_device_and_whole(name):
    device = load(name)
    outcomes = read_table(standard_table(device), device)
    assert {each.point for each in outcomes} >= set(standard_points(device))


def test_the_shipped_table_meets_the_anchors():
    """Each within its interval of 95 %, widened for five figures that were given with one digit."""
    device = load("scrubbed")
    flat = on_plane(device, read_table(standard_table(device), device))
    table = {(each.point.sot, each.point.stt): each for each in flat}
    for anchor in device.anchors:
        each = table[anchor.sot, anchor.stt]
        low, high = each.interval
        assert low <= anchor.error if anchor.bound else low / 1.1 <= anchor.error <= high * 1.1


def test_a_pulse_lasts_as_long_as_the_arrays_write(device):
    from respin.sim.physics.pulses import duration

    pulse = Pulse(sot=400.0, sot_time=1.0, stt=100.0, stt_time=2.0)
    assert math.isclose(duration(device, "sas", pulse, device["write.relaxation"]), write_times(device, 0)[0])
