# SPDX-License-Identifier: Apache-2.0
"""Gather jobs: the golden operators that they stand for, and maps drawn at random against plain integers."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from vector_cases import TABLE_BASE, VectorCase, put_tensor

from respin.golden.ops.errors import FanInOperand, error_edge, fan_in, fan_in_reference
from respin.golden.ops.pooling import avg_pool, pool_error, upsample_error, upsample_nearest
from respin.golden.ops.requantise import MergeOperand, QuantiserTable, merge_add, requantise
from respin.golden.random import RandomSource
from respin.rtl.config import BLOCK
from respin.rtl.jobs import VectorMode, VectorSource

TABLE_ENTRIES = 128
IDENTITY = {"num": 1, "den": 1, "add": 0, "span": 0}


@dataclass
class GatherCase:
    """A case of the vector unit whose sums come from tensors in the store; ``want`` is golden's result, if any."""

    vector: VectorCase
    gather: dict
    tensors: list[np.ndarray]
    want: np.ndarray | None = None

    @property
    def order(self) -> dict:
        """Both jobs."""
        return {"gather": self.gather, "vector": self.vector.job}

    def put_sources(self, store) -> None:
        """Put the operands into the store."""
        for source, tensor in zip(self.gather["sources"], self.tensors, strict=False):
            put_tensor(store, source["base"], source["block_stride"], tensor)

    def check_golden(self) -> None:
        """Compare what the store was compared with to golden's result."""
        if self.want is not None:
            channels = self.want.shape[1]
            got = self.vector.values[0][:, :channels].astype(np.int64)
            assert np.array_equal(got, self.want.astype(np.int64) & 0xFF)


def source_range(axis: dict, i: int, extent: int) -> range:
    """Elements of the source that output coordinate ``i`` takes."""
    start = (i * axis["num"] + axis["add"]) // axis["den"]
    stop = ((i + 1) * axis["num"] + axis["add"]) // axis["den"] if axis["span"] else start + 1
    return range(min(start, extent), min(stop, extent))


