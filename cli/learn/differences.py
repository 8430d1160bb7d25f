# SPDX-License-Identifier: Apache-2.0
"""Differences between methods, with their bounds, the targets that some have, and whether these are met."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from respin.cli.learn.tables import Method, Study
from respin.golden.learn.variations import VARIATIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a method must reach against another.

    Parameters
    ----------
    of, against:
        Which ones.
    mean, task:
        What the lower bound of the difference must be above, in points: on the mean of the tasks, and on each.
    above:
        Share of the tasks on which that bound must be above 0.
    """

    of: str
    against: str
    mean: float
    task: float
    above: float = 0.0


TARGETS = (
    Target(of="rep-net", against="rep-net-float", mean=-1.0, task=-2.0),
    Target(of="rep-net", against="linear", mean=0.0, task=-0.5, above=0.75),
)


def _verdict(lower: float | None, limit: float | None) -> str:
    if limit is None:
        return ""
    return "not decidable: one seed" if lower is None else "met" if lower > limit else "not met"


def _limit_text(limit: float | None) -> str:
    if limit is None:
        return ""
    return f"above {limit:.1f}".replace("-", "\u2212") if limit else "above 0"


def difference_groups(study: Study, methods: dict[str, Method], tasks: dict[str, str]) -> list[dict[str, Any]]:
    """A group for each two methods: rows with bounds, targets and verdicts. Variations have a table of their own."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in study.get("differences") or []:
        if row["of"] not in VARIATIONS:
            pairs.setdefault((row["of"], row["against"]), []).append(row)
    groups = []
    for (of, against), found in pairs.items():
        target = next((t for t in TARGETS if (t.of, t.against) == (of, against)), None)
        # With one task its mean says the same again.
        several = sum(row["task"] != "mean" for row in found) > 1
        rows = []
        for row in found:
            mean = row["task"] == "mean"
            limit = (target.mean if mean or not several else target.task) if target else None
            if mean and not several and len(found) > 1:
                continue
            title = f"mean of {len(tasks)} tasks" if mean else tasks.get(row["task"], row["task"])
            judged = {"limit": limit, "target": _limit_text(limit), "verdict": _verdict(row["lower"], limit)}
            rows.append({**row, **judged, "is_mean": mean, "title": title})
        group = {"of": methods[of], "against": methods[against], "rows": rows, "several": several}
        groups.append({**group, "counted": _counted(target, rows)})
    return groups


def variation_rows(study: Study, methods: dict[str, Method]) -> list[dict[str, Any]]:
    """What each variation of the rules is above them, on the mean of the tasks; the best first."""
    rows = [
        {**row, "of": methods[row["of"]], "against": methods[row["against"]], "limit": None}
        for row in study.get("differences") or []
        if row["of"] in VARIATIONS and row["task"] == "mean"
    ]
    return sorted(rows, key=lambda row: -row["mean"])


def _counted(target: Target | None, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """On how many tasks a method is above another, if that is a target."""
    lowers = [row["lower"] for row in rows if not row["is_mean"]]
    if target is None or not target.above or len(lowers) < 2:
        return None
    needed = math.ceil(target.above * len(lowers))
    above = None if None in lowers else sum(lower > 0 for lower in lowers)
    return {
        "title": f"above 0 on {needed} of {len(lowers)} tasks",
        "count": None if above is None else f"{above} of {len(lowers)}",
        "verdict": "not decidable: one seed" if above is None else "met" if above >= needed else "not met",
    }
