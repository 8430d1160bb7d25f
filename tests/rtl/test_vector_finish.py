# SPDX-License-Identifier: Apache-2.0
"""The finishing pipeline against plain integers: every rounding, every shift, corners of the accumulator."""

import os
import random
import re

import pytest
from amaranth.sim import Simulator

from respin.rtl.vector.finish import Finish

SEED = int(os.environ.get("RESPIN_SEED", "1"))
HALF = 1 << 15


def expected(case: dict, *, unit: bool, clamp: bool) -> dict:
    """The rule as one would write it with integers of any size."""
    offset = case["sum"] + case["bias"] if case["keep"] else 0
    v = offset if unit else offset * case["mult"]
    s, r = case["shift"], case["random"]
    r = r >> (16 - s) if s <= 16 else r << (s - 16)
    y = (v + r) >> s
    lo, hi = case["lo"], case["hi"]
    if not case["valid"]:
        return {"result": 0, "inside": 0, "above": 0, "below": 0, "magnitude": 0}
    return {
        "result": (max(lo, min(hi, y)) if clamp else y) & 0xFF,
        "inside": int(lo < y < hi),
        "above": int(y > hi),
        "below": int(y < lo),
        "magnitude": abs(v),
    }


def random_case(rng: random.Random, *, unit: bool) -> dict:
    width = 48 if unit else 32
    magnitude = rng.randrange(width)
    corners = [-(1 << (width - 1)), (1 << (width - 1)) - 1, 0, -1, 1]
    lo, hi = rng.choice([(-128, 127), (0, 255), (-127, 127), (-256, 255), (3, 7), (-5, -5)])
    return {
        "sum": rng.choice(corners) if rng.random() < 0.15 else rng.randrange(-(1 << magnitude), 1 << magnitude),
        "bias": rng.choice([0, -(1 << 31), (1 << 31) - 1, rng.randrange(-5000, 5000)]),
        "mult": rng.choice([0, 1, 65535, rng.randrange(65536)]),
        "shift": rng.randrange(64) if rng.random() < 0.1 else rng.randrange(47),
        "lo": lo,
        "hi": hi,
        "keep": int(rng.random() < 0.9),
        "valid": int(rng.random() < 0.95),
        "random": rng.choice([0, HALF, 65535, rng.randrange(65536)]),
    }


def halves(*, unit: bool) -> list[dict]:
    """Exact halves of both signs at every shift, rounded to nearest."""
    return [
        {
            "sum": sign * 3 << (shift - 1), "bias": 0, "mult": 1, "shift": shift, "lo": -128, "hi": 127,
            "keep": 1, "valid": 1, "random": HALF,
        }
        for shift in range(1, 46 if unit else 30)
        for sign in (1, -1)
    ]  # fmt: skip


def run(cases: list[dict], *, lanes: int, unit: bool, clamp: bool) -> None:
    rng = random.Random(SEED)
    rows = [cases[i : i + lanes] for i in range(0, len(cases) - lanes + 1, lanes)]
    dut = Finish(lanes=lanes)

    async def bench(ctx):
        ctx.set(dut.bypass, unit)
        ctx.set(dut.clamp, clamp)
        magnitude, cycle = 0, 0
        while cycle < len(rows) + dut.latency:
            if cycle < len(rows):
                for lane, case in enumerate(rows[cycle]):
                    ctx.set(dut.sums[lane], case["sum"])
                    ctx.set(dut.entries[lane], {name: case[name] for name in ("bias", "mult", "shift", "lo", "hi")})
                ctx.set(dut.valid, sum(case["valid"] << i for i, case in enumerate(rows[cycle])))
            else:
                ctx.set(dut.valid, 0)
            if 1 <= cycle <= len(rows):
                ctx.set(dut.keep, sum(case["keep"] << i for i, case in enumerate(rows[cycle - 1])))
            drawn = cycle - dut.random_delay
            if 0 <= drawn < len(rows):
                for lane, case in enumerate(rows[drawn]):
                    ctx.set(dut.random[lane], case["random"])
            en = rng.random() < 0.8
            ctx.set(dut.en, en)
            await ctx.tick()
            cycle += en
            if not en or cycle < dut.latency:
                continue
            if cycle - dut.latency >= len(rows):
                break
            for lane, case in enumerate(rows[cycle - dut.latency]):
                want = expected(case, unit=unit, clamp=clamp)
                magnitude |= want.pop("magnitude")
                got = {"result": ctx.get(dut.result[lane])} | {
                    name: ctx.get(getattr(dut, name)) >> lane & 1 for name in ("inside", "above", "below")
                }
                assert got == want, (SEED, case)
        assert ctx.get(dut.magnitude) == magnitude

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_finish_equals_integers(unit: bool, clamp: bool) -> None:
    rng = random.Random(SEED)
    print(f"RESPIN_SEED={SEED}")
    cases = halves(unit=unit) + [random_case(rng, unit=unit) for _ in range(3000)]
    run(cases, lanes=4, unit=unit, clamp=clamp)


@pytest.mark.parametrize(("lanes", "error", "message"), [
    ("4", TypeError, "lanes must be an integer, not '4'"),
    (0, ValueError, "lanes must be at least 1, not 0"),
])  # fmt: skip
def test_finish_refuses(lanes: object, error: type, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Finish(lanes=lanes)
