# SPDX-License-Identifier: Apache-2.0
"""The matrix product of int8 operands, exact in int32: by the processor's int8 instructions where they are exact."""

from functools import cache

import torch
from torch import Tensor

from respin.golden.ops.checks import ACTIVATIONS, WEIGHTS, require_tensor

EXACT_FLOAT32 = 1 << 24
"""Integers up to this magnitude are exact in float32."""
TERMS = {torch.int8: EXACT_FLOAT32 // (128 * 128), torch.uint8: EXACT_FLOAT32 // (255 * 128)}
"""Products of such an operand and an int8 weight that a float32 sums exactly, in whatever order."""


def matmul(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x @ weight``, int32, for ``x`` (R, K), int8 or uint8, and ``weight`` (K, O), int8.

    A sum that passes 32 bits wraps; the operators' own checks see to it that none does.
    """
    require_tensor("x", x, ACTIVATIONS, 2)
    require_tensor("weight", weight, WEIGHTS, 2)
    if not int8_product_pays():
        return _float_matmul(x, weight)
    if x.dtype == torch.uint8:
        # x = 128 + (x - 128), and the difference is an int8: the byte with its highest bit turned.
        product = _int8_matmul((x ^ 128).view(torch.int8), weight)
        return product.add_(column_sums(weight) << 7)
    return _int8_matmul(x, weight)


def column_sums(x: Tensor) -> Tensor:
    """Return the sum of every column of ``x`` (R, O), int8, as int32 (O,): a row of ones times ``x``."""
    return matmul(torch.ones((1, x.shape[0]), dtype=torch.int8), x)[0]


def _int8_matmul(x: Tensor, weight: Tensor) -> Tensor:
    return torch._int_mm(_straight(x), _straight(weight))


def _straight(operand: Tensor) -> Tensor:
    """``operand`` as PyTorch's product takes it: a matrix or the transpose of one, contiguous."""
    if 1 not in operand.shape and (operand.is_contiguous() or operand.t().is_contiguous()):
        return operand
    # An axis of one element may have any stride; PyTorch 2.13 takes such an operand for a transposed one and reads past
    # it. Through one axis and back, the strides are those of the shape.
    return operand.contiguous().flatten().view(operand.shape)


def _float_matmul(x: Tensor, weight: Tensor) -> Tensor:
    """The product by float32, in parts of the reduction so short that every sum is exact."""
    terms = TERMS[x.dtype]
    parts = [slice(start, start + terms) for start in range(0, x.shape[1], terms)]
    products = [(x[:, part].to(torch.float32) @ weight[part].to(torch.float32)).to(torch.int32) for part in parts]
    return products[0] if len(products) == 1 else torch.stack(products).sum(0, dtype=torch.int32)


@cache
def int8_product_pays() -> bool:
    """Whether PyTorch's int8 product is exact on this machine, and fast.

    Without the instructions for it (AVX-512 VNNI) it is a plain loop, ten times slower than a product in float32.
    """
    supported = getattr(torch.cpu, "_is_vnni_supported", None)
    return supported is not None and bool(supported()) and int8_product_is_exact()


@cache
def int8_product_is_exact() -> bool:
    """Whether PyTorch's int8 product is exact on this machine.

    Processors without instructions that add four products to 32 bits add pairs in 16 bits, which saturates for large
    operands. So it is tried on the largest ones, in several shapes, and on random ones.
    """
    generator = torch.Generator().manual_seed(0)
    for rows, terms, columns in ((1, 1, 1), (3, 7, 5), (40, 1280, 33), (65, 130, 24)):
        random = torch.randint(-128, 128, (rows + columns, terms), generator=generator).to(torch.int8)
        for x, weight in (
            (torch.full((rows, terms), -128, dtype=torch.int8), torch.full((terms, columns), -128, dtype=torch.int8)),
            (torch.full((rows, terms), 127, dtype=torch.int8), torch.full((terms, columns), -128, dtype=torch.int8)),
            (random[:rows], random[rows:].t()),
            (random[:rows].t().contiguous().t(), random[rows:].t()),
        ):
            try:
                product = _int8_matmul(x, weight)
            except (AttributeError, RuntimeError):
                return False
            if not torch.equal(product, _float_matmul(x, weight)):
                return False
    return True
