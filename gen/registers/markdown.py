# SPDX-License-Identifier: Apache-2.0
"""The register map as a page of the documentation."""

from respin.rtl.host.register_map import Access, Field, Register, RegisterMap

_ACCESS = {
    Access.RO: "read",
    Access.RW: "read, write",
    Access.W1C: "read, write 1 to clear",
    Access.PULSE: "write 1",
}

_RULES = """\
The window has {size} bytes; registers are 32 bits wide and little-endian. A write changes the bytes that its strobes
name.

An access is answered with an error (SLVERR), changes nothing and reads 0 where

- no register lies at the address, or a register is written that can only be read;
- a register marked *locked* is written while its condition holds;
- a register marked *strict* is written with a 1 in a bit that is not in the table (elsewhere such a bit is ignored);
- the high half of a 64-bit counter is read, but the low half read last was that of another one.

Reading a low half keeps the high half that belongs to it, for the next read of a high half: read low, then high.
Counters wrap. Bits that are not in the table read 0. Pulses read 0. A flag that is raised while it is cleared stays.
"""


def _bits(field: Field) -> str:
    return str(field.low) if field.width == 1 else f"{field.low + field.width - 1}:{field.low}"


def _reset(field: Field) -> str:
    if field.constant:
        return "constant"
    return "" if field.access in (Access.RO, Access.PULSE) else f"0x{field.reset:X}"


def _notes(register: Register) -> str:
    notes = ["Strict."] if register.strict else []
    if register.locked_by:
        notes.append(f"Locked while `{register.locked_by}`.")
    return "".join(f" {note}" for note in notes)


def markdown(registers: RegisterMap) -> str:
    """Return the page. It says nothing of a configuration's values: it is the same for every one."""
    lines = [
        f"# Registers of {registers.name}",
        "",
        "Made by `respin registers` from `rtl/host/registers.py`; do not edit.",
        "",
        _RULES.format(size=f"{1 << registers.address_bits:,}"),
        "| offset | register | |",
        "|---|---|---|",
    ]
    lines += [
        f"| 0x{item.offset:03X} | {item.name} | {item.description}{_notes(item)} |" for item in registers.registers
    ]
    lines += [
        "",
        "## Fields",
        "",
        "Registers that are one number of 32 bits are left out.",
        "",
        "| register | bits | field | access | reset | |",
        "|---|---|---|---|---|---|",
    ]
    for register in registers.registers:
        if len(register.fields) == 1 and register.fields[0].width == 32 and register.fields[0].access is Access.RO:
            continue
        for field in register.fields:
            cells = [register.name, _bits(field), field.name, _ACCESS[field.access], _reset(field), field.description]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
