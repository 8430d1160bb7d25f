# SPDX-License-Identifier: Apache-2.0
"""What of the FPGA flow needs no synthesis: pins, what fits, reports, and Vivado's scripts as Tcl."""

import json
import tkinter
from dataclasses import replace
from pathlib import Path

import pytest

from respin.gen.fpga import tools
from respin.gen.fpga.boards import BOARDS, constraints, pins
from respin.gen.fpga.build import CapacityError, Order, describe, refuse
from respin.gen.fpga.floorplan import picture, tiles
from respin.gen.fpga.mapping import flip_flops, needs
from respin.gen.fpga.measured import is_crowded, known_shortage, measured, short_of, too_many_flip_flops
from respin.gen.fpga.timing import read
from respin.gen.fpga.vivado import PARTS, package_ip, project_script
from respin.rtl.config import preset

SITES = {
    "ulx3s-85f": {"clock": "G2", "rx": "M1", "tx": "L4", "busy": "B2", "alert": "C2"},
    "ulx3s-25f": {"clock": "G2", "rx": "M1", "tx": "L4", "busy": "B2", "alert": "C2"},
    "icebreaker": {"clock": "35", "rx": "6", "tx": "9", "busy": "11", "alert": "37"},
    "tangnano9k": {"clock": "52", "rx": "18", "tx": "17", "busy": "10", "alert": "11"},
}
"""From the boards' schematics."""


@pytest.mark.parametrize("name", BOARDS)
def test_pins(name: str) -> None:
    assert {pin.port: pin.site for pin in pins(BOARDS[name])} == SITES[name]
    text = constraints(BOARDS[name])
    assert all(site in text for site in SITES[name].values())


def test_what_does_not_fit_is_named() -> None:
    order = Order(board="icebreaker", config=preset("nano"))
    short = short_of({"ICESTORM_LC": 30_000, "ICESTORM_RAM": 31, "ICESTORM_DSP": 2}, order.chosen)
    with pytest.raises(CapacityError) as caught:
        refuse(order, short)
    message = str(caught.value)
    assert message.startswith("nano does not fit icebreaker: 30,000 ICESTORM_LC of 5,280, 31 ICESTORM_RAM of 30; ")
    assert "what fits it: --link-only; there is room for a machine on ulx3s-85f (" in message
    assert "\n" not in message
    refuse(order, short_of({"ICESTORM_LC": 5280, "ICESTORM_RAM": 30}, order.chosen))


def test_what_is_hopeless_is_not_mapped() -> None:
    board = BOARDS["icebreaker"]
    assert too_many_flip_flops(2 * 5280, board, "before mapping") is None
    said = too_many_flip_flops(29_198, board, "before mapping")
    assert said == "29,198 flip-flops before mapping, 5,280 ICESTORM_LC"


def test_a_measured_preset_is_refused_at_once_and_no_other_configuration() -> None:
    """What is known is of the family's own cells, or flip-flops of another family's where these settle it."""
    tiny = replace(preset("tiny"), clock_mhz=25)
    needed = measured()["ecp5"]["tiny"]
    assert known_shortage(tiny, BOARDS["ulx3s-85f"]) is None
    assert f"{needed['TRELLIS_COMB']:,} TRELLIS_COMB of 24,288" in known_shortage(tiny, BOARDS["ulx3s-25f"])
    said = f"{needed['TRELLIS_FF']:,} flip-flops as mapped for ecp5, 6,480 DFF"
    assert known_shortage(tiny, BOARDS["tangnano9k"]) == said
    assert known_shortage(replace(tiny, store_words=64), BOARDS["tangnano9k"]) is None
    assert known_shortage(replace(tiny, name="mine"), BOARDS["tangnano9k"]) is None


def test_the_preset_of_a_board_fits_it() -> None:
    for board in BOARDS.values():
        if board.preset is not None:
            assert short_of(measured()[board.family][board.preset], board) is None
        else:
            assert not any(short_of(needed, board) is None for needed in measured().get(board.family, {}).values())


def test_flip_flops_of_every_instance_count(tmp_path: Path) -> None:
    source = tmp_path / "top.v"
    source.write_text(
        "module half(input clk, input [6:0] d, output reg [6:0] q); always @(posedge clk) q <= d; endmodule\n"
        "module top(input clk, e, input [13:0] d, output [13:0] q, output reg r);\n"
        "half low(clk, d[6:0], q[6:0]); half high(clk, d[13:7], q[13:7]);\n"
        "always @(posedge clk) if (e) r <= d[0]; endmodule\n",
        encoding="utf-8",
    )
    assert flip_flops(source, "top", tmp_path) == 15


