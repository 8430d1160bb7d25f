# SPDX-License-Identifier: Apache-2.0
"""The bench of ``respin bench cycles``: what runs inside the simulator."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np

from respin.cli.bench.simulated import config_of_program, write_figures
from respin.cli.hardware import start
from respin.firmware_model.driver import Driver
from respin.firmware_model.jobs import Fields, Geometry, JobBuilder, Requantise, RoundError, TrainedImages
from respin.firmware_model.layout import StoreTensor, blocks
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import seed

STEADY_IMAGES = (8, 16)
STEADY_TARGET = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution of ``channels`` to ``channels`` channels on square maps, stride 1, padded to the same size."""

    case: str
    channels: int
    kernel: int
    side: int

    @property
    def geometry(self) -> Geometry:
        """Kernel and padding."""
        return Geometry(kh=self.kernel, kw=self.kernel, pad_y=self.kernel // 2, pad_x=self.kernel // 2)

    def macs(self, images: int) -> int:
        """Multiply-accumulates of one pass over ``images`` images."""
        return images * (self.side * self.channels * self.kernel) ** 2

    def tensors(self, images: int) -> tuple[StoreTensor, StoreTensor]:
        """Input and output, side by side in the store."""
        shape = (images, self.channels, self.side, self.side)
        x = StoreTensor(0, shape, False)
        return x, StoreTensor(x.words, shape, True)

    def rows(self, config: AcceleratorConfig) -> int:
        """Rows of its image."""
        return -(-self.channels // config.slices) * config.slices * blocks(self.channels) * self.kernel**2


STEADY = (
    Layer(case="64-64 1x1", channels=64, kernel=1, side=8),
    Layer(case="64-64 3x3", channels=64, kernel=3, side=8),
)
MODULE = (
    Layer(case="Rep-Net 3x3 32-32, one group", channels=32, kernel=3, side=4),
    Layer(case="Rep-Net 1x1 32-32", channels=32, kernel=1, side=4),
)
MODULE_IMAGES = 16


class Cycles:
    """Runs jobs and keeps their cycles."""

    def __init__(self, config: AcceleratorConfig, driver: Driver) -> None:
        self._config = config
        self._driver = driver
        self._build = JobBuilder(config)
        self._step = 0

    def jobs(self, layer: Layer, stage: str, images: int, *, apply: bool = False) -> Iterator[Fields]:
        """The jobs of one pass of a layer."""
        x, y = layer.tensors(images)
        match stage:
            case "forward":
                finish = Requantise(table=0)
                yield self._build.convolution(x, y, rows=0, geometry=layer.geometry, finish=finish)
            case "error":
                back = RoundError(tensor=1, table=0)
                yield self._build.convolution(y, _signed(x), rows=0, geometry=layer.geometry, finish=back)
            case _:
                images_of = TrainedImages(
                    base=0, transposed=layer.rows(self._config), bias=2 * layer.rows(self._config), tensor=2,
                    bias_tensor=3, rate=1 << 14,
                )  # fmt: skip
                for job in self._build.gradient(x, y, geometry=layer.geometry, images=images_of):
                    update = job["update"] | {"apply": int(apply), "bias_apply": int(apply)}
                    yield job | {"update": update}

    async def run(self, jobs: Iterator[Fields]) -> list[Mapping[str, int]]:
        """Run jobs one after the other."""
        return [await self._driver.run(job) for job in jobs]

    async def steady(self, layer: Layer, stage: str) -> dict[str, Any]:
        """A pass without its start and drain."""
        totals = []
        for images in STEADY_IMAGES:
            totals.append(sum(report["cycles"] for report in await self.run(self.jobs(layer, stage, images))))
        cycles = totals[1] - totals[0]
        macs = layer.macs(STEADY_IMAGES[1]) - layer.macs(STEADY_IMAGES[0])
        return self._row(layer, stage, cycles, macs, steady=True)

    async def whole(self, layer: Layer, stage: str) -> dict[str, Any]:
        """A pass from its job's acceptance to its report."""
        reports = await self.run(self.jobs(layer, stage, MODULE_IMAGES))
        cycles = sum(report["cycles"] for report in reports)
        return self._row(layer, stage, cycles, layer.macs(MODULE_IMAGES), steady=False)

    async def update(self, layer: Layer) -> dict[str, Any]:
        """What applying the steps adds to a gradient pass: rows read, changed, verified."""
        measured = await self.run(self.jobs(layer, "gradient", MODULE_IMAGES))
        applied = await self.run(self.jobs(layer, "gradient", MODULE_IMAGES, apply=True))
        cycles = sum(report["cycles"] for report in applied) - sum(report["cycles"] for report in measured)
        rows = sum(report["rows_written"] for report in applied)
        return {
            "case": layer.case,
            "steady": False,
            "pass": "update",
            "preset": self._config.name,
            "cycles": cycles,
            "rows_written": rows,
        }

    def _row(self, layer: Layer, stage: str, cycles: int, macs: int, *, steady: bool) -> dict[str, Any]:
        ideal = macs / self._config.peak_macs_per_cycle
        row = {
            "case": layer.case,
            "steady": steady,
            "pass": stage,
            "preset": self._config.name,
            "cycles": cycles,
            "ideal_cycles": ideal,
            "utilisation": round(ideal / cycles, 4),
        }
        return row | ({"target": STEADY_TARGET} if steady else {})


def _signed(tensor: StoreTensor) -> StoreTensor:
    return StoreTensor(tensor.base, tensor.shape, True)


async def _fill(config: AcceleratorConfig, driver: Driver) -> None:
    """Random operands, so that updates move weights: cycles of the engine do not depend on them."""
    generator = np.random.default_rng(seed())
    words = max(sum(tensor.words for tensor in layer.tensors(STEADY_IMAGES[1])) for layer in (*STEADY, *MODULE))
    values = generator.integers(0, 1 << 62, size=(words, 5), dtype=np.int64)
    lanes = [sum(int(part) << (62 * i) for i, part in enumerate(row)) & ((1 << 256) - 1) for row in values]
    await driver.write_words(0, lanes)
    rows = generator.integers(-100, 101, size=(2 * MODULE[0].rows(config) + 1, 32), dtype=np.int8)
    await driver.write_rows(0, rows)


@cocotb.test()
async def cycles(dut: Any) -> None:
    """Measure every case and write the rows."""
    config = config_of_program()
    driver = Driver(config, await start(dut))
    await _fill(config, driver)
    bench = Cycles(config, driver)
    # Updates first: the other passes overwrite the operands, and what is 0 moves nothing.
    updates = [await bench.update(layer) for layer in MODULE]
    rows = [await bench.steady(layer, stage) for layer in STEADY for stage in ("forward", "error", "gradient")]
    for layer, update in zip(MODULE, updates, strict=True):
        rows += [await bench.whole(layer, stage) for stage in ("forward", "error", "gradient")]
        rows.append(update)
    write_figures(rows)
