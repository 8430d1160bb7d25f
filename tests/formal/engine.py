# SPDX-License-Identifier: Apache-2.0
"""Ask a model checker whether something bad can ever happen in a component, whatever its inputs do.

The component's netlist is made into a circuit of gates and registers (Yosys), which ABC judges. It answers with
a proof, with a counterexample, which is then replayed in Amaranth's simulator, or that it ran out of time.
"""

import re
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyosys
from aiger import Circuit
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Const, Module, Value
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import Simulator
from parts import drive, opened
from properties import ports

from respin.gen.synthesis import run_yosys

ABC = Path(pyosys.__file__).parent / "yosys-abc"
METHODS = {1: "strash; sat -C 0"}
"""How a circuit is looked at for so many cycles, where there is something better than for more."""
TOGETHER = "scleanup; dc2; ind -F 1; pdr -T {seconds}"
APART = "scleanup; dc2; scorr; sat -C 0; pdr -T {seconds}"
"""A property by itself is small enough to merge registers that are equal, until there may be none left."""
ITSELF = "scleanup; dc2; ind -F 2"
"""A step of induction from any state in which the property holds."""
ASSERTED = r"asserted in frame (\d+)|^SATISFIABLE"
PROVEN = r"Property proved|Networks are equivalent|UNSATISFIABLE"

Properties = Callable[..., Iterable[Value]]
"""Given a module to put logic into, the component, and by name what else is free: values that must never be high."""


