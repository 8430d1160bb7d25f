# SPDX-License-Identifier: Apache-2.0
"""SAVE and RESTORE: between the tables of what was measured and rows that are a Python dictionary."""

import os
import random
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, connect
from amaranth.sim import Simulator, SimulatorContext

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.scaling import Scaling, rows_of_scaling, scaling_of_rows
from respin.rtl.config import preset
from respin.rtl.learn.scales import ErrorScale, LargestGradient
from respin.rtl.learn.table import TensorTable
from respin.rtl.mram.ports import Outcome
from respin.rtl.sequencer.descriptor import Opcode
from respin.rtl.sequencer.edges import Measured
from respin.rtl.sequencer.errors import UNCORRECTABLE_ROW, ErrorCode
from respin.rtl.sequencer.scaling import ScalingRows, scaling_rows

SEED = int(os.environ.get("RESPIN_SEED", "1"))
CONFIG = preset("tiny")
ROWS = scaling_rows(CONFIG)
FIELDS = {"errors": "shift", "measured": "exponent", "gradients": "order"}


class Bench(Component):
    """The unit with its three tables, whose other ports are the test's, and rows that pause at random."""

    def __init__(self, rng: random.Random) -> None:
        self.dut = ScalingRows(config=CONFIG)
        shapes = {"errors": ErrorScale, "measured": Measured, "gradients": LargestGradient}
        self.tables = {name: TensorTable(shape=shape, ids=CONFIG.tensor_ids) for name, shape in shapes.items()}
        self.rows: dict[int, int] = {row: rng.getrandbits(256) for row in range(60)}
        self.outcomes: dict[int, Outcome] = {}
        self.beyond: set[int] = set()
        self.rng = rng
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self.dut
        for name, table in self.tables.items():
            m.submodules[name] = table
            connect(m, getattr(self.dut, name), table.host)
        return m

    async def _pause(self, ctx: SimulatorContext) -> None:
        for _ in range(self.rng.choice([0, 0, 1, 4])):
            await ctx.tick()

    async def _take(self, ctx: SimulatorContext, port: Any) -> Any:
        await self._pause(ctx)
        ctx.set(port.ready, 1)
        valid = False
        while not valid:
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        ctx.set(port.ready, 0)
        return payload

    async def _give(self, ctx: SimulatorContext, port: Any, payload: Any) -> None:
        await self._pause(ctx)
        ctx.set(port.payload, payload)
        ctx.set(port.valid, 1)
        ready = False
        while not ready:
            _, _, ready = await ctx.tick().sample(port.ready)
        ctx.set(port.valid, 0)

    async def writes(self, ctx: SimulatorContext) -> None:
        while True:
            asked = await self._take(ctx, self.dut.row_write)
            outcome = self.outcomes.get(asked.row, Outcome.OK)
            if outcome in (Outcome.OK, Outcome.DEFECT):
                self.rows[asked.row] = asked.data
            await self._give(ctx, self.dut.row_written, {"outcome": outcome})

    async def reads(self, ctx: SimulatorContext) -> None:
        while True:
            asked = await self._take(ctx, self.dut.row_read)
            assert (asked.count, asked.repeats) == (1, 1)
            content = np.frombuffer(self.rows[asked.base].to_bytes(32, "little"), dtype=np.int8)
            row = {"data": content.tolist(), "uncorrectable": asked.base in self.beyond}
            await self._give(ctx, self.dut.row_data, row)

    async def put(self, ctx: SimulatorContext, scaling: dict[int, Scaling]) -> None:
        """Fill the tables through their owners' ports."""
        for name, field in FIELDS.items():
            port = self.tables[name].owner
            ctx.set(port.valid, 1)
            ctx.set(port.write, 1)
            for number in range(CONFIG.tensor_ids):
                value = getattr(scaling.get(number, Scaling()), field)
                ctx.set(port.id, number)
                ctx.set(port.entry_valid, value is not None)
                ctx.set(port.entry[field], 0 if value is None else value)
                await ctx.tick()
            ctx.set(port.valid, 0)

    async def get(self, ctx: SimulatorContext) -> dict[int, Scaling]:
        """Read the tables through their owners' ports."""
        found: dict[int, dict[str, int]] = {}
        for name, field in FIELDS.items():
            port = self.tables[name].owner
            ctx.set(port.valid, 1)
            ctx.set(port.write, 0)
            for number in range(CONFIG.tensor_ids):
                ctx.set(port.id, number)
                await ctx.tick()
                if ctx.get(port.read_valid):
                    found.setdefault(number, {})[field] = ctx.get(port.read_entry[field])
            ctx.set(port.valid, 0)
        return {number: Scaling(**known) for number, known in sorted(found.items())}

    async def carry_out(self, ctx: SimulatorContext, opcode: Opcode, row: int) -> tuple[ErrorCode, int]:
        made = Descriptor(opcode=opcode, body={"row": row, "count": ROWS}).pack()
        ctx.set(self.dut.descriptor.as_value(), int.from_bytes(made, "little"))
        ctx.set(self.dut.start, 1)
        await ctx.tick()
        ctx.set(self.dut.start, 0)
        ctx.set(self.dut.descriptor.as_value(), 0)
        for _ in range(4000):
            await ctx.tick()
            if ctx.get(self.dut.idle):
                return ErrorCode(ctx.get(self.dut.error)), ctx.get(self.dut.info)
        raise AssertionError("it does not end")


