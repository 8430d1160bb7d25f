# SPDX-License-Identifier: Apache-2.0
"""What a register map is made of. Standard library only: hardware, documents and firmware read the same source."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum

REGISTER_BITS = 32
REGISTER_BYTES = REGISTER_BITS // 8


class Access(StrEnum):
    """What the host may do with a field."""

    RO = "ro"
    """Reads what the machine says, or a constant; writing it is an error."""
    RW = "rw"
    """Keeps what was written."""
    W1C = "w1c"
    """The machine sets it; writing 1 clears it."""
    PULSE = "pulse"
    """Writing 1 gives the machine a pulse of one cycle; reads 0."""


class Half(Enum):
    """Which half of a 64-bit number a register shows."""

    LOW = 0
    """Reading it keeps the high half for the next read."""
    HIGH = 1
    """The half kept when the low one was read."""


def _require_name(kind: str, name: object, *, upper: bool) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name of a {kind} must be a string, not {name!r}")
    if not (name.isascii() and name.isidentifier() and name == (name.upper() if upper else name.lower())):
        case = "upper" if upper else "lower"
        raise ValueError(f"name of a {kind} must be an identifier in {case} case, not {name!r}")


def _require_int(owner: str, name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{owner}: {name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{owner}: {name} must be in {low}..{high}, not {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Bits of a register.

    Parameters
    ----------
    name, description:
        For people; the name in lower case.
    low, width:
        Its lowest bit, and how many bits it has.
    access:
        What the host may do with it.
    reset:
        Its value after reset; of a field without ``member`` that is RO, its value for good.
    member:
        What the hardware calls it; empty if no part of the machine but the registers themselves sees it.

    Raises
    ------
    TypeError, ValueError
        Naming the field, the parameter, the rule and the value.
    """

    name: str
    low: int
    width: int
    access: Access
    description: str
    reset: int = 0
    member: str = ""

    def __post_init__(self) -> None:
        _require_name("field", self.name, upper=False)
        _require_int(self.name, "low", self.low, 0, REGISTER_BITS - 1)
        _require_int(self.name, "width", self.width, 1, REGISTER_BITS - self.low)
        if not isinstance(self.access, Access):
            raise TypeError(f"{self.name}: access must be an Access, not {self.access!r}")
        _require_int(self.name, "reset", self.reset, 0, (1 << self.width) - 1)
        if self.access in (Access.PULSE, Access.W1C) and (self.reset or not self.member):
            raise ValueError(f"{self.name}: a field that is {self.access} must have a member and reset 0")
        if self.access is Access.RO and self.member and self.reset:
            raise ValueError(f"{self.name}: a field that the machine drives must have reset 0, not {self.reset!r}")

    @property
    def constant(self) -> bool:
        """Whether its value never changes."""
        return self.access is Access.RO and not self.member

    @property
    def has_reset(self) -> bool:
        """Whether its value after reset is known: not of one that the machine drives."""
        return self.access is not Access.RO or not self.member

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """One 32-bit register.

    Parameters
    ----------
    name, description:
        For people; the name in upper case.
    offset:
        Its byte address in the window, a multiple of 4.
    fields:
        Its fields, which do not overlap; bits between them read 0.
    locked_by:
        Member of an RO field; while it is high, writing the register is an error. Empty for never.
    strict:
        Writing 1 to a bit outside its fields is an error, where otherwise such a bit is ignored.
    half:
        Which half of a 64-bit number it shows, if any; the low one lies right before the high one.

    Raises
    ------
    TypeError, ValueError
        Naming the register, the parameter, the rule and the value.
    """

    name: str
    offset: int
    description: str
    fields: tuple[Field, ...]
    locked_by: str = ""
    strict: bool = False
    half: Half | None = None

    def __post_init__(self) -> None:
        _require_name("register", self.name, upper=True)
        _require_int(self.name, "offset", self.offset, 0, (1 << REGISTER_BITS) - 1)
        if self.offset % REGISTER_BYTES:
            raise ValueError(f"{self.name}: offset must be a multiple of {REGISTER_BYTES}, not {self.offset!r}")
        if not self.fields:
            raise ValueError(f"{self.name}: fields must not be empty")
        taken = 0
        for field in self.fields:
            if taken & field.mask:
                raise ValueError(f"{self.name}: fields must not overlap, and {field.name} does")
            taken |= field.mask
        if len({field.name for field in self.fields}) < len(self.fields):
            raise ValueError(f"{self.name}: names of fields must differ")

    @property
    def writable(self) -> int:
        """The bits that a write may change; 0 if writing it is an error."""
        return sum(field.mask for field in self.fields if field.access is not Access.RO)

    def field(self, name: str) -> Field:
        """Return its field called ``name``; raises KeyError if there is none."""
        return {field.name: field for field in self.fields}[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterMap:
    """Registers of a window.

    Parameters
    ----------
    name, description:
        For people; the name in lower case.
    address_bits:
        The window has ``2 ** address_bits`` bytes.
    registers:
        In the order of their offsets.
    interrupts, enables:
        Names of the register whose W1C fields make the interrupt, and of the one whose RW fields of the same names let
        them. Empty for no interrupt.

    Raises
    ------
    ValueError
        If names, members or offsets clash, or something named is not there.
    """

    name: str
    description: str
    address_bits: int
    registers: tuple[Register, ...]
    interrupts: str = ""
    enables: str = ""

    def __post_init__(self) -> None:
        _require_name("register map", self.name, upper=False)
        _require_int(self.name, "address_bits", self.address_bits, 3, REGISTER_BITS)
        offsets = [register.offset for register in self.registers]
        if offsets != sorted(set(offsets)):
            raise ValueError(f"{self.name}: registers must lie in the order of their offsets, one at each")
        if offsets and offsets[-1] >= 1 << self.address_bits:
            raise ValueError(f"{self.name}: offset of {self.registers[-1].name} must lie in the window")
        if len({register.name for register in self.registers}) < len(self.registers):
            raise ValueError(f"{self.name}: names of registers must differ")
        low_or_whole = [field for register, field in self._fields() if register.half is not Half.HIGH]
        members = [field.member for field in low_or_whole if field.member]
        for member in members:
            if members.count(member) > 1:
                raise ValueError(f"{self.name}: members must differ, and {member} is there twice")
        self._check_halves()
        inputs = self.inputs
        for register in self.registers:
            if register.locked_by and inputs.get(register.locked_by) != 1:
                raise ValueError(f"{self.name}: {register.name} must be locked by an RO member of one bit")
        if self.interrupts or self.enables:
            flags = [(field.name, field.mask) for field in self.register(self.interrupts).fields]
            if flags != [(field.name, field.mask) for field in self.register(self.enables).fields]:
                raise ValueError(f"{self.name}: {self.interrupts} and {self.enables} must have the same fields")

    def _fields(self) -> Iterator[tuple[Register, Field]]:
        return ((register, field) for register in self.registers for field in register.fields)

    def _check_halves(self) -> None:
        previous: Register | None = None
        for register in (*self.registers, None):
            low_before = previous is not None and previous.half is Half.LOW
            high_now = register is not None and register.half is Half.HIGH
            if low_before is not high_now:
                raise ValueError(f"{self.name}: the halves of a number must lie side by side")
            if previous is not None and register is not None and high_now:
                pair = [(part.fields[0].member, part.fields[0].mask) for part in (previous, register)]
                if pair[0] != pair[1] or register.offset != previous.offset + REGISTER_BYTES:
                    raise ValueError(f"{self.name}: {previous.name} and {register.name} must show one number")
            previous = register

    def register(self, name: str) -> Register:
        """Return the register called ``name``; raises KeyError if there is none."""
        return {register.name: register for register in self.registers}[name]

    def _members(self, *kinds: Access) -> dict[str, int]:
        widths: dict[str, int] = {}
        for _, field in self._fields():
            if field.member and field.access in kinds:
                widths[field.member] = widths.get(field.member, 0) + field.width
        return widths

    @property
    def inputs(self) -> dict[str, int]:
        """What the machine shows the host: widths by member."""
        return self._members(Access.RO)

    @property
    def events(self) -> dict[str, int]:
        """What the machine reports: a 1 sets the flag."""
        return self._members(Access.W1C)

    @property
    def outputs(self) -> dict[str, int]:
        """What the host tells the machine. A register whose one field starts above bit 0 is shown with zeros below."""
        widths = self._members(Access.RW, Access.PULSE)
        for register, field in self._fields():
            if field.member in widths and len(register.fields) == 1:
                widths[field.member] = field.low + field.width
        return widths
