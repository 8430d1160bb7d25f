# SPDX-License-Identifier: Apache-2.0
"""The bench of ``respin bench cycles``: what runs inside the simulator."""

from collections.abc import Iterator, Mapping
from typing import Any

import cocotb
import numpy as np

from respin.cli.bench.cycles_cases import FEWER_BITS, MODULE, PEER, SMALLEST, STEADY, Layer
from respin.cli.bench.cycles_checked import CheckedForward
from respin.cli.bench.simulated import arguments_of_program, config_of_program, write_figures
from respin.cli.hardware import start
from respin.firmware_model.driver import Driver
from respin.firmware_model.job_parts import Fields, Requantise, RoundError, TrainedImages
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import seed

STEADY_IMAGES = (8, 16)
MODULE_IMAGES = 16


class Cycles:
    """Runs jobs and keeps their cycles."""

    def __init__(self, config: AcceleratorConfig, driver: Driver) -> None:
        self._config = config
        self._driver = driver
        self._build = JobBuilder(config)
        self._checked = CheckedForward(config, driver)

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
                    bias_tensor=3,
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
        return self._row(layer, stage, totals[1] - totals[0], STEADY_IMAGES[1] - STEADY_IMAGES[0], steady=True)

    async def whole(self, layer: Layer, stage: str) -> dict[str, Any]:
        """A pass from its job's acceptance to its report."""
        reports = await self.run(self.jobs(layer, stage, MODULE_IMAGES))
        cycles = sum(report["cycles"] for report in reports)
        return self._row(layer, stage, cycles, MODULE_IMAGES, steady=False)

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

    async def job(self, layer: Layer) -> dict[str, Any]:
        """One forward job on one image, its outputs compared with golden."""
        report = await self._checked.run(layer)
        return self._row(layer, "forward", report["cycles"], 1, steady=False)

    async def bits(self, layer: Layer) -> dict[str, Any]:
        """A forward pass without its start and drain, its outputs compared with golden; ideal: ``bits`` of 8."""
        totals = [(await self._checked.run(layer, images))["cycles"] for images in STEADY_IMAGES]
        images = STEADY_IMAGES[1] - STEADY_IMAGES[0]
        return self._row(layer, "forward", totals[1] - totals[0], images, steady=True)

    async def fill(self) -> None:
        """Random operands, so that updates move weights: cycles of the engine do not depend on them."""
        generator = np.random.default_rng(seed())
        words = max(sum(tensor.words for tensor in layer.tensors(STEADY_IMAGES[1])) for layer in (*STEADY, *MODULE))
        values = generator.integers(0, 1 << 62, size=(words, 5), dtype=np.int64)
        lanes = [sum(int(part) << (62 * i) for i, part in enumerate(row)) & ((1 << 256) - 1) for row in values]
        await self._driver.write_words(0, lanes)
        rows = generator.integers(-100, 101, size=(2 * MODULE[0].rows(self._config) + 1, 32), dtype=np.int8)
        await self._driver.write_rows(0, rows)

    def _row(self, layer: Layer, stage: str, cycles: int, images: int, *, steady: bool) -> dict[str, Any]:
        ideal = layer.macs(images) * layer.bits / 8 / self._config.peak_macs_per_cycle
        return {
            "case": layer.case,
            "steady": steady,
            "pass": stage,
            "preset": self._config.name,
            "cycles": cycles,
            "ideal_cycles": ideal,
            "utilisation": round(ideal / cycles, 4),
        }


def _signed(tensor: StoreTensor) -> StoreTensor:
    return StoreTensor(tensor.base, tensor.shape, True)


async def _peer(bench: Cycles) -> list[dict[str, Any]]:
    return [await bench.job(layer) for layer in PEER]


async def _smallest(bench: Cycles) -> list[dict[str, Any]]:
    return [await bench.job(SMALLEST)]


async def _bits(bench: Cycles) -> list[dict[str, Any]]:
    return [await bench.bits(layer) for layer in FEWER_BITS]


async def _steady(bench: Cycles) -> list[dict[str, Any]]:
    await bench.fill()
    return [await bench.steady(layer, stage) for layer in STEADY for stage in ("forward", "error", "gradient")]


async def _whole(bench: Cycles) -> list[dict[str, Any]]:
    await bench.fill()
    # Updates first: the other passes overwrite the operands, and what is 0 moves nothing.
    updates = [await bench.update(layer) for layer in MODULE]
    rows = []
    for layer, update in zip(MODULE, updates, strict=True):
        rows += [await bench.whole(layer, stage) for stage in ("forward", "error", "gradient")]
        rows.append(update)
    return rows


PARTS = {"peer": _peer, "smallest": _smallest, "bits": _bits, "steady": _steady, "whole": _whole}
"""What each part of the report is made of."""


@cocotb.test()
async def cycles(dut: Any) -> None:
    """Measure the parts that were asked for, and write their rows."""
    config = config_of_program()
    bench = Cycles(config, Driver(config, await start(dut)))
    write_figures({name: await PARTS[name](bench) for name in arguments_of_program()})
