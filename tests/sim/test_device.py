# SPDX-License-Identifier: Apache-2.0
"""Device files: what ships loads, what is malformed is refused by name, rule and value."""

import re

import pytest

from respin.rtl.config import DEVICES
from respin.sim.device import DEVICE_FOLDER, PULSE_ENTRIES, DeviceError, load, parse, shipped

TEXT = (DEVICE_FOLDER / "default.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_device_loads(name):
    device = load(name)
    assert device.name == name
    assert len(device.pulses) == PULSE_ENTRIES
    assert device.strip_resistance == pytest.approx(4270, abs=5)


def test_every_device_of_the_configuration_ships():
    assert set(DEVICES) <= set(shipped())


def test_published_and_assumed_figures_are_told_apart():
    parameters = load("default").parameters
    published = {name for name, parameter in parameters.items() if parameter.source == "published"}
    assert published == {"mtj.length", "mtj.width"}


def test_devices_differ_where_the_design_says():
    default, scrubbed = load("default"), load("scrubbed")
    assert [device["mtj.free_layer"] for device in (default, scrubbed)] == [2.0, 1.6]
    assert [device["mtj.stability"] for device in (default, scrubbed)] == [64.7, 43.6]
    assert [(device.pulses[0].sot, device.pulses[0].stt) for device in (default, scrubbed)] == [(450, 100), (400, 100)]
    assert [load(name).supports_erase for name in ("default", "scrubbed", "erasable")] == [False, False, True]


def test_a_short_pulse_table_repeats_its_last_entry():
    device = parse(
        re.sub(r"table = \[.*\]", "table = [[450.0, 1.0, 100.0, 2.0], [460, 1, 100, 2]]", TEXT, flags=re.DOTALL)
    )
    assert [pulse.sot for pulse in device.pulses] == [450] + [460] * 15


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tmr = {", "tmr = [", "is not TOML"),
        ('name = "default"', "name = 3", "name must be letters, digits and underscores, not 3"),
        ('geometry = "x"', 'geometry = "z"', "geometry must be one of x, y, not 'z'"),
        ('geometry = "x"', "", "device: geometry is missing"),
        ("[energy]", "[power]", "device: energy is missing"),
        ('tmr = { value = 1.5, unit = "1", source = "assumption" }', "", "mtj: tmr is missing"),
        ("[strip]", "[strip]\ncolour = 3", "strip: colour is no key; the keys are grounded_ends"),
        ("tmr = { value = 1.5,", "tmr = { value = -1,", r"mtj.tmr must be in 0..100, not -1"),
        ("tmr = { value = 1.5,", "tmr = { value = nan,", r"mtj.tmr must be in 0..100, not nan"),
        ("tmr = { value = 1.5,", "tmr = { value = true,", r"mtj.tmr must be a number, not True"),
        ("phases = { value = 4,", "phases = { value = 4.0,", r"read.phases must be an integer, not 4.0"),
        ("phases = { value = 4,", "phases = { value = 3,", r"read.phases must be one of 1, 2, 4, not 3"),
        ('tmr = { value = 1.5, unit = "1"', 'tmr = { value = 1.5, unit = "%"', "mtj.tmr: unit must be 1, not '%'"),
        ('tmr = { value = 1.5, unit = "1",', "tmr = { value = 1.5,", "mtj.tmr: unit is missing"),
        ('tmr = { value = 1.5, unit = "1", source = "assumption"', 'tmr = { value = 1.5, unit = "1", source = "me"',
         "mtj.tmr: source must be one of published, assumption, not 'me'"),
        ("relaxation = { value = 4.0,", "relaxation = { value = 3.9,",
         r"write.relaxation must be in 4..1e\+06, not 3.9"),
        ("[450.0, 1.0, 100.0, 2.0]", "[450.0, 1.0, 100.0]", r"table\[0\] must be \[I_SOT, t_SOT, I_STT, t_STT\]"),
        ("[450.0, 1.0, 100.0, 2.0]", "[450.0, 2.0, 100.0, 2.0]",
         r"table\[0\]: STT must outlast SOT by at least 1.0 ns, not 0.8"),
        ("[450.0, 1.0, 100.0, 2.0]", "[500.0, 1.0, 100.0, 2.0]",
         r"table\[1\] must not be weaker than the entry before it"),
        ("[450.0, 1.0, 100.0, 2.0],", "[450.0, 1.0, 100.0, 2.0]," * 2, "must be a list of 1..16 entries"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused(tmp_path, old, new, message):
    assert old in TEXT
    path = tmp_path / "broken.toml"
    path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DeviceError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_unknown_or_missing_device_is_refused(tmp_path):
    with pytest.raises(
        DeviceError, match=r"device must be one of default, erasable, scrubbed or a .toml file, not 'mine'"
    ):
        load("mine")
    with pytest.raises(DeviceError, match=r"absent.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DeviceError, match="is not UTF-8 text"):
        load(tmp_path / "binary.toml")
