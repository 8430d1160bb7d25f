# SPDX-License-Identifier: Apache-2.0
"""What a register map means, as plain Python: the oracle for the registers' benches."""

from dataclasses import dataclass, field

from respin.rtl.host.register_map import Access, Half, Register, RegisterMap

OKAY, SLVERR = 0, 2


@dataclass
class RegisterModel:
    """The host's view: ``inputs`` are what the machine shows, ``pulses`` what it was told since last asked."""

    registers: RegisterMap
    inputs: dict[str, int] = field(default_factory=dict)
    pulses: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_offset = {register.offset: register for register in self.registers.registers}
        self.stored = {
            (register.name, part.name): part.reset
            for register in self.registers.registers
            for part in register.fields
            if part.access in (Access.RW, Access.W1C)
        }
        self.kept: tuple[str, int] | None = None

    def event(self, member: str) -> None:
        for register in self.registers.registers:
            for part in register.fields:
                if part.access is Access.W1C and part.member == member:
                    self.stored[register.name, part.name] = 1

    def outputs(self) -> dict[str, int]:
        """Values of RW fields by member."""
        return {
            part.member: self.stored[register.name, part.name] << (part.low if len(register.fields) == 1 else 0)
            for register in self.registers.registers
            for part in register.fields
            if part.access is Access.RW and part.member
        }

    def write(self, address: int, value: int, strobe: int = 15) -> int:
        register = self.by_offset.get(address & ~3)
        if register is None or all(part.access is Access.RO for part in register.fields):
            return SLVERR
        if register.locked_by and self.inputs.get(register.locked_by, 0):
            return SLVERR
        given = [bit for bit in range(32) if strobe >> (bit // 8) & 1]
        known = {bit for part in register.fields for bit in range(part.low, part.low + part.width)}
        if register.strict and any(value >> bit & 1 and bit not in known for bit in given):
            return SLVERR
        for part in register.fields:
            for bit in range(part.width):
                if part.low + bit in given:
                    self._write_bit(register, part, bit, value >> (part.low + bit) & 1)
        return OKAY

    def _write_bit(self, register, part, bit, one) -> None:
        key = register.name, part.name
        if part.access is Access.RW:
            self.stored[key] = self.stored[key] & ~(1 << bit) | one << bit
        elif part.access is Access.W1C and one:
            self.stored[key] &= ~(1 << bit)
        elif part.access is Access.PULSE and one:
            self.pulses.append(part.member)

    def read(self, address: int) -> tuple[int, int]:
        register = self.by_offset.get(address & ~3)
        if register is None:
            return SLVERR, 0
        if register.half is Half.HIGH:
            member = register.fields[0].member
            return (OKAY, self.kept[1]) if self.kept and self.kept[0] == member else (SLVERR, 0)
        value = 0
        for part in register.fields:
            value |= self._content(register, part) << part.low
        if register.half is Half.LOW:
            member = register.fields[0].member
            self.kept = member, self.inputs.get(member, 0) >> 32
        return OKAY, value

    def _content(self, register: Register, part) -> int:
        if part.access is Access.PULSE:
            return 0
        if part.access in (Access.RW, Access.W1C):
            return self.stored[register.name, part.name]
        if part.constant:
            return part.reset
        return self.inputs.get(part.member, 0) & ((1 << part.width) - 1)

    def interrupt(self) -> int:
        names = [part.name for part in self.registers.register(self.registers.interrupts).fields]
        return int(
            any(
                self.stored[self.registers.interrupts, name] and self.stored[self.registers.enables, name]
                for name in names
            )
        )

    def random_access(self, rng) -> tuple[int, int, int]:
        """An address (mostly of a register), a value that is not always refused, and a strobe."""
        registers = self.registers.registers
        register = rng.choice(registers) if rng.random() < 0.5 else rng.choice([r for r in registers if r.writable])
        address = register.offset if rng.random() < 0.8 else rng.randrange(1 << self.registers.address_bits)
        value = rng.getrandbits(32)
        if rng.random() < 0.7:
            value &= register.writable
        return address, value, rng.choice([15, 15, rng.randrange(16)])
