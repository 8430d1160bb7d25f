# SPDX-License-Identifier: Apache-2.0
"""The regions of the store that a descriptor touches: what the extent check multiplies out."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Const, Mux, Value
from amaranth.utils import exact_log2

from respin.rtl.config import BLOCK
from respin.rtl.jobs import VectorMode
from respin.rtl.sequencer.job_rules import JobView

BLOCK_LOG2 = exact_log2(BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """``blocks + 1`` pieces of ``n * h * w`` words (or bits of a mask: words of 8), ``stride`` words apart.

    Parameters
    ----------
    used:
        Whether the job touches it.
    base, stride, blocks, n, h, w:
        As said; ``blocks`` is the number of the last piece.
    mask:
        Eight pixels share a word.
    extra:
        Words that it reaches further.
    """

    used: Value
    base: Value
    stride: Value
    blocks: Value
    n: Value
    h: Value
    w: Value
    mask: bool = False
    extra: Value | int = 0


def job_regions(job: JobView, window_blocks: Value) -> Iterator[Region]:
    """Yield the regions of a job. ``window_blocks``: the number of the last block of channels that its window reads."""
    window, vector, loss = job.window, job.vector, job.loss_job
    yield Region(
        used=job.windowed, base=window.base, stride=window.block_stride, blocks=window_blocks, n=window.n, h=window.h,
        w=window.w,
    )  # fmt: skip
    # Entries before the first channel are skipped one by one, in whole blocks.
    blocks = (job.channels_end - 1) >> BLOCK_LOG2
    where = {"blocks": blocks, "n": vector.n, "h": vector.h, "w": vector.w}
    bytes_apart = (vector.raw_stride << 1) + vector.raw_stride
    yield Region(
        used=job.finished, base=vector.base, stride=vector.block_stride, **where,
        extra=Mux(vector.mode == VectorMode.RAW, bytes_apart, 0),
    )  # fmt: skip
    masked = job.finished & (vector.mask_read | vector.mask_write)
    yield Region(used=masked, base=vector.mask_base, stride=vector.mask_stride, **where, mask=True)
    for used, operand in zip(job.operands, job.gather_job.sources, strict=True):
        yield Region(
            used=used, base=operand.base, stride=operand.block_stride, blocks=blocks, n=vector.n, h=operand.h,
            w=operand.w,
        )  # fmt: skip
    blocks = (loss.classes - 1) >> BLOCK_LOG2
    for base, stride in ((loss.base, loss.block_stride), (loss.out, loss.out_stride)):
        yield Region(used=job.loss, base=base, stride=stride, blocks=blocks, n=loss.n, h=Const(1), w=Const(1))
