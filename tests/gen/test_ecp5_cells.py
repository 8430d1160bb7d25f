# SPDX-License-Identifier: Apache-2.0
"""What nextpnr packs cells of an ECP5 into, as the project models it, does what Yosys' models of those cells do."""

import json
import re
from pathlib import Path

import pytest

from respin.gen.fpga.routed import routed_verilog
from respin.gen.synthesis import run_yosys
from respin.sim.banks import BANK_MODEL

CELLS = BANK_MODEL.parent / "ecp5_cells.v"
MODELLED = ("TRELLIS_COMB", "TRELLIS_RAMW", "MULT18X18D")
YOSYS = "+/lattice/common_sim.vh"

CARRY = """
module gold(input [7:0] i, input cin, output [1:0] s, output cout);
    CCU2C #(.INIT0({init0}), .INIT1({init1}), .INJECT1_0("{inject0}"), .INJECT1_1("{inject1}")) cell (
        .CIN(cin), .A0(i[0]), .B0(i[1]), .C0(i[2]), .D0(i[3]), .A1(i[4]), .B1(i[5]), .C1(i[6]), .D1(i[7]),
        .S0(s[0]), .S1(s[1]), .COUT(cout));
endmodule
module gate(input [7:0] i, input cin, output [1:0] s, output cout);
    wire between;
    TRELLIS_COMB #(.MODE("CCU2"), .INITVAL({init0}), .CCU2_INJECT1("{inject0}")) low (
        .FCI(cin), .A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .F(s[0]), .FCO(between));
    TRELLIS_COMB #(.MODE("CCU2"), .INITVAL({init1}), .CCU2_INJECT1("{inject1}")) high (
        .FCI(between), .A(i[4]), .B(i[5]), .C(i[6]), .D(i[7]), .F(s[1]), .FCO(cout));
endmodule
"""
MULTIPLEXERS = """
module gold(input [5:0] i, output z);
    wire a, b, c, d, low, high;
    LUT4 #(.INIT(16'h8d3a)) t0 (.A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .Z(a));
    LUT4 #(.INIT(16'h17e2)) t1 (.A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .Z(b));
    LUT4 #(.INIT(16'hc561)) t2 (.A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .Z(c));
    LUT4 #(.INIT(16'h0b94)) t3 (.A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .Z(d));
    PFUMX m0 (.BLUT(a), .ALUT(b), .C0(i[4]), .Z(low));
    PFUMX m1 (.BLUT(c), .ALUT(d), .C0(i[4]), .Z(high));
    L6MUX21 m2 (.D0(low), .D1(high), .SD(i[5]), .Z(z));
endmodule
module gate(input [5:0] i, output z);
    wire b, d, low, high;
    TRELLIS_COMB #(.INITVAL(16'h8d3a)) t0 (
        .A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .F1(b), .M(i[4]), .OFX(low));
    TRELLIS_COMB #(.INITVAL(16'h17e2), .SIXTH_INPUT(1'b1)) t1 (
        .A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .F(b), .FXA(low), .FXB(high), .M(i[5]), .OFX(z));
    TRELLIS_COMB #(.INITVAL(16'hc561)) t2 (
        .A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .F1(d), .M(i[4]), .OFX(high));
    TRELLIS_COMB #(.INITVAL(16'h0b94)) t3 (.A(i[0]), .B(i[1]), .C(i[2]), .D(i[3]), .F(d));
endmodule
"""
INITIAL = 0x93C5_7E21_D806_4BAF
"""Content of a memory of 16 words of 4 bits."""


def equal(text: str, folder: Path, *, cycles: int = 1) -> None:
    """Prove that modules ``gold`` and ``gate`` have the same outputs, in that many cycles from their start."""
    source, packed = folder / "cells.v", folder / "packed.v"
    source.write_text(text, encoding="utf-8")
    modules = CELLS.read_text(encoding="utf-8").split("\nmodule ")
    packed.write_text("".join(f"module {body}" for body in modules if body.startswith(MODELLED)), encoding="utf-8")
    run_yosys([
        f"read_verilog {YOSYS} +/lattice/ccu2c_sim.vh", "delete TRELLIS_COMB", f"read_verilog {packed} {source}",
        "hierarchy -check; proc; memory_map; miter -equiv -flatten -make_outputs gold gate miter",
        f"hierarchy -top miter; flatten; proc; memory_map; opt; sat -verify -seq {cycles} -prove trigger 0 miter",
    ])  # fmt: skip


@pytest.mark.parametrize("inject", [("NO", "NO"), ("YES", "NO"), ("NO", "YES"), ("YES", "YES")])
def test_a_carry_cell_is_two_halves(inject: tuple[str, str], tmp_path: Path) -> None:
    text = CARRY.format(init0="16'h96aa", init1="16'h5ca3", inject0=inject[0], inject1=inject[1])
    equal(text, tmp_path)


def test_wide_tables_are_halves_with_multiplexers(tmp_path: Path) -> None:
    equal(MULTIPLEXERS, tmp_path)