class Harness(Component):
    """A component in a clock domain that is never reset, all of its inputs free, and ``bad``.

    ``choices`` are free inputs besides, by name and width: what the properties may choose. Inputs in ``bound`` are left
    to the properties, which drive them. Parts of the component whose classes are in ``free`` are taken out: what they
    put out is free too, and the properties are given the ``parts``. Memories of more words than ``largest_memory`` are
    cut out: whatever is read from them, the property is to hold. With ``orderly`` what is offered to the component
    stays until it is taken; what free parts offer always does. With ``apart`` each property is judged by itself: so are
    those of large components, of which each property concerns a part.
    """

    def __init__(
        self,
        dut: Component,
        properties: Properties,
        *,
        bound: Container[str] = (),
        free: tuple[str, ...] = (),
        largest_memory: int = 32,
        orderly: bool = False,
        apart: bool = False,
        **choices: int,
    ) -> None:
        self.largest_memory, self._orderly, self.apart = largest_memory, orderly, apart
        self._dut = self._component = dut
        self._properties, self._choices = properties, choices
        self._free = [
            (f"free_{number}_{'_'.join(map(str, path))}", value)
            for number, (path, member, value) in enumerate(dut.signature.flatten(dut))
            if member.flow == In and path[0] not in bound and len(Value.cast(value))
        ]
        if free:
            self._dut, parts, said = opened(dut, free)
            self._properties = partial(properties, parts=parts)
            names = [f"part_{number}_{part.kind}" for number, part in enumerate(parts)]
            self._free += zip(names, said, strict=True)
        free = {name: In(len(Value.cast(value))) for name, value in self._free}
        chosen = {name: In(width) for name, width in choices.items()}
        super().__init__({"clk": In(1)} | free | chosen | {"bad": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(reset_less=True)
        m.submodules.dut = self._dut
        m.d.comb += domain.clk.eq(self.clk)
        offered = [port for port in ports(self._component) if port.flow != Out] if self._orderly else []
        wires = [Value.cast(value) for _, value in self._free]
        drive(m, wires, [getattr(self, name) for name, _ in self._free], offered, Const(0))
        chosen = {name: getattr(self, name) for name in self._choices}
        m.d.comb += self.bad.eq(Cat(self._properties(m, self._component, **chosen)).any())
        return m


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came out.

    ``kind`` is ``proven`` (at all times), ``bounded`` (no counterexample of up to ``depth`` cycles), ``refuted`` (a
    counterexample of ``depth`` cycles) or ``unknown`` (out of time). ``replayed``: the simulator confirms it; where
    memories are cut out it need not. ``trace`` is its waveform.
    """

    kind: str
    depth: int | None
    seconds: float
    registers: int
    replayed: bool = False
    trace: Path | None = None


def check(
    build: Callable[[], Harness],
    *,
    seconds: int,
    bound: int | None = None,
    by_itself: bool = False,
    trace: Path | None = None,
) -> Verdict:
    """Look for a proof by induction, whose invariant ABC finds itself (property-directed reachability); with ``bound``,
    for a counterexample of at most so many cycles only.

    Parameters
    ----------
    build:
        Makes the harness; it is called again for the replay.
    seconds:
        Time limit of the model checker.
    bound:
        In cycles.
    by_itself:
        The property is its own invariant: where it holds in a cycle it holds in the next. That is tried first.
    trace:
        Where to write a counterexample, as a VCD file.

    Raises
    ------
    RuntimeError
        If a tool fails.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness = build()
        _write_circuit(harness, folder)
        circuit = Circuit.read(folder / "harness.aig")
        if bound is None:
            said = _abc(folder, "harness", "bmc3 -F 2", seconds)
            ahead = not re.search(ASSERTED, said)
            if ahead:
                said = _abc(folder, "harness", ITSELF, seconds) if by_itself else ""
            if ahead and not re.search(PROVEN, said):
                said = _ahead(folder, circuit, seconds, apart=harness.apart)
        else:
            said, ahead = _abc(folder, "harness", METHODS.get(bound, f"bmc3 -F {bound} -T {seconds}"), seconds), False
        kind, depth, replayed = "unknown", None, False
        if refuted := re.search(ASSERTED, said, re.MULTILINE):
            kind, depth = "refuted", int(refuted[1] or 0) + 1 + ahead
            replayed = _replay(build(), _stimuli(folder, circuit.inputs), trace)
        elif re.search(PROVEN, said):
            kind = "proven"
        elif bound is not None and (covered := re.search(r"No output asserted in (\d+) frames", said)):
            kind, depth = ("bounded" if int(covered[1]) >= bound else "unknown"), int(covered[1])
    return Verdict(
        kind=kind, depth=depth, seconds=time.monotonic() - begun, registers=len(circuit.following), replayed=replayed,
        trace=trace if refuted else None,
    )  # fmt: skip


def _write_circuit(harness: Harness, folder: Path) -> None:
    source = folder / "harness.il"
    source.write_text(rtlil.convert(harness, name="harness", emit_src=False), encoding="utf-8")
    run_yosys([
        f"read_rtlil {source}",
        # Registers behind memories stay registers of their own, so that the cells alone can be cut out.
        "prep -nordff -flatten -top harness",
        f"cutpoint t:$mem_v2 r:SIZE>{harness.largest_memory} %i",
        "memory_map -formal; async2sync; dffunmap; opt_clean -purge; techmap; simplemap; dffunmap",
        # What is undefined may be anything.
        "setundef -undriven -anyseq; setundef -anyseq; aigmap; opt_clean -purge",
        f"write_aiger -zinit -map {folder / 'harness.aim'} {folder / 'harness.aig'}",
    ])  # fmt: skip


def _ahead(folder: Path, circuit: Circuit, seconds: int, *, apart: bool) -> str:
    """What ABC says of a circuit a cycle ahead, or of the first of its properties that is not proven."""
    said = ""
    for one in circuit.disjuncts() if apart else [circuit]:
        one.looking_ahead().write(folder / "ahead.aig")
        # What cannot be from any state is no matter of reachability, which pdr does not say of it.
        said = _abc(folder, "ahead", (APART if apart else TOGETHER).format(seconds=seconds), seconds)
        if not re.search(PROVEN, said):
            break
    return said


def _abc(folder: Path, circuit: str, commands: str, seconds: int) -> str:
    done = subprocess.run(
        [ABC, "-c", f"read_aiger {circuit}.aig; {commands}; write_cex -f cex"], cwd=folder, capture_output=True,
        text=True, errors="replace", check=False, timeout=seconds + 120,
    )  # fmt: skip
    if done.returncode or "cmd error" in done.stderr:
        raise RuntimeError(f"ABC failed: {(done.stdout + done.stderr)[-500:]}")
    return done.stdout


def _stimuli(folder: Path, count: int) -> list[dict[str, int]]:
    """The inputs of the counterexample, cycle by cycle; those from ``count`` on are of the cycle after the last one."""
    inputs = {}
    for line in (folder / "harness.aim").read_text(encoding="utf-8").splitlines():
        kind, index, *bit_and_name = line.split()
        if kind == "input":
            inputs[int(index)] = int(bit_and_name[0]), " ".join(bit_and_name[1:])
    cycles: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    found = (folder / "cex").read_text(encoding="utf-8")
    # A circuit without registers has one cycle, given as the levels of its inputs alone.
    alone = [(index, 0, level) for index, level in enumerate(found.strip())]
    levels = re.findall(r"pi(\d+)@(\d+)=([01])", found) or alone
    last = max(int(cycle) for _, cycle, _ in levels)
    for index, cycle, level in levels:
        later, place = divmod(int(index), count)
        if place in inputs and (not later or int(cycle) == last):  # else what is read from a memory, or undefined
            bit, name = inputs[place]
            cycles[int(cycle) + later][name] |= int(level) << bit
    return [cycles[cycle] for cycle in sorted(cycles)]


def _replay(harness: Harness, stimuli: list[dict[str, int]], trace: Path | None) -> bool:
    """Give the harness these inputs in the simulator; returns whether ``bad`` is high in the last cycle."""
    simulator, seen = Simulator(harness), []

    async def bench(context) -> None:
        for inputs in stimuli:
            for name, value in inputs.items():
                if name in harness.signature.members and name != "clk":
                    context.set(getattr(harness, name), value)
            await context.delay(5e-9)
            seen.append(bool(context.get(harness.bad)))
            context.set(harness.clk, 1)
            await context.delay(5e-9)
            context.set(harness.clk, 0)

    simulator.add_testbench(bench)
    if trace is None:
        simulator.run()
    else:
        trace.parent.mkdir(parents=True, exist_ok=True)
        with simulator.write_vcd(str(trace)):
            simulator.run()
    return seen[-1]
