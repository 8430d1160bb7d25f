# SPDX-License-Identifier: Apache-2.0
"""What synthesis counted of a machine's blocks, as ``respin bench area --json`` prints it."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from respin.rtl.config import AcceleratorConfig
from respin.sim.area import GROUPS, WHOLE, Logic

KBIT = 1024
"""Bits of one."""
BLOCKS = (*(module for modules in GROUPS.values() for module in modules), WHOLE)
"""Those that the area is made of."""
_OTHER = ("name", "mram_rows", "clock_mhz", "device")
"""Parameters that the logic hardly depends on."""


class BlocksError(ValueError):
    """A file that is no such count, or one of another machine; one line."""


def read_blocks(path: Path, config: AcceleratorConfig) -> dict[str, Logic]:
    """Read the blocks of a machine, by their modules' names.

    Raises
    ------
    BlocksError
        If the file cannot be read, is none of ``respin bench area``, counts another configuration, or not all blocks.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["bench"] != "area":
            raise BlocksError(f"{path}: is of respin bench {found['bench']}, not area")
        ((name, counted),) = found["config"].items()
        blocks = {row["block"]: _logic(row) for row in found["rows"]}
        other = [key for key, value in asdict(config).items() if key not in _OTHER and counted.get(key) != value]
    except OSError as error:
        raise BlocksError(f"{path}: cannot be read: {error.strerror}") from error
    except BlocksError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise BlocksError(f"{path}: is not what respin bench area --json prints") from None
    if other:
        raise BlocksError(f"{path}: counts {name}, which differs from {config.name} in {', '.join(other)}")
    if missing := [block for block in BLOCKS if block not in blocks]:
        raise BlocksError(f"{path}: does not count {', '.join(missing)}: respin bench area does without --block")
    return blocks


def _logic(row: dict[str, Any]) -> Logic:
    logic = Logic(lut6=int(row["lut6"]), flip_flops=int(row["ff"]), memory_bits=float(row["bram_kbit"]) * KBIT)
    if min(logic.lut6, logic.flip_flops) < 0 or not 0 <= logic.memory_bits < math.inf:
        raise ValueError("counts are not below 0")
    return logic
