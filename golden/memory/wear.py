# SPDX-License-Identifier: Apache-2.0
"""What learning writes into the array: rows, strips and how often each strip is pulsed, faults left out.

A write pulses the strips whose bits change, so what a strip endures follows from the weights alone. SECDED is linear:
the columns that change between two rows are the code of their difference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.memory.secded import CODEWORDS, syndromes, to_gray
from respin.rtl.config import ROW_COLUMNS, ROW_WEIGHTS

STRIPS = ROW_COLUMNS // 4
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


def changed_strips(before: Tensor, after: Tensor, *, gray: bool = False) -> npt.NDArray[np.bool_]:
    """Return which strips of each row (rows, 72) differ between two images of rows; ``gray``: rows hold Gray code."""
    changed = (before ^ after).numpy()  # the code of a sum modulo 2 is the sum of the codes
    difference = (to_gray(changed) if gray else changed).view(np.uint8).reshape(-1, CODEWORDS, 8)
    code = np.concatenate([difference, np.zeros_like(difference[..., :1])], axis=-1)
    code[..., 8] = syndromes(code)
    # Strip i holds bit i of each codeword: it changes where any of them does.
    touched = np.bitwise_or.reduce(code, axis=1)
    return np.unpackbits(touched, axis=-1, bitorder="little").astype(np.bool_)


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
        self._pulses: list[npt.NDArray[np.int32]] = []
        self.wear = Wear()

    def count(self, before: Tensor, after: Tensor) -> None:
        """Count the write that turns ``before`` into ``after``, both int8 (O, I / groups, kh, kw)."""
        changed = int(torch.count_nonzero(before != after))
        if not changed:
            return
        self.wear.weights += changed
        for place, layout in enumerate(self._layouts):
            rows = layout(before, self._groups), layout(after, self._groups)
            strips = changed_strips(*rows)
            if len(self._pulses) <= place:
                self._pulses.append(np.zeros(strips.shape, dtype=np.int32))
            self._pulses[place] += strips
            self.wear.rows += int(strips.any(1).sum())
            self.wear.strips += int(strips.sum())
            self.wear.gray_strips += int(changed_strips(*rows, gray=True).sum())
            self.wear.most = max(self.wear.most, int(self._pulses[place].max()))
