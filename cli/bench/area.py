# SPDX-License-Identifier: Apache-2.0
"""``respin bench area``: look-up tables, flip-flops and block RAM of each block."""

from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.console import BAD_INPUT, ConfigFile, Json, Preset, configuration, err, fail, require
from respin.gen.blocks import MEASURED, Block, bismo_lut6_per_bit_mac
from respin.gen.emit import emit
from respin.gen.synthesis import synthesise
from respin.gen.versions import package_version
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig

Blocks = Annotated[
    list[str] | None,
    typer.Option("--block", "-b", help=f"Only this block: {', '.join(block.name for block in MEASURED)}."),
]


def area(preset: Preset = None, config: ConfigFile = None, block: Blocks = None, json: Json = False) -> None:
    """Count what each block takes in 6-input (7-series) and 4-input (ECP5) LUTs, by Yosys.

    LUTs per bit-MAC stand beside their target where there is one, those of the dot slices beside BISMO's model. The
    figures are those of synthesis, before placement.
    """
    chosen = configuration(preset, config)
    names = [item.name for item in MEASURED]
    for name in block or []:
        if name not in names:
            fail(f"block must be one of {', '.join(names)}, not {name!r}", BAD_INPUT)
    require("area", "pyosys")
    rows = []
    for item in MEASURED:
        if not block or item.name in block:
            err.print(f"{item.name}: {item.title} ...", style="dim")
            rows.append(measure(item, chosen))
    tools = {"pyosys": str(package_version("pyosys"))}
    report("area", [chosen], rows, json=json, title=f"Area of {chosen.name}", tools=tools)


def measure(block: Block, config: AcceleratorConfig) -> dict[str, Any]:
    """Synthesise one block for both families; flip-flops and block RAM are those of the 7-series."""
    text = emit(block.make(config), block.name, config=config)
    large, small = (synthesise(text, block.name, family) for family in ("xc7", "ecp5"))
    bit_macs = block.bit_macs_per_cycle(config)
    return {
        "block": block.name,
        "preset": config.name,
        "lut6": large.luts,
        "lut4": small.luts,
        "ff": large.flip_flops,
        "bram_kbit": large.bram_kbit,
        "bit_macs_per_cycle": bit_macs,
        "lut6_per_bit_mac": round(large.luts / bit_macs, 3) if bit_macs else None,
        "bismo_lut6_per_bit_mac": round(bismo_lut6_per_bit_mac(config.lanes), 3) if block.beside_bismo else None,
        "target_lut6_per_bit_mac": block.target if config.lanes == ROW_WEIGHTS else None,
    }
