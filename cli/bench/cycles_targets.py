# SPDX-License-Identifier: Apache-2.0
"""What the measured cycles are held against."""

from typing import Any

from respin.cli.bench.cycles_cases import PEER

Row = dict[str, Any]

PEER_PRESET = "large"
"""The preset whose peak, 512 multiply-accumulates a cycle, is nearest below the peer's 576."""

STEADY_UTILISATION = 0.95
COLD_UTILISATION = {"t8 3x3": 0.65}
FIXED_CYCLES = 64
BITS_TOLERANCE = 0.1


def beside_peer(rows: list[Row]) -> list[Row]:
    """Add the published cycles of the same cases, their ratio, and whether ours are fewer."""
    published = {layer.case: layer.peer_cycles for layer in PEER}
    judged = []
    for row in rows:
        if row["preset"] != PEER_PRESET:
            judged.append(row)
            continue
        peer = published[row["case"]]
        assert peer is not None
        least = COLD_UTILISATION.get(row["case"], 0)
        target = f"< {peer} cycles" + (f", >= {least:.0%} of peak" if least else "")
        met = row["cycles"] < peer and row["utilisation"] >= least
        judged.append(row | {"peer_cycles": peer, "ratio": round(row["cycles"] / peer, 3), **_verdict(target, met)})
    return judged


def fixed_cost(rows: list[Row]) -> list[Row]:
    """Add what the smallest job costs besides its work."""
    judged = []
    for row in rows:
        fixed = round(row["cycles"] - row["ideal_cycles"])
        judged.append(row | {"fixed_cycles": fixed, **_verdict(f"<= {FIXED_CYCLES} fixed", fixed <= FIXED_CYCLES)})
    return judged


def in_proportion(rows: list[Row]) -> list[Row]:
    """Hold each row against the first one, in proportion to their ideal cycles."""
    first = rows[0]
    judged = [first]
    for row in rows[1:]:
        wanted = first["cycles"] * row["ideal_cycles"] / first["ideal_cycles"]
        met = abs(row["cycles"] / wanted - 1) <= BITS_TOLERANCE
        judged.append(row | _verdict(f"{wanted:,.0f} +- {BITS_TOLERANCE:.0%}", met))
    return judged


def steady(rows: list[Row]) -> list[Row]:
    """Hold each row against the utilisation that a pass should keep."""
    target = f">= {STEADY_UTILISATION:.0%} of peak"
    return [row | _verdict(target, row["utilisation"] >= STEADY_UTILISATION) for row in rows]


def _verdict(target: str, met: bool) -> Row:
    return {"target": target, "met": met}
