# SPDX-License-Identifier: Apache-2.0
"""Benches of the update unit: layers trained for some steps against a row memory, equal to golden bit for bit."""

import json
import os

import cocotb
import numpy as np
import torch
from cocotb.triggers import RisingEdge
from update_model import Layer, Shape, Unit

from respin.golden.random import RandomSource
from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.interfaces import result_layout
from respin.rtl.jobs import ReadJob, UpdateJob
from respin.rtl.learn.scales import LargestGradient
from respin.rtl.learn.ternary import UpdateCommit, update_width
from respin.rtl.learn.update import UpdateCounters
from respin.rtl.mram.ports import Outcome, ReadRow, WriteRequest, WriteStatus
from respin.sim.payload import pack, unpack
from respin.sim.runner import seed
from respin.sim.streams import Scoreboard, StreamDriver, StreamMonitor, cycles_of, reset, start_clock

CONFIG = AcceleratorConfig(**json.loads(os.environ["UPDATE_CONFIG"]))
LAYERS = [Shape(**shape) for shape in json.loads(os.environ["UPDATE_LAYERS"])]
FOREVER = 1 << 40
LARGEST = 2**31 - 1


class RowMemory:
    """The memory controller's place: rows by address, with rows that fail on demand."""

    def __init__(self, dut, *, pause: float) -> None:
        self.rows: dict[int, list[int]] = {}
        self.uncorrectable: set[int] = set()
        self.unwritable: set[int] = set()
        self.reads: list[int] = []
        self.writes: list[int] = []
        self._read = StreamMonitor(dut, "read", ReadJob, stall=pause)
        self._rows = StreamDriver(dut, "rows", ReadRow, idle=pause)
        self._write = StreamMonitor(dut, "write", WriteRequest, stall=pause)
        self._written = StreamDriver(dut, "written", WriteStatus, idle=pause)
        cocotb.start_soon(self._serve_reads())
        cocotb.start_soon(self._serve_writes())

    async def _serve_reads(self) -> None:
        while True:
            job = await self._read.get(FOREVER)
            assert (job["count"], job["tiles"], job["repeats"]) == (1, 1, 1)
            self.reads.append(job["base"])
            broken = job["base"] in self.uncorrectable
            data = [85] * BLOCK if broken else self.rows[job["base"]]
            await self._rows.send({"data": data, "uncorrectable": int(broken)})

    async def _serve_writes(self) -> None:
        while True:
            request = await self._write.get(FOREVER)
            row = request["row"]
            assert request["kind"] == 0
            assert row == self.reads[-1], "a row is written that was not read just before"
            self.writes.append(row)
            if row in self.unwritable:
                outcome = Outcome.FAILED
            else:
                self.rows[row] = request["data"]
                outcome = Outcome.DEFECT if row % 5 == 0 else Outcome.OK
            await self._written.send({"outcome": outcome.value})