def measured(rng: random.Random) -> dict[int, Scaling]:
    """What training might have measured: of some tensors all, of others a part, of many nothing."""
    limits = {"shift": (0, 63), "exponent": (-(1 << 15), (1 << 15) - 1), "order": (-(1 << 16), (1 << 16) - 1)}
    found = {}
    for number in range(CONFIG.tensor_ids):
        known = {name: rng.choice([low, high, rng.randint(low, high)]) for name, (low, high) in limits.items()
                 if rng.random() < 0.5}  # fmt: skip
        if known:
            found[number] = Scaling(**known)
    return found


def run(body: Callable[[SimulatorContext, Bench], Coroutine[Any, Any, None]]) -> None:
    bench = Bench(random.Random(SEED))
    simulator = Simulator(bench)
    simulator.add_clock(1e-9)
    simulator.add_process(bench.writes)
    simulator.add_process(bench.reads)

    async def test(ctx: SimulatorContext) -> None:
        while not ctx.get(bench.tables["errors"].owner.ready):
            await ctx.tick()
        await body(ctx, bench)

    simulator.add_testbench(test)
    simulator.run()


def content(rows: dict[int, int], first: int) -> np.ndarray:
    held = b"".join(rows[row].to_bytes(32, "little") for row in range(first, first + ROWS))
    return np.frombuffer(held, dtype=np.int8).reshape(-1, 32)


def test_what_was_saved_is_restored() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        known, others = measured(bench.rng), dict(bench.rows)
        await bench.put(ctx, known)
        bench.outcomes = {9: Outcome.DEFECT}
        assert await bench.carry_out(ctx, Opcode.SAVE, 7) == (ErrorCode.NONE, 0)
        assert scaling_of_rows(content(bench.rows, 7)) == known
        assert (content(bench.rows, 7) == rows_of_scaling(CONFIG, known)).all()
        assert all(bench.rows[row] == others[row] for row in others if not 7 <= row < 7 + ROWS)
        await bench.put(ctx, measured(bench.rng))
        assert await bench.carry_out(ctx, Opcode.RESTORE, 7) == (ErrorCode.NONE, 0)
        assert await bench.get(ctx) == known

    run(body)


def test_rows_of_zeros_restore_that_nothing_was_measured() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        await bench.put(ctx, measured(bench.rng))
        bench.rows |= dict.fromkeys(range(20, 20 + ROWS), 0)
        assert not rows_of_scaling(CONFIG, {}).any()
        assert await bench.carry_out(ctx, Opcode.RESTORE, 20) == (ErrorCode.NONE, 0)
        assert await bench.get(ctx) == {}

    run(body)


def test_a_row_that_fails_ends_it() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        before = dict(bench.rows)
        bench.outcomes = {4: Outcome.LOCKED}
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.ROW, Outcome.LOCKED.value)
        assert [row for row in before if bench.rows[row] != before[row]] == [2, 3]
        bench.outcomes = {}
        known = measured(bench.rng)
        await bench.put(ctx, known)
        bench.rows |= dict.fromkeys(range(30, 30 + ROWS), 0)
        bench.beyond = {31}
        assert await bench.carry_out(ctx, Opcode.RESTORE, 30) == (ErrorCode.ROW, UNCORRECTABLE_ROW)
        found = await bench.get(ctx)
        assert found == {number: scaling for number, scaling in known.items() if number >= 4}
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.NONE, 0)
        assert scaling_of_rows(content(bench.rows, 2)) == found

    run(body)


def test_a_stop_ends_it_after_a_row() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        before = dict(bench.rows)
        ctx.set(bench.dut.stop, 1)
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.NONE, 0)
        assert [row for row in before if bench.rows[row] != before[row]] == [2]

    run(body)


def test_bad_scaling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor ids must be in 0\.\.63, not 64"):
        rows_of_scaling(CONFIG, {64: Scaling(shift=1)})
    with pytest.raises(ValueError, match=r"shift must be in 0\.\.63, not 64"):
        rows_of_scaling(CONFIG, {0: Scaling(shift=64)})
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig"):
        ScalingRows(config=None)
