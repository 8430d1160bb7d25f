# SPDX-License-Identifier: Apache-2.0
"""Counter-based randomness: the Simon32/64 block cipher cut short, as docs/arithmetic.md pins it.

The random number of an element is a function of ``(seed, step, tensor id, index)`` alone, never of the order in which
anything reaches the element. So any tiling, any preset and this model draw the same bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from respin.golden.ops import kernels
from respin.rtl.config import RANDOM_ROUNDS

SEED_BITS = 32
STEP_BITS = 20
TENSOR_BITS = 12
INDEX_BITS = 32
SIMON_ROUNDS = 32
"""Rounds of the published cipher, for which its authors give a test vector."""

# The constant sequence z0 of the Simon family (Beaulieu et al., "The SIMON and SPECK families of lightweight block
# ciphers", 2013), leftmost bit first.
_Z0 = "11111010001001010110000111001101111101000100101011000011100110"
_WORD = 0xFFFF
_CONSTANTS = tuple(_WORD ^ 3 ^ int(bit) for bit in _Z0)
"""What a round key gets besides earlier ones: ``~``, ``3`` and ``z0`` as one word."""

Words = npt.NDArray[np.uint16]


def _rotate_right(word: int, count: int) -> int:
    return (word >> count | word << (16 - count)) & _WORD


def expand_key(key: Sequence[int], rounds: int) -> list[int]:
    """Return the round keys of Simon32/64 for the four 16-bit words ``key``, ``key[0]`` used first.

    Raises
    ------
    ValueError
        If ``key`` is not four 16-bit words, or ``rounds`` is not in 1..32.
    """
    if len(key) != 4 or any(not 0 <= word <= _WORD for word in key):
        raise ValueError(f"key must be four words in 0..{_WORD}, not {list(key)!r}")
    if not 1 <= rounds <= SIMON_ROUNDS:
        raise ValueError(f"rounds must be in 1..{SIMON_ROUNDS}, not {rounds!r}")
    keys = list(key)
    for i in range(4, rounds):
        mixed = _rotate_right(keys[i - 1], 3) ^ keys[i - 3]
        mixed ^= _rotate_right(mixed, 1)
        keys.append(keys[i - 4] ^ mixed ^ _CONSTANTS[i - 4])
    return keys[:rounds]


def simon(x: Words, y: Words, round_keys: Sequence[int] | Words) -> tuple[Words, Words]:
    """Encrypt the blocks ``(x, y)`` (uint16 arrays of one shape, ``x`` the left word) with ``round_keys``."""
    left, right = x.flatten(), y.flatten()
    kernels.simon(left, right, np.asarray(round_keys, dtype=np.uint16))
    return left.reshape(x.shape), right.reshape(x.shape)


def _require_bits(name: str, value: int, bits: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name} must be in 0..{(1 << bits) - 1}, not {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSource:
    """The random numbers of one training step.

    Parameters
    ----------
    seed:
        32 bits, part of a task's trained state.
    step:
        Training step, 20 bits.
    rounds:
        Rounds of the cipher.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter, the rule and the value.
    """

    seed: int
    step: int
    rounds: int = RANDOM_ROUNDS

    def __post_init__(self) -> None:
        _require_bits("seed", self.seed, SEED_BITS)
        _require_bits("step", self.step, STEP_BITS)
        if not 1 <= self.rounds <= SIMON_ROUNDS:
            raise ValueError(f"rounds must be in 1..{SIMON_ROUNDS}, not {self.rounds!r}")

    def at(self, tensor: int, index: Tensor) -> Tensor:
        """Return 16 random bits (int32, 0..65535) for every element of ``index`` (int64, 0..2^32-1) of a tensor id."""
        if index.dtype != torch.int64:
            raise TypeError(f"index must be int64, not {index.dtype}")
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < 1 << INDEX_BITS:
            raise ValueError(f"index must be in 0..{(1 << INDEX_BITS) - 1}")
        counter = index.numpy().astype(np.uint32)
        x, _ = simon((counter >> 16).astype(np.uint16), counter.astype(np.uint16), self._round_keys(tensor))
        return torch.from_numpy(x.astype(np.int32))

    def field(self, tensor: int, shape: Sequence[int]) -> Tensor:
        """Return 16 random bits (int32) for every element of a tensor of ``shape``, indexed linearly."""
        count = math.prod(shape)
        if count > 1 << INDEX_BITS:
            raise ValueError(f"shape must have at most 2^{INDEX_BITS} elements, not {count!r}")
        keys = self._round_keys(tensor)
        images, channels = (shape[0], shape[1]) if len(shape) > 1 else (1, count)
        pixels = math.prod(shape[2:])
        # Channels last, as the operators keep their tensors; with one pixel or channel that is the index's own order.
        draws = np.empty((images, pixels, channels), dtype=np.int32)
        kernels.draw_field(keys, draws.reshape(1, -1, 1) if 1 in (pixels, channels) else draws)
        return torch.from_numpy(draws.reshape(images, *shape[2:], channels)).movedim(-1, 1).reshape(tuple(shape))

    def _round_keys(self, tensor: int) -> Words:
        _require_bits("tensor", tensor, TENSOR_BITS)
        key = (self.seed & _WORD, self.seed >> 16, self.step & _WORD, tensor << 4 | self.step >> 16)
        return np.array(expand_key(key, self.rounds), dtype=np.uint16)