class Bench:
    """The unit with its drivers, and the training steps of a layer."""

    def __init__(self, dut, *, pause: float) -> None:
        self.dut = dut
        self.rng = np.random.default_rng(seed())
        self.jobs = StreamDriver(dut, "job", UpdateJob, idle=pause)
        self.commits = StreamDriver(dut, "commit", UpdateCommit)
        self.results = StreamDriver(dut, "results", result_layout(CONFIG), idle=pause)
        self.memory = RowMemory(dut, pause=pause)
        self.board = Scoreboard("rows")
        self.random_seed = int(self.rng.integers(0, 1 << 32))

    async def start(self) -> None:
        dut = self.dut
        for port in (dut.host__valid, dut.host__write, dut.host__id, dut.host__entry, dut.host__entry_valid):
            port.value = 0
        dut.clear_counters.value = 0
        dut.seed.value = self.random_seed
        dut.step.value = dut.log2_rate.value = dut.exponent.value = 0
        await reset(dut)
        await cycles_of(dut, CONFIG.tensor_ids + 1)  # the table is cleared

    async def idle(self, cycles: int = 400_000) -> None:
        edge = RisingEdge(self.dut.clk)
        for _ in range(cycles):
            await edge
            if not self.dut.busy.value:
                return
        raise AssertionError(f"busy for {cycles} cycles")

    def counters(self) -> dict[str, int]:
        return unpack(UpdateCounters, int(self.dut.counters.value))

    async def largest(self, tensor: int) -> tuple[int, int]:
        """(valid, order) of a tensor's largest gradient, read by the host's port."""
        dut = self.dut
        dut.host__id.value, dut.host__write.value, dut.host__valid.value = tensor, 0, 1
        await RisingEdge(dut.clk)
        while not dut.host__ready.value:
            await RisingEdge(dut.clk)
        dut.host__valid.value = 0
        await cycles_of(dut, 1)
        entry = unpack(LargestGradient, int(dut.host__read_entry.value))
        return int(dut.host__read_valid.value), entry["order"]

    async def restore(self, tensor: int, order: int) -> None:
        """Write a tensor's largest gradient through the host's port."""
        dut = self.dut
        dut.host__entry.value = pack(LargestGradient, {"order": order})
        dut.host__id.value, dut.host__entry_valid.value, dut.host__write.value, dut.host__valid.value = tensor, 1, 1, 1
        await RisingEdge(dut.clk)
        while not dut.host__ready.value:
            await RisingEdge(dut.clk)
        dut.host__valid.value = 0

    async def train(
        self, layer: Layer, step: int, gradient: torch.Tensor, bias: torch.Tensor, unit: Unit, *, apply: bool = True
    ) -> None:
        """One training step of the unit and of golden: rows, counters and largest gradients must agree."""
        await self.idle()
        self.dut.step.value = step
        self.offer(unit)
        self.dut.clear_counters.value = 1
        await cycles_of(self.dut, 1)
        self.dut.clear_counters.value = 0
        self.memory.reads.clear()
        self.memory.writes.clear()
        for tile in layer.tiles(int(self.rng.integers(1, 5))):
            self.jobs.put(layer.job(tile, apply=apply))
            self.results.put(*layer.results(tile, gradient, bias, self.rng))
        await self.jobs.drain()
        await self.commits.send({"tensor": layer.weight.id, "bias_tensor": layer.bias.id, "exponent": unit.exponent})
        await self.idle()
        source = RandomSource(seed=self.random_seed, step=step)
        tensors = [(layer.weight, gradient)] + ([(layer.bias, bias)] if layer.shape.bias else [])
        layer.bias.moved = torch.zeros_like(layer.bias.weights)
        for tensor, sums in tensors:
            tensor.train(sums, source, unit=unit, apply=apply)
        await self._compare(layer, tensors, unit)

    def offer(self, unit: Unit) -> None:
        self.dut.log2_rate.value, self.dut.exponent.value = unit.log2_rate, unit.exponent

    async def _compare(self, layer: Layer, tensors: list, unit: Unit) -> None:
        expected = {row: data for row, data in layer.memory().items() if row < layer.base + layer.rows}
        if not layer.shape.transposed:
            for row in range(layer.transposed_base, layer.bias_base):
                expected[row] = self.memory.rows[row]
        self.board.check(
            [(row, expected[row]) for row in sorted(expected)],
            [(row, self.memory.rows[row]) for row in sorted(self.memory.rows)],
        )
        assert sorted(self.memory.reads) == sorted(self.memory.writes)
        assert set(self.memory.writes) >= layer.moved_rows()
        counters = self.counters()
        assert counters["entries"] == sum(sums.numel() for _, sums in tensors)
        assert counters["moves"] == sum(int(torch.count_nonzero(tensor.moved)) for tensor, _ in tensors)
        assert counters["rows_written"] == len(self.memory.writes)
        assert counters["rows_uncorrectable"] == counters["rows_failed"] == 0
        for tensor, _ in tensors:
            tensor.settle(unit)
            valid, order = await self.largest(tensor.id)
            assert valid == tensor.scale.valid
            if valid:
                assert order == tensor.scale.order

    def layer(self, shape: Shape) -> Layer:
        ids = self.rng.choice(CONFIG.tensor_ids, 2, replace=False)
        layer = Layer(CONFIG, shape, self.rng, ids=(int(ids[0]), int(ids[1])))
        self.memory.rows = layer.memory()
        return layer

    def gradients(self, layer: Layer, bits: int, *, density: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
        """Random int32 gradients of the weights and the bias, of up to ``bits`` bits."""
        drawn = []
        for shape in (layer.shape.weights, (layer.shape.outputs,)):
            values = self.rng.integers(-(1 << bits) + 1, 1 << bits, shape) >> self.rng.integers(0, bits, shape)
            drawn.append(torch.from_numpy(np.where(self.rng.random(shape) < density, values, 0).astype(np.int32)))
        return drawn[0], drawn[1]


async def prepared(dut, pause: float = 0.0) -> Bench:
    start_clock(dut)
    bench = Bench(dut, pause=pause)
    await bench.start()
    return bench


@cocotb.test()
@cocotb.parametrize(index=range(len(LAYERS)), pause=[0.0, 0.4])
async def layers_train_as_golden(dut, index, pause):
    bench = await prepared(dut, pause)
    layer = bench.layer(LAYERS[index])
    # The first step only measures; then gradients grow, and shrink by their exponent alone.
    units = ((8, Unit(-2, -9)), (14, Unit(-2, -9)), (20, Unit(0, -12)), (20, Unit(-1, -16)))
    for step, (bits, unit) in enumerate(units):
        await bench.train(layer, step, *bench.gradients(layer, bits), unit)


@cocotb.test()
async def extreme_gradients(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    zeros, bias_zeros = (torch.zeros_like(drawn) for drawn in bench.gradients(layer, 4))
    huge, bias_huge = (torch.where(drawn < 0, -LARGEST, LARGEST).int() for drawn in bench.gradients(layer, 4))
    single = zeros.clone()
    single.view(-1)[-1] = -1
    # So far above the others that the floor under the mean, max|G| / 256, counts.
    lonely = torch.ones_like(zeros)
    lonely.view(-1)[7] = LARGEST
    steps = [
        (zeros, bias_zeros),
        (lonely, bias_zeros),
        (huge, bias_huge),
        (huge, bias_zeros),
        (single, bias_zeros),
        (zeros, bias_huge),
        (single, bias_zeros),
        (huge, bias_huge),
    ]
    for step, gradients in enumerate(steps):
        unit = Unit(*((-256, 32767), (255, -32768))[step == 2]) if step & 1 else Unit(-1, -40 - 3 * step)
        await bench.train(layer, (1 << 20) - 1 - step, *gradients, unit)


@cocotb.test()
async def weights_at_their_bounds_stay_there(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    layer.weight.weights[:] = torch.where(layer.weight.weights < 0, -127, 127).to(torch.int8)
    bench.memory.rows = layer.memory()
    outwards = -torch.sign(layer.weight.weights).to(torch.int32) * 1000
    before = layer.weight.weights.clone()
    bias = torch.full_like(layer.bias.weights, 1000, dtype=torch.int32)
    for step in range(3):
        await bench.train(layer, step, outwards, bias, Unit(0))
    assert torch.equal(layer.weight.weights, before)
    assert bench.memory.writes


@cocotb.test()
async def a_step_that_only_measures_moves_nothing(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    for step, apply in enumerate((True, False, True)):
        await bench.train(layer, step, *bench.gradients(layer, 12), Unit(-1), apply=apply)
        assert bool(bench.memory.writes) == (step == 2)


@cocotb.test()
async def restored_scales_are_used(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    for tensor in (layer.weight, layer.bias):
        tensor.scale = type(tensor.scale)(order=-21, valid=True)
        await bench.restore(tensor.id, -21)
    await bench.train(layer, 0, *bench.gradients(layer, 8), Unit(-2, -26))
    assert bench.memory.writes


@cocotb.test()
async def rows_that_fail_are_told_and_left(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    await bench.train(layer, 0, *bench.gradients(layer, 8), Unit(0))
    gradient, bias = bench.gradients(layer, 10)
    bench.memory.uncorrectable = {layer.base + 1, layer.transposed_base}
    bench.memory.unwritable = {layer.base + 2}
    before = dict(bench.memory.rows)
    layer.weight.train(gradient, RandomSource(seed=bench.random_seed, step=1), unit=Unit(0), apply=True)
    layer.bias.train(bias, RandomSource(seed=bench.random_seed, step=1), unit=Unit(0), apply=True)
    broken = bench.memory.uncorrectable | bench.memory.unwritable
    assert broken <= layer.moved_rows(), "another seed is needed for this test"
    dut.step.value = 1
    for tile in layer.tiles(2):
        bench.jobs.put(layer.job(tile, apply=True))
        bench.results.put(*layer.results(tile, gradient, bias, bench.rng))
    await bench.jobs.drain()
    await bench.idle()
    expected = layer.memory() | {row: before[row] for row in broken}
    bench.board.check([expected[row] for row in sorted(expected)], [bench.memory.rows[row] for row in sorted(expected)])
    counters = bench.counters()
    failed_writes = bench.memory.writes.count(layer.base + 2)
    assert counters["rows_failed"] == failed_writes >= 1
    assert counters["rows_uncorrectable"] == sum(row in bench.memory.uncorrectable for row in bench.memory.reads)
    assert counters["rows_written"] == len(bench.memory.writes) - failed_writes


@cocotb.test()
async def a_tensor_without_an_entry_is_an_error(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    tile = next(layer.tiles(1))
    gradient, bias = bench.gradients(layer, 8)
    bench.jobs.put(layer.job(tile, apply=True) | {"tensor": CONFIG.tensor_ids})
    seen = False
    for _ in range(100):
        await RisingEdge(dut.clk)
        seen = seen or bool(dut.error.value)
    assert seen
    await bench.results.send(*layer.results(tile, gradient, bias, bench.rng))
    await bench.idle()
    assert not bench.memory.reads
    # A job without work ends at once.
    await bench.jobs.send({"steps": 0, "bias": 0})
    await bench.idle(4)


@cocotb.test()
async def sums_are_taken_at_the_promised_rate(dut):
    bench = await prepared(dut)
    layer = bench.layer(LAYERS[0])
    tile = next(layer.tiles(4))
    gradient, bias = bench.gradients(layer, 8)
    sums = layer.results(tile, gradient, bias, bench.rng)[: tile.steps * BLOCK // CONFIG.pixels]
    await bench.jobs.send(layer.job(tile, apply=True) | {"bias": 0})
    bench.results.put(*sums)
    cycles = 0
    while bench.results.accepted < len(sums):
        await RisingEdge(dut.clk)
        cycles += 1
    ideal = tile.steps * BLOCK * CONFIG.slices // update_width(CONFIG)
    preparation = CONFIG.slices + 20
    # With nothing to move the buffer's rows are scanned while the next tile comes, unless that is faster.
    scanning = max(0, CONFIG.slices + 2 * BLOCK - BLOCK * CONFIG.slices // update_width(CONFIG)) * tile.steps
    assert ideal <= cycles <= ideal + preparation + scanning, f"{cycles} cycles, ideal {ideal}"
    await bench.idle()
