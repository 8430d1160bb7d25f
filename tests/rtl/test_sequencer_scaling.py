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
from movers_bench import Rows, carry_out

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
COUNT = scaling_rows(CONFIG)
FIELDS = {"errors": "shift", "measured": "exponent", "gradients": "order"}


class Bench(Component):
    """The unit with its three tables, whose other ports are the test's, and rows around it."""

    def __init__(self, rng: random.Random) -> None:
        self.dut = ScalingRows(config=CONFIG)
        shapes = {"errors": ErrorScale, "measured": Measured, "gradients": LargestGradient}
        self.tables = {name: TensorTable(shape=shape, ids=CONFIG.tensor_ids) for name, shape in shapes.items()}
        self.around = Rows(self.dut, rng)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self.dut
        for name, table in self.tables.items():
            m.submodules[name] = table
            connect(m, getattr(self.dut, name), table.host)
        return m

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
        return await carry_out(ctx, self.dut, Descriptor(opcode=opcode, body={"row": row, "count": COUNT}))


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
    for process in (bench.around.row_reads, bench.around.row_writes):
        simulator.add_testbench(process, background=True)

    async def test(ctx: SimulatorContext) -> None:
        while not ctx.get(bench.tables["errors"].owner.ready):
            await ctx.tick()
        await body(ctx, bench)

    simulator.add_testbench(test)
    simulator.run()


def content(rows: dict[int, int], first: int) -> np.ndarray:
    held = b"".join(rows[row].to_bytes(32, "little") for row in range(first, first + COUNT))
    return np.frombuffer(held, dtype=np.int8).reshape(-1, 32)


def test_what_was_saved_is_restored() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        known, others = measured(bench.around.rng), dict(bench.around.rows)
        await bench.put(ctx, known)
        bench.around.outcomes = {9: Outcome.DEFECT}
        assert await bench.carry_out(ctx, Opcode.SAVE, 7) == (ErrorCode.NONE, 0)
        assert scaling_of_rows(content(bench.around.rows, 7)) == known
        assert (content(bench.around.rows, 7) == rows_of_scaling(CONFIG, known)).all()
        assert all(bench.around.rows[row] == others[row] for row in others if not 7 <= row < 7 + COUNT)
        await bench.put(ctx, measured(bench.around.rng))
        assert await bench.carry_out(ctx, Opcode.RESTORE, 7) == (ErrorCode.NONE, 0)
        assert await bench.get(ctx) == known

    run(body)


def test_rows_of_zeros_restore_that_nothing_was_measured() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        await bench.put(ctx, measured(bench.around.rng))
        bench.around.rows |= dict.fromkeys(range(20, 20 + COUNT), 0)
        assert not rows_of_scaling(CONFIG, {}).any()
        assert await bench.carry_out(ctx, Opcode.RESTORE, 20) == (ErrorCode.NONE, 0)
        assert await bench.get(ctx) == {}

    run(body)


def test_a_row_that_fails_ends_it() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        before = dict(bench.around.rows)
        bench.around.outcomes = {4: Outcome.LOCKED}
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.ROW, Outcome.LOCKED.value)
        assert [row for row in before if bench.around.rows[row] != before[row]] == [2, 3]
        bench.around.outcomes = {}
        known = measured(bench.around.rng)
        await bench.put(ctx, known)
        bench.around.rows |= dict.fromkeys(range(30, 30 + COUNT), 0)
        bench.around.beyond = {31}
        assert await bench.carry_out(ctx, Opcode.RESTORE, 30) == (ErrorCode.ROW, UNCORRECTABLE_ROW)
        found = await bench.get(ctx)
        assert found == {number: scaling for number, scaling in known.items() if number >= 4}
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.NONE, 0)
        assert scaling_of_rows(content(bench.around.rows, 2)) == found

    run(body)


def test_a_stop_ends_it_after_a_row() -> None:
    async def body(ctx: SimulatorContext, bench: Bench) -> None:
        before = dict(bench.around.rows)
        ctx.set(bench.dut.stop, 1)
        assert await bench.carry_out(ctx, Opcode.SAVE, 2) == (ErrorCode.NONE, 0)
        assert [row for row in before if bench.around.rows[row] != before[row]] == [2]

    run(body)


def test_bad_scaling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor ids must be in 0\.\.63, not 64"):
        rows_of_scaling(CONFIG, {64: Scaling(shift=1)})
    with pytest.raises(ValueError, match=r"shift must be in 0\.\.63, not 64"):
        rows_of_scaling(CONFIG, {0: Scaling(shift=64)})
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig"):
        ScalingRows(config=None)
