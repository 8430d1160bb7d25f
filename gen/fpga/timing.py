# SPDX-License-Identifier: Apache-2.0
"""What nextpnr reports of a routed design: clocks, the slowest path, how much of the chip is used."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One run of place and route.

    Parameters
    ----------
    seed:
        Of placement.
    mhz, target_mhz:
        What the machine's clock reaches, and what it should.
    path:
        The slowest path of that clock: where it starts, where it ends, and its steps with their delays in ns.
    used:
        Of each resource of the chip, how many are used and how many there are.
    """

    seed: int
    mhz: float
    target_mhz: float
    path: dict[str, Any]
    used: dict[str, tuple[int, int]]

    @property
    def met(self) -> bool:
        """Whether the clock may run as it should."""
        return self.mhz >= self.target_mhz


def read(report: Path, *, seed: int, target_mhz: float) -> Timing:
    """Read ``--report`` of nextpnr; the machine's clock is the one with the longest path of flip-flops."""
    content = json.loads(report.read_text(encoding="utf-8"))
    name, clock = min(content["fmax"].items(), key=lambda item: item[1]["achieved"] / item[1]["constraint"])
    paths = [path for path in content["critical_paths"] if path["from"].endswith(name) and path["to"].endswith(name)]
    return Timing(
        seed=seed,
        mhz=round(clock["achieved"], 2),
        target_mhz=target_mhz,
        path=_summary(paths[0]) if paths else {},
        used={kind: (use["used"], use["available"]) for kind, use in content["utilization"].items()},
    )


def _summary(path: dict[str, Any]) -> dict[str, Any]:
    steps = path["path"]
    return {
        "from": _place(steps[0]["from"]),
        "to": _place(steps[-1]["to"]),
        "ns": round(sum(step["delay"] for step in steps), 2),
        "levels": sum(step["type"] == "logic" for step in steps),
        "routing_ns": round(sum(step["delay"] for step in steps if step["type"] == "routing"), 2),
        "nets": [step["net"] for step in steps if "net" in step],
    }


def _place(end: dict[str, Any]) -> str:
    return f"{end['cell']}.{end['port']}"
