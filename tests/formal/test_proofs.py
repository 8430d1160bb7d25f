# SPDX-License-Identifier: Apache-2.0
"""The quick proofs; that every handshake has one; and that docs/proofs.md says so."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from design import components
from document import DOCUMENT, seconds_written, table, written
from engine import Harness, check
from mutation import broken
from parts import LIBRARY
from proofs import all_proofs
from properties import ports
from prove_streams import QUEUES
from run import prove
from stream_cases import CASES, KINDS
from stream_rules import ASKS, PROMISES

from respin.rtl.vector.skid import SkidBuffer

QUICK = [proof for proof in all_proofs() if proof.quick]
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_proof(proof):
    verdict = prove(proof)
    assert verdict.kind in ("proven", "bounded"), verdict


@pytest.mark.parametrize("proof", [p for p in QUICK if p.seconds <= 60], ids=lambda proof: proof.name)
def test_the_first_broken_copy_is_refuted(proof, tmp_path):
    fault = proof.breaks[0]
    with fault.applied():
        verdict = check(
            fault.build or proof.build, seconds=proof.seconds, bound=proof.cycles, trace=tmp_path / "trace.vcd"
        )
    assert verdict.kind == "refuted"
    assert verdict.replayed
    assert "$enddefinitions" in verdict.trace.read_text(encoding="utf-8")


def test_every_proof_has_broken_copies_and_a_name_of_its_own():
    proofs = all_proofs()
    assert all(proof.breaks for proof in proofs)
    assert len({proof.name for proof in proofs}) == len(proofs)


@pytest.mark.parametrize("configuration", ["nano", "tiny", "two slots"])
def test_every_handshake_has_a_proof(configuration):
    offering = {
        type(component).__name__ for component in components(configuration)
        if any(port.flow == Out for port in ports(component))
    }  # fmt: skip
    assert offering <= KINDS, "a component offers something, and nothing is said of it"


def test_parts_that_are_free_are_proven():
    free = {kind for case in CASES.values() for kind in case.free}
    offering = {
        type(component).__name__ for component in components("two slots")
        if any(port.flow == Out for port in ports(component))
    }  # fmt: skip
    assert free & (offering | {*PROMISES}) <= KINDS
    assert free & {*LIBRARY} - {"Processor"} <= {kind.__name__ for kind, _ in QUEUES.values()}
    assert {*ASKS, *PROMISES} <= KINDS


def test_nothing_is_said_of_components_that_are_not_there():
    assert {type(component).__name__ for component in components("two slots")} >= KINDS


def test_document_lists_the_proofs():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert written(text) == table(seconds_written(text)), "run ./nox -s formal -- --write"


class Saturating(Component):
    """Counts cycles in which ``go`` is high, up to 5."""

    go: In(1)
    count: Out(3)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.go & (self.count != 5)):
            m.d.sync += self.count.eq(self.count + 1)
        return m


@pytest.mark.parametrize(("limit", "kind"), [(5, "proven"), (4, "refuted")])
def test_properties_apart(limit, kind):
    """One of several that fails, long after reset, makes the verdict, and is replayed."""

    def properties(m, dut):
        yield dut.count == 7
        yield dut.count > limit
        yield (dut.count == 6) & dut.go

    verdict = check(lambda: Harness(Saturating(), properties, apart=True), seconds=20)
    assert (verdict.kind, verdict.replayed) == (kind, kind == "refuted")
    assert verdict.depth == (6 if kind == "refuted" else None)


def test_a_fault_must_be_where_it_is_put():
    fault = broken("vector.skid", "nowhere", "")
    with pytest.raises(ValueError, match="vector.skid: 'nowhere' stands there 0 times, not once"), fault:
        pass


def test_a_broken_copy_is_gone_afterwards():
    methods = vars(SkidBuffer)["elaborate"]
    with broken("vector.skid", "self.i.ready.eq(~waits)", "self.i.ready.eq(1)"):
        assert vars(SkidBuffer)["elaborate"] is not methods
    assert vars(SkidBuffer)["elaborate"] is methods


def test_out_of_time_is_neither_proven_nor_refuted():
    def properties(m, dut):
        # x * y differs from y * x: no solver shows within a second that it never does.
        yield (dut.i.payload.x * dut.i.payload.y * 3) != (dut.i.payload.y * 3 * dut.i.payload.x)

    layout = data.StructLayout({"x": 24, "y": 24})
    assert check(lambda: Harness(SkidBuffer(layout), properties), seconds=1, bound=3).kind == "unknown"
