# SPDX-License-Identifier: Apache-2.0
"""What components ask of those who use them, and promise to them, besides that offers stay until they are taken.

Where a component is proven these are assumed and claimed; where it is a part of another one that is proven, and free,
what it asks is claimed and what it promises is assumed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component
from properties import before

from respin.rtl.sequencer.ports import gives_no_words


@dataclass(frozen=True)
class Rule:
    """``holds`` is high as long as it does what it ``says``."""

    says: str
    holds: Callable[[Module, Component], Value]


def same(m: Module, value: Value) -> Value:
    """It is what it was in the cycle before."""
    wire = Value.cast(value)
    return wire == before(m, wire)


def _waits(port: object) -> Value:
    return port.valid & ~port.ready


def _holds(m: Module, offer: object, held: Value) -> Value:
    return ~before(m, _waits(offer)) | same(m, held)


def with_its_request(status: object, request: object) -> Value:
    """No status is taken before its request is."""
    return ~(status.valid & status.ready & _waits(request))


def _takes_when_ready(m: Module, dut: Component) -> Value:
    return (~(dut.take & dut.place.valid) | dut.ready) & _holds(m, dut.write, dut.whole)


def _read_in_order(m: Module, memory: object) -> Value:
    """No word comes after a command's last one, and no refusal or time-out before a word that waits."""
    over = Signal()
    with m.If(memory.command.valid & memory.command.ready):
        m.d.sync += over.eq(0)
    with m.Elif(memory.words.valid & memory.words.ready & memory.words.payload.last):
        m.d.sync += over.eq(1)
    given_up = memory.status.valid & gives_no_words(memory.status.payload.error)
    return ~(memory.words.valid & over) & ~(given_up & _waits(memory.words))


def _written_in_order(memory: object) -> Value:
    """No status comes before a word that waits."""
    return ~(memory.status.valid & _waits(memory.words))


def _loads(m: Module, dut: Component) -> Value:
    return _read_in_order(m, dut.memory) & with_its_request(dut.row_written, dut.row_write)


def _moves(m: Module, dut: Component) -> Value:
    return _read_in_order(m, dut.load) & _written_in_order(dut.store)


def job_slots(dut: Component) -> list[tuple[object, object]]:
    """The ports of a sequencer's or an accelerator's job slots, each a job's and its report's."""
    slots = (("job", "report"), ("light_job", "light_report"))
    return [(getattr(dut, job), getattr(dut, report)) for job, report in slots if hasattr(dut, job)]


def _reports(dut: Component) -> Value:
    """No job is reported before it is taken."""
    return Cat(with_its_request(report, job) for job, report in job_slots(dut)).all()


def _sequences(m: Module, dut: Component) -> Value:
    return _moves(m, dut) & with_its_request(dut.row_written, dut.row_write) & _reports(dut)


def _sweeps_on(m: Module, dut: Component) -> Value:
    under_way = before(m, dut.go & ~dut.done)
    return (~under_way | (dut.go & same(m, dut.order))) & with_its_request(dut.row_written, dut.row_write)


def together(request: object, status: object) -> Value:
    """A request is taken together with its status, and there is none without a request."""
    return ((request.valid & request.ready) == (status.valid & status.ready)) & (request.valid | ~status.valid)


def _guarded(m: Module, dut: Component) -> Value:
    waits = Cat(_waits(port) for port in (dut.read, dut.write)).any()
    return (~before(m, waits) | same(m, dut.regions)) & together(dut.inner_write, dut.inner_written)


def _writes(m: Module, dut: Component) -> Value:
    """It offers a word only after it took a group."""
    began = before(m, dut.write.valid | (dut.take & dut.place.valid))
    waits = before(m, dut.ready & ~(dut.take & dut.place.valid))
    return (dut.ready | ~waits) & ~(dut.idle & dut.write.valid) & (began | ~dut.write.valid)


def _walks(m: Module, dut: Component) -> Value:
    stands = before(m, ~dut.start & ~dut.go) & same(m, Cat(dut.pixels, dut.steps, dut.bias))
    return ~stands | same(m, Cat(dut.errors, dut.ones, dut.index, dut.present, dut.end))


def _controls(m: Module, dut: Component) -> Value:
    began = dut.offer & ~before(m, dut.offer)
    under_way = dut.settle | dut.offer.any()
    return (
        together(dut.job, dut.report)
        & (dut.job.valid | dut.idle)
        & (~began.any() | before(m, dut.idle))
        & ~((dut.idle | dut.report.valid) & under_way)
        & ~(dut.lookup & under_way)
        & (~dut.settle | dut.job.payload.settle)
        & (~dut.lookup | dut.job.valid & dut.job.payload.scaled)
    )


def _answers(m: Module, dut: Component) -> Value:
    return _reports(dut) & with_its_request(dut.row_written, dut.row_write)


