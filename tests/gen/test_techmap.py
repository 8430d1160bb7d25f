# SPDX-License-Identifier: Apache-2.0
"""The families' gated adders do what the pattern they replace does, and one dot slice keeps to its area."""

import pytest

from respin.gen import synthesis
from respin.gen.emit import emit
from respin.rtl.imc.dot import DotArray

CELLS = {"xc7": "+/xilinx/cells_sim.v", "ecp5": "+/lattice/common_sim.vh +/lattice/ccu2c_sim.vh"}
LIMIT = {"xc7": 1.34, "ecp5": 1.45}
"""LUTs per bit-MAC, shift-accumulate included; the first one is the project's target."""


@pytest.mark.parametrize("family", synthesis.FAMILIES)
def test_a_gated_adder_equals_its_pattern(family: str) -> None:
    techmap = synthesis.TECHMAP
    synthesis.run_yosys([
        f"read_verilog {techmap}/gated_add.v",
        "rename gated_add gold",
        f"read_verilog {techmap}/gated_add_{family}.v",
        "rename gated_add gate",
        f"read_verilog {CELLS[family]}",
        "hierarchy; proc; miter -equiv -flatten -make_outputs gold gate miter",
        "hierarchy -top miter; flatten; proc; opt; sat -verify -prove trigger 0 miter",
    ])  # fmt: skip


def test_yosys_errors_are_reported() -> None:
    with pytest.raises(RuntimeError, match="Yosys failed: .*nowhere.v"):
        synthesis.run_yosys(["read_verilog nowhere.v"])


@pytest.mark.parametrize("family", synthesis.FAMILIES)
def test_a_slice_keeps_to_its_area(family: str) -> None:
    text = emit(DotArray(slices=1, pixels=1, lanes=32, beats=1), "slice")
    assert synthesis.synthesise(text, "slice", family).luts / 256 <= LIMIT[family]


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family must be one of xc7, ecp5, not 'ice40'"):
        synthesis.synthesise("", "top", "ice40")
