# SPDX-License-Identifier: Apache-2.0
"""Inputs that act when they change: no bench can tell them from inputs as they are."""

import pytest

from respin.sim.held import with_held_inputs
from respin.sim.runner import build, run

BENCH = """\
module bench (
    input wire clk,
    input wire rst,
    input wire [7:0] a,
    input wire b,
    output wire [7:0] y,
    output wire [7:0] total
);
    reg [7:0] sum = 0;
    assign y = b ? ~a : a;
    assign total = sum;
    always @(posedge clk) sum <= rst ? 0 : sum + y;
endmodule
"""


@pytest.mark.parametrize("held", [False, True])
def test_a_bench_cannot_tell(held):
    """The bench holds without them, too: it is not the wrapper that it follows."""
    run(build("bench", BENCH, simulator="verilator", held=held), "tb_held", tests=1)


def test_unknown_module():
    with pytest.raises(ValueError, match="module must be one of the texts, not 'other'"):
        with_held_inputs({"bench.v": BENCH}, "other", bench="held_other")
