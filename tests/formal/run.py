# SPDX-License-Identifier: Apache-2.0
"""``./nox -s formal``: run the proofs, and the counterproofs on broken copies, and print a table."""

import argparse
import sys
import time
import warnings
from pathlib import Path

from amaranth.hdl import UnusedElaboratable
from catalogue import Proof
from document import write_document
from engine import Verdict, check
from proofs import all_proofs
from rich.console import Console
from rich.live import Live
from rich.table import Table

TRACES = Path(__file__).parents[2] / "build" / "formal"
WANTED = ("proven", "bounded")


def prove(proof: Proof) -> Verdict:
    """Run a proof; a counterexample is written to :data:`TRACES`."""
    return check(
        proof.build, seconds=proof.seconds, bound=proof.cycles, by_itself=proof.by_itself, trace=trace(proof)
    )


def trace(proof: Proof) -> Path:
    """Where a counterexample goes."""
    name = "".join(letter if letter.isalnum() else "-" for letter in proof.name)
    return TRACES / f"{name}.vcd"


def disprove(proof: Proof) -> list[Verdict]:
    """Run a proof on each of its broken copies."""
    verdicts = []
    for fault in proof.breaks:
        with fault.applied():
            verdicts.append(check(fault.build or proof.build, seconds=proof.seconds, bound=proof.cycles))
    return verdicts


def main() -> int:
    """Run what the arguments choose; returns how many proofs failed."""
    warnings.simplefilter("ignore", UnusedElaboratable)
    parser = argparse.ArgumentParser(prog="./nox -s formal --", description=__doc__)
    parser.add_argument("name", nargs="*", help="only proofs whose name has this in it")
    parser.add_argument("--no-breaks", action="store_true", help="leave the broken copies out")
    parser.add_argument("--write", action="store_true", help="write the table of docs/proofs.md, with the times")
    options = parser.parse_args()
    chosen = [p for p in all_proofs() if not options.name or any(name in p.name for name in options.name)]
    if not chosen:
        parser.error(f"no proof has {' or '.join(map(repr, options.name))} in its name")
    table = Table("proof", "method", "result", "registers", "seconds", "broken copies refuted")
    failures, seconds, console, begun = [], {}, Console(), time.monotonic()
    with Live(table, console=console, refresh_per_second=1, vertical_overflow="visible"):
        for number, proof in enumerate(chosen, 1):
            progress = f"{number} of {len(chosen)}, after {time.monotonic() - begun:.0f} s: {proof.name}"
            table.caption = progress
            if not console.is_terminal:  # where the table comes at the end alone
                print(progress, file=sys.stderr, flush=True)
            verdict = prove(proof)
            seconds[proof.name] = verdict.seconds
            refuted = [] if options.no_breaks else disprove(proof)
            found = sum(one.kind == "refuted" for one in refuted)
            table.add_row(
                proof.name, proof.method, verdict.kind, str(verdict.registers), f"{verdict.seconds:.0f}",
                "" if options.no_breaks else f"{found} of {len(refuted)}, after {cycles(refuted)} cycles",
            )  # fmt: skip
            failures += complaints(proof, verdict, found, len(refuted))
        table.caption = f"{len(chosen)} proofs in {time.monotonic() - begun:.0f} s"
    for failure in failures:
        print(failure, file=sys.stderr)
    if options.write and not failures:
        write_document(seconds)
    return len(failures)


def cycles(refuted: list[Verdict]) -> str:
    """The lengths of counterexamples."""
    return ", ".join(str(one.depth) for one in refuted if one.kind == "refuted")


def complaints(proof: Proof, verdict: Verdict, found: int, broken: int) -> list[str]:
    """What is wrong, a line each."""
    lines = []
    if verdict.kind == "refuted":
        seen = "the simulator confirms it" if verdict.replayed else "with what a memory that is cut out might hold"
        lines.append(f"{proof.name}: does not hold: after {verdict.depth} cycles, {seen}; see {verdict.trace}")
    elif verdict.kind not in WANTED:
        lines.append(f"{proof.name}: neither proven nor refuted within {proof.seconds} s")
    if found != broken:
        lines.append(f"{proof.name}: no counterexample in {broken - found} of {broken} broken copies")
    return lines


if __name__ == "__main__":
    sys.exit(bool(main()))
