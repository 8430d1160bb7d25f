# SPDX-License-Identifier: Apache-2.0
"""The int8 matrix product against int64, by the processor's instructions and by float32 parts alike."""

import os

import pytest
import torch
from torch import Tensor

from respin.golden.ops import matmul

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SHAPES = [(1, 1, 1), (1, 9, 1), (9, 1, 9), (1, 40, 33), (57, 1025, 3), (30, 4096, 17)]


@pytest.fixture(params=["instructions", "float32"])
def product(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "instructions" and not matmul.int8_product_is_exact():
        pytest.skip("this processor has no exact int8 product")
    monkeypatch.setattr(matmul, "int8_product_pays", lambda: request.param == "instructions")
    return str(request.param)


def _exact(x: Tensor, weight: Tensor) -> Tensor:
    return (x.to(torch.int64) @ weight.to(torch.int64)).to(torch.int32)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_product_equals_int64(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, terms, columns = shape
    low, high = (0, 256) if dtype == torch.uint8 else (-128, 128)
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randint(low, high, (rows, terms), generator=generator).to(dtype)
    weight = torch.randint(-128, 128, (terms, columns), generator=generator).to(torch.int8)
    assert torch.equal(matmul.matmul(x, weight), _exact(x, weight))
    # The same numbers in another order of memory.
    turned = x.t().contiguous().t(), weight.t().contiguous().t()
    assert torch.equal(matmul.matmul(*turned), _exact(x, weight))


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (40, 33), (5000, 3)])
def test_sums_of_columns_equal_int64(shape: tuple[int, int]) -> None:
    for x in (torch.randint(-128, 128, shape).to(torch.int8), torch.full(shape, -128, dtype=torch.int8)):
        for turned in (x, x.t().contiguous().t()):
            assert matmul.column_sums(turned).tolist() == x.sum(0, dtype=torch.int64).tolist()


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("value", [-128, 127, 255])
@pytest.mark.parametrize("terms", [1, 2, 1024, 1025, 5000])
def test_product_of_extreme_values(value: int, terms: int) -> None:
    x = torch.full((3, terms), value, dtype=torch.uint8 if value > 127 else torch.int8)
    weight = torch.full((terms, 5), -128, dtype=torch.int8)
    weight[::3, 1::2] = 127
    assert torch.equal(matmul.matmul(x, weight), _exact(x, weight))