def test_needs_count_carries_and_lut_memories() -> None:
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "DP16KD": 1, "PDPW16KD": 1}
    assert needs(cells, "ecp5") == {"TRELLIS_COMB": 28, "TRELLIS_FF": 7, "DP16KD": 2, "MULT18X18D": 0}


def end(cell: str, port: str) -> dict[str, object]:
    return {"cell": cell, "port": port, "loc": [1, 2]}


def test_the_slowest_path_of_the_slowest_clock(tmp_path: Path) -> None:
    steps = [
        {"type": "clk-to-q", "delay": 0.5, "from": end("a", "CLK"), "to": end("a", "Q")},
        {"type": "routing", "delay": 2.0, "net": "sum", "from": end("a", "Q"), "to": end("b", "A")},
        {"type": "logic", "delay": 0.25, "from": end("b", "A"), "to": end("b", "F")},
        {"type": "routing", "delay": 1.0, "net": "next", "from": end("b", "F"), "to": end("c", "DI")},
        {"type": "setup", "delay": 0.0, "from": end("c", "DI"), "to": end("c", "CLK")},
    ]
    report = {
        "fmax": {"fast": {"achieved": 300.0, "constraint": 25.0}, "clk": {"achieved": 48.125, "constraint": 50.0}},
        "critical_paths": [
            {"from": "posedge fast", "to": "posedge fast", "path": steps[:1]},
            {"from": "posedge clk", "to": "posedge clk", "path": steps},
        ],
        "utilization": {"TRELLIS_COMB": {"used": 12, "available": 83640}, "DCCA": {"used": 0, "available": 56}},
    }
    path = tmp_path / "timing.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    timing = read(path, seed=3, target_mhz=50)
    assert not timing.met
    assert (timing.mhz, timing.path["ns"], timing.path["routing_ns"], timing.path["levels"]) == (48.12, 3.75, 3.0, 1)
    assert timing.path["nets"] == ["sum", "next"]
    best = {"mhz": timing.mhz, "target_mhz": 50, "met": False, "seed": 3, "used": timing.used, "path": timing.path}
    runs = [{"seed": 3, "mhz": 48.12}]
    text = describe({"design": "nano", "chip": "ECP5", "best": best, "runs": runs, "versions": {"pyosys": "1"}})
    assert "clock: 48.12 MHz of 50 MHz, seed 3: MISSED" in text
    assert "TRELLIS_COMB" in text
    assert "DCCA" not in text


