# SPDX-License-Identifier: Apache-2.0
"""What the commands for boards share: the port, and finding out which machine is there."""

from typing import Annotated, Any

import typer

from respin.cli.console import require
from respin.rtl.config import PRESETS, AcceleratorConfig, preset

Port = Annotated[str, typer.Option("--port", help="Path of the serial device.", show_default=False)]
Baud = Annotated[int, typer.Option("--baud", min=1, help="Bits a second, as the bitstream was made for.")]
Wait = Annotated[float, typer.Option("--wait", min=0.01, help="Longest wait for an answer, in seconds.")]
BAUD, WAIT = 115200, 0.3


def require_pyserial() -> None:
    """End with one line if what opens serial ports is not installed."""
    require("board", "pyserial")


def any_machine(transport: Any) -> Any:
    """Return a machine of which only the registers are known, as they are alike in all of them."""
    from respin.firmware_model.machine import Machine

    return Machine(preset("tiny"), transport)


def preset_there(found: dict[str, int]) -> AcceleratorConfig | None:
    """Return the preset with this identity, whatever its version; None if there is none."""
    from respin.firmware_model.identity import expected_identity, without_version

    for config in PRESETS.values():
        if without_version(expected_identity(config)) == without_version(found):
            return config
    return None
