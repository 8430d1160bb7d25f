# SPDX-License-Identifier: Apache-2.0
"""The same bench on the netlist of a chip's cells, and on the Verilog recovered from the bits themselves."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cell_models import cell_models

from respin.gen.fpga.boards import BOARDS, constraints
from respin.gen.fpga.build import TOP, Order, board_verilog, build
from respin.gen.fpga.mapping import synthesise
from respin.gen.fpga.tools import program
from respin.rtl.config import preset
from respin.rtl.fpga.board import BoardConfig
from respin.sim.runner import build as build_simulation
from respin.sim.runner import run

BAUD = BoardConfig.__dataclass_fields__["baud"].default


def order(board: str) -> Order:
    """The link alone; without a PLL, whose model nobody has."""
    config = replace(preset("nano"), clock_mhz=BOARDS[board].oscillator_mhz)
    return Order(board=board, config=config, machine=False)


def exercise(chosen: Order, netlist: str) -> None:
    family = chosen.chosen.family
    texts = {f"{TOP}.v": netlist, "cells.v": cell_models(family, netlist)}
    dut = build_simulation(TOP, texts, simulator="icarus")
    env = {
        "BOARD_MHZ": str(chosen.config.clock_mhz),
        "BOARD_BAUD": str(BAUD),
        "BOARD_MEMORY": str(chosen.chosen.memory_bytes),
    }
    run(dut, "tb_link_pins", tests=1, env=env, seconds=1800)


@pytest.mark.parametrize("board", ["ulx3s-85f", "icebreaker"])
def test_mapped_to_cells(board: str, tmp_path: Path) -> None:
    chosen = order(board)
    source = tmp_path / "board.v"
    source.write_text(board_verilog(chosen), encoding="utf-8")
    exercise(chosen, synthesise(source, TOP, chosen.chosen.family, tmp_path).verilog.read_text(encoding="utf-8"))


def test_recovered_from_the_bits(tmp_path: Path) -> None:
    """Unpack the bitstream of the iCE40 and read its lookup tables, wires and memories as Verilog."""
    recover = shutil.which("icebox_vlog")
    if recover is None:
        pytest.skip("icebox_vlog: not found; Debian has it in the package fpga-icestorm")
    chosen = order("icebreaker")
    folder = tmp_path / "build"
    result = build(chosen, folder, show=print)
    assert result.best.met
    unpacked, pins = tmp_path / "board.asc", tmp_path / "board.pcf"
    pins.write_text(constraints(chosen.chosen), encoding="utf-8")
    subprocess.run([program("yowasp-iceunpack"), "build/board.bin", unpacked.name], cwd=tmp_path, check=True)
    command = [recover, "-s", "-n", TOP, "-p", str(pins), str(unpacked)]
    exercise(chosen, subprocess.run(command, capture_output=True, text=True, check=True).stdout)