def test_a_small_memory_is_four_halves_and_what_writes_them(tmp_path: Path) -> None:
    """Packed as nextpnr does it: addresses and data in its order of inputs, the initial content in its own."""
    pins = "input clk, we, input [3:0] wa, ra, di, output [3:0] do"
    halves = ""
    for bit in range(4):
        content = [INITIAL >> (4 * word + bit) & 1 for word in range(16)]
        order = [(at & 1) << 3 | at & 2 | at & 4 | at >> 3 for at in range(16)]
        initial = sum(content[order[at]] << at for at in range(16))
        halves += (
            f"TRELLIS_COMB #(.MODE(\"DPRAM\"), .INITVAL(16'h{initial:04x})) half{bit} (.WCK(clk), .WRE(we), "
            f".WD(d[{bit}]), .WAD0(a[0]), .WAD1(a[1]), .WAD2(a[2]), .WAD3(a[3]), "
            f".D(ra[0]), .B(ra[1]), .C(ra[2]), .A(ra[3]), .F(do[{bit}]));\n"
        )
    text = f"""
module gold({pins});
    TRELLIS_DPR16X4 #(.INITVAL(64'h{INITIAL:016x})) cell (
        .WCK(clk), .WRE(we), .WAD(wa), .DI(di), .RAD(ra), .DO(do));
endmodule
module gate({pins});
    wire [3:0] a, d;
    TRELLIS_RAMW writer (
        .D0(wa[0]), .B0(wa[1]), .C0(wa[2]), .A0(wa[3]), .C1(di[0]), .A1(di[1]), .D1(di[2]), .B1(di[3]),
        .WADO0(a[0]), .WADO1(a[1]), .WADO2(a[2]), .WADO3(a[3]),
        .WDO0(d[0]), .WDO1(d[1]), .WDO2(d[2]), .WDO3(d[3]));
    {halves}
endmodule
"""
    equal(text, tmp_path, cycles=3)


def cell(kind: str, parameters: dict[str, str], inputs: dict[str, list[int]], outputs: dict[str, list[int]]):
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    return {
        "type": kind, "parameters": parameters, "attributes": {}, "port_directions": directions,
        "connections": inputs | outputs,
    }  # fmt: skip


PINS = {
    "in$io": cell("TRELLIS_IO", {"DIR": "INPUT"}, {"B": [2], "I": [], "T": []}, {"O": [3]}),
    "out$io": cell("TRELLIS_IO", {"DIR": "OUTPUT"}, {"I": [8], "T": []}, {"B": [9]}),
}
"""The pins ``pin``, which drives net 3, and ``out``, which net 8 drives."""


def made(cells: dict[str, dict[str, object]], top: str, folder: Path) -> str:
    """The Verilog of a design of two pins and some cells, as nextpnr writes it."""
    ports = {"pin": {"direction": "input", "bits": [2]}, "out": {"direction": "output", "bits": [9]}}
    path = folder / "routed.json"
    design = {"modules": {"top": {"ports": ports, "cells": cells, "netnames": {}}}}
    path.write_text(json.dumps(design), encoding="utf-8")
    return routed_verilog(path, top, folder)


def test_a_routed_design_has_on_open_inputs_what_the_chip_has(tmp_path: Path) -> None:
    text = made(PINS | {
        "lut": cell("TRELLIS_COMB", {"INITVAL": "1010101010101010"}, {"A": [3], "B": [], "C": [], "D": []}, {"F": [4]}),
        "ff": cell(
            "TRELLIS_FF", {"SD": "0 ", "LSRMUX": "INV", "CEMUX": "CE"},
            {"M": [4], "CLK": [3], "LSR": [], "CE": []}, {"Q": [5]},
        ),
        "ram": cell(
            "DP16KD", {"ADA0MUX": "0 ", "ADA1MUX": "1 ", "RSTAMUX": "INV", "CEAMUX": "CEA"},
            {"ADA0": [], "ADA1": [], "ADA2": [5], "RSTA": [], "CEA": [], "CLKA": [3]}, {"DOA0": [8]},
        ),
    }, "made", tmp_path)  # fmt: skip
    found = re.findall(r"^  (\w+)(?: #\(.*?\n  \))? \w+ \(\n(.*?)\n  \);", text, re.MULTILINE | re.DOTALL)
    pins = {kind: dict(re.findall(r"\.(\w+)\((.+?)\)", body)) for kind, body in found}
    assert text.count("module made(") == 1
    assert [pins["TRELLIS_COMB"][port] for port in "BCD"] == ["1'h1"] * 3
    assert pins["TRELLIS_FF"]["DI"] == pins["TRELLIS_COMB"]["F"]
    assert (pins["TRELLIS_FF"]["LSR"], pins["TRELLIS_FF"]["CE"]) == ("1'h1", "1'h1")
    assert "M" not in pins["TRELLIS_FF"]
    ram = pins["DP16KD"]
    assert [ram[port] for port in ("ADA0", "ADA1", "RSTA", "CEA")] == ["1'h0", "1'h1", "1'h0", "1'h1"]
    assert ram["ADA2"] == pins["TRELLIS_FF"]["Q"]
    assert "TRELLIS_IO" not in text


def test_a_routed_multiplier_multiplies(tmp_path: Path) -> None:
    """All its pins are the model's, among them those of registers and of other multipliers, which are left open."""
    numbers = [f"{operand}{bit}" for operand in "ABC" for bit in range(18)]
    numbers += ["SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"]
    others = [f"{name}{bit}" for name in ("CLK", "CE", "RST") for bit in range(4)]
    others += [f"SRI{operand}{bit}" for operand in "AB" for bit in range(18)]
    # Both operands are the pin's bit 1, so the product is at its bit 2.
    inputs = {name: [] for name in [*numbers, *others]} | {"A1": [3], "B1": [3]}
    outputs = {f"P{bit}": [8 if bit == 2 else 10 + bit] for bit in range(36)}
    zeros = {f"{name}MUX": "0 " for name in numbers}
    gate = made(PINS | {"product": cell("MULT18X18D", zeros, inputs, outputs)}, "gate", tmp_path)
    equal(f"module gold(input pin, output out); assign out = pin; endmodule\n{gate}", tmp_path)


def test_a_routed_cell_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"routed.json: serdes is a DCUA, which is none of TRELLIS_COMB, "):
        made({"serdes": cell("DCUA", {}, {}, {})}, "made", tmp_path)
