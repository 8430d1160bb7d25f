# SPDX-License-Identifier: Apache-2.0
"""Which machine is there: what its constant registers say, and whether that is the one a program is for."""

from respin.firmware_model.machine import Machine
from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.register_map import Access, Field, Register
from respin.rtl.host.registers import register_map

_LOG2 = "_log2"
_VERSION = ("major", "minor", "patch")


class IdentityError(ValueError):
    """Another machine than expected is there; the message is one line."""


def constant_registers(config: AcceleratorConfig) -> list[Register]:
    """Return the registers of a machine that only hold what it was made with, magic and version included."""
    return [
        register
        for register in register_map(config).registers
        if all(field.access is Access.RO and not field.member for field in register.fields)
    ]


def shown(field: Field, value: int) -> tuple[str, int]:
    """Return what a constant field is called, and its value, where a logarithm stands for the number itself."""
    if field.name.endswith(_LOG2):
        return field.name.removesuffix(_LOG2), 1 << value
    return field.name, value


async def read_identity(machine: Machine) -> dict[str, int]:
    """Return what the constant registers say, by the names of their fields, logarithms as the numbers themselves."""
    found = {}
    for register in constant_registers(machine.config):
        value = await machine.read(register.name)
        for field in register.fields:
            name, number = shown(field, (value & field.mask) >> field.low)
            found[name] = number
    return found


def expected_identity(config: AcceleratorConfig) -> dict[str, int]:
    """Return what :func:`read_identity` reads from a machine of a configuration, made by this version."""
    fields = (field for register in constant_registers(config) for field in register.fields)
    return dict(shown(field, field.reset) for field in fields)


def version_of(identity: dict[str, int]) -> str:
    """Return the version of what made the machine."""
    return ".".join(str(identity[name]) for name in _VERSION)


def require_identity(found: dict[str, int], config: AcceleratorConfig) -> None:
    """Raise IdentityError, naming the first difference, unless ``found`` is a machine of ``config`` and of this
    version."""
    wanted = expected_identity(config)
    if version_of(found) != version_of(wanted):
        raise IdentityError(
            f"the machine there was made by Respin {version_of(found)}, this is {version_of(wanted)}: make it anew"
        )
    for name, value in wanted.items():
        if found[name] != value:
            raise IdentityError(f"the machine there has {name} {found[name]}, the program is for one with {value}")


def without_version(identity: dict[str, int]) -> dict[str, int]:
    """Return an identity but for the version."""
    return {name: value for name, value in identity.items() if name not in _VERSION}
