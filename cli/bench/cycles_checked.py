# SPDX-License-Identifier: Apache-2.0
"""Forward jobs on random operands, each compared with the golden model: a fast wrong job has no cycles."""

from collections.abc import Mapping

import numpy as np
import torch

from respin.cli.bench.cycles_cases import Layer
from respin.firmware_model.driver import Driver
from respin.firmware_model.job_parts import Requantise
from respin.firmware_model.jobs import JobBuilder
from respin.firmware_model.layout import depthwise_rows, weight_rows
from respin.firmware_model.placement import table_entries
from respin.golden import ops
from respin.rtl.config import AcceleratorConfig
from respin.sim.runner import seed


class CheckedForward:
    """Runs forward jobs.

    Parameters
    ----------
    config:
        The accelerator.
    driver:
        The way to it.
    """

    def __init__(self, config: AcceleratorConfig, driver: Driver) -> None:
        self._driver = driver
        self._slices = config.slices
        self._build = JobBuilder(config)
        self._random = np.random.default_rng(seed())

    async def run(self, layer: Layer, images: int = 1) -> Mapping[str, int]:
        """Run ``layer`` on ``images`` images; its report.

        Raises
        ------
        AssertionError
            If the tensor that it leaves in the store is not golden's.
        """
        x, y = layer.tensors(images)
        values = self._random.integers(0, 1 << layer.bits, size=x.shape).astype(np.uint8)
        weight = self._random.integers(-127, 128, size=layer.weight_shape).astype(np.int8)
        table = self._table(layer.outputs)
        rows = depthwise_rows(weight) if layer.depthwise else weight_rows(weight, self._slices)
        await self._driver.write_tensor(x, values)
        await self._driver.write_rows(0, rows)
        await self._driver.write_table(0, table_entries(table))

        finish = Requantise(table=0)
        if layer.depthwise:
            job = self._build.depthwise(x, y, rows=0, geometry=layer.geometry, finish=finish)
        else:
            job = self._build.convolution(x, y, rows=0, geometry=layer.geometry, finish=finish, bits=layer.bits)
        report = await self._driver.run(job)

        sums = ops.conv2d(
            torch.from_numpy(values),
            torch.from_numpy(weight),
            padding=layer.padding,
            groups=layer.inputs if layer.depthwise else 1,
        )
        got, want = await self._driver.read_tensor(y), ops.requantise(sums, table).numpy()
        wrong = np.count_nonzero(got != want)
        assert wrong == 0, f"{layer.case}: {wrong} of {want.size} outputs differ from the golden model"
        return report

    def _table(self, channels: int) -> ops.QuantiserTable:
        """Random constants that leave results spread over int8."""
        bias = torch.from_numpy(self._random.integers(-5000, 5000, size=channels))
        mult = torch.from_numpy(self._random.integers(1 << 14, 1 << 16, size=channels))
        return ops.QuantiserTable.build(channels, bias=bias, mult=mult, shift=27, lo=-128, hi=127)
