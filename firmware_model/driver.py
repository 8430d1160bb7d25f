# SPDX-License-Identifier: Apache-2.0
"""The driver: what a host does with the accelerator, over any transport."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from respin.firmware_model.layout import (
    IntArray,
    StoreTensor,
    blocks,
    mask_words,
    tensor_words,
    words_mask,
    words_tensor,
)
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.mram.ports import Outcome
from respin.rtl.ports import Fault


class Transport(Protocol):
    """How a driver reaches an accelerator: a simulation or a board.

    Store words and rows travel as integers, structures as mappings of their fields; what does not fit its field is
    refused.
    """

    async def write_store(self, base: int, words: Sequence[int]) -> None:
        """Put 256-bit words into the store from ``base`` on."""

    async def read_store(self, base: int, count: int) -> list[int]:
        """Take ``count`` words out of the store."""

    async def write_row(self, row: int, data: int) -> Mapping[str, int]:
        """Write one row of 32 weights; the controller's :class:`~respin.rtl.mram.ports.WriteStatus`."""

    async def read_rows(self, base: int, count: int) -> list[Mapping[str, int]]:
        """Read rows; each is ``data`` and ``uncorrectable``."""

    async def write_table(self, index: int, entries: Sequence[int]) -> None:
        """Put 72-bit entries into the vector path's table from ``index`` on."""

    async def run(self, job: Mapping[str, Any]) -> Mapping[str, int]:
        """Run a :class:`~respin.rtl.jobs.Job` to its end; its :class:`~respin.rtl.ports.Report`."""


class AcceleratorError(Exception):
    """The accelerator reported a fault."""


class Driver:
    """Moves tensors, weights and jobs to the accelerator and results back.

    Parameters
    ----------
    config:
        What the accelerator was generated from.
    transport:
        How it is reached.
    """

    def __init__(self, config: AcceleratorConfig, transport: Transport) -> None:
        self.config = config
        self._transport = transport

    async def write_tensor(self, tensor: StoreTensor, values: IntArray) -> None:
        """Put an NCHW tensor into the store."""
        if values.shape != tensor.shape:
            raise ValueError(f"values must have shape {tensor.shape}, not {values.shape}")
        await self._transport.write_store(tensor.base, tensor_words(values))

    async def read_tensor(self, tensor: StoreTensor) -> IntArray:
        """Take an NCHW tensor out of the store."""
        return words_tensor(await self._transport.read_store(tensor.base, tensor.words), tensor)

    async def read_mask(self, tensor: StoreTensor, base: int) -> NDArray[np.bool_]:
        """Take the packed 1-bit mask of ``tensor`` out of the store."""
        count = mask_words(tensor) * blocks(tensor.shape[1])
        return words_mask(await self._transport.read_store(base, count), tensor)

    async def write_words(self, base: int, words: Sequence[int]) -> None:
        """Put words into the store as they are."""
        await self._transport.write_store(base, words)

    async def read_words(self, base: int, count: int) -> list[int]:
        """Take words out of the store as they are."""
        return await self._transport.read_store(base, count)

    async def write_rows(self, base: int, rows: IntArray) -> None:
        """Write rows (n, 32) of int8 weights through the controller: differential, verified.

        Raises
        ------
        AcceleratorError
            If a row could not be written so that it reads back right.
        """
        for offset, row in enumerate(rows.astype(np.int8)):
            status = await self._transport.write_row(base + offset, int.from_bytes(row.tobytes(), "little"))
            outcome = Outcome(status["outcome"])
            if outcome not in (Outcome.OK, Outcome.DEFECT):
                raise AcceleratorError(f"row {base + offset} could not be written: {outcome.name}")

    async def read_rows(self, base: int, count: int) -> IntArray:
        """Read rows (count, 32) of corrected int8 weights.

        Raises
        ------
        AcceleratorError
            If a row holds a codeword beyond correction.
        """
        rows = np.zeros((count, ROW_WEIGHTS), dtype=np.int8)
        for offset, value in enumerate(await self._transport.read_rows(base, count)):
            if value["uncorrectable"]:
                raise AcceleratorError(f"row {base + offset} is beyond correction")
            rows[offset] = np.frombuffer(value["data"].to_bytes(ROW_WEIGHTS, "little"), dtype=np.int8)
        return rows

    async def write_table(self, index: int, entries: Sequence[int]) -> None:
        """Put entries made by :func:`respin.firmware_model.layout.table_entry` into the table."""
        if index + len(entries) > self.config.table_channels:
            raise ValueError(
                f"table holds {self.config.table_channels} channels, not {index + len(entries)}: raise table_channels"
            )
        await self._transport.write_table(index, entries)

    async def run(self, job: Mapping[str, Any]) -> Mapping[str, int]:
        """Run a job to its end and return its :class:`~respin.rtl.ports.Report`.

        Raises
        ------
        AcceleratorError
            With the fault's name, if the job ended with one.
        """
        report = await self._transport.run(job)
        fault = Fault(report["fault"])
        if fault is not Fault.NONE:
            raise AcceleratorError(f"{job['kind'].name.lower()} job ended with fault {fault.name}")
        return report
