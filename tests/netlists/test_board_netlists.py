# SPDX-License-Identifier: Apache-2.0
"""The link by its pins: the netlist of a chip's cells, the routed one, and the Verilog recovered from the bits."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from respin.gen.emit import emit
from respin.gen.fpga.boards import constraints
from respin.gen.fpga.build import TOP, Order, board_verilog, build
from respin.gen.fpga.mapping import synthesise
from respin.gen.fpga.routed import routed_verilog
from respin.gen.fpga.tools import program
from respin.rtl.config import preset
from respin.rtl.fpga.board import Board, BoardConfig
from respin.rtl.fpga.clock import Clock
from respin.sim.cell_models import cell_models
from respin.sim.runner import build as build_simulation
from respin.sim.runner import run

BAUD = BoardConfig.__dataclass_fields__["baud"].default
SMALL = 4096
"""Bytes of memory where a board is mapped only: Yosys takes minutes for the initial values of a large one."""


def exercise(family: str, netlist: str, *, mhz: int, memory_bytes: int, baud: int = BAUD) -> None:
    texts = {f"{TOP}.v": netlist, "cells.v": cell_models(family, netlist)}
    dut = build_simulation(TOP, texts, simulator="icarus")
    env = {
        "BOARD_MHZ": str(mhz),
        "BOARD_BAUD": str(baud),
        "BOARD_MEMORY": str(memory_bytes),
    }
    run(dut, "tb_link_pins", tests=1, env=env, seconds=1800)


@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_mapped_to_cells(family: str, tmp_path: Path) -> None:
    clock, baud = Clock(pin_mhz=12, mhz=12), 1_000_000
    board = BoardConfig(clock=clock, memory_bytes=SMALL, baud=baud, machine=False)
    source = tmp_path / "board.v"
    source.write_text(emit(Board(config=preset("nano"), board=board), TOP), encoding="utf-8")
    netlist = synthesise(source, TOP, family, tmp_path).verilog.read_text(encoding="utf-8")
    exercise(family, netlist, mhz=clock.mhz, memory_bytes=SMALL, baud=baud)


def test_placed_and_routed(tmp_path: Path) -> None:
    """What became the bits of an ECP5: the routed design, its PLL a wire."""
    chosen = Order(board="ulx3s-85f", config=replace(preset("nano"), clock_mhz=50), machine=False, baud=1_000_000)
    folder = tmp_path / "build"
    result = build(chosen, folder, show=print)
    assert result.best.met
    netlist = routed_verilog(folder / "routed.json", TOP, tmp_path)
    exercise("ecp5", netlist, mhz=50, memory_bytes=chosen.memory_bytes, baud=chosen.baud)


def test_single_port_ram(tmp_path: Path) -> None:
    """The iCEBreaker's external memory, mapped to the cells of its chip."""
    order = Order(board="icebreaker", config=replace(preset("nano"), clock_mhz=12), machine=False, baud=1_000_000)
    source = tmp_path / "board.v"
    source.write_text(board_verilog(order), encoding="utf-8")
    mapped = synthesise(source, TOP, "ice40", tmp_path)
    assert mapped.cells["SB_SPRAM256KA"] == 4
    netlist = mapped.verilog.read_text(encoding="utf-8")
    exercise("ice40", netlist, mhz=12, memory_bytes=order.memory_bytes, baud=order.baud)


def test_recovered_from_the_bits(tmp_path: Path) -> None:
    """Unpack the bitstream of the iCE40 and read its lookup tables, wires and memories as Verilog.

    With block RAM: ``icebox_vlog`` knows no single-port RAM.
    """
    recover = shutil.which("icebox_vlog")
    if recover is None:
        pytest.skip("icebox_vlog: not found; Debian has it in the package fpga-icestorm")
    config = replace(preset("nano"), clock_mhz=12)
    chosen = Order(board="icebreaker", config=config, machine=False, block_ram=True)
    folder = tmp_path / "build"
    result = build(chosen, folder, show=print)
    assert result.best.met
    unpacked, pins = tmp_path / "board.asc", tmp_path / "board.pcf"
    pins.write_text(constraints(chosen.chosen), encoding="utf-8")
    subprocess.run([program("yowasp-iceunpack"), "build/board.bin", unpacked.name], cwd=tmp_path, check=True)
    command = [recover, "-s", "-n", TOP, "-p", str(pins), str(unpacked)]
    netlist = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exercise("ice40", netlist, mhz=config.clock_mhz, memory_bytes=chosen.memory_bytes)
