# SPDX-License-Identifier: Apache-2.0
"""Drives a unit of ``rtl/imc`` in Amaranth's simulator: streams in, streams out, with seeded pauses."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Value
from amaranth.sim import Simulator, SimulatorContext


def feed(port: Any, values: Sequence[Any], idle: float, seed: int) -> Callable[[SimulatorContext], Any]:
    """A testbench that offers ``values`` in turn, pausing a cycle with probability ``idle``."""

    async def bench(ctx: SimulatorContext) -> None:
        chance = random.Random(seed)
        for value in values:
            while chance.random() < idle:
                await ctx.tick()
            ctx.set(Value.cast(port.payload) if isinstance(value, int) else port.payload, value)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)

    return bench


def drain(
    port: Any, got: list[int], count: int, stall: float, seed: int, limit: int
) -> Callable[[SimulatorContext], Any]:
    """A testbench that collects ``count`` payloads as bits, not ready with probability ``stall``."""

    async def bench(ctx: SimulatorContext) -> None:
        chance = random.Random(seed)
        for _ in range(limit):
            if len(got) == count:
                return
            ready = chance.random() >= stall
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, Value.cast(port.payload))
            if valid and ready:
                got.append(payload)
        raise AssertionError(f"{len(got)} of {count} results in {limit} cycles")

    return bench


def simulate(dut: Any, benches: Sequence[Callable[[SimulatorContext], Any]], *background: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    simulator.run()
