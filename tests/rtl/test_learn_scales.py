# SPDX-License-Identifier: Apache-2.0
"""The tables per tensor id, delayed error scales and largest gradients, against plain integers."""

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from amaranth.hdl import Value, unsigned
from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.config import preset
from respin.rtl.learn.scales import DelayedScales, StepScales
from respin.rtl.learn.table import TensorTable

SEED = int(os.environ.get("RESPIN_SEED", "1"))
CONFIG = preset("tiny")
IDS = 64


def simulate(dut: Any, bench: Callable[[SimulatorContext], Awaitable[None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


async def host_access(
    ctx: SimulatorContext, port: Any, tensor: int, entry: int | None = None, *, valid: int = 1
) -> None:
    """One access of a host port: a write of ``entry``, or a read."""
    ctx.set(port.id, tensor)
    ctx.set(port.write, entry is not None)
    ctx.set(Value.cast(port.entry), entry or 0)
    ctx.set(port.entry_valid, valid)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


def test_table_has_two_ports_and_refuses_unknown_ids() -> None:
    dut = TensorTable(shape=unsigned(9), ids=16)

    async def read(ctx: SimulatorContext, port: Any, tensor: int) -> tuple[int, int, int]:
        await host_access(ctx, port, tensor)
        return ctx.get(port.read_valid), ctx.get(port.read_entry), ctx.get(port.error)

    async def bench(ctx: SimulatorContext) -> None:
        for tensor in range(16):
            assert (await read(ctx, dut.host, tensor))[0] == 0
        for tensor in range(16):
            await host_access(ctx, (dut.owner, dut.host)[tensor & 1], tensor, 31 * tensor)
        for port in (dut.owner, dut.host):
            for tensor in range(16):
                assert await read(ctx, port, tensor) == (1, 31 * tensor, 0)
        await host_access(ctx, dut.host, 16 + 3, 5)
        assert ctx.get(dut.host.error)
        await host_access(ctx, dut.owner, 4095, 5)
        assert ctx.get(dut.owner.error)
        assert await read(ctx, dut.host, 3) == (1, 93, 0)
        assert (await read(ctx, dut.host, 16 + 3))[::2] == (0, 1)
        await host_access(ctx, dut.host, 3, 7, valid=0)
        assert (await read(ctx, dut.owner, 3))[0] == 0
        # The owner's access goes first.
        await ctx.tick()
        ctx.set(dut.owner.valid, 1)
        ctx.set(dut.host.valid, 1)
        assert (ctx.get(dut.owner.ready), ctx.get(dut.host.ready)) == (1, 0)
        ctx.set(dut.owner.valid, 0)
        assert ctx.get(dut.host.ready)

    simulate(dut, bench)


async def look_up(ctx: SimulatorContext, dut: DelayedScales | StepScales, tensor: int) -> None:
    ctx.set(dut.tensor, tensor)
    ctx.set(dut.lookup, 1)
    await ctx.tick()
    ctx.set(dut.lookup, 0)


async def give(ctx: SimulatorContext, dut: DelayedScales | StepScales, **fields: int) -> None:
    ctx.set(dut.measure.payload, fields)
    ctx.set(dut.measure.valid, 1)
    await ctx.tick().until(dut.measure.ready)
    ctx.set(dut.measure.valid, 0)


def test_error_scales_follow_the_largest_magnitude() -> None:
    dut = DelayedScales(config=CONFIG)
    rng = random.Random(SEED)
    magnitudes = [1, 127, 128, 255, 256, (1 << 48) - 1, 1 << 47, 0]
    magnitudes += [rng.getrandbits(rng.randrange(1, 49)) for _ in range(150)]

    async def bench(ctx: SimulatorContext) -> None:
        scales: dict[int, int] = {}
        for maximum in magnitudes:
            tensor = rng.randrange(IDS)
            await give(ctx, dut, tensor=tensor, maximum=maximum)
            assert not ctx.get(dut.error)
            if maximum:
                scales[tensor] = max(0, maximum.bit_length() - 7)
            for asked in (tensor, rng.randrange(IDS)):
                await look_up(ctx, dut, asked)
                assert (ctx.get(dut.valid), ctx.get(dut.shift)) == (asked in scales, scales.get(asked, 0))
        await give(ctx, dut, tensor=IDS, maximum=9)
        assert ctx.get(dut.error)
        await look_up(ctx, dut, 4095)
        assert (ctx.get(dut.error), ctx.get(dut.valid), ctx.get(dut.shift)) == (1, 0, 0)
        await host_access(ctx, dut.host, 5, 33)
        await look_up(ctx, dut, 5)
        assert (ctx.get(dut.valid), ctx.get(dut.shift)) == (1, 33)
        ctx.set(dut.lookup, 1)
        assert not ctx.get(dut.measure.ready)

    simulate(dut, bench)


def order(total: int, count: int, maximum: int) -> int:
    """Of a gradient, from the definition."""
    return max(total.bit_length() - count.bit_length(), maximum.bit_length() - 8)


def measures(rng: random.Random) -> list[tuple[int, int, int, int]]:
    """Corner and random statistics as (exponent, total, count, maximum)."""
    most = (1 << 24) - 1
    corners = [
        (0, 1, 1, 1),
        (-32768, most << 31, most, 1 << 31),
        (32767, most << 31, most, 1 << 31),
        (-32768, 1, 1, 1),
        (-5, most, most, 1),
        (3, 1 << 31, 1, 1 << 31),
        (-1, most + 300, most, 301),
    ]
    for _ in range(240):
        largest = rng.randrange(1, 1 << rng.randrange(1, 32))
        count = rng.randrange(1, 1 << rng.randrange(1, 25))
        total = min(count * largest, largest + count - 1 + rng.randrange(count * largest))
        corners.append((rng.randrange(-60, 1), total, count, largest))
    rng.shuffle(corners)
    return corners


def test_the_largest_gradient_is_kept() -> None:
    dut = StepScales(config=CONFIG)
    rng = random.Random(SEED)

    async def settled(ctx: SimulatorContext) -> None:
        for _ in range(dut.latency):
            if ctx.get(dut.measure.ready):
                return
            await ctx.tick()
        raise AssertionError("latency exceeded")

    async def bench(ctx: SimulatorContext) -> None:
        largest: dict[int, int] = {}
        for exponent, total, count, maximum in measures(rng):
            tensor = rng.randrange(16)
            await give(ctx, dut, tensor=tensor, exponent=exponent, total=total, count=count, maximum=maximum)
            await settled(ctx)
            await look_up(ctx, dut, tensor)
            assert ctx.get(dut.valid)
            measured = order(total, count, maximum) + exponent
            largest[tensor] = max(measured, largest.get(tensor, measured))
            assert ctx.get(dut.largest).order == largest[tensor]
        # Nothing measured keeps what there is, valid or not.
        await host_access(ctx, dut.host, 3, -700 & 0x1FFFF)
        await host_access(ctx, dut.host, 4, 0, valid=0)
        for tensor, valid in ((3, 1), (4, 0)):
            await give(ctx, dut, tensor=tensor, exponent=5)
            await settled(ctx)
            await look_up(ctx, dut, tensor)
            assert ctx.get(dut.valid) == valid
        await look_up(ctx, dut, 3)
        assert ctx.get(dut.largest).order == -700
        await host_access(ctx, dut.host, 3)
        assert (ctx.get(dut.host.read_valid), ctx.get(dut.host.read_entry).order) == (1, -700)
        await give(ctx, dut, tensor=IDS + 7, total=5, count=1, maximum=5)
        await ctx.tick().until(dut.error)

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: DelayedScales(config="tiny"), TypeError, "config must be an AcceleratorConfig, not 'tiny'"),
        (lambda: StepScales(config=None), TypeError, "config must be an AcceleratorConfig, not None"),
        (lambda: StepScales(config=CONFIG, ids=48), ValueError, r"ids must be a power of two in 2\.\.4096, not 48"),
        (lambda: TensorTable(shape=8, ids=8.0), TypeError, "ids must be an integer, not 8.0"),
    ],
)
def test_bad_parameters_are_refused(build: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()
