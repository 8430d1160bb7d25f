# SPDX-License-Identifier: Apache-2.0
"""Writes counted from weights alone against the controller's model, which pulses a simulated array."""

import os
from itertools import pairwise

import numpy as np
import pytest
import torch

from respin.firmware_model import layout
from respin.golden.memory import secded
from respin.golden.memory.wear import WearCounter, image_rows, transposed_rows

SEED = int(os.environ.get("RESPIN_SEED", "1"))


def _weights(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED + seed)
    return torch.randint(-127, 128, shape, generator=generator).to(torch.int8)


def _sorted(rows: np.ndarray) -> list[bytes]:
    return sorted(row.tobytes() for row in rows if row.any())


@pytest.mark.parametrize(("shape", "groups"), [((40, 33, 1, 1), 1), ((20, 5, 3, 3), 2), ((64, 40, 3, 3), 4)])
def test_rows_are_those_of_the_firmware(shape: tuple[int, int, int, int], groups: int) -> None:
    weight = _weights(shape, 0)
    dense = layout.dense_weights(weight.numpy(), groups)
    assert _sorted(image_rows(weight, groups).numpy()) == _sorted(layout.weight_rows(dense, 32))
    transposed = dense.transpose(1, 0, 2, 3)
    assert _sorted(transposed_rows(weight, groups).numpy()) == _sorted(layout.weight_rows(transposed, 32))


def test_strips_pulsed_are_those_whose_columns_differ() -> None:
    rows = _weights((3, 500, 32), 1)
    rows[1, :250] = rows[0, :250]
    rows[1, :250, 3] ^= 1  # a single bit, and its three check bits
    rows[2, 100:] = rows[1, 100:]
    counter, pulses = WearCounter(groups=1, transposed=False), np.zeros((500, 72), dtype=int)
    strips = {False: 0, True: 0}
    for before, after in pairwise(rows):
        counter.count(before[:, :, None, None], after[:, :, None, None])
        for gray in strips:
            columns = secded.encode(before.numpy(), gray=gray) ^ secded.encode(after.numpy(), gray=gray)
            touched = columns.reshape(500, 72, 4).any(2)
            strips[gray] += int(touched.sum())
            pulses += 0 if gray else touched
    wear = counter.wear
    assert (wear.rows, wear.strips, wear.gray_strips) == (600, strips[False], strips[True])
    assert wear.most == pulses.max() == 2


def test_the_counter_adds_up() -> None:
    counter = WearCounter(groups=2, transposed=True)
    first = torch.zeros((4, 3, 1, 1), dtype=torch.int8)
    second = first.clone()
    second[1, 2] = 1  # one bit of one codeword in each image
    counter.count(first, first)
    assert counter.wear.rows == 0
    counter.count(first, second)
    wear = counter.wear
    assert wear.gray_strips == 8
    assert (wear.weights, wear.rows, wear.strips, wear.most, wear.bytes_written) == (1, 2, 8, 1, 72)
    counter.count(second, first)
    assert (wear.weights, wear.rows, wear.strips, wear.most) == (2, 4, 16, 2)
