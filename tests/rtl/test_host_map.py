# SPDX-License-Identifier: Apache-2.0
"""The machine's map is what the contract says, and maps that make no sense are refused."""

import importlib.metadata
from dataclasses import replace

import pytest

from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.host.register_map import Access, Field, Half, Register, RegisterMap
from respin.rtl.host.registers import STAGES, register_map
from respin.rtl.job_control import UNITS

MAP = register_map(preset("default"))


def test_the_layout_does_not_depend_on_the_configuration():
    def layout(registers):
        return [
            replace(register, fields=tuple(replace(field, reset=0) for field in register.fields))
            if register.name.startswith(("CONFIG", "ID", "VERSION"))
            else register
            for register in registers.registers
        ]

    assert layout(MAP) == layout(register_map(preset("tiny"))) == layout(register_map(preset("large")))


def test_identity():
    assert MAP.register("ID").fields[0].reset.to_bytes(4, "little") == b"RSPN"
    numbers = [MAP.register("VERSION").field(name).reset for name in ("major", "minor", "patch")]
    assert ".".join(map(str, numbers)) == importlib.metadata.version("respin")


@pytest.mark.parametrize("name", ["tiny", "nano", "small", "default", "large"])
def test_the_configuration_can_be_read_back(name):
    config = preset(name)
    registers = register_map(config)
    for register in registers.registers:
        if register.name.startswith("CONFIG"):
            for field in register.fields:
                key = field.name.removesuffix("_log2")
                value = getattr(config, key)
                if key == "write_scheme":
                    value = ("sas", "erase_program").index(value)
                assert (1 << field.reset if field.name.endswith("_log2") else field.reset) == value


def test_everything_lies_in_the_window():
    assert MAP.address_bits == 12
    assert max(register.offset for register in MAP.registers) < 4096
    assert MAP.outputs["program_base"] == 32
    assert MAP.outputs["step"] == 20
    assert MAP.inputs["cycles"] == 64
    assert list(MAP.events) == ["irq_done", "irq_error", "irq_uncorrectable", "irq_spares_low", "irq_memory"]


def test_every_unit_of_a_job_is_counted():
    assert list(STAGES) == list(UNITS)


@pytest.mark.parametrize("bits", [32, 64, 128, 256])
def test_axi_bits(bits):
    assert AcceleratorConfig(name="test", axi_bits=bits).axi_bits == bits


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (16, "axi_bits must be in 32..256, not 16"),
        (96, "axi_bits must be a power of two, not 96"),
        ("64", "axi_bits must be an integer, not '64'"),
    ],
)
def test_other_axi_bits_are_refused(bits, message):
    with pytest.raises((TypeError, ValueError), match=message):
        AcceleratorConfig(name="test", axi_bits=bits)


def field(**changes):
    return Field(**{"name": "value", "low": 0, "width": 8, "access": Access.RW, "description": ""} | changes)


def register(name="A", offset=0, *fields, **changes):
    return Register(name=name, offset=offset, description="", fields=fields or (field(),), **changes)


def window(*registers, **changes):
    return RegisterMap(name="test", description="", address_bits=4, registers=registers, **changes)


LOW, HIGH = (field(access=Access.RO, member=name) for name in ("x", "x"))

REFUSED = [
    (lambda: field(name="Value"), "name of a field must be an identifier in lower case, not 'Value'"),
    (lambda: field(name=3), "name of a field must be a string, not 3"),
    (lambda: field(low=32), "value: low must be in 0..31, not 32"),
    (lambda: field(low=30, width=3), "value: width must be in 1..2, not 3"),
    (lambda: field(reset=256), "value: reset must be in 0..255, not 256"),
    (lambda: field(access="rw"), "value: access must be an Access, not 'rw'"),
    (lambda: field(access=Access.PULSE), "value: a field that is pulse must have a member and reset 0"),
    (lambda: field(access=Access.RO, member="x", reset=1), "value: a field that the machine drives must have reset 0"),
    (lambda: register("a"), "name of a register must be an identifier in upper case, not 'a'"),
    (lambda: register("A", 2), "A: offset must be a multiple of 4, not 2"),
    (lambda: register("A", 0, field(), field(name="other", low=7)), "A: fields must not overlap, and other does"),
    (lambda: register("A", 0, field(), field(low=8)), "A: names of fields must differ"),
    (lambda: Register(name="A", offset=0, description="", fields=()), "A: fields must not be empty"),
    (lambda: window(register(), register("B")), "test: registers must lie in the order of their offsets"),
    (lambda: window(register("A", 16)), "test: offset of A must lie in the window"),
    (lambda: window(register(), register("A", 4)), "test: names of registers must differ"),
    (
        lambda: window(register("A", 0, field(member="x")), register("B", 4, field(member="x"))),
        "test: members must differ, and x is there twice",
    ),
    (lambda: window(register(locked_by="x")), "test: A must be locked by an RO member of one bit"),
    (lambda: window(register("A", 0, LOW, half=Half.LOW)), "test: the halves of a number must lie side by side"),
    (lambda: window(register("A", 0, HIGH, half=Half.HIGH)), "test: the halves of a number must lie side by side"),
    (
        lambda: window(register("A", 0, LOW, half=Half.LOW), register("B", 8, HIGH, half=Half.HIGH)),
        "test: A and B must show one number",
    ),
    (
        lambda: window(register("A", 0, field(access=Access.W1C, member="x")), register("B", 4, field(name="other")),
                       interrupts="A", enables="B"),
        "test: A and B must have the same fields",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_map_without_sense_is_refused(make, message):
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert str(error.value).startswith(message)


def test_the_configuration_is_checked():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not None"):
        register_map(None)
