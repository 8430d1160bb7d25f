# SPDX-License-Identifier: Apache-2.0
"""How tensors, weights and quantiser tables lie in the store, in MRAM rows and in the vector path's table.

Store tensors are block-major (``docs/buffer.md``), weight images follow the order in which the engine consumes rows
(``docs/engine.md``). All functions are pure and work on numpy arrays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from respin.rtl.config import BLOCK, PLANES, ROW_WEIGHTS

IntArray = NDArray[np.integer]


def blocks(channels: int) -> int:
    """Blocks of 32 channels that ``channels`` channels take."""
    return -(-channels // BLOCK)


@dataclass(frozen=True, slots=True)
class StoreTensor:
    """A tensor of ``shape`` (N, C, H, W) at word ``base`` of the store; ``signed`` if it holds int8, else uint8. Of a
    part of a larger one ``stride`` is the words from one channel block to the next."""

    base: int
    shape: tuple[int, int, int, int]
    signed: bool
    stride: int | None = None

    @property
    def pixels(self) -> int:
        """Pixels of all images."""
        n, _, h, w = self.shape
        return n * h * w

    @property
    def block_stride(self) -> int:
        """Words from one channel block to the next."""
        return self.pixels if self.stride is None else self.stride

    @property
    def words(self) -> int:
        """Words from its first to its last."""
        return (blocks(self.shape[1]) - 1) * self.block_stride + self.pixels

    def part(self, image: int, images: int, row: int, rows: int) -> "StoreTensor":
        """``rows`` rows from ``row`` on of image ``image``, or ``images`` whole images."""
        _, c, h, w = self.shape
        base = self.base + (image * h + row) * w
        return StoreTensor(base, (images, c, rows, w), self.signed, self.block_stride)

    def block_base(self, block: int) -> int:
        """Word of pixel 0 of channel block ``block``."""
        return self.base + block * self.block_stride


def pack_words(lanes: IntArray) -> list[int]:
    """Turn bytes of shape (words, 32) into store words: bit ``32*b + i`` is bit ``b`` of lane ``i``."""
    return [int.from_bytes(word.tobytes(), "little") for word in _bit_planes(lanes)]


def _bit_planes(lanes: IntArray) -> IntArray:
    """Words of :func:`pack_words` as little-endian bytes (words, 32)."""
    octets = np.ascontiguousarray(lanes).astype(np.uint8)
    planes = (octets[:, None, :] >> np.arange(PLANES, dtype=np.uint8)[None, :, None]) & 1
    return np.packbits(planes.reshape(len(octets), PLANES * BLOCK), axis=1, bitorder="little")


def unpack_words(words: list[int], *, signed: bool) -> IntArray:
    """The inverse of :func:`pack_words`: an array of shape (words, 32)."""
    raw = np.frombuffer(b"".join(word.to_bytes(BLOCK, "little") for word in words), dtype=np.uint8)
    planes = np.unpackbits(raw.reshape(-1, BLOCK), axis=1, bitorder="little").reshape(-1, PLANES, BLOCK)
    octets = np.packbits(planes, axis=1, bitorder="little").reshape(-1, BLOCK)
    return octets.view(np.int8) if signed else octets


def require_input(x: IntArray, shape: tuple[int, int, int, int], *, signed: bool) -> None:
    """Raise ValueError for an input of another shape, TypeError for one that is not int8 (``signed``) or uint8."""
    if x.shape != shape:
        raise ValueError(f"x must have shape {shape}, not {x.shape}")
    wanted = np.dtype(np.int8 if signed else np.uint8)
    if x.dtype != wanted:
        raise TypeError(f"x must be {wanted}, as the network takes it, not {x.dtype}")


def tensor_words(values: IntArray) -> list[int]:
    """Words of an NCHW tensor, channels padded with 0 to whole blocks."""
    return pack_words(_lanes(values))


def tensor_bytes(values: IntArray) -> bytes:
    """The same words as they lie in external memory, little-endian."""
    return _bit_planes(_lanes(values)).tobytes()


def _lanes(values: IntArray) -> IntArray:
    """An NCHW tensor's bytes by words (words, 32)."""
    n, c, h, w = values.shape
    padded = np.zeros((n, blocks(c) * BLOCK, h, w), dtype=np.uint8)
    padded[:, :c] = values.astype(np.uint8)
    return padded.reshape(n, blocks(c), BLOCK, h, w).transpose(1, 0, 3, 4, 2).reshape(-1, BLOCK)


def words_tensor(words: list[int], tensor: StoreTensor) -> IntArray:
    """The NCHW tensor that ``words`` hold."""
    n, c, h, w = tensor.shape
    lanes = unpack_words(words, signed=tensor.signed).reshape(blocks(c), n, h, w, BLOCK)
    return lanes.transpose(1, 0, 4, 2, 3).reshape(n, -1, h, w)[:, :c]


