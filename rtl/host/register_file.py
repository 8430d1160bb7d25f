# SPDX-License-Identifier: Apache-2.0
"""The registers in hardware, made from the map that the documents are made from."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out, Signature, connect, flipped

from respin.rtl.host.axi import AxiLite
from respin.rtl.host.axi_lite import AxiLitePort
from respin.rtl.host.register_map import REGISTER_BITS, Access, Field, Half, Register, RegisterMap


class RegisterValues(Signature):
    """What registers and machine tell each other, by the members of the map, seen from the registers.

    Parameters
    ----------
    registers : RegisterMap
    without : tuple of str
        Members to leave out, as somebody else connects them.

    Members
    -------
    RW fields : Out(width)
        What the host wrote last.
    PULSE fields : Out(1)
        High for one cycle after the host wrote 1.
    RO fields : In(width)
        What the host reads; both halves of a 64-bit number are one member.
    W1C fields : In(width)
        Sets the flag in each cycle in which it is high.
    """

    def __init__(self, registers: RegisterMap, *, without: tuple[str, ...] = ()) -> None:
        if not isinstance(registers, RegisterMap):
            raise TypeError(f"registers must be a RegisterMap, not {registers!r}")
        self.registers = registers
        members = {name: Out(width) for name, width in registers.outputs.items()}
        members |= {name: In(width) for name, width in (registers.inputs | registers.events).items()}
        super().__init__({name: member for name, member in members.items() if name not in without})


class RegisterFile(Component):
    """The registers of a map behind an AXI4-Lite port.

    Writing a register without writable fields, a locked one, or a 1 outside the fields of a strict one, and any access
    to an address without a register, is answered with SLVERR and changes nothing; such a read gives 0. So is reading
    the high half of a 64-bit number whose low half was not the last one read: one register keeps the high half for all
    of them. Bytes outside the strobe keep their value. An event that comes in the cycle in which its flag is cleared
    stays.

    Latency: 2 cycles from a request to its response; 1 from an event to the interrupt line, by way of its flag, and 1
    more. Throughput: an access in 3 cycles.

    Parameters
    ----------
    registers : RegisterMap

    Members
    -------
    axi : In(AxiLite(address_bits, 32))
    regs : Out(RegisterValues(registers))
    irq : Out(1)
        High while a flag is set whose enable is.

    Raises
    ------
    TypeError
        If ``registers`` is no RegisterMap.
    """

    latency = AxiLitePort.latency

    def __init__(self, *, registers: RegisterMap) -> None:
        values = RegisterValues(registers)
        self.registers = registers
        super().__init__(
            {"axi": In(AxiLite(registers.address_bits, REGISTER_BITS)), "regs": Out(values), "irq": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.port = self._port = AxiLitePort(addr_width=self.registers.address_bits, data_width=REGISTER_BITS)
        connect(m, flipped(self.axi), self._port.axi)
        self._stored = {
            (register.name, field.name): Signal(field.width, init=field.reset, name=f"{register.name}_{field.name}")
            for register in self.registers.registers
            for field in register.fields
            if field.access is not Access.RO
        }
        self._write(m)
        self._show(m)
        self._read(m)
        self._interrupt(m)
        return m

    def _word(self, register: Register) -> int:
        return register.offset // (REGISTER_BITS // 8)

    def _write(self, m: Module) -> None:
        port = self._port
        mask = Signal(REGISTER_BITS)
        m.d.comb += [mask.eq(Cat(strobe.replicate(8) for strobe in port.write_strobe)), port.write_error.eq(1)]
        pulses = [stored for key, stored in self._stored.items() if self._field(*key).access is Access.PULSE]
        m.d.sync += [pulse.eq(0) for pulse in pulses]
        for register in self.registers.registers:
            for field in register.fields:
                if field.access is Access.W1C:
                    stored = self._stored[register.name, field.name]
                    m.d.sync += stored.eq(stored | getattr(self.regs, field.member))
        with m.Switch(port.write_address[2:]):
            for register in self.registers.registers:
                if register.writable:
                    with m.Case(self._word(register)):
                        m.d.comb += port.write_error.eq(self._refusal(register, mask))
                        with m.If(port.write & ~port.write_error):
                            for field in register.fields:
                                self._store(m, register, field, mask)

    def _field(self, register: str, field: str) -> Field:
        return self.registers.register(register).field(field)

    def _refusal(self, register: Register, mask: Value) -> Value:
        locked = getattr(self.regs, register.locked_by) if register.locked_by else Value.cast(0)
        unused = ~register.writable & ((1 << REGISTER_BITS) - 1) if register.strict else 0
        return locked | (self._port.write_data & mask & unused).any()

    def _store(self, m: Module, register: Register, field: Field, mask: Value) -> None:
        if field.access is Access.RO:
            return
        stored = self._stored[register.name, field.name]
        bits = slice(field.low, field.low + field.width)
        given, within = self._port.write_data[bits], mask[bits]
        if field.access is Access.RW:
            m.d.sync += stored.eq((stored & ~within) | (given & within))
        elif field.access is Access.PULSE:
            m.d.sync += stored.eq(given & within)
        else:
            m.d.sync += stored.eq((stored & ~(given & within)) | getattr(self.regs, field.member))

    def _show(self, m: Module) -> None:
        """Give the machine what the host wrote."""
        for (register, name), stored in self._stored.items():
            field = self._field(register, name)
            if field.member and field.access is not Access.W1C:
                shown = getattr(self.regs, field.member)
                m.d.comb += shown.eq(stored << (len(shown) - field.width))

    def _content(self, register: Register, field: Field, kept: Value) -> Value:
        if field.access is Access.PULSE:
            return Value.cast(0)
        if field.access is not Access.RO:
            return self._stored[register.name, field.name]
        if field.constant:
            return Value.cast(field.reset)
        if register.half is Half.HIGH:
            return kept
        return getattr(self.regs, field.member)[: field.width]

    def _read(self, m: Module) -> None:
        port = self._port
        kept, owner = Signal(REGISTER_BITS), Signal(self.registers.address_bits - 2)
        m.d.comb += port.read_error.eq(1)
        with m.Switch(port.read_address[2:]):
            for register in self.registers.registers:
                with m.Case(self._word(register)):
                    m.d.comb += port.read_error.eq(0)
                    for field in register.fields:
                        content = self._content(register, field, kept)
                        m.d.comb += port.read_data[field.low : field.low + field.width].eq(content)
                    if register.half is Half.LOW:
                        number = getattr(self.regs, register.fields[0].member)
                        with m.If(port.read):
                            m.d.sync += [
                                kept.eq(number[register.fields[0].width :]),
                                owner.eq(self._word(register) + 1),
                            ]
                    if register.half is Half.HIGH:
                        # Halves of two numbers together would be a wrong number that nothing shows.
                        m.d.comb += port.read_error.eq(owner != self._word(register))

    def _interrupt(self, m: Module) -> None:
        if not self.registers.interrupts:
            return
        flags, enables = (
            Cat(self._stored[name, field.name] for field in self.registers.register(name).fields)
            for name in (self.registers.interrupts, self.registers.enables)
        )
        m.d.sync += self.irq.eq((flags & enables).any())
