# SPDX-License-Identifier: Apache-2.0
"""Random jobs, their cycles counted by the hardware and predicted by the model; what they compute is of no account."""

import json
import os

import cocotb
import numpy as np

from respin.cli.hardware import start
from respin.firmware_model.cycle_model import CycleModel
from respin.firmware_model.driver import Driver
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.job_parts import Requantise, RoundError, Source, TrainedImages
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import StoreTensor, blocks, mask_words
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import seed

CYCLES, SHARE = 12, 0.06
"""How far off the model may be: so many cycles, or this share of the job."""

LONGEST = 6000
"""Cycles of a job: a longer one shows nothing more."""


class Random:
    """Draws jobs that an accelerator can run."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._build = JobBuilder(config)
        self._draw = np.random.default_rng(seed())

    def _integer(self, low: int, high: int) -> int:
        return int(self._draw.integers(low, high + 1))

    def _tensors(self, *shapes: tuple[int, int, int, int]) -> tuple[list[StoreTensor], int] | None:
        """Tensors one after the other, and the word after them; None if the store is too small."""
        placed, base = [], 0
        for shape in shapes:
            placed.append(StoreTensor(base, shape, True))
            base += placed[-1].words
        ends = base + blocks(shapes[-1][1]) * mask_words(placed[-1])
        return (placed, base) if ends <= self._config.store_words else None

    def _finish(self, mask: int) -> Requantise | RoundError:
        kept = mask if self._integer(0, 1) else None
        if self._integer(0, 1):
            return Requantise(table=0, mask=kept)
        return RoundError(tensor=1, mask=kept, stochastic=bool(self._integer(0, 1)))

    def convolution(self):
        """Dense, any kernel, stride and padding, any number of streamed bits."""
        kernel, stride, n = self._integer(1, 4), self._integer(1, 2), self._integer(1, 3)
        side, pad = self._integer(kernel, 12), self._integer(0, kernel // 2)
        inputs, outputs = self._integer(1, 80), self._integer(1, 80)
        size = (side + 2 * pad - kernel) // stride + 1
        found = self._tensors((n, inputs, side, side), (n, outputs, size, size))
        rows = -(-outputs // self._config.slices) * self._config.slices * blocks(inputs) * kernel**2
        if found is None or rows > self._config.usable_rows:
            return self.convolution()
        (x, y), mask = found
        geometry = Geometry(kh=kernel, kw=kernel, stride=stride, pad_y=pad, pad_x=pad)
        bits = 8 if self._integer(0, 1) else self._integer(1, 8)
        return self._build.convolution(x, y, rows=0, geometry=geometry, finish=self._finish(mask), bits=bits)

    def depthwise(self):
        """Depthwise, any kernel, stride and padding."""
        kernel, stride, n = self._integer(1, 7), self._integer(1, 3), self._integer(1, 3)
        side, pad, channels = self._integer(kernel, 12), self._integer(0, kernel // 2), self._integer(1, 100)
        size = (side + 2 * pad - kernel) // stride + 1
        found = self._tensors((n, channels, side, side), (n, channels, size, size))
        if found is None:
            return self.depthwise()
        (x, y), mask = found
        geometry = Geometry(kh=kernel, kw=kernel, stride=stride, pad_y=pad, pad_x=pad)
        return self._build.depthwise(x, y, rows=0, geometry=geometry, finish=self._finish(mask))

    def gather(self):
        """A merge, a pool, an upsampling, or one of the last two backwards."""
        n, channels, side, factor = (self._integer(1, high) for high in (2, 70, 8, 3))
        found = self._tensors((n, channels, side * factor, side * factor), (n, channels, side, side))
        if found is None:
            return self.gather()
        (large, small), mask = found
        size, big = side, side * factor
        finish = self._finish(mask)
        match self._integer(0, 4):
            case 0:
                return self._build.gather(small, _axes(large, (factor, 1, 0, 1)), finish=finish)
            case 1:
                return self._build.gather(large, _axes(small, (size, big, 0, 0)), finish=_unmasked(finish))
            case 2:
                return self._build.gather(small, _axes(large, (big, size, size - 1, 1)), finish=finish)
            case 3:
                return self._build.gather(large, _axes(small, (1, factor, 0, 0)), finish=_unmasked(finish))
            case _:
                operands = [Source(tensor=large)] * self._integer(1, 4)
                return self._build.gather(large, operands, finish=_unmasked(finish))

    def gradient(self):
        """A tile of a weight gradient, measured only."""
        kernel, n, side = self._integer(1, 3), self._integer(1, 4), self._integer(3, 8)
        inputs, outputs = self._integer(1, 64), self._integer(1, 64)
        found = self._tensors((n, inputs, side, side), (n, outputs, side, side))
        if found is None:
            return self.gradient()
        (x, y), _ = found
        geometry = Geometry(kh=kernel, kw=kernel, pad_y=kernel // 2, pad_x=kernel // 2)
        images = TrainedImages(base=0, transposed=None, bias=0, tensor=2, bias_tensor=3)
        made = list(self._build.gradient(x, y, geometry=geometry, images=images))
        job = made[self._integer(0, len(made) - 1)]
        return job | {"update": job["update"] | {"apply": 0, "bias_apply": 0}}


def _axes(tensor: StoreTensor, both: tuple[int, int, int, int]) -> list[Source]:
    """A tensor as the one operand of a gathered sum, both axes mapped alike (num, den, add, span)."""
    return [Source(tensor=tensor, y=both, x=both)]


def _unmasked(finish: Requantise | RoundError) -> Requantise | RoundError:
    """The same without the mask, for which the larger map leaves no room."""
    return Requantise(table=0) if isinstance(finish, Requantise) else RoundError(tensor=1, stochastic=finish.stochastic)


@cocotb.test()
async def random_jobs(dut):
    """The model is as near as it promises, whatever the job."""
    config = AcceleratorConfig(**json.loads(os.environ["ACCELERATOR_CONFIG"]))
    driver = Driver(config, await start(dut))
    model = CycleModel(config, read_cycles=int(os.environ["READ_CYCLES"]))
    draw = Random(config)
    count = int(os.environ["JOBS"])
    for kind in (draw.convolution, draw.depthwise, draw.gather, draw.gradient):
        for _ in range(count):
            job = kind()
            while model.cycles(job) > LONGEST:
                job = kind()
            measured = (await driver.run(job))["cycles"]
            predicted = model.cycles(job)
            assert abs(predicted - measured) <= max(CYCLES, SHARE * measured), (predicted, measured, job)
