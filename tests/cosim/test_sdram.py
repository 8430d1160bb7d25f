# SPDX-License-Identifier: Apache-2.0
"""LiteDRAM's controller between the machine's ports and a model of the chip that counts broken rules."""

from respin.gen.emit import emit, ports
from respin.gen.fpga.sdram import controller
from respin.rtl.fpga.sdram import CONTROLLER, SDRAM_PINS, Sdram
from respin.sim.banks import BANK_MODEL
from respin.sim.runner import build, run

CHIP = BANK_MODEL.with_name("sdram.v")
MHZ = 50


def _bench() -> str:
    """The controller's ports outside, the chip on its pins; the chip's clock comes half a cycle late."""
    inner = [port for port in ports(Sdram(data_bits=32)) if not port.name.startswith("pins__")]
    outside = [f"{port.direction} [{port.width - 1}:0] {port.name}" for port in inner]
    pins = "".join(f"wire [{width - 1}:0] {name}; " for name, width in SDRAM_PINS.items())
    joined = "".join(f", .pins__{name}({name})" for name in SDRAM_PINS)
    chip = "".join(f", .{name}({name})" for name in SDRAM_PINS)
    joined += "".join(f", .{port.name}({port.name})" for port in inner)
    return f"""`timescale 1ns/1ps
module sdram_bench(input clk, input rst, {", ".join(outside)}, output [31:0] violations, output [31:0] refreshes);
wire [15:0] dq; {pins}
sdram_controller controller(.clk(clk), .rst(rst), .sdram_dq(dq){joined});
sdram chip(.clk(~clk), .dq(dq), .violations(violations), .refreshes(refreshes){chip});
endmodule
"""


def test_the_sdram_is_memory() -> None:
    texts = {
        "sdram_bench.v": _bench(),
        "sdram_controller.v": emit(Sdram(data_bits=32), "sdram_controller"),
        f"{CONTROLLER}.v": controller(clock_mhz=MHZ, data_bits=32),
    }
    dut = build("sdram_bench", texts, simulator="verilator", files=[CHIP])
    run(dut, "tb_sdram", tests=1)