def mask_words(tensor: StoreTensor) -> int:
    """Words that the packed 1-bit mask of ``tensor`` takes in each channel block."""
    return -(-tensor.pixels // PLANES)


def words_mask(words: list[int], tensor: StoreTensor) -> NDArray[np.bool_]:
    """The NCHW mask that packed mask ``words`` hold: plane ``q & 7`` of word ``q >> 3`` is pixel ``q``."""
    n, c, h, w = tensor.shape
    raw = np.frombuffer(b"".join(word.to_bytes(BLOCK, "little") for word in words), dtype=np.uint8)
    bits = np.unpackbits(raw.reshape(-1, 4), axis=1, bitorder="little").reshape(blocks(c), -1, BLOCK)
    lanes = bits[:, : tensor.pixels].reshape(blocks(c), n, h, w, BLOCK)
    return lanes.transpose(1, 0, 4, 2, 3).reshape(n, -1, h, w)[:, :c].astype(bool)


def dense_weights(weights: IntArray, groups: int) -> IntArray:
    """A grouped convolution's weights (O, I/groups, kh, kw) as a full one's (O, I, kh, kw), zeros off the diagonal."""
    o, i, kh, kw = weights.shape
    full = np.zeros((groups, o // groups, groups, i, kh, kw), dtype=np.int64)
    for group in range(groups):
        full[group, :, group] = weights.reshape(groups, o // groups, i, kh, kw)[group]
    return full.reshape(o, groups * i, kh, kw)


def grouped_weights(weights: IntArray, groups: int) -> IntArray:
    """The inverse of :func:`dense_weights`: the diagonal blocks (O, I/groups, kh, kw)."""
    o, i, kh, kw = weights.shape
    blocked = weights.reshape(groups, o // groups, groups, i // groups, kh, kw)
    return np.concatenate([blocked[group, :, group] for group in range(groups)])


def weight_rows(weights: IntArray, slices: int) -> IntArray:
    """Rows (rows, 32) of a full convolution's image: ``for o-block of M, i-block of 32, tap, m in M``."""
    o, i, kh, kw = weights.shape
    o_blocks, taps = -(-o // slices), kh * kw
    padded = np.zeros((o_blocks * slices, blocks(i) * ROW_WEIGHTS, taps), dtype=np.int64)
    padded[:o, :i] = weights.reshape(o, i, taps)
    image = padded.reshape(o_blocks, slices, blocks(i), ROW_WEIGHTS, taps).transpose(0, 2, 4, 1, 3)
    return image.reshape(-1, ROW_WEIGHTS).astype(np.int8)


def rows_weights(rows: IntArray, shape: tuple[int, int, int, int], slices: int) -> IntArray:
    """The inverse of :func:`weight_rows` for a full convolution of ``shape`` (O, I, kh, kw)."""
    o, i, kh, kw = shape
    image = rows.reshape(-(-o // slices), blocks(i), kh * kw, slices, ROW_WEIGHTS).transpose(0, 3, 1, 4, 2)
    return image.reshape(-1, blocks(i) * ROW_WEIGHTS, kh, kw)[:o, :i]


def depthwise_rows(weights: IntArray) -> IntArray:
    """Rows (rows, 32) of a depthwise image (C, 1, kh, kw): ``for block of 32 channels, tap``."""
    c, _, kh, kw = weights.shape
    padded = np.zeros((blocks(c) * ROW_WEIGHTS, kh * kw), dtype=np.int64)
    padded[:c] = weights.reshape(c, kh * kw)
    return padded.reshape(blocks(c), ROW_WEIGHTS, kh * kw).transpose(0, 2, 1).reshape(-1, ROW_WEIGHTS).astype(np.int8)


def vector_rows(values: IntArray) -> IntArray:
    """Rows (rows, 32) of a vector of int8, as trained biases are kept."""
    padded = np.zeros(blocks(len(values)) * ROW_WEIGHTS, dtype=np.int8)
    padded[: len(values)] = values
    return padded.reshape(-1, ROW_WEIGHTS)


def table_entry(*, bias: int, mult: int, shift: int, lo: int, hi: int) -> int:
    """One 72-bit entry of the vector path's table: bias s32, mult u16, shift u6, lo s9, hi s9, from the low end."""
    for name, value, low, high in (
        ("bias", bias, -(1 << 31), (1 << 31) - 1),
        ("mult", mult, 0, 65535),
        ("shift", shift, 0, 63),
        ("lo", lo, -256, 255),
        ("hi", hi, -256, 255),
    ):
        if not low <= value <= high:
            raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")
    return (bias & 0xFFFFFFFF) | mult << 32 | shift << 48 | (lo & 0x1FF) << 54 | (hi & 0x1FF) << 63
