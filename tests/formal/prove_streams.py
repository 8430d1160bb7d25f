# SPDX-License-Identifier: Apache-2.0
"""Every handshake of the machine: what is offered stays as it is until it is taken.

A component is taken out of the machine as it stands there and all of its inputs are free, but that what is offered *to*
it stays too. Since every offer in the machine comes from some component, the claims together hold for the whole.
"""

from functools import partial

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import Component
from catalogue import Break, Proof
from design import find
from engine import Harness
from mutation import Deaf
from properties import before, hitherto, offers_stay


def _provided(m: Module, dut: Component, condition):
    """The offers stay while ``condition(m, dut)`` has held."""
    kept = hitherto(m, condition(m, dut))
    return [kept & bad for bad in offers_stay(m, dut)]


def _not_cleared(m: Module, dut: Component) -> Value:
    return ~dut.clear


def _holds(m: Module, offer: object, held: Value) -> Value:
    return ~before(m, offer.valid & ~offer.ready) | (held == before(m, held))


def _address_holds(m: Module, dut: Component) -> Value:
    return _holds(m, dut.command, dut.address)


def _measured_holds(m: Module, dut: Component) -> Value:
    return _holds(m, dut.report, dut.measured.as_value())


def _ends_behind_its_words(m: Module, dut: Component) -> Value:
    return ~(dut.memory.status.valid & dut.memory.words.valid & ~dut.memory.words.ready)


def _status_with_its_request(m: Module, dut: Component) -> Value:
    return ~(dut.written.valid & dut.write.valid & ~dut.write.ready)


def _takes_when_ready(m: Module, dut: Component) -> Value:
    return (~dut.take | dut.ready) & _holds(m, dut.write, dut.whole)


CONDITIONS = {
    "WordsToBeats": (_not_cleared, "``clear`` is low: it drops a beat, of a command that has timed out"),
    "BlockFetch": (_address_holds, "``address`` holds, as its contract asks"),
    "JobControl": (_measured_holds, "``measured`` holds"),
    "Storer": (_ends_behind_its_words, "no status comes before a word that waits: after a time-out it drops that one"),
    "RowUpdate": (_status_with_its_request, "no status comes before its request is taken, as RowWriter is proven to"),
    "WordWriter": (_takes_when_ready, "``take`` comes only with ``ready`` and ``whole`` holds, as its contract asks"),
}
"""What else a component needs, and why."""
INDUCTIVE = (
    "SkidBuffer", "ReadArbiter", "BurstSplitter", "DmaRead", "DmaWrite", "BeatsToWords", "WordsToBeats", "AxiLitePort",
    "RowWalk", "RowDecoder", "RowWriter", "Fetch", "GroupGather", "BlockFetch", "JobControl", "Storer",
    "TileRows", "RangeReader", "RowUpdate", "WordWriter", "Accumulator", "RegisterFile", "MramController", "Engine",
)  # fmt: skip
QUICK = ("SkidBuffer", "BurstSplitter", "RowWalk", "AxiLitePort")
_TOO_LARGE = "neither proven nor refuted within the time limit"
_UNTESTED = "a proof by induction was found, but no counterexample in a broken copy in time, so it does not count"
_WHOLE = "made of the others, and too large as a whole; how it connects and switches them is not proven"
NOT_PROVEN = {
    "Accelerator": _WHOLE,
    "DepthwiseUnit": _UNTESTED,
    "ErrorLog": "not tried",
    "Gather": _UNTESTED,
    "GradientFeeder": _TOO_LARGE,
    "Guard": "its offers follow the region table, which has no handshake; what it lets pass is proven above",
    "Host": _WHOLE,
    "Keeper": "not tried",
    "Loader": _TOO_LARGE,
    "LossHead": _TOO_LARGE,
    "Machine": _WHOLE,
    "MaintainedMemory": _WHOLE,
    "SequencedAccelerator": _WHOLE,
    "Sequencer": _WHOLE,
    "Stager": "not tried: it holds whole descriptors",
    "Sweep": "not tried",
    "TernarySteps": _TOO_LARGE,
    "Transposer": _TOO_LARGE,
    "Update": _WHOLE,
    "VectorUnit": _TOO_LARGE,
    "Window": _UNTESTED,
}
"""Components that offer something of which nothing is proven here, and why. Their benches check what comes out."""


def _harness(kind: str, wrapper=lambda dut: dut) -> Harness:
    condition = CONDITIONS.get(kind)
    properties = partial(_provided, condition=condition[0]) if condition else offers_stay
    return Harness(wrapper(find(kind)), properties)


PROOFS = tuple(
    Proof(
        name=f"{kind}: offers stay",
        claim="What it offers stays unchanged until it is taken"
        + (f", while {CONDITIONS[kind][1]}." if kind in CONDITIONS else "."),
        build=partial(_harness, kind),
        breaks=(Break(build=partial(_harness, kind, Deaf)),),
        quick=kind in QUICK,
    )
    for kind in INDUCTIVE
)
