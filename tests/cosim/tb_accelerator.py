# SPDX-License-Identifier: Apache-2.0
"""Every pass of the whole accelerator by itself, random tensors against golden's operators."""

import json
import os

import cocotb
import numpy as np
import pytest
import torch

from respin.cli.hardware import start
from respin.firmware_model import layout
from respin.firmware_model.driver import AcceleratorError, Driver
from respin.firmware_model.geometry import Geometry, error_phases
from respin.firmware_model.job_parts import Part, Randomness, Requantise, RoundError, Source, TrainedImages
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.firmware_model.operations import Reach
from respin.firmware_model.placement import table_entries
from respin.firmware_model.training import label_words
from respin.golden import ops
from respin.golden.random import RandomSource
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import seed

RANDOMNESS = Randomness(seed=77, step=5)
SOURCE = RandomSource(seed=77, step=5)
ICARUS = cocotb.SIM_NAME.startswith("Icarus")
"""Takes a second for what Verilator does in a hundredth: it gets smaller and fewer cases."""


class Bench:
    """The accelerator, random tensors for it, and golden's view of both."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.build = JobBuilder(driver.config, RANDOMNESS)
        self.random = np.random.default_rng(seed())
        self.next_word = 0

    @classmethod
    async def start(cls, dut) -> "Bench":
        config = AcceleratorConfig(**json.loads(os.environ["ACCELERATOR_CONFIG"]))
        return cls(Driver(config, await start(dut)))

    def place(self, *shape: int, signed: bool) -> StoreTensor:
        tensor = StoreTensor(self.next_word, shape, signed)
        self.next_word += tensor.words
        assert self.next_word <= self.driver.config.store_words
        return tensor

    async def tensor(self, *shape: int, signed: bool, low: int | None = None) -> tuple[StoreTensor, torch.Tensor]:
        """A random tensor in the store; ``low`` for errors, which never hold -128."""
        tensor = self.place(*shape, signed=signed)
        bounds = (-128 if low is None else low, 128) if signed else (0, 256)
        values = self.random.integers(*bounds, size=shape)
        await self.driver.write_tensor(tensor, values)
        return tensor, torch.from_numpy(values.astype(np.int8 if signed else np.uint8))

    async def weights(self, *shape: int, groups: int = 1) -> torch.Tensor:
        """Random weights whose image is written from row 0 on."""
        values = self.random.integers(-127, 128, size=shape)
        await self.driver.write_rows(0, layout.weight_rows(layout.dense_weights(values, groups), self.slices))
        return torch.from_numpy(values.astype(np.int8))

    async def table(self, channels: int, *, signed: bool) -> ops.QuantiserTable:
        """A random quantiser at table entry 0."""

        def draw(low: int, high: int) -> torch.Tensor:
            return torch.from_numpy(self.random.integers(low, high, size=channels))

        lo, hi = (-128, 127) if signed else (0, 255)
        table = ops.QuantiserTable.build(
            channels, bias=draw(-5000, 5000), mult=draw(1, 65536), shift=draw(20, 30), lo=lo, hi=hi
        )
        await self.driver.write_table(0, table_entries(table))
        return table

    @property
    def slices(self) -> int:
        return self.driver.config.slices

    async def expect(self, tensor: StoreTensor, want: torch.Tensor) -> None:
        got = await self.driver.read_tensor(tensor)
        np.testing.assert_array_equal(got, want.numpy())


@cocotb.test()
async def convolution(dut):
    """3 x 3 with stride and padding by a zero point, in groups, into an unsigned tensor with a mask."""
    bench = await Bench.start(dut)
    x, xs = await bench.tensor(2, 12, 5, 5, signed=False)
    w = await bench.weights(8, 6, 3, 3, groups=2)
    table = await bench.table(8, signed=False)
    y, mask = bench.place(2, 8, 3, 3, signed=False), bench.next_word
    geometry = Geometry(kh=3, kw=3, stride=2, pad_y=1, pad_x=1)
    finish = Requantise(table=0, mask=mask)
    await bench.driver.run(bench.build.convolution(x, y, rows=0, geometry=geometry, finish=finish, pad=9))
    want = ops.requantise(ops.conv2d(xs, w, stride=2, padding=1, groups=2, zero_point=9), table)
    await bench.expect(y, want)
    got = await bench.driver.read_mask(y, mask)
    np.testing.assert_array_equal(got, ops.activation_mask(want, table).numpy())


@cocotb.test()
async def strided_error(dut):
    """The error of a 3 x 3 convolution with stride 2, phase by phase, masked, twice: the second shift is measured."""
    bench = await Bench.start(dut)
    dy, errors = await bench.tensor(1, 8, 3, 3, signed=True, low=-127)
    weights = bench.random.integers(-127, 128, size=(8, 6, 3, 3))
    geometry = Geometry(kh=3, kw=3, stride=2, pad_y=1, pad_x=1)
    rows, base = [], 0
    for phase in error_phases(geometry, 5, 5):
        part = weights[:, :, list(phase.taps_y)][:, :, :, list(phase.taps_x)].transpose(1, 0, 2, 3)
        image = layout.weight_rows(part, bench.slices)
        await bench.driver.write_rows(base, image)
        rows.append(base)
        base += len(image)
    dx = bench.place(1, 6, 5, 5, signed=True)
    keep = bench.random.integers(0, 2, size=dx.shape).astype(bool)
    mask = bench.next_word
    lanes = np.zeros((-(-dx.pixels // 8), 8, 32), dtype=np.uint8)
    lanes.reshape(-1, 32)[: dx.pixels, :6] = keep[0].reshape(6, -1).T
    words = [int.from_bytes(np.packbits(word.reshape(-1), bitorder="little").tobytes(), "little") for word in lanes]
    await bench.driver.write_words(mask, words)
    sums = ops.conv2d_error(errors, torch.from_numpy(weights.astype(np.int8)), size=(5, 5), stride=2, padding=1)
    scale = ops.DelayedScale()
    for _ in range(2):
        finish = RoundError(tensor=9, mult=3, mask=mask)
        reports = [
            await bench.driver.run(job)
            for job in bench.build.convolution_error(dy, dx, rows=rows, geometry=geometry, finish=finish)
        ]
        draws = SOURCE.field(9, sums.shape)
        want = ops.error_edge(sums, 3, shift=scale.at(0), mask=torch.from_numpy(keep), random=draws)
        await bench.expect(dx, want.error)
        assert max(report["magnitude"].bit_length() for report in reports) == want.largest.bit_length()
        assert {report["shift"] for report in reports} == {scale.at(0)}
        scale = scale.after(want.largest)


async def depthwise_error_case(
    bench: Bench, size: tuple[int, int], kernel: int, padding: tuple[int, int, int, int], tensor: int
) -> None:
    """The error of a depthwise convolution of stride 2 with ``padding`` (top, bottom, left, right), twice: as a whole,
    then, with the shift that was measured, two rows at a time."""
    bench.next_word = 0
    channels, (top, _, left, _) = 40, padding
    oh, ow = ops.output_size(size, (kernel, kernel), 2, padding)
    dy, errors = await bench.tensor(1, channels, oh, ow, signed=True, low=-127)
    weights = bench.random.integers(-127, 128, size=(channels, 1, kernel, kernel))
    geometry = Geometry(kh=kernel, kw=kernel, stride=2, pad_y=top, pad_x=left)
    rows, base = [], 0
    for phase in error_phases(geometry, *size):
        image = layout.depthwise_rows(weights[:, :, list(phase.taps_y)][:, :, :, list(phase.taps_x)])
        await bench.driver.write_rows(base, image)
        rows.append(base)
        base += len(image)
    dx = bench.place(1, channels, *size, signed=True)
    sums = ops.conv2d_error(
        errors, torch.from_numpy(weights.astype(np.int8)), size=size, stride=2, padding=padding, groups=channels
    )
    scale = ops.DelayedScale()
    for band in (size[0], 2):
        made = []
        for row in range(0, size[0], band):
            first, count = Reach.of_error(geometry).rows(row, min(band, size[0] - row), oh)
            made += bench.build.convolution_error(
                dy.part(0, 1, first, count), dx.part(0, 1, row, min(band, size[0] - row)), rows=rows,
                geometry=geometry, finish=RoundError(tensor=tensor), depthwise=True,
                part=Part(shape=dx.shape, row=row), dy_row=first,
            )  # fmt: skip
        reports = [await bench.driver.run(job | {"settle": int(job is made[-1])}) for job in made]
        want = ops.error_edge(sums, 1, shift=scale.at(0), random=SOURCE.field(tensor, sums.shape))
        await bench.expect(dx, want.error)
        assert max(report["magnitude"].bit_length() for report in reports) == want.largest.bit_length()
        scale = scale.after(want.largest)


@cocotb.test()
async def strided_depthwise_error(dut):
    """Even and odd maps, padding on both sides and on one, kernels of 3 and 5."""
    bench = await Bench.start(dut)
    cases = [
        ((5, 7), 3, (1, 1, 1, 1)),
        ((6, 4), 3, (0, 1, 0, 1)),
        ((7, 6), 5, (1, 2, 1, 2)),
        ((6, 5), 3, (0, 0, 0, 0)),
    ]
    for number, (size, kernel, padding) in enumerate(cases):
        await depthwise_error_case(bench, size, kernel, padding, tensor=30 + number)


@cocotb.test()
async def depthwise(dut):
    """Depthwise 3 x 3 on a signed tensor."""
    bench = await Bench.start(dut)
    x, xs = await bench.tensor(2, 10, 4, 4, signed=True)
    values = bench.random.integers(-127, 128, size=(10, 1, 3, 3))
    await bench.driver.write_rows(0, layout.depthwise_rows(values))
    table = await bench.table(10, signed=True)
    y = bench.place(2, 10, 4, 4, signed=True)
    geometry = Geometry(kh=3, kw=3, pad_y=1, pad_x=1)
    await bench.driver.run(bench.build.depthwise(x, y, rows=0, geometry=geometry, finish=Requantise(table=0)))
    sums = ops.conv2d(xs, torch.from_numpy(values.astype(np.int8)), padding=1, groups=10)
    await bench.expect(y, ops.requantise(sums, table))


async def random_depthwise_case(bench: Bench) -> None:
    """Any kernel, stride and padding, which may be larger than the kernel and differs from side to side; any number of
    images and blocks; with and without a mask."""
    bench.next_word = 0
    draw = bench.random.integers
    words = bench.driver.config.store_words
    while words > bench.driver.config.store_words // 2:
        kernel, size = tuple(draw(1, 9, size=2).tolist()), tuple(draw(1, 9, size=2).tolist())
        stride, n, channels = int(draw(1, 4)), int(draw(1, 3)), int(draw(1, 70))
        padding = tuple(draw(0, 10, size=4).tolist())
        if size[0] + padding[0] + padding[1] >= kernel[0] and size[1] + padding[2] + padding[3] >= kernel[1]:
            out = ops.output_size(size, kernel, stride, padding)
            words = n * layout.blocks(channels) * max(size[0] * size[1], out[0] * out[1])
    signed, pad = bool(draw(2)), int(draw(0, 10))
    x, xs = await bench.tensor(n, channels, *size, signed=signed)
    values = draw(-127, 128, size=(channels, 1, *kernel))
    await bench.driver.write_rows(0, layout.depthwise_rows(values))
    table = await bench.table(channels, signed=True)
    y = bench.place(n, channels, *out, signed=True)
    mask = bench.next_word if draw(2) and 2 * words < bench.driver.config.store_words * 3 // 4 else None
    geometry = Geometry(kh=kernel[0], kw=kernel[1], stride=stride, pad_y=padding[0], pad_x=padding[2])
    finish = Requantise(table=0, mask=mask)
    await bench.driver.run(bench.build.depthwise(x, y, rows=0, geometry=geometry, finish=finish, pad=pad))
    weights = torch.from_numpy(values.astype(np.int8))
    sums = ops.conv2d(xs, weights, stride=stride, padding=padding, groups=channels, zero_point=pad)
    want = ops.requantise(sums, table)
    await bench.expect(y, want)
    if mask is not None:
        got = await bench.driver.read_mask(y, mask)
        np.testing.assert_array_equal(got, ops.activation_mask(want, table).numpy())


@cocotb.test()
async def depthwise_of_any_geometry(dut):
    """Random shapes."""
    bench = await Bench.start(dut)
    for _ in range(1 if ICARUS else 12):
        await random_depthwise_case(bench)


@cocotb.test()
async def merge_of_a_resized_map(dut):
    """A residual of two maps, one of them upsampled on the way."""
    bench = await Bench.start(dut)
    a, xa = await bench.tensor(1, 5, 6, 6, signed=True)
    b, xb = await bench.tensor(1, 5, 3, 3, signed=False)
    y = bench.place(1, 5, 6, 6, signed=True)
    (_, _, h, w), (_, _, hb, wb) = a.shape, b.shape
    # The second is resized to the first one's map by nearest neighbours.
    resized = Source(tensor=b, mult=500, zero=100, y=(hb, h, 0, 0), x=(wb, w, 0, 0))
    sources = [Source(tensor=a, mult=300, zero=3), resized]
    await bench.driver.run(bench.build.gather(y, sources, finish=Requantise(shift=9)))
    operands = [
        ops.MergeOperand(x=xa, mult=300, zero_point=3),
        ops.MergeOperand(x=ops.upsample_nearest(xb, (6, 6)), mult=500, zero_point=100),
    ]
    await bench.expect(y, ops.merge_add(operands, shift=9, lo=-128, hi=127))


@cocotb.test()
async def weight_gradient(dut):
    """The int32 gradient of a 3 x 3 layer, more pixels than a block and not a multiple of it."""
    bench = await Bench.start(dut)
    x, xs = await bench.tensor(2, 9, 5, 5, signed=False)
    dy, errors = await bench.tensor(2, 6, 5, 5, signed=True, low=-127)
    geometry = Geometry(kh=3, kw=3, pad_y=1, pad_x=1)
    got = np.zeros((6, 32 * 9), dtype=np.int64)
    for tile in bench.build.gradient_sums(x, dy, bench.next_word, geometry=geometry):
        await bench.driver.run(tile.job)
        items = 32 * tile.steps
        lanes = layout.unpack_words(await bench.driver.read_words(tile.base, 4 * items), signed=False)
        octets = lanes.reshape(4, items, 32).astype(np.uint32)
        sums = (octets << (8 * np.arange(4, dtype=np.uint32))[:, None, None]).sum(0, dtype=np.uint32).view(np.int32)
        outputs = min(bench.slices, 6 - tile.o0)
        got[tile.o0 : tile.o0 + outputs, 32 * tile.first : 32 * tile.first + items] = sums[:, :outputs].T
    want = ops.conv2d_weight_gradient(xs, errors, kernel=(3, 3), padding=1)
    by_step = got.reshape(6, 9, 32)[:, :, :9].transpose(0, 2, 1).reshape(6, 9, 3, 3)
    np.testing.assert_array_equal(by_step, want.numpy())


async def learn(
    bench: Bench, x_shape: tuple[int, ...], outputs: int, kernel: int, *, groups: int, signed: bool
) -> None:
    """Three steps of a trained layer from fixed operands: measure, then move twice; both images and biases."""
    x, xs = await bench.tensor(*x_shape, signed=signed)
    n, inputs, h, w = x_shape
    dy, errors = await bench.tensor(n, outputs, h, w, signed=True, low=-127)
    geometry = Geometry(kh=kernel, kw=kernel, pad_y=kernel // 2, pad_x=kernel // 2)
    shape = (outputs, inputs // groups, kernel, kernel)
    weight = torch.from_numpy(bench.random.integers(-127, 128, size=shape).astype(np.int8))
    bias = torch.from_numpy(bench.random.integers(-127, 128, size=outputs).astype(np.int8))

    def images(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dense = layout.dense_weights(values, groups)
        back = dense.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        return layout.weight_rows(dense, bench.slices), layout.weight_rows(back, bench.slices)

    forward, back = images(weight.numpy())
    bases = (0, len(forward), len(forward) + len(back))
    for base, rows in zip(bases, (forward, back, layout.vector_rows(bias.numpy())), strict=True):
        await bench.driver.write_rows(base, rows)
    gradient = ops.conv2d_weight_gradient(xs, errors, kernel=(kernel, kernel), padding=kernel // 2, groups=groups)
    bias_gradient = ops.bias_gradient(errors)
    scales, statistics = [ops.StepScale()] * 2, [ops.GradientStatistics.of(g) for g in (gradient, bias_gradient)]
    for step in range(3):
        bench.build = JobBuilder(bench.driver.config, Randomness(seed=77, step=step))
        source = RandomSource(seed=77, step=step)
        placed = TrainedImages(
            base=bases[0], transposed=bases[1], bias=bases[2], tensor=20, bias_tensor=21, groups=groups
        )
        made = bench.build.gradient(x, dy, geometry=geometry, images=placed)
        reports = [await bench.driver.run(job | {"log2_rate": -1, "exponent": -step}) for job in made]
        moved, shifted = torch.zeros_like(weight), torch.zeros_like(bias)
        if step:
            shifts = [scale.shift(-1, -step) for scale in scales]
            weight, moved = ops.ternary_update(weight, gradient, shifts[0], source.field(20, shape))
            bias, shifted = ops.ternary_update(bias, bias_gradient, shifts[1], source.field(21, bias.shape))
        scales = [scale.after(measured, -step) for scale, measured in zip(scales, statistics, strict=True)]
        forward, back = images(weight.numpy())
        for base, want in zip(bases, (forward, back, layout.vector_rows(bias.numpy())), strict=True):
            np.testing.assert_array_equal(await bench.driver.read_rows(base, len(want)), want)
        count = int(torch.count_nonzero(moved)) + int(torch.count_nonzero(shifted))
        assert sum(report["moves"] for report in reports) == count


@cocotb.test()
async def update_of_a_dense_layer(dut):
    """A head: two blocks of inputs, fewer pixels than a block, a bias."""
    await learn(await Bench.start(dut), (16, 64, 1, 1), 5, 1, groups=1, signed=True)


@cocotb.test()
async def update_of_a_grouped_convolution(dut):
    """3 x 3 in two groups: weights off the diagonal stay 0."""
    shape, outputs = ((2, 8, 3, 3), 4) if ICARUS else ((2, 12, 4, 4), 8)
    await learn(await Bench.start(dut), shape, outputs, 3, groups=2, signed=False)


@cocotb.test()
async def loss(dut):
    """The error of the logits."""
    bench = await Bench.start(dut)
    z, logits = await bench.tensor(3, 7, 1, 1, signed=True)
    out, labels = bench.place(3, 7, 1, 1, signed=True), bench.next_word
    truth = [2, 0, 6]
    await bench.driver.write_words(labels, label_words(truth))
    parameters = ops.LossParameters.of(1 / 16, 7, smoothing=0.1)
    job = bench.build.loss(z, out, labels, tensor=4, alpha=parameters.alpha, on=parameters.on, off=parameters.off)
    await bench.driver.run(job)
    draws = SOURCE.field(4, (3, 7))
    want = ops.softmax_cross_entropy(logits.flatten(1), torch.tensor(truth), parameters, draws)
    await bench.expect(out, want[:, :, None, None])


@cocotb.test()
async def errors_that_meet(dut):
    """Fan-in of two edges of different exponents."""
    bench = await Bench.start(dut)
    a, xa = await bench.tensor(1, 6, 3, 3, signed=True, low=-127)
    b, xb = await bench.tensor(1, 6, 3, 3, signed=True, low=-127)
    y = bench.place(1, 6, 3, 3, signed=True)
    sources = [Source(tensor=a, mult=700), Source(tensor=b, mult=9000, align=4)]
    operands = [ops.FanInOperand(error=xa, exponent=7, mult=700), ops.FanInOperand(error=xb, exponent=3, mult=9000)]
    scale = ops.DelayedScale()
    for _ in range(2):
        finish = RoundError(tensor=11, stochastic=False)
        report = await bench.driver.run(bench.build.gather(y, sources, finish=finish, wide=True))
        want = ops.fan_in(operands, shift=scale.at(7))
        await bench.expect(y, want.error)
        assert report["above"] + report["below"] == want.saturated
        scale = scale.after(want.largest, 7)


@cocotb.test()
async def a_job_out_of_range_is_told(dut):
    """Rows past the memory, and words past the store: a fault in the report, and the next job runs."""
    bench = await Bench.start(dut)
    config = bench.driver.config
    x, _ = await bench.tensor(1, 8, 2, 2, signed=True)
    y = StoreTensor(config.store_words - 2, (1, 4, 2, 2), True)
    job = bench.build.gather(y, [Source(tensor=x)], finish=Requantise())
    with pytest.raises(AcceleratorError, match="ADDRESS"):
        await bench.driver.run(job)
    inside = bench.place(1, 8, 2, 2, signed=True)
    await bench.driver.run(bench.build.gather(inside, [Source(tensor=x)], finish=Requantise()))


@cocotb.test()
async def the_watchdog_ends_a_job_that_waits(dut):
    """An engine that is promised more rows than the reader brings waits; the job ends, and later ones are refused."""
    bench = await Bench.start(dut)
    x, _ = await bench.tensor(1, 8, 2, 2, signed=True)
    y = bench.place(1, 4, 2, 2, signed=True)
    job = bench.build.convolution(x, y, rows=0, geometry=Geometry(kh=1, kw=1), finish=Requantise(mult=1, shift=8))
    job["read"] = job["read"] | {"count": 1}
    for _ in range(2):
        with pytest.raises(AcceleratorError, match="WATCHDOG"):
            await bench.driver.run(job)
