# SPDX-License-Identifier: Apache-2.0
"""Proofs by temporal induction with the SAT solver in Yosys: a property holds at all times, not up to a bound."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from respin.gen.emit import emit
from respin.gen.synthesis import run_yosys


class Harness(Component):
    """A component all of whose inputs are free, and ``bad``, which is to stay low.

    ``properties(m, dut)`` returns values that must never be high.
    """

    def __init__(self, dut, properties) -> None:
        self._dut, self._properties = dut, properties
        self._free = [
            (f"free{number}", value)
            for number, (_, member, value) in enumerate(dut.signature.flatten(dut))
            if member.flow == In
        ]
        super().__init__({name: In(len(Value.cast(value))) for name, value in self._free} | {"bad": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self._dut
        for name, value in self._free:
            m.d.comb += Value.cast(value).eq(getattr(self, name))
        m.d.comb += self.bad.eq(Cat(self._properties(m, self._dut)).any())
        return m


def before(m: Module, value) -> Signal:
    """Its value in the cycle before; 0 at first."""
    wire = Value.cast(value)
    kept = Signal(len(wire))
    m.d.sync += kept.eq(wire)
    return kept


def withdrawn(m: Module, valid, ready, *payload) -> Value:
    """An offer that was not taken has gone, or has changed."""
    content = Cat(*(Value.cast(part) for part in payload))
    return before(m, valid & ~ready) & (~valid | (content != before(m, content)))


def prove(dut, properties, tmp_path, *, steps: int = 4) -> None:
    """Prove that no property is ever high; raises RuntimeError if there is no proof within ``steps`` steps."""
    source = tmp_path / "harness.v"
    source.write_text(emit(Harness(dut, properties), "harness"), encoding="utf-8")
    run_yosys([
        f"read_verilog {source}",
        "prep -flatten -top harness; async2sync; opt_clean",
        f"sat -verify -tempinduct -seq 1 -maxsteps {steps} -set rst 0 -prove bad 0 harness",
    ])  # fmt: skip
