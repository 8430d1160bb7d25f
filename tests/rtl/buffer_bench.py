# SPDX-License-Identifier: Apache-2.0
"""Testbench processes for the units of ``rtl/buffer`` in Amaranth's simulator."""

import os
import random
from collections.abc import Callable

import numpy as np
from amaranth.sim import Simulator
from buffer_reference import to_planes

SEED = int(os.environ.get("RESPIN_SEED", "1"))


def chooser(name: str) -> random.Random:
    print(f"RESPIN_SEED={SEED}")
    return random.Random(f"{SEED} {name}")


class Bench:
    """A simulation whose time is counted in cycles: ``cycle`` is the one that has begun."""

    def __init__(self, dut, name: str) -> None:
        self.random = chooser(name)
        self.cycle = 0
        self.reads = 0
        self.simulator = Simulator(dut)
        self.simulator.add_clock(1e-8)
        self.simulator.add_testbench(self._count, background=True)

    async def _count(self, ctx) -> None:
        while True:
            await ctx.tick()
            self.cycle += 1

    def run(self) -> None:
        self.simulator.run()

    def store(self, port, words: np.ndarray, *, refuse: float = 0.0) -> None:
        """Answer a StoreRead port out of ``words``; data is garbage in every other cycle, as others may read."""
        planes = [to_planes(lanes) for lanes in words]

        async def serve(ctx) -> None:
            while True:
                ready = self.random.random() >= refuse
                ctx.set(port.ready, ready)
                _, _, valid, address = await ctx.tick().sample(port.valid, port.addr)
                if valid and ready:
                    self.reads += 1
                    ctx.set(port.data, planes[address])
                else:
                    ctx.set(port.data, [self.random.getrandbits(32) for _ in range(8)])

        self.simulator.add_testbench(serve, background=True)

    def source(self, port, values: list, *, idle: float = 0.0) -> list[int]:
        """Put values into a stream; returns the list of the cycles in which they were taken."""
        taken: list[int] = []

        async def drive(ctx) -> None:
            for value in values:
                while self.random.random() < idle:
                    await ctx.tick()
                ctx.set(port.payload, value)
                ctx.set(port.valid, 1)
                # `until` leaves a generator open when the simulation ends while it waits.
                while not (await ctx.tick().sample(port.ready))[-1]:
                    pass
                ctx.set(port.valid, 0)
                taken.append(self.cycle)

        self.simulator.add_testbench(drive, background=True)
        return taken

    def sink(self, port, count: int, *, stall: float = 0.0, every: int = 1, gate: Callable[[], bool] = lambda: True,
             patience: int = 5000) -> tuple[list, list[int]]:
        """Take ``count`` values out of a stream, at most one in ``every`` cycles; returns values and cycles."""
        values: list = []
        cycles: list[int] = []

        async def take(ctx) -> None:
            held = None
            while len(values) < count:
                ready = self.random.random() >= stall and gate() and not (cycles and self.cycle - cycles[-1] < every)
                ctx.set(port.ready, ready)
                now = self.cycle
                waited = now - (cycles[-1] if cycles else 0)
                assert waited < patience, f"no value for {patience} cycles after {len(values)} of {count}"
                _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
                payload = plain(payload)
                assert held is None or (valid and payload == held), "an offered value changed or went away"
                held = payload if valid and not ready else None
                if valid and ready:
                    values.append(payload)
                    cycles.append(now)
            ctx.set(port.ready, 0)

        self.simulator.add_testbench(take)
        return values, cycles


def plain(payload) -> int | list[int]:
    """A payload as Python numbers."""
    try:
        return [int(item) for item in payload]
    except TypeError:
        return int(payload)