class Builder:
    """Lays tensors out in the store and makes the jobs."""

    def __init__(self, rng: random.Random, table: list[dict]) -> None:
        self.rng = rng
        self.table = table
        self._next = 3

    def _room(self, words: int) -> int:
        base, self._next = self._next, self._next + words
        return base

    def tensor(self, shape, *, signed: bool, error: bool = False) -> np.ndarray:
        low, high = (-127, 127) if error else (-128, 127) if signed else (0, 255)
        flat = [
            self.rng.choice([low, high, 0]) if self.rng.random() < 0.2 else self.rng.randint(low, high)
            for _ in range(int(np.prod(shape)))
        ]
        return np.array(flat, dtype=np.int64).reshape(shape)

    def source(self, tensor: np.ndarray, **fields) -> dict:
        n, c, h, w = tensor.shape
        pixels = n * h * w
        blocks = -(-c // BLOCK)
        defaults = {
            "base": self._room(pixels * blocks), "block_stride": pixels, "h": h, "w": w, "y": IDENTITY, "x": IDENTITY,
            "signed": 1, "zero": 0, "mult": 1, "per_channel": 0, "table": 0, "align": 0,
        }  # fmt: skip
        return defaults | fields

    def case(self, shape, tensors, sources, *, wide: int = 0, mask: bool = False, want=None, **fields) -> GatherCase:
        """A case with outputs of ``shape``; ``fields`` are the vector job's."""
        n, channels, h, w = shape
        first = fields.get("channel0", 0)
        repeats = -(-(channels - first) // BLOCK)
        blocks = -(-channels // BLOCK)
        parts = 4 if fields.get("mode") is VectorMode.RAW else 1
        job = {
            "source": VectorSource.GATHER.value, "mode": VectorMode.REQUANTISE, "n": n, "oh": h, "ow": w,
            "repeats": repeats, "h": h, "w": w, "step_y": 1, "step_x": 1, "y0": 0, "x0": 0, "base": 0,
            "block_stride": n * h * w * parts, "raw_stride": n * h * w, "channels": channels, "channel0": 0,
            "per_channel": 0, "unit": 1, "table": TABLE_BASE, "mult": 1, "shift": 0, "lo": -128, "hi": 127,
            "mask_write": 0, "mask_read": int(mask), "mask_base": 0, "mask_stride": -(-n * h * w // 8),
            "stochastic": 0, "map_h": h, "index": 0, "tile": 0,
        } | fields  # fmt: skip
        job["mode"] = job["mode"].value
        job["base"] = self._room(blocks * n * h * w * parts)
        job["mask_base"] = self._room(blocks * job["mask_stride"])
        width = repeats * BLOCK
        rng = self.rng
        kept = np.array([rng.random() < 0.7 for _ in range(n * width * h * w)]).reshape(n, width, h, w)
        vector = VectorCase(
            job=job,
            key=(rng.getrandbits(32), rng.getrandbits(20), rng.getrandbits(12)),
            sums=self._sums(job, tensors, sources, wide, width),
            table=self.table[TABLE_BASE:],
            mask=kept if mask else None,
        )
        gather = {"count": len(sources), "wide": wide, "sources": sources + [{}] * (4 - len(sources))}
        return GatherCase(vector=vector, gather=gather, tensors=tensors, want=want)

    def _sums(self, job: dict, tensors, sources, wide: int, width: int) -> np.ndarray:
        n, oh, ow = job["n"], job["oh"], job["ow"]
        total = np.zeros((n, width, oh, ow), dtype=np.int64)
        for tensor, source in zip(tensors, sources, strict=True):
            part = tensor[:, job["channel0"] : job["channel0"] + width]
            count = part.shape[1]
            mult = np.full(count, source["mult"])
            if source["per_channel"]:
                mult = np.array([self.table[source["table"] + c]["mult"] for c in range(count)])
            values = ((part - source["zero"]) * mult[None, :, None, None] << 15 * wide) >> source["align"]
            for oy in range(oh):
                ys = source_range(source["y"], oy, source["h"])
                for ox in range(ow):
                    xs = source_range(source["x"], ox, source["w"])
                    if len(ys) and len(xs):
                        total[:, :count, oy, ox] += values[:, :, ys.start : ys.stop, xs.start : xs.stop].sum((2, 3))
        return total


def torch8(array: np.ndarray, *, signed: bool) -> torch.Tensor:
    """An activation or error tensor as golden takes it."""
    return torch.from_numpy(array.astype(np.int8 if signed else np.uint8))


def draw_shape(rng: random.Random, high: int = 5) -> tuple[int, int, int, int]:
    """Images, channels, height, width."""
    return rng.randint(1, 2), rng.choice([1, 10, 32, 33, 64]), rng.randint(1, high), rng.randint(1, high)


def merge(build: Builder) -> GatherCase:
    """Two to four tensors, some of them unsigned, with zero points."""
    rng, shape = build.rng, draw_shape(build.rng)
    operands, tensors, sources = [], [], []
    for _ in range(rng.randint(1, 4)):
        signed = rng.random() < 0.5
        zero, mult = rng.randint(-128, 127) if signed else rng.randint(0, 255), rng.randrange(65536)
        tensor = build.tensor(shape, signed=signed)
        tensors.append(tensor)
        sources.append(build.source(tensor, signed=int(signed), zero=zero, mult=mult))
        operands.append(MergeOperand(x=torch8(tensor, signed=signed), mult=mult, zero_point=zero))
    shift, (lo, hi) = rng.randint(12, 18), rng.choice([(-128, 127), (0, 255)])
    want = merge_add(operands, shift=shift, lo=lo, hi=hi).numpy()
    return build.case(shape, tensors, sources, shift=shift, lo=lo, hi=hi, want=want, mask_write=rng.randrange(2))


def pool(build: Builder) -> GatherCase:
    """Average pool with a zero point and a remainder of rows and columns that is dropped, requantised by the table."""
    rng, shape = build.rng, draw_shape(build.rng, 7)
    kernel = rng.randint(1, shape[2]), rng.randint(1, shape[3])
    zero = rng.randint(0, 255)
    tensor = build.tensor(shape, signed=False)
    axes = ({"num": size, "den": 1, "add": 0, "span": 1} for size in kernel)
    source = build.source(tensor, signed=0, zero=zero, y=next(axes), x=next(axes))
    table = build.table[TABLE_BASE : TABLE_BASE + shape[1]]
    columns = {name: torch.tensor([entry[name] for entry in table]) for name in ("bias", "mult", "shift", "lo", "hi")}
    sums = avg_pool(torch8(tensor, signed=False), kernel, zero_point=zero)
    want = requantise(sums, QuantiserTable(**columns)).numpy()
    return build.case(tuple(sums.shape), [tensor], [source], unit=0, per_channel=1, want=want)


def upsample(build: Builder) -> GatherCase:
    """Nearest resize by any ratio, up or down."""
    rng, shape = build.rng, draw_shape(build.rng)
    size = rng.randint(1, 11), rng.randint(1, 11)
    tensor = build.tensor(shape, signed=True)
    y, x = ({"num": a, "den": b, "add": 0, "span": 0} for a, b in zip(shape[2:], size, strict=True))
    want = upsample_nearest(torch8(tensor, signed=True), size).numpy()
    return build.case((*shape[:2], *size), [tensor], [build.source(tensor, y=y, x=x)], want=want)


def back_through_pool(build: Builder) -> GatherCase:
    """Errors copied to their windows, with one multiplier."""
    rng, shape = build.rng, draw_shape(build.rng, 7)
    n, c, h, w = shape
    kernel = rng.randint(1, h), rng.randint(1, w)
    tensor = build.tensor((n, c, h // kernel[0], w // kernel[1]), signed=True, error=True)
    y, x = ({"num": 1, "den": size, "add": 0, "span": 0} for size in kernel)
    copied = pool_error(torch8(tensor, signed=True), kernel, size=(h, w))
    mult, shift = rng.randrange(1 << 16), rng.randint(8, 18)
    want = error_edge(copied, mult, shift=shift).error.numpy()
    source = build.source(tensor, y=y, x=x)
    return build.case(shape, [tensor], [source], unit=0, mode=VectorMode.ERROR, mult=mult, shift=shift, want=want)


def back_through_upsample(build: Builder) -> GatherCase:
    """Each source element sums the errors of its copies."""
    rng, shape = build.rng, draw_shape(build.rng, 6)
    size = rng.randint(1, 11), rng.randint(1, 11)
    tensor = build.tensor((*shape[:2], *size), signed=True, error=True)
    y, x = ({"num": b, "den": a, "add": a - 1, "span": 1} for a, b in zip(shape[2:], size, strict=True))
    sums = upsample_error(torch8(tensor, signed=True), size=shape[2:])
    mult, shift = rng.randrange(1 << 16), rng.randint(8, 20)
    want = error_edge(sums, mult, shift=shift).error.numpy()
    source = build.source(tensor, y=y, x=x)
    return build.case(shape, [tensor], [source], unit=0, mode=VectorMode.ERROR, mult=mult, shift=shift, want=want)


def meeting_errors(build: Builder) -> GatherCase:
    """Errors of different exponents, masked and rounded stochastically."""
    rng, shape = build.rng, draw_shape(build.rng, 4)
    operands, tensors = [], []
    for _ in range(rng.randint(2, 4)):
        tensor = build.tensor(shape, signed=True, error=True)
        table = rng.choice([None, 32 * rng.randrange(2)])
        mult = rng.randrange(65536)
        column = torch.tensor([build.table[table + c]["mult"] for c in range(shape[1])]) if table is not None else mult
        exponent = rng.choice([0, rng.randint(-45, 0), rng.randint(-12, 0)])
        operands.append((FanInOperand(error=torch8(tensor, signed=True), exponent=exponent, mult=column), table, mult))
        tensors.append(tensor)
    reference = fan_in_reference([operand for operand, _, _ in operands])
    sources = [
        build.source(tensor, mult=mult, per_channel=int(table is not None), table=table or 0,
                     align=min(reference - operand.exponent, 39))
        for tensor, (operand, table, mult) in zip(tensors, operands, strict=True)
    ]  # fmt: skip
    stochastic, masked, shift = rng.randrange(2), rng.random() < 0.6, rng.randint(24, 34)
    case = build.case(
        shape, tensors, sources, wide=1, mode=VectorMode.ERROR, shift=shift, mask=masked, stochastic=stochastic
    )
    seed, step, tensor_id = case.vector.key
    random_numbers = RandomSource(seed=seed, step=step).field(tensor_id, shape) if stochastic else None
    mask = torch.from_numpy(case.vector.mask[:, : shape[1]]) if masked else None
    met = [operand for operand, _, _ in operands]
    case.want = fan_in(met, shift=shift, mask=mask, random=random_numbers).error.numpy()
    return case


def any_map(build: Builder) -> GatherCase:
    """Maps, alignments and first channels that no operator uses."""
    rng = build.rng
    n, _, oh, ow = draw_shape(rng, 4)
    channels = 64
    tensors, sources = [], []
    for _ in range(rng.randint(1, 4)):
        h, w = rng.randint(1, 9), rng.randint(1, 9)
        tensor = build.tensor((n, channels, h, w), signed=True)
        y, x = (
            {"num": rng.randint(0, 20), "den": rng.randint(1, 12), "add": rng.randint(0, 30), "span": rng.randrange(2)}
            for _ in range(2)
        )
        tensors.append(tensor)
        sources.append(
            build.source(tensor, y=y, x=x, zero=rng.randint(-256, 255), mult=rng.randrange(65536),
                         align=rng.randrange(42))
        )  # fmt: skip
    mode = rng.choice([VectorMode.RAW, VectorMode.REQUANTISE])
    return build.case(
        (n, channels, oh, ow), tensors, sources, wide=int(mode is VectorMode.REQUANTISE), mode=mode,
        shift=rng.randint(1, 46), channel0=rng.choice([0, 32]),
    )  # fmt: skip


OPERATORS = (merge, pool, upsample, back_through_pool, back_through_upsample, meeting_errors, any_map)
