# SPDX-License-Identifier: Apache-2.0
"""A transport that holds the memory of the accelerator against the golden model of it, access by access."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from respin.firmware_model.driver import Transport
from respin.firmware_model.layout import blocks
from respin.firmware_model.placement import Placement
from respin.golden.memory import Memory
from respin.rtl.config import BLOCK, ROW_WEIGHTS
from respin.rtl.jobs import Pass

WEIGHT_MAX = 127


class MismatchError(AssertionError):
    """Hardware and golden differ."""


def _row(value: int) -> NDArray[np.int8]:
    return np.frombuffer(value.to_bytes(ROW_WEIGHTS, "little"), dtype=np.int8)


class MirroredTransport:
    """Passes everything on, and does the same to the golden memory.

    Parameters
    ----------
    inner:
        The way to the accelerator.
    memory:
        The golden model of array and controller.
    placement:
        Where images lie.

    ``moves`` holds the golden steps ``u`` of each trained layer, weights and biases, that the next gradient passes
    apply.
    """

    def __init__(self, inner: Transport, memory: Memory, placement: Placement) -> None:
        self._inner = inner
        self.memory = memory
        self._placement = placement
        self.moves: dict[str, tuple[NDArray[np.int8], NDArray[np.int8]]] = {}

    async def write_store(self, base: int, words: Sequence[int]) -> None:
        """Put words into the store."""
        await self._inner.write_store(base, words)

    async def read_store(self, base: int, count: int) -> list[int]:
        """Take words out of the store."""
        return await self._inner.read_store(base, count)

    async def write_table(self, index: int, entries: Sequence[int]) -> None:
        """Put entries into the table."""
        await self._inner.write_table(index, entries)

    async def write_row(self, row: int, data: int) -> Mapping[str, int]:
        """Write a row; outcome, defects and retries must be golden's."""
        status = await self._inner.write_row(row, data)
        expected = self.memory.write(row, _row(data))
        if (status["outcome"], status["defects"], status["retries"]) != (
            expected.outcome,
            expected.defects,
            expected.retries,
        ):
            raise MismatchError(f"write of row {row}: hardware says {status}, golden {expected}")
        return status

    async def read_rows(self, base: int, count: int) -> list[Mapping[str, int]]:
        """Read rows; they must be golden's."""
        rows = await self._inner.read_rows(base, count)
        expected = self.memory.read(base, count)
        for offset, (got, want) in enumerate(zip(rows, expected, strict=True)):
            if not np.array_equal(_row(got["data"]), want):
                raise MismatchError(f"row {base + offset}: hardware reads {_row(got['data'])}, golden {want}")
        return rows

    async def run(self, job: Mapping[str, Any]) -> Mapping[str, int]:
        """Run a job; golden's memory sees the same commands in each bank."""
        report = await self._inner.run(job)
        if job["kind"] in (Pass.CONVOLUTION, Pass.DEPTHWISE):
            read = job["read"]
            self.memory.read(read["base"], read["count"], tiles=read["tiles"], repeats=read["repeats"])
        elif job["kind"] is Pass.GRADIENT:
            written = 0
            for row, step in self._changes(job):
                (weights,) = self.memory.read(row, 1)
                moved = np.clip(weights.astype(np.int64) - step, -WEIGHT_MAX, WEIGHT_MAX)
                self.memory.write(row, np.where(step != 0, moved, weights).astype(np.int8))
                written += 1
            if report["rows_written"] != written:
                raise MismatchError(f"an update wrote {report['rows_written']} rows, golden {written}")
        return report

    def _changes(self, job: Mapping[str, Any]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Rows that a tile's update moves, with their steps, in the order of docs/learning.md."""
        place = self._placement
        layer = place.layer_of_row(job["update"]["base"])
        move, bias_move = self.moves[layer.name]
        slices, window = place.config.slices, job["window"]
        taps, o0 = window["kh"] * window["kw"], job["update"]["o0"]
        lanes = np.arange(ROW_WEIGHTS) // slices == o0 % BLOCK // slices
        images = [(place.image(layer.name), place.forward_rows(layer, move).astype(np.int64))]
        if starts := place.transposed_images(layer.name):
            transposed = place.transposed_rows(layer, move)
            images += [(base, rows.astype(np.int64)) for base, rows in zip(starts, transposed, strict=True)]
        first = window["block0"] * taps + window["ky0"] * window["kw"] + window["kx0"]
        for step in range(first, first + window["steps"]):
            block, tap = divmod(step, taps)
            start = (o0 // slices * blocks(layer.groups * layer.weight[0].numel() // taps) * taps + step) * slices
            places = [(0, row, lanes | True) for row in range(start, start + slices)]
            for k in range(block * BLOCK, (block + 1) * BLOCK) if len(images) > 1 else ():
                index = k // slices * blocks(layer.weight.shape[0]) + o0 // BLOCK
                places.append((1, (index * taps + taps - 1 - tap) * slices + k % slices, lanes))
            for image, row, kept in places:
                base, rows = images[image]
                if row < len(rows) and (rows[row] * kept).any():
                    yield base + row, rows[row] * kept
        if job["update"]["bias"]:
            padded = np.zeros(blocks(len(bias_move)) * BLOCK, dtype=np.int64)
            padded[: len(bias_move)] = bias_move
            change = padded.reshape(-1, ROW_WEIGHTS)[o0 // BLOCK] * lanes
            if change.any():
                yield place.bias_image(layer.name) + o0 // BLOCK, change
