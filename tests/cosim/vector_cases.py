# SPDX-License-Identifier: Apache-2.0
"""Vector jobs drawn at random, the streams that feed them and what they must leave in the store.

The expected values are computed twice: with plain integers, and with the golden operators where one applies.
"""

import random
from dataclasses import dataclass, field

import numpy as np
import torch

from respin.golden.ops.errors import error_edge
from respin.golden.ops.requantise import QuantiserTable, activation_mask, requantise
from respin.golden.random import RandomSource
from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.jobs import VectorMode, VectorSource

HALF = 1 << 15
TABLE_BASE = 32


def put_tensor(store, base: int, block_stride: int, values: np.ndarray) -> None:
    """Put an (N, C, H, W) tensor into a store model, block-major; lanes past C are left as they are."""
    n, c, h, w = values.shape
    for channel in range(0, c, BLOCK):
        lanes = values[:, channel : channel + BLOCK].transpose(0, 2, 3, 1).reshape(n * h * w, -1)
        for pixel, row in enumerate(lanes):
            store.put_bytes(base + channel // BLOCK * block_stride + pixel, 0, row)


@dataclass
class VectorCase:
    """One job: its fields, its key, the sums it gets, the table it uses and the mask it reads.

    ``apply`` sets ``values``, the bytes of the result (four tensors of a RAW job), and ``statistics``.
    """

    job: dict
    key: tuple[int, int, int]
    sums: np.ndarray
    table: list[dict]
    mask: np.ndarray | None = None
    statistics: dict = field(default_factory=dict)
    values: list = field(default_factory=list)

    @property
    def width(self) -> int:
        """Channels from the first one of the job to the end of its entries."""
        return self.sums.shape[1]

    def entries(self, config: AcceleratorConfig) -> list:
        """The stream's values, in the order of the job's loops; padding is noise."""
        rng = random.Random(self.key[0])
        n, _, oh, ow = self.sums.shape
        source = VectorSource(self.job["source"])
        lanes = config.slices if source is VectorSource.ENGINE else BLOCK
        values = []
        for first in range(0, self.width, lanes):
            pixels = self.sums[:, first : first + lanes].transpose(0, 2, 3, 1).reshape(n * oh * ow, lanes).tolist()
            if source is VectorSource.ENGINE:
                tile = self.job["tile"]
                for start in range(0, len(pixels), tile):
                    inside = pixels[start : start + tile]
                    for group in range(0, len(inside), config.pixels):
                        entry = inside[group : group + config.pixels]
                        padding = [[rng.randrange(-999, 999)] * lanes for _ in range(config.pixels - len(entry))]
                        values.append(entry + padding)
            elif source is VectorSource.DEPTHWISE:
                values += pixels
            else:
                step = config.vector_width
                passes = 4 if self.job["mode"] == VectorMode.RAW.value else 1
                values += [
                    pixel[i : i + step] for pixel in pixels for _ in range(passes) for i in range(0, lanes, step)
                ]
        return values

    def pixel(self, i: int, oy: int, ox: int) -> int:
        """Number of an output's pixel in the maps of all images."""
        job = self.job
        y, x = oy * job["step_y"] + job["y0"], ox * job["step_x"] + job["x0"]
        return (i * job["h"] + y) * job["w"] + x

    def pixels(self, values: np.ndarray):
        """Values with their indices (image, channel, oy, ox)."""
        return zip(np.ndindex(values.shape), values.ravel(), strict=True)

    def apply(self, store) -> None:
        """Write what the job must write, and set ``statistics``."""
        job = self.job
        self.values, inside, self.statistics = self._values()
        for b, part in enumerate(self.values):
            for (i, c, oy, ox), value in self.pixels(part):
                block, lane = divmod(job["channel0"] + c, BLOCK)
                word = job["base"] + block * job["block_stride"] + self.pixel(i, oy, ox)
                store.put_bytes(word + b * job["raw_stride"], lane, [value])
        if job["mask_write"]:
            for (i, c, oy, ox), bit in self.pixels(inside):
                block, lane = divmod(job["channel0"] + c, BLOCK)
                q = self.pixel(i, oy, ox)
                store.put_bits(job["mask_base"] + block * job["mask_stride"] + q // 8, q % 8, lane, [bit])

    def _values(self):
        """Bytes (1 or 4 tensors), mask and statistics by plain integers, checked against golden."""
        job = self.job
        exists = (np.arange(self.width) + job["channel0"] < job["channels"])[None, :, None, None]
        sums = self.sums.astype(object)
        if job["mode"] == VectorMode.RAW.value:
            parts = [np.where(exists, (sums >> 8 * b) & 0xFF, 0) for b in range(4)]
            return parts, None, {"magnitude": int(np.bitwise_or.reduce(np.abs(np.where(exists, sums, 0)).ravel())),
                                 "above": 0, "below": 0}
        constants = {
            name: np.array([entry[name] for entry in self._constants()], dtype=object)[None, :, None, None]
            for name in ("bias", "mult", "shift", "lo", "hi")
        }
        v = (sums + constants["bias"]) * (1 if job["unit"] else constants["mult"])
        if self.mask is not None:
            v = v * self.mask
        rounding = self._random()
        shift = constants["shift"]
        if rounding is None:
            y = (v + (1 << shift >> 1)) >> shift
        else:
            r = np.where(shift <= 16, rounding >> np.maximum(16 - shift, 0), rounding << np.maximum(shift - 16, 0))
            y = (v + r) >> shift
        lo, hi = constants["lo"], constants["hi"]
        result = np.where(exists, np.minimum(np.maximum(y, lo), hi), 0)
        inside = exists & (y > lo) & (y < hi)
        self._check_golden(result, inside)
        statistics = {
            "magnitude": int(np.bitwise_or.reduce(np.abs(np.where(exists, v, 0)).ravel())),
            "above": int((exists & (y > hi)).sum()),
            "below": int((exists & (y < lo)).sum()),
        }
        return [result & 0xFF], inside, statistics

    def _constants(self) -> list[dict]:
        job = self.job
        error = job["mode"] == VectorMode.ERROR.value
        common = {"bias": 0} | {name: job[name] for name in ("mult", "shift", "lo", "hi")}
        if error:
            common |= {"lo": -127, "hi": 127}
        if not job["per_channel"]:
            return [common] * self.width
        own = self.table[: self.width]
        return [common | {"mult": entry["mult"]} for entry in own] if error else own

    def _draws(self):
        """Random numbers of the whole tensor, and the slice of them that the job's elements have."""
        job = self.job
        seed, step, tensor = self.key
        image, row = divmod(job["index"] // job["w"], job["channels"] * job["map_h"])
        shape = (image + job["n"], job["channels"], job["map_h"], job["w"])
        drawn = RandomSource(seed=seed, step=step).field(tensor, shape).numpy()[image:, :, row:]
        oh, ow = job["oh"], job["ow"]
        rows = job["y0"] + job["step_y"] * np.arange(oh)
        columns = job["x0"] + job["step_x"] * np.arange(ow)
        return drawn[:, job["channel0"] :, rows[:, None], columns][:, : self.width]

    def _random(self):
        if not self.job["stochastic"]:
            return None
        drawn = self._draws()
        padded = np.zeros(self.sums.shape, dtype=object)
        padded[:, : drawn.shape[1]] = drawn
        return padded

    def _check_golden(self, result: np.ndarray, inside: np.ndarray) -> None:
        job = self.job
        count = min(self.width, job["channels"] - job["channel0"])
        if job["unit"] or count <= 0:
            return
        sums = torch.from_numpy(self.sums[:, :count].astype(np.int32))
        columns = {
            name: torch.tensor([entry[name] for entry in self._constants()[:count]])
            for name in ("bias", "mult", "shift", "lo", "hi")
        }
        if job["mode"] == VectorMode.ERROR.value:
            mask = None if self.mask is None else torch.from_numpy(self.mask[:, :count])
            drawn = torch.from_numpy(self._draws().astype(np.int32)) if job["stochastic"] else None
            want = error_edge(sums, columns["mult"], shift=job["shift"], mask=mask, random=drawn).error
        elif job["stochastic"]:
            return
        else:
            table = QuantiserTable(**columns)
            want = requantise(sums, table)
            assert np.array_equal(activation_mask(want, table).numpy(), inside[:, :count].astype(bool))
        assert np.array_equal(want.numpy().astype(np.int64), result[:, :count].astype(np.int64))


def draw_case(rng: random.Random, config: AcceleratorConfig, words: int, **fixed) -> VectorCase:
    """Draw a job that fits a store of ``words`` words; ``fixed`` sets fields of it."""
    source = fixed.get("source", rng.choice(list(VectorSource)))
    mode = fixed.get("mode", rng.choice(list(VectorMode)))
    lanes = config.slices if source is VectorSource.ENGINE else BLOCK
    step_y, step_x = (rng.choice([1, 1, 2, 3]) for _ in range(2))
    oh, ow, n = rng.randint(1, 4), rng.randint(1, 5), rng.randint(1, 3)
    y0, x0 = rng.randrange(step_y), rng.randrange(step_x)
    h, w = (oh - 1) * step_y + y0 + rng.randint(1, 3), (ow - 1) * step_x + x0 + rng.randint(1, 3)
    repeats = rng.randint(1, max(1, 2 * BLOCK // lanes))
    channel0 = lanes * rng.choice([0, 0, 1, rng.randrange(2 * BLOCK // lanes)])
    width = lanes * repeats
    channels = channel0 + rng.randint(max(1, width - lanes), width)
    blocks = -(-(channel0 + width) // BLOCK)
    pixels = n * h * w
    error = mode is VectorMode.ERROR
    raw = mode is VectorMode.RAW
    parts = 4 if raw else 1
    unit = int(not raw and rng.random() < 0.4)
    lo, hi = rng.choice([(-128, 127), (0, 255), (0, 100)])
    job = {
        "source": source.value, "mode": mode.value, "n": n, "oh": oh, "ow": ow, "repeats": repeats, "h": h, "w": w,
        "step_y": step_y, "step_x": step_x, "y0": y0, "x0": x0, "base": 3, "block_stride": pixels * parts,
        "raw_stride": pixels, "channels": channels, "channel0": channel0, "per_channel": rng.randrange(2),
        "unit": unit, "table": TABLE_BASE, "mult": rng.choice([1, 65535, rng.randrange(65536)]),
        "shift": rng.randrange(47) if error else rng.randint(1, 46), "lo": lo, "hi": hi,
        "mask_write": int(mode is VectorMode.REQUANTISE and rng.random() < 0.7), "mask_read": 0,
        "mask_base": 3 + blocks * pixels * parts, "mask_stride": -(-pixels // 8),
        "stochastic": int(error and rng.random() < 0.6), "tile": rng.randint(1, n * oh * ow),
    }  # fmt: skip
    job["mask_read"] = int(error and rng.random() < 0.6)
    job |= {name: value for name, value in fixed.items() if name not in ("source", "mode")}
    # Whole maps of some images of a tensor, or a band of rows of one.
    above, below = (rng.randrange(4), rng.randrange(4)) if job["n"] == 1 else (0, 0)
    job["map_h"] = above + job["h"] + below
    job["index"] = (rng.randrange(3) * job["channels"] * job["map_h"] + above) * job["w"]
    assert job["mask_base"] + blocks * job["mask_stride"] < words
    wide = 48 if unit and source is VectorSource.GATHER else 32
    signed = job["lo"] < 0
    return VectorCase(
        job=job,
        key=(rng.getrandbits(32), rng.getrandbits(20), rng.getrandbits(12)),
        sums=_draw_sums(rng, (n, width, oh, ow), wide, job["shift"] - (0 if unit else job["mult"].bit_length())),
        table=[_draw_entry(rng, signed=signed) for _ in range(width)],
        mask=_draw_mask(rng, (n, width, oh, ow)) if job["mask_read"] else None,
    )


def _draw_sums(rng: random.Random, shape: tuple[int, ...], bits: int, shift: int) -> np.ndarray:
    """Sums of which many land within eight bits after the shift, and some at the ends of the accumulator."""
    width = min(max(shift + 8, 1), bits - 1)
    corners = [-(1 << (bits - 1)), (1 << (bits - 1)) - 1, 0]
    count = int(np.prod(shape))
    flat = [
        rng.choice(corners) if rng.random() < 0.05 else rng.randrange(-(1 << width), 1 << width) for _ in range(count)
    ]
    return np.array(flat, dtype=np.int64).reshape(shape)


def _draw_mask(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    return np.array([rng.random() < 0.6 for _ in range(int(np.prod(shape)))]).reshape(shape)


def _draw_entry(rng: random.Random, *, signed: bool) -> dict:
    lo, hi = (rng.randint(-128, 0), rng.randint(1, 127)) if signed else (rng.randint(0, 3), rng.randint(4, 255))
    return {
        "bias": rng.choice([0, -(1 << 31), (1 << 31) - 1, rng.randrange(-100000, 100000)]),
        "mult": rng.randrange(65536),
        "shift": rng.randint(1, 46),
        "lo": lo,
        "hi": hi,
    }
