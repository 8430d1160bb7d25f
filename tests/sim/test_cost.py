# SPDX-License-Identifier: Apache-2.0
"""The cost model against sums by hand, and files of costs that cannot be used."""

import pytest

from respin.sim import cost
from respin.sim.cost import COSTS, CostError, energies, figures, load_costs, sensitivity, total, years
from respin.sim.device import load

OF = figures(load("default"), load_costs())


def each(part: str, event: str) -> float:
    """The energy of the terms of an event in a part, in pJ for one event."""
    return sum(energy.each for energy in energies({event: 1}, OF) if energy.term.part == part)


def test_a_row_that_is_read():
    """288 columns at 0.15 V and 2 ns, half of them 2,546 + 1,500 ohm, half 6,365 + 1,500 ohm: 11.12 and 5.72 fJ; and
    50 fJ of sensing each."""
    assert each("MRAM reads", "rows_read") == pytest.approx(288 * (0.01112210 + 0.00572155) / 2 + 14.4, rel=1e-6)
    assert each("MRAM writes", "rows_verified") == each("MRAM reads", "rows_read")


def test_a_strip_that_is_pulsed():
    """(683 + 2 * 51 + 2 * 92 + 470) fJ, twice for the drivers."""
    assert each("MRAM writes", "strips_pulsed") == pytest.approx(2.878)


@pytest.mark.parametrize(
    ("part", "event", "want"),
    [
        ("engine", "bit_macs", 0.03),
        ("engine", "accumulations", 0.1),
        ("engine", "rows_read", 0.512),
        ("depthwise", "depthwise_macs", 0.3),
        ("vector path", "channels_finished", 3.2),
        ("vector path", "elements_gathered", 0.3),
        ("update", "sums_updated", 5.0),
        ("store", "store_words", 80.0),
        ("external memory", "external_bytes", 244.0),
        ("background", "lane_cycles", 0.05),
    ],
)
def test_what_an_event_costs(part, event, want):
    assert each(part, event) == pytest.approx(want)


def test_the_total_is_the_sum_of_what_was_counted():
    counts = {"bit_macs": 1e9, "store_words": 1000, "external_bytes": 5}
    assert total(counts, OF) == pytest.approx(30e-6 + 80e-9 + 1.22e-9)
    parts = {energy.term.part for energy in energies(counts, OF)}
    assert parts == {"engine", "store", "external memory"}, "what was not counted must be absent"


def test_every_figure_has_unit_source_and_place():
    for name, figure in OF.items():
        assert figure.unit, name
        assert figure.source in ("published", "assumption"), name
        assert figure.where, name
    assert {event for term in cost.TERMS for event in (term.event,)} <= cost.EVENTS.keys()
    assert {term.part for term in cost.TERMS} == set(cost.PARTS)


def test_what_the_total_hangs_on():
    """30 pJ and 80 pJ: the store's figure by 3 makes 240 instead of 80, or 26.7."""
    found = sensitivity({"bit_macs": 1000, "store_words": 1}, OF, 3)
    assert [swing.name for swing in found] == ["store.bit", "engine.bit_mac"]
    assert found[0].multiplied == pytest.approx(270e-12)
    assert found[0].divided == pytest.approx((30 + 80 / 3) * 1e-12)
    assert found[1].multiplied == pytest.approx(170e-12)


def test_a_resistance_works_against_the_energy():
    found = {swing.name: swing for swing in sensitivity({"rows_read": 1}, OF, 2)}
    resistance, voltage = found["device.mtj.resistance_parallel"], found["device.read.voltage"]
    assert resistance.multiplied < total({"rows_read": 1}, OF) < resistance.divided
    # Four times the 2.4255 pJ in the MTJs, a quarter of them; sensing and latching stay.
    assert voltage.multiplied - voltage.divided == pytest.approx((4 - 1 / 4) * 2.42548e-12, rel=1e-4)


def test_a_factor_of_one_moves_nothing():
    with pytest.raises(ValueError, match="factor must be above 1, not 1"):
        sensitivity({"cycles": 1}, OF, 1)


def test_years_of_a_strip():
    """A million pulses at two a step and 1,000 steps a day last 500 days."""
    assert years(1e6, pulses_per_step=2, steps_per_day=1000) == pytest.approx(500 / 365.25)


@pytest.mark.parametrize(("pulses", "steps"), [(0, 1000), (2, 0), (2, float("nan"))])
def test_a_strip_that_is_never_pulsed_has_no_years(pulses, steps):
    with pytest.raises(ValueError, match="must be above 0"):
        years(1e6, pulses_per_step=pulses, steps_per_day=steps)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 0.03,", 'value = "much",', r"engine.bit_mac: value must be a number, not 'much'"),
        ("value = 0.03,", "value = -1,", r"engine.bit_mac: value must be in 0\.\.1e\+06, not -1"),
        ("value = 0.03,", "value = nan,", r"engine.bit_mac: value must be in 0\.\.1e\+06, not nan"),
        ('value = 0.03, unit = "pJ"', 'value = 0.03, unit = "fJ"', "engine.bit_mac: unit must be pJ, not 'fJ'"),
        ('source = "published"', 'source = "guess"', "engine.accumulate: source must be one of published, assumption"),
        ("bit_mac =", "bit_mak =", "engine.bit_mac is missing"),
        ("[update]", "power = 3\n[update]", "vector.power is no cost; the costs are mram.sense"),
        ("[mram]", "sum = 3\n[mram]", "sum must be a table, not 3"),
        ("[mram]", "[mram", "is not TOML"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, old, new, message):
    path, text = tmp_path / "mine.toml", COSTS.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CostError, match=message) as found:
        load_costs(path)
    assert str(found.value).startswith(str(path))
    assert "\n" not in str(found.value).split("is not TOML")[0]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CostError, match="cannot be read"):
        load_costs(tmp_path / "none.toml")
