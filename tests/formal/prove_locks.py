# SPDX-License-Identifier: Apache-2.0
"""Locks: no request for a row of a locked region passes the guard.

With what is proven of the writer (it pulses only the bank's row of a request that is there) no command changes what
a locked region holds. What the keeper does in maintenance is not part of it.
"""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import Component
from catalogue import Break, Proof
from design import find
from engine import Harness
from properties import before, held, hitherto, ports, withdrawn


def as_it_is_used(m: Module, dut: Component) -> Value:
    """Requests stay, the table holds while one is under way, and the bank controller answers only what it was asked."""
    write = next(port for port in ports(dut) if port.name == "write")
    pending = before(m, dut.write.valid & ~dut.write.ready)
    table = dut.regions.as_value()
    answered = dut.inner_written.valid
    return hitherto(
        m,
        ~withdrawn(m, write)
        & ~(pending & (table != before(m, table)))
        & (~answered | dut.inner_write.valid)
        & (dut.inner_write.ready == (answered & dut.inner_written.ready)),
    )


def locked_rows_stay(m: Module, dut: Component, *, table: Signal, request: Signal, valid: Signal):
    """Any table and any request, which stay as they are."""
    m.d.comb += [
        Value.cast(dut.regions).eq(held(m, table)),
        Value.cast(dut.write.payload).eq(held(m, request)),
        dut.write.valid.eq(valid),
    ]
    kept = as_it_is_used(m, dut)
    regions = dut.regions
    row = dut.inner_write.payload.row
    passes = kept & ~regions.slot & dut.inner_write.valid & regions.formatted & ~regions.maintenance
    for region in regions.regions:
        yield passes & region.locked & (row >= region.start) & (row < region.end)


def answers_each(m: Module, dut: Component):
    """Every request is taken together with its status, passed on or refused, never both."""
    kept = as_it_is_used(m, dut)
    yield kept & ((dut.write.valid & dut.write.ready) != (dut.written.valid & dut.written.ready))
    refused = Signal.like(dut.refusals)
    m.d.comb += refused.eq(dut.refusals - before(m, dut.refusals))
    taken = before(m, dut.write.valid & dut.write.ready)
    yield kept & ~before(m, dut.clear) & (refused != (taken & ~before(m, dut.inner_write.valid)))


GUARD = "mram.guard"


def guarded() -> Harness:
    guard = find("Guard", "tiny")
    widths = {"table": len(Value.cast(guard.regions)), "request": len(Value.cast(guard.write.payload)), "valid": 1}
    return Harness(guard, locked_rows_stay, bound=("regions", "write"), **widths)


PROOFS = (
    Proof(
        name="Guard: locked rows stay",
        claim="While there is a region table and no maintenance, no request for a row of a locked region is passed on"
        " (rows of the second slot, to which the guard moves them, left out).",
        build=guarded,
        cycles=4,
        seconds=120,
        breaks=(
            Break(
                module=GUARD,
                before="(region.locked | (region.paired",
                after="((region.locked & judged) | (region.paired",
            ),
            Break(
                module=GUARD,
                before="self._watch & judged & locked",
                after="self._watch & judged & locked & ~self.clear",
            ),
        ),
    ),
    Proof(
        name="Guard: answers each request once",
        claim="A request is taken together with its one status, and counted as a refusal if it is not passed on.",
        build=lambda: Harness(find("Guard", "tiny"), answers_each),
        breaks=(
            Break(module=GUARD, before="self.write.ready.eq(self.written.ready)", after="self.write.ready.eq(1)"),
        ),
    ),
)
