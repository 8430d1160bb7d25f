# SPDX-License-Identifier: Apache-2.0
"""What is asked of handshakes."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.fifo import FIFOInterface
from amaranth.lib.wiring import Component, Flow, Out, Signature


@dataclass(frozen=True)
class Port:
    """A handshake in a component's signature: where it is, who offers (``Out``: the component), and its wires."""

    name: str
    flow: Flow
    valid: Value
    ready: Value
    payload: tuple[Value, ...]


def ports(component: Component) -> list[Port]:
    """Every valid/ready pair in the signature, streams and AXI channels alike."""
    if isinstance(component, FIFOInterface):
        return [Port(name="r", flow=Out, valid=component.r_rdy, ready=component.r_en, payload=(component.r_data,))]
    return list(_ports(component.signature, component, "")) if isinstance(component, Component) else []


def _ports(signature: Signature, interface: object, path: str) -> Iterator[Port]:
    members = signature.members
    for name in members:
        prefix = name.removesuffix("valid")
        if prefix == name or f"{prefix}ready" not in members:
            continue
        offered = members[name].flow
        payload = [
            other
            for other, member in members.items()
            if other != name and member.flow == offered and member.is_port and _belongs(other, prefix, members)
        ]
        yield Port(
            name=f"{path}{prefix}".strip("."),
            flow=offered,
            valid=getattr(interface, name),
            ready=getattr(interface, f"{prefix}ready"),
            payload=tuple(getattr(interface, other) for other in payload),
        )
    for name, member in members.items():
        if member.is_signature:
            for index, one in _instances(member.dimensions, getattr(interface, name)):
                # An In member's signature is flipped already.
                yield from _ports(member.signature, one, f"{path}{name}{index}.")


def _instances(dimensions: tuple[int, ...], value: object) -> Iterator[tuple[str, object]]:
    if not dimensions:
        yield "", value
    else:
        for number in range(dimensions[0]):
            for index, one in _instances(dimensions[1:], value[number]):
                yield f"[{number}]{index}", one


AXI_CHANNELS = ("aw", "w", "b", "ar", "r")


def _belongs(name: str, prefix: str, members: dict) -> bool:
    """Whether a member is carried by the channel: in a bundle of AXI channels its name begins like the channel's."""
    if not prefix:
        return True
    candidates = (c for c in AXI_CHANNELS if f"{c}valid" in members and name.startswith(c))
    return max(candidates, key=len, default="") == prefix


def before(m: Module, value: Value) -> Signal:
    """Its value in the cycle before; 0 at first."""
    wire = Value.cast(value)
    kept = Signal(len(wire))
    m.d.sync += kept.eq(wire)
    return kept


def withdrawn(m: Module, port: Port) -> Value:
    """An offer that was not taken has gone, or has changed."""
    content = Cat(*(Value.cast(part) for part in port.payload))
    return before(m, port.valid & ~port.ready) & (~port.valid | (content != before(m, content)))


def hitherto(m: Module, holds: Value) -> Signal:
    """It holds in this cycle and has held in all before: what is assumed of the inputs."""
    kept, now = Signal(init=1), Signal()
    m.d.comb += now.eq(kept & holds)
    m.d.sync += kept.eq(now)
    return now


def in_states(dut: Component, *states: str) -> Value:
    """It is in one of these states of the machine that it keeps as ``_states``."""
    return Cat(dut._states.ongoing(state) for state in states).any()


def held(m: Module, value: Value) -> Value:
    """What ``value`` is in the first cycle, at all times: of a free input, any constant."""
    wire = Value.cast(value)
    begun, kept = Signal(), Signal(len(wire))
    with m.If(~begun):
        m.d.sync += [begun.eq(1), kept.eq(wire)]
    return Mux(begun, kept, wire)