def test_machines_crowd_their_chip_and_links_do_not(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(tools, "run", lambda command, *rest, **named: commands.append(command))
    for preset_name, cells in (("nano", measured()["ecp5"]["nano"]["TRELLIS_COMB"]), ("link", 3046)):
        crowded = is_crowded({"TRELLIS_COMB": cells}, BOARDS["ulx3s-85f"])
        assert crowded == (preset_name == "nano")
        tools.place_and_route(BOARDS["ulx3s-85f"], tmp_path, 1, mhz=25, crowded=crowded, show=print)
    assert ["--router" in command for command in commands] == [True, False]
    assert not is_crowded({"ICESTORM_LC": 681}, BOARDS["icebreaker"])


@pytest.mark.parametrize(
    ("clock", "crowded", "told"), [(25, True, 50), (50, True, 25), (75, True, 25), (25, False, 25)]
)
def test_a_crowded_design_is_placed_for_a_faster_clock(clock: int, crowded: bool, told: int) -> None:
    """The tools multiply what they are told of the oscillator as the PLL does."""
    order = Order(board="ulx3s-85f", config=replace(preset("nano"), clock_mhz=clock))
    assert f'FREQUENCY PORT "clock" {told} MHZ;' in order.constraints(crowded=crowded).splitlines()


@pytest.mark.parametrize("bel", ["X3/Y5/SLICEA.LUT0", "X3Y5/LUT0"])
def test_floorplan(bel: str, tmp_path: Path) -> None:
    cells = {
        "a": {"type": "TRELLIS_COMB", "attributes": {"NEXTPNR_BEL": bel}},
        "b": {"type": "TRELLIS_FF", "attributes": {"NEXTPNR_BEL": bel}},
        "c": {"type": "TRELLIS_FF", "attributes": {"NEXTPNR_BEL": bel}},
        "d": {"type": "VCC", "attributes": {}},
    }
    path = tmp_path / "routed.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}}}), encoding="utf-8")
    assert tiles(path) == {(3, 5): {"logic": 1, "flip-flop": 2}}
    svg = picture(path, "a & b")
    assert svg.startswith("<svg")
    assert "a &amp; b" in svg


COMMANDS = (
    "create_project", "add_files", "set_property", "current_fileset", "update_compile_order", "close_project",
    "current_project", "update_ip_catalog", "create_bd_design", "create_bd_cell", "get_ipdefs", "apply_bd_automation",
    "get_bd_intf_pins", "get_bd_pins", "connect_bd_net", "make_bd_intf_pins_external", "make_bd_pins_external",
    "assign_bd_address", "validate_bd_design", "save_bd_design", "make_wrapper", "get_files", "launch_runs",
    "wait_on_run", "open_run", "report_timing_summary", "report_utilization", "ipx::package_project",
    "ipx::current_core", "ipx::infer_bus_interface", "ipx::get_bus_interfaces", "ipx::add_bus_parameter",
    "ipx::associate_bus_interfaces", "ipx::create_xgui_files", "ipx::update_checksums", "ipx::check_integrity",
    "ipx::save_core",
)  # fmt: skip
"""Vivado's, of its Tcl command references (UG835, UG1118); a name that is not here is an error."""


def run_tcl(script: str) -> list[list[str]]:
    """Run a script in an interpreter whose Vivado commands only note that they were called."""
    tcl = tkinter.Tcl()
    calls: list[list[str]] = []

    def note(name: str):
        def called(*arguments: str) -> str:
            calls.append([name, *arguments])
            return f"<{name}>"

        return called

    tcl.eval("namespace eval ipx {}")
    for name in COMMANDS:
        tcl.createcommand(name, note(name))
    assert tcl.eval(f"info complete {{{script}}}") == "1"
    tcl.eval("proc unknown {args} {error \"unknown command [lindex $args 0]\"}")
    tcl.eval(script.replace("[info script]", "/anywhere/project.tcl"))
    return calls


@pytest.mark.parametrize("part", PARTS)
def test_vivado_scripts_are_tcl(part: str) -> None:
    config = preset("small")
    packaged = run_tcl(package_ip(config, PARTS[part]))
    names = [call[0] for call in packaged]
    assert names.index("add_files") < names.index("ipx::package_project") < names.index("ipx::save_core")
    assert [call[2] for call in packaged if call[0] == "ipx::associate_bus_interfaces"] == ["s_axi", "m_axi"]
    made = run_tcl(project_script(config, PARTS[part]))
    names = [call[0] for call in made]
    assert ["create_project", "-force", "small", "/anywhere/build/project", "-part", PARTS[part].number] in made
    assert names.index("create_bd_cell") < names.index("validate_bd_design") < names.index("launch_runs")
    assert ("connect_bd_net" in names) == PARTS[part].processor


def test_external_memory_of_the_icebreaker_is_its_single_port_ram() -> None:
    order = Order(board="icebreaker", config=replace(preset("nano"), clock_mhz=12), machine=False)
    assert (order.spram, order.memory_bytes) == (True, 128 << 10)
    order = replace(order, block_ram=True)
    assert (order.spram, order.memory_bytes) == (False, 4 << 10)
    wide = replace(preset("nano"), clock_mhz=12, axi_bits=128)
    assert not Order(board="icebreaker", config=wide, machine=False, block_ram=True).spram
    with pytest.raises(ValueError, match="words of up to 64 bits, nano has axi_bits = 128; --block-ram does without"):
        Order(board="icebreaker", config=wide, machine=False)
    with pytest.raises(ValueError, match="external memory of tangnano9k is block RAM anyway"):
        Order(board="tangnano9k", config=replace(preset("nano"), clock_mhz=27), machine=False, block_ram=True)


def test_sdram_is_for_boards_that_have_it() -> None:
    message = "icebreaker has no SDRAM that there is a controller for; ulx3s-85f, ulx3s-25f"
    with pytest.raises(ValueError, match=message):
        Order(board="icebreaker", config=replace(preset("nano"), clock_mhz=12), machine=False, sdram=True)
    order = Order(board="ulx3s-85f", config=replace(preset("tiny"), clock_mhz=50), machine=False, sdram=True)
    sites = {pin.port: pin.site for pin in pins(order.chosen, sdram=True)}
    assert len(sites) == len(set(sites.values())) == 5 + 39  # 13 + 2 of the address, 16 data, 2 masks, 6 controls
    assert (sites["sdram__a[12]"], sites["sdram_dq[15]"], sites["sdram_clk"]) == ("G19", "J17", "F19")
    assert order.memory_bytes == 32 << 20