def _stays_resolved(m: Module, dut: Component) -> Value:
    under_way = Signal()
    with m.If(dut.resolve):
        m.d.sync += under_way.eq(1)
    with m.Elif(dut.resolved):
        m.d.sync += under_way.eq(0)
    return before(m, under_way) | same(m, Cat(dut.incoming, dut.rebase, dut.align))


def _keeps_to_its_turn(m: Module, dut: Component) -> Value:
    asks = dut.row_write.valid | dut.row_read.valid
    return ~(dut.idle & asks) & (dut.idle | ~before(m, dut.idle & ~dut.start))


_IN_ORDER = "no word comes after a command's last one, and no refusal or time-out before a word that waits"
_STATUS = "no status is taken before its request"

ASKS = {
    "WordsToBeats": Rule("``clear`` is low: it drops a beat, of a command that timed out", lambda m, dut: ~dut.clear),
    "BlockFetch": Rule("``address`` holds", lambda m, dut: _holds(m, dut.command, dut.address)),
    "JobControl": Rule("``measured`` holds", lambda m, dut: _holds(m, dut.report, dut.measured)),
    "JobSlot": Rule("no report is taken before its job is", lambda m, dut: with_its_request(dut.report, dut.held)),
    "Storer": Rule(
        "no status comes before a word that waits: after a time-out it drops that one",
        lambda m, dut: _written_in_order(dut.memory),
    ),
    "RowUpdate": Rule(_STATUS, lambda m, dut: with_its_request(dut.written, dut.write)),
    "Update": Rule(_STATUS, lambda m, dut: with_its_request(dut.written, dut.write)),
    "Keeper": Rule(_STATUS, lambda m, dut: with_its_request(dut.row_written, dut.row_write)),
    "Sweep": Rule(f"``order`` and ``go`` hold until ``done``, and {_STATUS}", _sweeps_on),
    "WordWriter": Rule("``take`` comes only with ``ready``, and ``whole`` holds", _takes_when_ready),
    "Loader": Rule(f"{_IN_ORDER}, and {_STATUS}", _loads),
    "ScalingRows": Rule(_STATUS, lambda m, dut: with_its_request(dut.row_written, dut.row_write)),
    "Sequencer": Rule(f"{_IN_ORDER}, and {_STATUS}", _sequences),
    "SequencedAccelerator": Rule(_IN_ORDER, _moves),
    "RowWriter": Rule(
        "a request's range holds, and a bank is granted to who claims it",
        lambda m, dut: _holds(m, dut.requests, dut.in_range) & (~dut.granted | dut.claim),
    ),
    "MramController": Rule(
        "what maintenance may write holds for a request", lambda m, dut: _holds(m, dut.write, dut.maintenance[1])
    ),
    "Guard": Rule(
        "the region table holds while a request waits, and requests are taken together with their status", _guarded
    ),
}
"""Of those who use them."""

_TOGETHER = "a request is taken together with its status"
_STILL = "What it puts out holds while ``en`` is low"
PROMISES = {
    "RandomLanes": Rule(_STILL, lambda m, dut: before(m, dut.en) | same(m, dut.random)),
    "StepProbability": Rule(_STILL, lambda m, dut: before(m, dut.en) | same(m, dut.probabilities)),
    "GatherLanes": Rule(_STILL, lambda m, dut: before(m, dut.en) | same(m, dut.sums)),
    "DelayedScales": Rule(
        "What was found stays until the next ``lookup``",
        lambda m, dut: before(m, dut.lookup) | same(m, Cat(dut.valid, dut.shift)),
    ),
    "JobControl": Rule(
        "a job is taken together with its report; units are offered theirs from its beginning on, and it looks nothing"
        " up, reports and rests only while they are offered nothing and nothing is settled; it looks up and settles"
        " what its job says",
        _controls,
    ),
    "Accelerator": Rule("no job is reported and no write ended before it is taken", _answers),
    "BlockWalk": Rule("What it says of a word holds until it goes on", _walks),
    "EdgeState": Rule("What was resolved holds until the next ``resolve``", _stays_resolved),
    "ScalingRows": Rule("it begins with ``start``, and while it is ``idle`` it asks for nothing", _keeps_to_its_turn),
    "WordWriter": Rule("it stays ``ready`` until it takes a group, and offers nothing before one", _writes),
    "RowWriter": Rule(_TOGETHER, lambda m, dut: together(dut.requests, dut.status)),
    "MramController": Rule(
        f"{_TOGETHER}, and where it is ``idle`` it offers no row",
        lambda m, dut: together(dut.write, dut.written) & ~(dut.idle & dut.rows.valid),
    ),
    "MaintainedMemory": Rule(_TOGETHER, lambda m, dut: together(dut.write, dut.written)),
    "Guard": Rule(_TOGETHER, lambda m, dut: together(dut.write, dut.written)),
}
"""To those who use them."""
