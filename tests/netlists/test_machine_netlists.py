# SPDX-License-Identifier: Apache-2.0
"""The whole machine learns: as Verilog, as the cells of an ECP5 that Yosys makes of it, and placed and routed.

One bench for all of them, with banks and external memory around: four training steps of the smallest module, in which
errors pass back, gradients are summed and every trained tensor moves; each step equals golden's, bit for bit.
"""

from pathlib import Path

import pytest
from dut_machine import TOP, build_machine, machine_bench, machine_verilog, run_bench

from respin.gen.fpga.boards import BOARDS
from respin.gen.fpga.mapping import Mapped, synthesise
from respin.gen.fpga.routed import routed_verilog
from respin.gen.fpga.tools import route_alone
from respin.rtl.config import preset
from respin.sim.banks import BANK_MODEL
from respin.sim.cell_models import cell_models, waived
from respin.sim.memory import MEMORY_MODEL
from respin.sim.runner import build

NANO = preset("nano")
BOARD = BOARDS["ulx3s-85f"]
STEPS, BATCH = 4, 2
SEED = 1
"""Of placement."""
BUILD_SECONDS, RUN_SECONDS = 7200, 7200

pytestmark = pytest.mark.timeout(0)


def say(line: str) -> None:
    if line.startswith(("Info: Packing", "Info: Placed", "Info: Running", "Info: Routing", "Info: Router")):
        print(line, flush=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


@pytest.fixture(scope="module")
def mapped(folder: Path) -> Mapped:
    """Made of the machine's Verilog by the same steps as a bitstream."""
    source = folder / "machine.v"
    source.write_text(machine_verilog(NANO), encoding="utf-8")
    print(f"mapping {NANO.name} to the cells of an {BOARD.family}", flush=True)
    return synthesise(source, TOP, BOARD.family, folder)


def learns(netlist: str, folder: Path) -> None:
    """Simulate a netlist with models of its cells, and run the bench on it."""
    texts = machine_bench(NANO, waived(netlist)) | {"cells.v": cell_models(BOARD.family, netlist)}
    print("building the simulation", flush=True)
    models = [BANK_MODEL, MEMORY_MODEL]
    dut = build("bench", texts, simulator="verilator", files=models, netlist=True, held=True, seconds=BUILD_SECONDS)
    print("training", flush=True)
    run_bench(dut, NANO, "tb_small_module", folder, tests=1, seconds=RUN_SECONDS, steps=STEPS, batch=BATCH)


def test_as_verilog(tmp_path: Path) -> None:
    dut = build_machine(NANO, "verilator")
    run_bench(dut, NANO, "tb_small_module", tmp_path, tests=1, seconds=RUN_SECONDS, steps=STEPS, batch=BATCH)


def test_mapped_to_cells(mapped: Mapped, tmp_path: Path) -> None:
    learns(mapped.verilog.read_text(encoding="utf-8"), tmp_path)


def test_placed_and_routed(mapped: Mapped, folder: Path, tmp_path: Path) -> None:
    """Without pins: a machine has more ports than a chip, so what is routed is all but the way to them."""
    print(f"placing and routing, seed {SEED}", flush=True)
    route_alone(BOARD, folder, SEED, mhz=BOARD.clock_mhz, crowded=True, show=say)
    learns(routed_verilog(folder / "routed.json", TOP, tmp_path), tmp_path)
