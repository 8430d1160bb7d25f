# SPDX-License-Identifier: Apache-2.0
"""Every handshake of the machine: what is offered stays as it is until it is taken.

A component is taken out of the machine as it stands there and all of its inputs are free, but that what is offered *to*
it stays too. Since every offer in the machine comes from some component, and none depends on itself within a cycle, the
claims together hold for the whole.

Parts of a component may be free as well, as long as they keep to what is proven of them. What is claimed then includes
that the component offers nothing to a part that goes, and does what the part asks.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from amaranth.hdl import Cat, Module, Value
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import Component, Out
from catalogue import Break, Proof
from design import find
from engine import Harness
from mutation import Deaf
from parts import Part
from properties import before, hitherto, ports, withdrawn
from prove_transport import WIDTH, Queue
from stream_cases import CASES, kind_of
from stream_rules import ASKS, PROMISES

from respin.rtl.buffer.feeder import BUFFERED_WORDS
from respin.rtl.mram.error_log import LOG_DEPTH


def keeps(m: Module, dut: Component, parts: Sequence[Part] = (), *, name: str) -> Iterator[Value]:
    """What the component of a case, or a broken copy of it, claims."""
    case, kind = CASES[name], kind_of(name)
    claimed, assumed = [withdrawn(m, port) for port in ports(dut) if port.flow == Out], []
    if kind in ASKS:
        assumed.append(~ASKS[kind].holds(m, dut))
    if kind in PROMISES:
        claimed.append(~PROMISES[kind].holds(m, dut))
    for part in parts:
        # A part that has just been reset begins anew.
        begun = ~before(m, part.reset)
        if part.kind in PROMISES:
            assumed.append(begun & ~PROMISES[part.kind].holds(m, part.component))
        if part.kind in ASKS:
            claimed.append(begun & ~ASKS[part.kind].holds(m, part.component))
        claimed += [begun & withdrawn(m, port) for port in ports(part.component) if port.flow != Out]
    if case.given is not None:
        by_kind = {kind: [part.component for part in parts if part.kind == kind] for kind in case.free}
        assumed.append(~case.given(m, dut, by_kind))
    kept = hitherto(m, ~Cat(assumed).any())
    for bad in claimed:
        yield kept & bad


def _harness(name: str, wrapper: Callable[[Component], Component] = lambda dut: dut) -> Harness:
    case = CASES[name]
    return Harness(
        wrapper(find(kind_of(name), case.configuration)), partial(keeps, name=name), free=case.free,
        largest_memory=case.largest_memory, orderly=True, apart=case.apart,
    )  # fmt: skip


def _claim(name: str) -> str:
    case, kind = CASES[name], kind_of(name)
    promise = PROMISES.get(kind)
    claims = ["What it offers stays unchanged until it is taken"] if case.deaf else []
    claims += [promise.says] if promise else []
    conditions = [rule for rule in (ASKS[kind].says if kind in ASKS else "", case.says) if rule]
    while_ = f", while {', and '.join(conditions)}" if conditions else ""
    free = f" Free: {', '.join(case.free)}." if case.free else ""
    return f"{'; '.join(claims)}{while_}.{free}"


def _queue_keeps(m: Module, dut: Queue) -> Iterator[Value]:
    yield before(m, dut.r_rdy & ~dut.r_en) & (~dut.r_rdy | (dut.r_data != before(m, dut.r_data)))


def _queue(kind: type, depth: int, fault: str = "") -> Harness:
    return Harness(Queue(kind, WIDTH, depth, fault=fault), _queue_keeps)


QUEUES = {"errors": (SyncFIFO, LOG_DEPTH), "words of the gradient feeder": (SyncFIFOBuffered, BUFFERED_WORDS)}

PROOFS = (
    *(
        Proof(
            name=f"{name}: {'offers stay' if case.deaf else 'holds'}",
            claim=_claim(name),
            build=partial(_harness, name),
            breaks=(*((Break(build=partial(_harness, name, Deaf)),) if case.deaf else ()), *case.breaks),
            quick=case.quick,
        )
        for name, case in CASES.items()
    ),
    *(
        Proof(
            name=f"queue of {what}: offers stay",
            claim=f"What it offers stays unchanged until it is taken. {depth} deep.",
            build=partial(_queue, kind, depth),
            breaks=(Break(build=partial(_queue, kind, depth, "takes all")),),
        )
        for what, (kind, depth) in QUEUES.items()
    ),
)
