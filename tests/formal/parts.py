# SPDX-License-Identifier: Apache-2.0
"""A component some of whose parts are free: whatever they put out, as long as it keeps to what is proven of them."""

from dataclasses import dataclass
from itertools import accumulate, pairwise

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value, ValueCastable
from amaranth.lib.wiring import Component, In, Out
from properties import Port, ports

_FIFO = ("w_rdy", "w_level", "r_data", "r_rdy", "r_level")
LIBRARY = {"Processor": ("crc", "match_detected"), "SyncFIFO": _FIFO, "SyncFIFOBuffered": _FIFO}
"""Outputs of parts out of Amaranth's library, which have no signature."""


@dataclass(frozen=True)
class Part:
    """A component that is taken out of another one. ``reset`` is high where that one resets it."""

    component: Component
    reset: Value

    @property
    def kind(self) -> str:
        """What its class is called."""
        return type(self.component).__name__


def outputs(part: object) -> list[Value]:
    """What a part drives."""
    if names := LIBRARY.get(type(part).__name__):
        values = [getattr(part, name) for name in names]
    else:
        values = [value for _, member, value in part.signature.flatten(part) if member.flow == Out]
    return [wire for wire in map(Value.cast, values) if len(wire)]


def drive(m: Module, wires: list[Value], free: list[Value], offers: list[Port], reset: Value) -> None:
    """Give wires any values, but what is offered with them stays until it is taken, or until a reset."""
    waiting = {}
    for port in offers:
        waits = Signal()
        m.d.sync += waits.eq(port.valid & ~port.ready & ~reset)
        waiting |= {id(Value.cast(wire)): waits for wire in (port.valid, *port.payload)}
    for wire, value in zip(wires, free, strict=True):
        waits = waiting.get(id(wire))
        if waits is None:
            m.d.comb += wire.eq(value)
        else:
            last = Signal(len(wire))
            m.d.sync += last.eq(wire)
            m.d.comb += wire.eq(Mux(waits, last, value))


class Free(Component):
    """Stands where a part was: puts out what is ``said``, but what it offers stays until it is taken."""

    def __init__(self, part: Part) -> None:
        self._part, self._outputs = part, outputs(part.component)
        super().__init__({"said": In(sum(map(len, self._outputs)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ends = list(accumulate(map(len, self._outputs), initial=0))
        said = [self.said[begin:end] for begin, end in pairwise(ends)]
        offered = [port for port in ports(self._part.component) if port.flow == Out]
        drive(m, self._outputs, said, offered, self._part.reset)
        return m


def opened(dut: Component, kinds: tuple[str, ...]) -> tuple[object, list[Part], list[Signal]]:
    """Elaborate a component with parts of these classes made free.

    Returns what stands for it, the parts, and for each its outputs, which are to be driven.

    Raises
    ------
    LookupError
        If there is no part of such a class.
    TypeError
        If something else than a reset is inserted into a part.
    ValueError
        If a part has a signal that is none of its members, which the component might look at.
    """
    parts: list[Part] = []
    said: list[Signal] = []

    def visit(part: object, reset: Value, top: bool = False) -> object:
        if hasattr(part, "_elaboratable_"):  # behind a ResetInserter
            inner = part._elaboratable_
            part._elaboratable_ = visit(inner, reset | _reset_by(part))
            return part._elaboratable_ if isinstance(part._elaboratable_, Free) else part
        if not top and type(part).__name__ in kinds:
            _refuse_other_signals(part)
            parts.append(Part(part, reset))
            free = Free(parts[-1])
            said.append(free.said)
            return free
        if not isinstance(part, Module):
            if not type(part).__module__.startswith(("respin.", "mutation")):
                return part
            part = part.elaborate(None)
        if isinstance(part, Module):
            for children in (part._named_submodules, part._anon_submodules):
                for key, (child, where) in children.items() if isinstance(children, dict) else enumerate(children):
                    children[key] = (visit(child, reset), where)
        return part

    module = visit(dut, Signal(), top=True)
    if missing := set(kinds) - {part.kind for part in parts}:
        raise LookupError(f"{type(dut).__name__} has no part {', '.join(sorted(missing))}")
    return module, parts, said


def _reset_by(wrapped: object) -> Value:
    (transform,) = wrapped._transforms_
    if not isinstance(transform, ResetInserter):
        raise TypeError(f"a part behind {type(transform).__name__} cannot be free")
    return Value.cast(transform.controls["sync"])


def _refuse_other_signals(part: Component) -> None:
    if type(part).__name__ in LIBRARY:
        return
    members = {id(value) for name in part.signature.members for value in [getattr(part, name)]}
    for name, value in vars(part).items():
        if isinstance(value, Value | ValueCastable) and id(value) not in members:
            raise ValueError(f"{type(part).__name__}.{name} is no member of it")
