# SPDX-License-Identifier: Apache-2.0
"""Layers of tensors with zero points: these go into biases, padding and merges, so that no layer knows of them.

A sum over ``x - zero`` is that over ``x`` less ``zero`` times the sum of the weights, if the padding is ``zero`` too.
An output's zero point is added to the sum in the sum's own units, rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.firmware_model.frontend.float_graph import Clamp
from respin.golden.inference import RawSums, TensorFormat
from respin.golden.network import AveragePool, Convolution, Merge, MergeInput
from respin.golden.ops import QuantiserTable, prove_convolution
from respin.golden.ops.requantise import MAX_SHIFT
from respin.golden.quantise import common_multipliers, requantiser

MAX_OPERANDS = 4
"""Tensors that a merge adds."""
ZERO_POINTS = (-128, 255)
"""Zero points of a merge's operands."""
MAX_OFFSET = 1 << 30
"""Largest zero point in units of a sum; a channel whose sums are worth less has its weights scaled down."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Linear:
    """A convolution of integers as a model states it.

    Parameters
    ----------
    x, form:
        The tensor that it reads and what its integers are worth.
    weight:
        (O, I / groups, kh, kw), int8, without zero point.
    scale:
        What a unit of a weight is worth (O,), float64.
    bias:
        (O,), int64, in units of the sums.
    """

    x: str
    form: TensorFormat
    weight: Tensor
    scale: Tensor
    bias: Tensor
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    @property
    def sum_scale(self) -> Tensor:
        """What a unit of a sum is worth (O,)."""
        return self.scale * self.form.scale

    def raw(self, name: str, *, scale: Tensor | None) -> RawSums:
        """Return the layer whose sums are the network's output; ValueError if one could overflow."""
        bias = self._folded(self.weight, self.bias)
        return RawSums(
            name=name,
            x=self.x,
            weight=self.weight,
            bias=bias,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            pad_value=self.form.zero_point,
            scale=scale,
        )

    def requantised(self, name: str, form: TensorFormat, ends: tuple[int, int]) -> Convolution:
        """Return the layer that makes integers worth ``form``, clamped to ``ends``; ValueError if it cannot be."""
        ratio = self.sum_scale / form.scale
        # 1, or less where the zero point in units of the sum would pass an int32: of a channel that hardly counts.
        share = (MAX_OFFSET * ratio / max(abs(form.zero_point), 1)).clamp(max=1)
        weight = torch.round(self.weight * share[:, None, None, None]).to(torch.int8)
        bias = torch.round(self.bias * share).to(torch.int64)
        ratio = ratio / share
        bias = self._folded(weight, bias + _offset(form.zero_point, ratio))
        return Convolution(
            name=name,
            x=self.x,
            weight=weight,
            table=_table(ratio, bias, form, ends),
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            pad_value=self.form.zero_point,
        )

    def _folded(self, weight: Tensor, bias: Tensor) -> Tensor:
        folded = bias - self.form.zero_point * weight.to(torch.int64).flatten(1).sum(1)
        prove_convolution(weight, low=self.form.low, high=self.form.high, bias=folded)
        return folded


def pool(
    name: str, x: str, source: TensorFormat, form: TensorFormat, *, kernel: tuple[int, int], channels: int,
    ends: tuple[int, int],
) -> AveragePool:  # fmt: skip
    """Return an average pool between tensors with zero points."""
    count = kernel[0] * kernel[1]
    ratio = torch.full((channels,), source.scale / form.scale / count, dtype=torch.float64)
    bias = _offset(form.zero_point, ratio) - source.zero_point * count
    return AveragePool(name=name, x=x, kernel=kernel, table=_table(ratio, bias, form, ends))


def merge(
    name: str, operands: Sequence[tuple[str, TensorFormat]], form: TensorFormat, *, ends: tuple[int, int]
) -> Merge:
    """Return the sum of tensors with zero points; ValueError if theirs cannot hold the output's.

    The output's zero point becomes part of the operands': all move by one number, and one operand is split into two
    whose zero points differ by 1, so that what is added is the output's zero point exactly.
    """
    ratios = torch.tensor([source.scale / form.scale for _, source in operands], dtype=torch.float64)
    mults, shift = common_multipliers(ratios, limit=MAX_SHIFT)
    if shift < 1:
        raise ValueError(f"an operand's scale must be below 32768 times the sum's, not {float(ratios.max())!r} times")
    # What is to be subtracted from the products beyond the operands' own zero points: moved * all + rest.
    moved, rest = divmod(-form.zero_point << shift, int(mults.sum()))
    inputs = []
    for (x, source), mult in zip(operands, mults.tolist(), strict=True):
        zero, above = source.zero_point + moved, min(rest, mult)
        inputs += [(x, mult - above, zero), (x, above, zero + 1)]
        rest -= above
    kept = tuple(MergeInput(x=x, mult=mult, zero_point=zero) for x, mult, zero in inputs if mult)
    low, high = ZERO_POINTS
    if len(kept) > MAX_OPERANDS or any(not low <= operand.zero_point <= high for operand in kept):
        raise ValueError(f"zero points must be in {low}..{high} once the sum's is part of them, not {moved!r} further")
    return Merge(name=name, operands=kept, shift=shift, lo=ends[0], hi=ends[1])


def clamp_ends(clamp: Clamp, form: TensorFormat) -> tuple[int, int]:
    """Return the ends of a clamp of real numbers as integers of ``form``; halves go to the even one."""
    low, high = (
        int((torch.round(side.to(torch.float64) / form.scale) + form.zero_point).clamp(form.low, form.high))
        for side in (clamp.low, clamp.high)
    )
    return low, high


def _offset(zero_point: int, ratio: Tensor) -> Tensor:
    """Return a zero point in units of sums that are worth ``ratio`` each, int64."""
    exact = zero_point / ratio
    whole = torch.round(exact)
    if bool(((whole - exact).abs() * ratio > 1 / 2).any()):
        raise ValueError(
            f"a unit of the sum must be worth at most 1 of the output where its zero point is {zero_point}, "
            f"not {float(ratio.max())!r}"
        )
    return whole.to(torch.int64)


def _table(ratio: Tensor, bias: Tensor, form: TensorFormat, ends: tuple[int, int]) -> QuantiserTable:
    return requantiser(ratio, bias=bias, signed=form.signed, least=ends[0], limit=ends[1])
