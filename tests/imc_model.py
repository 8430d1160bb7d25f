# SPDX-License-Identifier: Apache-2.0
"""Operands and sums of the dot-product engine and the depthwise unit, in numpy, from what their jobs promise."""

from dataclasses import dataclass, field

import numpy as np

CHANNELS = 32
PLANES = 8


def planes_of(values: np.ndarray) -> list[int]:
    """The store word of 32 numbers: bit ``i`` of plane ``b`` is bit ``b`` of number ``i``."""
    bits = values[None, :].astype(np.int64) >> np.arange(PLANES)[:, None] & 1
    return [int(sum(int(bit) << lane for lane, bit in enumerate(plane))) for plane in bits]


def word_bits(values: np.ndarray) -> int:
    """The same as one number of 256 bits."""
    return sum(plane << CHANNELS * index for index, plane in enumerate(planes_of(values)))


def row_bits(values: np.ndarray) -> int:
    """A row of 32 int8 as one number of 256 bits."""
    return int.from_bytes(values.astype(np.int8).tobytes(), "little")


def draw_operands(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, is_signed: bool, corner: str
) -> np.ndarray:
    """Streamed operands of ``bits`` bits: random, or one of the extremes."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    match corner:
        case "high" | "opposed":
            return np.full(shape, high)
        case "low":
            return np.full(shape, low)
        case "zero":
            return np.zeros(shape, int)
        case "one_lane":
            values = np.zeros(shape, int)
            values[..., rng.integers(CHANNELS)] = rng.integers(low, high + 1, shape[:-1])
            return values
    return rng.integers(low, high + 1, shape)


def draw_rows(rng: np.random.Generator, shape: tuple[int, ...], corner: str) -> np.ndarray:
    """Rows of int8: random, or one of the extremes."""
    match corner:
        case "high":
            return np.full(shape, 127)
        case "low":
            return np.full(shape, -128)
        case "opposed":
            return np.full(shape, -127)
        case "zero":
            return np.zeros(shape, int)
    return rng.integers(-128, 128, shape)


CORNERS = ("random", "high", "low", "opposed", "zero", "one_lane")


@dataclass
class EngineCase:
    """One EngineJob with its operands; ``garbage`` fills the planes above ``bits``, which must not matter."""

    seed: int
    slices: int
    pixels: int
    items: int
    tile: int
    steps: int
    repeats: int = 1
    bits: int = 8
    signed: int = 0
    corner: str = "random"
    rows: list[np.ndarray] = field(init=False)
    words: list[np.ndarray] = field(init=False)
    results: list[list[list[int]]] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.rows, self.words, self.results = [], [], []
        for _ in range(self.repeats):
            for start in range(0, self.items, self.tile):
                size = min(self.tile, self.items - start)
                x = draw_operands(rng, (self.steps, size, CHANNELS), self.bits, bool(self.signed), self.corner)
                w = draw_rows(rng, (self.steps, self.slices, CHANNELS), self.corner)
                garbage = rng.integers(0, 256, x.shape) >> self.bits << self.bits
                self.rows += list(w.reshape(-1, CHANNELS))
                self.words += list(((x & ((1 << self.bits) - 1)) | garbage).reshape(-1, CHANNELS))
                self._expect(np.einsum("stk,smk->tm", x.astype(np.int64), w.astype(np.int64)))

    def _expect(self, sums: np.ndarray) -> None:
        padded = np.zeros((-(-len(sums) // self.pixels) * self.pixels, self.slices), np.int64)
        padded[: len(sums)] = sums
        self.results += padded.reshape(-1, self.pixels, self.slices).tolist()

    @property
    def job(self) -> dict[str, int]:
        """The fields of the EngineJob."""
        names = ("repeats", "items", "tile", "steps", "bits", "signed")
        return {name: getattr(self, name) for name in names}

    def plane_cycles(self, beats: int) -> int:
        """Cycles in which a plane goes."""
        tiles, rest = divmod(self.items, self.tile)
        groups = tiles * -(-self.tile // self.pixels) + -(-rest // self.pixels)
        return self.repeats * groups * self.steps * self.bits * beats


@dataclass
class DepthwiseCase:
    """One DepthwiseOrder with its operands: kernels of ``kh x kw``, of which each word serves ``taps`` taps of a row,
    side by side or ``strided``; ``outputs`` of each of ``n * oh`` lines."""

    seed: int
    kh: int
    kw: int
    outputs: int
    taps: int = 1
    strided: int = 0
    words_of_row: int = 0
    blocks: int = 1
    n: int = 1
    oh: int = 1
    signed: int = 0
    corner: str = "random"
    rows: list[np.ndarray] = field(init=False)
    words: list[np.ndarray] = field(init=False)
    results: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.words_of_row = self.words_of_row or -(-self.kw // self.taps)
        columns = self.outputs + self.taps - 1
        w = draw_rows(rng, (self.blocks, self.kh, self.kw, CHANNELS), self.corner)
        shape = (self.blocks, self.n * self.oh, columns, self.kh, self.words_of_row, CHANNELS)
        x = draw_operands(rng, shape, PLANES, bool(self.signed), self.corner)
        sums = np.zeros((self.blocks, self.n * self.oh, self.outputs, CHANNELS), np.int64)
        for tap in range(self.kw):
            word, place = divmod(tap, self.taps)
            if self.strided:
                place, word = divmod(tap, self.words_of_row)
            met = x[:, :, place : place + self.outputs, :, word].astype(np.int64)
            sums += (met * w[:, None, None, :, tap]).sum(3)
        self.rows = list(w.reshape(-1, CHANNELS))
        self.words = list((x & 0xFF).reshape(-1, CHANNELS))
        self.results = sums.reshape(-1, CHANNELS).tolist()

    @property
    def order(self) -> dict[str, dict[str, int]]:
        """The fields of the DepthwiseOrder that count."""
        window = {
            "n": self.n,
            "oh": self.oh,
            "ow": self.outputs + self.taps - 1,
            "kh": self.kh,
            "kw": self.words_of_row,
            "steps": self.kh * self.words_of_row,
            "repeats": self.blocks,
        }
        return {
            "depthwise": {"kw": self.kw, "taps": self.taps, "strided": self.strided, "signed": self.signed},
            "window": window,
        }


def depthwise_ways(kw: int, most: int) -> list[dict[str, int]]:
    """Ways to go about a kernel row with words of at most ``most`` taps, any stride."""
    ways = [{"taps": taps} for taps in range(1, min(kw, most) + 1)]
    for stride in range(2, kw + 1):
        taps = -(-kw // stride)
        if taps <= most:
            ways.append({"taps": taps, "strided": 1, "words_of_row": stride})
    return ways


def random_depthwise(rng: np.random.Generator, most: int) -> dict[str, int]:
    """A depthwise case of any kernel, small enough to simulate."""
    kh, kw = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    ways = depthwise_ways(kw, most)
    case = {"kh": kh, "kw": kw, **ways[rng.integers(len(ways))], "signed": int(rng.integers(2))}
    lines = int(rng.integers(1, 3))
    case |= {"n": lines, "oh": 1} if rng.integers(2) else {"n": 1, "oh": lines}
    return case | {"outputs": int(rng.integers(1, max(2, 32 // (kh * kw)))), "blocks": int(rng.integers(1, 4))}
