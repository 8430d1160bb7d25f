# SPDX-License-Identifier: Apache-2.0
"""What learning writes into the array: rows, strips and how often each strip is pulsed, faults left out.

A write pulses the strips whose bits change, so what a strip endures follows from the weights alone. SECDED is linear:
the columns that change between two rows are the code of their difference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from respin.golden.memory.secded import CODE_BITS, CODEWORDS, DATA_BITS, SYNDROMES, Bits, to_gray
from respin.rtl.config import ROW_COLUMNS, ROW_WEIGHTS

Pulses = npt.NDArray[np.int32]
ROW_BYTES = ROW_COLUMNS // 8


def image_rows(weight: Tensor, groups: int) -> Tensor:
    """Return the rows of a weight image, int8 (rows, 32): for each output and tap blocks of 32 input channels.

    ``weight`` is (O, I / groups, kh, kw). Groups lie as block diagonals of a full convolution, so a block of channels
    may span two of them. The order of the rows does not matter here.
    """
    outputs, inputs, height, width = weight.shape
    full = weight.new_zeros((groups, outputs // groups, height, width, groups, inputs))
    for group, part in enumerate(weight.chunk(groups)):
        full[group, :, :, :, group] = part.permute(0, 2, 3, 1)
    return functional.pad(full.flatten(-2), (0, -(groups * inputs) % ROW_WEIGHTS)).reshape(-1, ROW_WEIGHTS)


def transposed_rows(weight: Tensor, groups: int) -> Tensor:
    """Return the rows of the image that errors pass: inputs and outputs of each group exchanged."""
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return image_rows(grouped, groups)


@njit(cache=True, nogil=True)
def _touch(row: Bits, syndromes: Bits, touched: Bits) -> None:
    """Set in ``touched``, nine bytes, the strips that change with the bits of a row (32 bytes) that change.

    Strip i holds bit i of each codeword: it changes where any of them does.
    """
    touched[:] = 0
    for codeword in range(CODEWORDS):
        checks = np.uint8(0)
        for k in range(DATA_BITS // 8):
            byte = row[codeword * (DATA_BITS // 8) + k]
            touched[k] |= byte
            checks ^= syndromes[k, byte]
        touched[DATA_BITS // 8] |= checks


@njit(cache=True, nogil=True)
def _count_strips(changed: Bits, gray: Bits, syndromes: Bits, pulses: Pulses) -> tuple[int, int, int, int]:
    """Return rows written, strips pulsed, the same were rows in Gray code, and the most pulses of one strip so far.

    ``changed`` (rows, 32) holds the bits that change, ``gray`` those in Gray code, ``pulses`` (rows, 72) what each
    strip has had: it is added to.
    """
    rows, strips, gray_strips, most = 0, 0, 0, np.int32(0)
    touched, gray_touched = np.empty(CODE_BITS // 8, dtype=np.uint8), np.empty(CODE_BITS // 8, dtype=np.uint8)
    for r in range(changed.shape[0]):
        if not changed[r].any():
            continue
        rows += 1
        _touch(changed[r], syndromes, touched)
        _touch(gray[r], syndromes, gray_touched)
        for i in range(CODE_BITS):
            gray_strips += gray_touched[i // 8] >> (i % 8) & 1
            if touched[i // 8] >> (i % 8) & 1:
                strips += 1
                pulses[r, i] += 1
                most = max(most, pulses[r, i])
    return rows, strips, gray_strips, int(most)


@dataclass(kw_only=True, slots=True)
class Wear:
    """What was written so far.

    Parameters
    ----------
    rows:
        Row writes.
    strips:
        Strips pulsed.
    gray_strips:
        Strips pulsed if rows held Gray code.
    weights:
        Weights changed, counted once for both images.
    most:
        Pulses of the strip that was pulsed most often.
    """

    rows: int = 0
    strips: int = 0
    gray_strips: int = 0
    weights: int = 0
    most: int = 0

    @property
    def bytes_written(self) -> int:
        """Bytes of the rows written, check bits included."""
        return self.rows * ROW_BYTES


class WearCounter:
    """Counts the writes of one tensor's images."""

    def __init__(self, *, groups: int, transposed: bool) -> None:
        self._layouts = [image_rows, transposed_rows] if transposed else [image_rows]
        self._groups = groups
        self._pulses: list[Pulses] = []
        self.wear = Wear()

    def count(self, before: Tensor, after: Tensor) -> None:
        """Count the write that turns ``before`` into ``after``, both int8 (O, I / groups, kh, kw)."""
        changed = before ^ after  # the code of a sum modulo 2 is the sum of the codes, Gray's too
        weights = int(torch.count_nonzero(changed))
        if not weights:
            return
        self.wear.weights += weights
        for place, layout in enumerate(self._layouts):
            image = layout(changed, self._groups).numpy()
            if len(self._pulses) <= place:
                self._pulses.append(np.zeros((len(image), CODE_BITS), dtype=np.int32))
            rows, strips, gray_strips, most = _count_strips(
                image.view(np.uint8), to_gray(image).view(np.uint8), SYNDROMES, self._pulses[place]
            )
            self.wear.rows += rows
            self.wear.strips += strips
            self.wear.gray_strips += gray_strips
            self.wear.most = max(self.wear.most, most)
