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
    """One DepthwiseJob with its operands."""

    seed: int
    blocks: int
    taps: int
    items: int
    signed: int = 0
    corner: str = "random"
    rows: list[np.ndarray] = field(init=False)
    words: list[np.ndarray] = field(init=False)
    results: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.rows, self.words, self.results = [], [], []
        for _ in range(self.blocks):
            w = draw_rows(rng, (self.taps, CHANNELS), self.corner)
            x = draw_operands(rng, (self.items, self.taps, CHANNELS), PLANES, bool(self.signed), self.corner)
            self.rows += list(w)
            self.words += list((x & 0xFF).reshape(-1, CHANNELS))
            self.results += np.einsum("itk,tk->ik", x.astype(np.int64), w.astype(np.int64)).tolist()

    @property
    def job(self) -> dict[str, int]:
        """The fields of the DepthwiseJob."""
        return {name: getattr(self, name) for name in ("blocks", "taps", "items", "signed")}
