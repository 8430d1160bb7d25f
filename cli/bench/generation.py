# SPDX-License-Identifier: Apache-2.0
"""``respin bench gen``: how long the Verilog of a configuration takes, and how large it is."""

import time
from typing import Annotated, Any

import typer

from respin.cli.bench.report import report
from respin.cli.console import BAD_INPUT, Json, configuration, fail
from respin.gen.blocks import DELIVERED
from respin.gen.emit import emit
from respin.rtl.config import PRESETS, AcceleratorConfig

TARGET_SECONDS = {"default": 10, "large": 60}

Names = Annotated[
    list[str] | None, typer.Option("--preset", "-p", help=f"Of {', '.join(PRESETS)}; default and tiny unless given.")
]


def gen(preset: Names = None, json: Json = False) -> None:
    """Time the generation of the top's Verilog."""
    configs = [configuration(name, None) for name in preset or ["tiny", "default"]]
    if len({config.name for config in configs}) != len(configs):
        fail("--preset names a preset twice", BAD_INPUT)
    rows = [measure(config) for config in configs]
    report("gen", configs, rows, json=json, title="Verilog generation", tools={})


def measure(config: AcceleratorConfig) -> dict[str, Any]:
    """Generate the top once."""
    top = DELIVERED[0]
    started = time.perf_counter()
    text = emit(top.make(config), top.name, config=config)
    seconds = time.perf_counter() - started
    return {
        "preset": config.name,
        "seconds": round(seconds, 2),
        "verilog_bytes": len(text.encode()),
        "modules": text.count("\nmodule "),
        "target_seconds": TARGET_SECONDS.get(config.name),
    }
