# SPDX-License-Identifier: Apache-2.0
"""Keeper, guard and bank controller with plain memories, and a host that asks for procedures and moves rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from amaranth.sim import Simulator, SimulatorContext
from mram_bench import PlainBank, columns_of

from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.interfaces import BankPins
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.controller import MramController
from respin.rtl.mram.guard import Guard
from respin.rtl.mram.keeper import Keeper
from respin.rtl.mram.keeper_ports import KeeperError, Procedure
from respin.rtl.mram.ports import Outcome, ReadRow, WriteStatus
from respin.rtl.mram.regions import TABLE_STARTS, RegionTable
from respin.rtl.ports import HostRow

CONFIG = replace(preset("tiny"), mram_rows=64, watchdog_cycles=1024)


class KeptMemory(Component):
    """What :class:`respin.rtl.sequenced.SequencedAccelerator` makes of them, without the rest of it."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.config = config
        self.keeper, self.guard = Keeper(config=config), Guard(config=config)
        self.mram = MramController(config=config)
        super().__init__({
            "banks": Out(BankPins(config.mram_rows)).array(config.banks),
            "row_write": In(stream.Signature(HostRow)),
            "row_written": Out(stream.Signature(WriteStatus)),
            "row_read": In(stream.Signature(ReadJob)),
            "row_data": Out(stream.Signature(ReadRow)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.keeper, m.submodules.guard, m.submodules.mram = self.keeper, self.guard, self.mram
        for inner, outer in zip(self.mram.banks, self.banks, strict=True):
            connect(m, inner, flipped(outer))
        connect(m, self.guard.inner_read, self.mram.read)
        connect(m, self.guard.inner_write, self.mram.write)
        connect(m, self.mram.written, self.guard.inner_written)
        m.d.comb += [self.guard.regions.eq(self.keeper.regions), self.keeper.power_good.eq(self.banks[0].power_good)]
        for user, active in ((self, self.keeper.idle), (self.keeper, ~self.keeper.idle)):
            with m.If(active):
                write, inner = user.row_write, self.guard.write
                m.d.comb += [
                    inner.payload.row.eq(write.payload.row), inner.payload.data.as_value().eq(write.payload.data),
                    inner.valid.eq(write.valid), write.ready.eq(inner.ready),
                ]  # fmt: skip
                for source, sink in (
                    (user.row_read, self.guard.read), (self.guard.written, user.row_written),
                    (self.mram.rows, user.row_data),
                ):  # fmt: skip
                    m.d.comb += [
                        sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)
                    ]  # fmt: skip
        return m


class KeeperBench:
    """Runs one bench after the other on the same cells, with a reset before each."""

    def __init__(self, config: AcceleratorConfig = CONFIG) -> None:
        self.config = config
        self.cells: list[dict[int, int]] = [{} for _ in range(config.banks)]
        self.banks: list[PlainBank] = []

    def run(self, bench: Any, *, cycles: int = 100_000) -> None:
        """Reset, then run a bench ``async def bench(host)`` to its end."""
        dut = KeptMemory(self.config)
        simulator = Simulator(dut)
        simulator.add_clock(1e-8)
        self.banks = banks = [PlainBank(rows=self.config.mram_rows, cells=cells) for cells in self.cells]
        for bank, pins in zip(banks, dut.banks, strict=True):

            async def model(ctx: SimulatorContext, bank: PlainBank = bank, pins: Any = pins) -> None:
                await bank.run(ctx, pins)

            simulator.add_process(model)

        async def testbench(ctx: SimulatorContext) -> None:
            await bench(Host(ctx, dut))

        simulator.add_testbench(testbench)
        for _ in range(2 * cycles):  # both edges of the clock
            if not simulator.advance():
                return
        raise AssertionError("the bench does not end")

    def stage(self, table: RegionTable) -> None:
        """Put a region table where FORMAT expects it: unsealed, in the first copy."""
        rows = table.encode()
        rows[-1] = rows[-1][:-4] + bytes(byte ^ 0xFF for byte in rows[-1][-4:])
        for offset, row in enumerate(rows):
            self.put(TABLE_STARTS[0] + offset, row)

    def put(self, row: int, content: Sequence[int]) -> None:
        """Put an encoded row into its bank."""
        self.cells[row % self.config.banks][row // self.config.banks] = columns_of(content)


class Host:
    """What a bench asks for."""

    def __init__(self, ctx: SimulatorContext, dut: KeptMemory) -> None:
        self.ctx, self.dut, self.keeper = ctx, dut, dut.keeper

    def get(self, signal: Signal) -> int:
        return self.ctx.get(signal)

    async def ready(self) -> None:
        """Wait until the keeper is idle."""
        if not self.ctx.get(self.keeper.idle):
            await self.ctx.tick().until(self.keeper.idle)

    async def do(self, procedure: Procedure, region: int = 0) -> KeeperError:
        """Ask for a procedure; returns how it ended."""
        self.ctx.set(self.keeper.procedure, procedure)
        self.ctx.set(self.keeper.region, region)
        self.ctx.set(self.keeper.start, 1)
        await self.ctx.tick()
        self.ctx.set(self.keeper.start, 0)
        await self.ready()
        return KeeperError(self.ctx.get(self.keeper.error))

    async def write(self, row: int, content: bytes) -> Outcome:
        """Write a row as a job would."""
        port, answer = self.dut.row_write, self.dut.row_written
        self.ctx.set(port.payload.row, row)
        self.ctx.set(port.payload.data, int.from_bytes(content, "little"))
        self.ctx.set(port.valid, 1)
        self.ctx.set(answer.ready, 1)
        (outcome,) = await self.ctx.tick().sample(answer.payload.outcome).until(answer.valid)
        self.ctx.set(port.valid, 0)
        self.ctx.set(answer.ready, 0)
        return Outcome(outcome)

    async def read(self, row: int) -> bytes:
        """Read a row as a job would."""
        port, answer = self.dut.row_read, self.dut.row_data
        for name, value in (("base", row), ("count", 1), ("tiles", 1), ("repeats", 1)):
            self.ctx.set(getattr(port.payload, name), value)
        self.ctx.set(port.valid, 1)
        self.ctx.set(answer.ready, 1)
        await self.ctx.tick().until(port.ready)
        self.ctx.set(port.valid, 0)
        data, flag = await self.ctx.tick().sample(
            answer.payload.data.as_value(), answer.payload.uncorrectable
        ).until(answer.valid)  # fmt: skip
        self.ctx.set(answer.ready, 0)
        assert not flag
        return int(data).to_bytes(32, "little")
