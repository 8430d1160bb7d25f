# SPDX-License-Identifier: Apache-2.0
"""How the depthwise unit goes about a kernel row: each tap meets its pixel, in the fewest words."""

import itertools

import pytest

from respin.firmware_model.geometry import MAX_EXTENT, Geometry, KernelRow


def met(row: KernelRow, kw: int, stride: int) -> list[tuple[int, int]]:
    """(pixel, tap) for output 0, by what WindowJob and DepthwiseJob say of columns, words and taps."""
    dilation = 1 if row.strided else row.taps
    pairs = []
    for column, word in itertools.product(range(row.taps), range(row.words)):
        tap = word + column * row.words if row.strided else word * row.taps + column
        if tap < kw:
            pairs.append((column * stride + word * dilation, tap))
    return sorted(pairs)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
def test_each_tap_meets_its_pixel_in_no_more_words_than_taps(most: int) -> None:
    for kw, stride, outputs in itertools.product(range(1, 16), range(1, 6), (1, 2, 7, 100, MAX_EXTENT)):
        row = KernelRow.fastest(Geometry(kh=1, kw=kw, stride=stride), outputs, most)
        assert row.taps <= most
        assert met(row, kw, stride) == [(tap, tap) for tap in range(kw)], (kw, stride, row)
        assert row.columns(outputs) <= MAX_EXTENT
        assert row.words * row.columns(outputs) <= kw * outputs


@pytest.mark.parametrize(
    ("kw", "stride", "outputs", "most", "want"),
    [
        (3, 1, 48, 3, KernelRow(words=1, taps=3)),
        (5, 1, 12, 3, KernelRow(words=2, taps=3)),
        (5, 1, 12, 5, KernelRow(words=1, taps=5)),
        (3, 2, 24, 3, KernelRow(words=2, taps=2, strided=True)),
        (5, 2, 12, 3, KernelRow(words=2, taps=3, strided=True)),
        (7, 2, 12, 3, KernelRow(words=7, taps=1)),
        (3, 1, 1, 3, KernelRow(words=3, taps=1)),
        (3, 3, 9, 3, KernelRow(words=3, taps=1)),
        (3, 1, MAX_EXTENT, 3, KernelRow(words=3, taps=1)),
        (3, 1, 48, 1, KernelRow(words=3, taps=1)),
    ],
)
def test_the_way_with_the_fewest_words(kw: int, stride: int, outputs: int, most: int, want: KernelRow) -> None:
    assert KernelRow.fastest(Geometry(kh=3, kw=kw, stride=stride), outputs, most) == want
