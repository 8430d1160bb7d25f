# SPDX-License-Identifier: Apache-2.0
"""Locks: no request for a row of a locked region passes the guard.

With what is proven of the writer (it pulses only the bank's row of a request that is there) no command changes what
a locked region holds. What the keeper does in maintenance is not part of it.
"""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component
from catalogue import Break, Proof
from design import find
from engine import Harness, Properties
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


def one_request(m: Module, dut: Component, table: Signal, request: Signal, valid: Signal) -> Value:
    """Any table and any request, which stay as they are."""
    m.d.comb += [
        Value.cast(dut.regions).eq(held(m, table)),
        Value.cast(dut.write.payload).eq(held(m, request)),
        dut.write.valid.eq(valid),
    ]
    return as_it_is_used(m, dut)


def wrong_verdict(dut: Component) -> Value:
    """What the guard keeps of the request that waits is not what the table says of it."""
    verdict = dut.verdict
    return verdict.judged & ((verdict.locked != verdict.closed) | (verdict.row != verdict.target))


def verdicts_hold(m: Module, dut: Component, *, table: Signal, request: Signal, valid: Signal):
    """Of any request, as long as it waits."""
    yield one_request(m, dut, table, request, valid) & wrong_verdict(dut)


def locked_rows_stay(m: Module, dut: Component, *, table: Signal, request: Signal, valid: Signal):
    """No request passes that would change what a locked region holds, as long as verdicts hold."""
    kept = one_request(m, dut, table, request, valid) & ~wrong_verdict(dut)
    regions, row = dut.regions, dut.inner_write.payload.row
    passes = kept & _hangs_together(regions) & dut.inner_write.valid & regions.formatted & ~regions.maintenance
    for region in regions.regions:
        yield passes & region.locked & (row >= region.start) & (row < region.end)


def _hangs_together(regions: Value) -> Value:
    """The active task's two slots are a region's rows, and no other region reaches into it."""
    active, holds = regions.active, []
    end = active.start + 2 * active.slot_rows
    for number, region in enumerate(regions.regions):
        is_its = regions.active.region == number
        holds += [
            ~is_its | (region.start == active.start) & (region.end == end) & region.paired,
            is_its | (region.end <= active.start) | (region.start >= end),
        ]
    return ~active.valid | (active.region < len(regions.regions)) & Cat(holds).all()


def answers_each(m: Module, dut: Component):
    """Every request is taken together with its status, passed on or refused, never both."""
    kept = as_it_is_used(m, dut)
    yield kept & ((dut.write.valid & dut.write.ready) != (dut.written.valid & dut.written.ready))
    refused = Signal.like(dut.refusals)
    m.d.comb += refused.eq(dut.refusals - before(m, dut.refusals))
    taken = before(m, dut.write.valid & dut.write.ready)
    yield kept & ~before(m, dut.clear) & (refused != (taken & ~before(m, dut.inner_write.valid)))


GUARD = "mram.guard"


def guarded(properties: Properties) -> Harness:
    guard = find("Guard", "tiny")
    widths = {"table": len(Value.cast(guard.regions)), "request": len(Value.cast(guard.write.payload)), "valid": 1}
    return Harness(guard, properties, bound=("regions", "write"), **widths)


PROOFS = (
    Proof(
        name="Guard: verdicts hold",
        claim="The verdict on a request, and the row it is moved to, are what the region table says of it, as long as"
        " it waits.",
        build=lambda: guarded(verdicts_hold),
        by_itself=True,
        seconds=120,
        breaks=(
            Break(module=GUARD, before="locked.eq(verdict.closed)", after="locked.eq(verdict.closed & ~self.clear)"),
            Break(module=GUARD, before="row.eq(verdict.target)", after="row.eq(request.row)"),
            Break(
                module=GUARD,
                before="closed |= inside & (region.locked | (region.paired",
                after="closed |= inside & ((region.locked & judged) | (region.paired",
            ),
        ),
    ),
    Proof(
        name="Guard: locked rows stay",
        claim="While there is a region table and no maintenance, and verdicts hold, no request is passed on that names"
        " a row of a locked region, moved by the guard or not.",
        build=lambda: guarded(locked_rows_stay),
        seconds=120,
        breaks=(
            Break(module=GUARD, before="closed |= inside & (region.locked | (", after="closed |= inside & (("),
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
