# SPDX-License-Identifier: Apache-2.0
"""What a job is told beside its tensors: how sums are finished, which part it makes, where its weights lie."""

from dataclasses import dataclass
from typing import Any

from respin.firmware_model.layout import StoreTensor, mask_words
from respin.rtl.jobs import VectorMode

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scaled:
    """Sums that are scaled, with a mask beside them."""

    table: int | None = None
    """Table entry of the first channel; None where one constant is for all."""
    mult: int = 1
    mask: int | None = None
    """Store word of the packed mask: written by :class:`Requantise`, multiplied by :class:`RoundError`."""
    mask_stride: int | None = None
    """Words from one channel block of the mask to the next, if it is part of a larger one."""

    def _scaling(self, out: StoreTensor) -> Fields:
        return {
            "per_channel": int(self.table is not None),
            "table": self.table or 0,
            "mult": self.mult,
            "mask_base": self.mask or 0,
            "mask_stride": mask_words(out) if self.mask_stride is None else self.mask_stride,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantise(_Scaled):
    """Finish sums as activations; the mask is ``lo < y < hi``."""

    shift: int = 0
    lo: int = -128
    hi: int = 127

    def fields(self, out: StoreTensor) -> Fields:
        """The part of a vector job that says how sums are finished."""
        return {
            "mode": VectorMode.REQUANTISE,
            "shift": self.shift,
            "lo": self.lo,
            "hi": self.hi,
            "mask_write": int(self.mask is not None),
            **self._scaling(out),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundError(_Scaled):
    """Finish sums as errors, with the delayed scale of tensor id ``tensor``."""

    tensor: int
    stochastic: bool = True

    def fields(self, out: StoreTensor) -> Fields:
        """The part of a vector job that says how sums are finished."""
        return {
            "mode": VectorMode.ERROR,
            "mask_read": int(self.mask is not None),
            "stochastic": int(self.stochastic),
            **self._scaling(out),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSums:
    """Leave sums as they are, int32: each of their bytes is a tensor of its own, one after the other in every channel
    block."""

    def fields(self, out: StoreTensor) -> Fields:
        """The part of a vector job that says how sums are finished."""
        return {"mode": VectorMode.RAW, "raw_stride": out.pixels}


SUM_BYTES = 4
"""Bytes of a sum."""
Finish = Requantise | RoundError | StoreSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of a tensor a job makes: some images or a band of an image's rows, and a range of channels.

    Parameters
    ----------
    shape:
        (N, C, H, W) of the whole tensor.
    image, row:
        The first ones of the part.
    channels:
        First channel, a multiple of 32, and the one past the last; all if it is None.
    """

    shape: tuple[int, int, int, int]
    image: int = 0
    row: int = 0
    channels: tuple[int, int] | None = None

    @property
    def channel0(self) -> int:
        """The first channel."""
        return 0 if self.channels is None else self.channels[0]

    def repeats(self, width: int) -> int:
        """Entries of ``width`` channels that hold the part's."""
        end = self.shape[1] if self.channels is None else self.channels[1]
        return -(-(end - self.channel0) // width)

    @property
    def index(self) -> int:
        """Number of the part's first element, in channel 0, in the whole tensor."""
        _, c, h, w = self.shape
        return (self.image * c * h + self.row) * w


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One operand of a gathered sum; the index maps are (num, den, add, span) for y and x."""

    tensor: StoreTensor
    y: tuple[int, int, int, int] = (1, 1, 0, 0)
    x: tuple[int, int, int, int] = (1, 1, 0, 0)
    zero: int = 0
    mult: int = 1
    table: int | None = None
    align: int = 0

    def fields(self) -> Fields:
        """The operand as fields of a :class:`respin.rtl.jobs.GatherSource`."""
        _, _, h, w = self.tensor.shape
        names = ("num", "den", "add", "span")
        return {
            "base": self.tensor.base,
            "block_stride": self.tensor.block_stride,
            "h": h,
            "w": w,
            "y": dict(zip(names, self.y, strict=True)),
            "x": dict(zip(names, self.x, strict=True)),
            "signed": int(self.tensor.signed),
            "zero": self.zero,
            "mult": self.mult,
            "per_channel": int(self.table is not None),
            "table": self.table or 0,
            "align": self.align,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomness:
    """What the random numbers of a training step hang on, beside the tensor and the element."""

    seed: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedImages:
    """Where a trained layer lies in MRAM: its weight image, its transposed image and its bias rows; its tensor ids."""

    base: int
    transposed: int | None
    bias: int
    tensor: int
    bias_tensor: int
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTile:
    """A tile of an int32 gradient in the store: byte ``j`` of the M outputs from ``o0`` of item ``i`` is in word
    ``base + j * 32 * steps + i``; item ``32 * s + k`` is input ``k`` of the block of window step ``first + s``."""

    job: Fields
    base: int
    o0: int
    first: int
    steps: int
