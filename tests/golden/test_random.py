# SPDX-License-Identifier: Apache-2.0
"""The counter-based generator: the published vector, independence of order, uniformity and correlation."""

import numpy as np
import pytest
import torch

from respin.golden.random import RandomSource, expand_key, simon

SAMPLES = 1 << 18


def test_full_cipher_gives_the_published_vector() -> None:
    keys = expand_key([0x0100, 0x0908, 0x1110, 0x1918], 32)
    x, y = simon(np.array([0x6565], np.uint16), np.array([0x6877], np.uint16), keys)
    assert (int(x[0]), int(y[0])) == (0xC69B, 0xE9BB)


def test_key_and_plaintext_are_laid_out_as_documented() -> None:
    seed, step, tensor, index = 0x89ABCDEF, 0xF1234, 0xABC, 0x76543210
    keys = expand_key([0xCDEF, 0x89AB, 0x1234, 0xABCF], 16)
    x, _ = simon(np.array([0x7654], np.uint16), np.array([0x3210], np.uint16), keys)
    drawn = RandomSource(seed=seed, step=step).at(tensor, torch.tensor([index]))
    assert drawn.tolist() == [int(x[0])]


def test_draws_do_not_depend_on_the_order() -> None:
    source = RandomSource(seed=7, step=3)
    field = source.field(5, (4, 8, 3, 3))
    order = torch.randperm(field.numel(), generator=torch.Generator().manual_seed(1))
    assert torch.equal(source.at(5, order), field.flatten()[order])


def _plain_simon(x: int, y: int, keys: list[int]) -> tuple[int, int]:
    def rol(word: int, count: int) -> int:
        return (word << count | word >> (16 - count)) & 0xFFFF

    for key in keys:
        x, y = y ^ (rol(x, 1) & rol(x, 8)) ^ rol(x, 2) ^ key, x
    return x, y


@pytest.mark.parametrize("rounds", [1, 3, 4, 6, 16, 31, 32])
def test_any_number_of_rounds_equals_plain_integers(rounds: int) -> None:
    keys = expand_key([0x0100, 0x0908, 0x1110, 0x1918], rounds)
    x, y = (np.arange(77 * word, 77 * word + 300, dtype=np.uint16).reshape(3, 100) * 209 for word in (1, 5))
    left, right = simon(x, y, keys)
    pairs = zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    assert list(zip(left.flatten().tolist(), right.flatten().tolist(), strict=True)) == [
        _plain_simon(*pair, keys) for pair in pairs
    ]


# Shapes of one block and of several, with what is left over, and those whose index is the order of memory.
@pytest.mark.parametrize(
    "shape",
    [(3,), (5000,), (2, 9), (3, 40, 15, 11), (2, 5000, 1, 2), (3, 1, 70, 70), (2, 600, 1, 1), (2, 3, 5), (0, 4)],
)
def test_fields_are_indexed_linearly(shape: tuple[int, ...]) -> None:
    source = RandomSource(seed=7, step=3)
    field = source.field(5, shape)
    assert field.dtype == torch.int32
    assert tuple(field.shape) == shape
    assert torch.equal(field.flatten(), source.at(5, torch.arange(field.numel())))


def test_indices_past_sixteen_bits_reach_the_high_word() -> None:
    source = RandomSource(seed=7, step=3)
    field = source.field(5, (2, 300, 20, 20))
    keys = expand_key([7, 0, 3, 5 << 4], 16)
    for index in (65535, 65536, 65537, 2 * 300 * 400 - 1):
        assert int(field.flatten()[index]) == _plain_simon(index >> 16, index & 0xFFFF, keys)[0]


def _chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


def _assert_uniform(bits: np.ndarray, bins: int = 256) -> None:
    """Chi-square within six standard deviations of its mean, for the high and for the low byte."""
    for byte in (bits >> 8, bits & 255):
        value = _chi_square(np.bincount(byte, minlength=bins))
        assert abs(value - (bins - 1)) < 6 * (2 * (bins - 1)) ** 0.5


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF])
@pytest.mark.parametrize("tensor", [0, 1, 4095])
def test_one_tensor_is_uniform(seed: int, tensor: int) -> None:
    _assert_uniform(RandomSource(seed=seed, step=0).field(tensor, (SAMPLES,)).numpy())


def test_the_same_element_over_steps_and_tensors_is_uniform() -> None:
    element = torch.zeros(1, dtype=torch.int64)
    over_steps = [int(RandomSource(seed=1, step=step).at(2, element)) for step in range(4096)]
    over_tensors = [int(RandomSource(seed=1, step=1).at(tensor, element)) for tensor in range(4096)]
    for draws in (over_steps, over_tensors):
        bits = np.array(draws)
        counts = np.bincount(bits >> 12, minlength=16)
        assert _chi_square(counts) < 15 + 6 * 30**0.5


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


@pytest.mark.parametrize("lag", [1, 2, 8, 16, 32, 1024])
def test_neighbours_are_not_correlated(lag: int) -> None:
    bits = RandomSource(seed=1, step=9).field(3, (SAMPLES,)).numpy()
    assert abs(_correlation(bits[:-lag], bits[lag:])) < 5 / SAMPLES**0.5


@pytest.mark.parametrize("other", [{"seed": 2, "step": 9}, {"seed": 1, "step": 10}, {"seed": 1, "step": 9 + (1 << 16)}])
def test_streams_are_not_correlated(other: dict[str, int]) -> None:
    first = RandomSource(seed=1, step=9).field(3, (SAMPLES,)).numpy()
    second = RandomSource(**other).field(3, (SAMPLES,)).numpy()
    assert abs(_correlation(first, second)) < 5 / SAMPLES**0.5
    for bit in range(16):
        agree = ((first ^ second) >> bit & 1).mean()
        assert abs(agree - 0.5) < 5 * 0.5 / SAMPLES**0.5


def test_every_input_bit_changes_about_half_of_the_output() -> None:
    base = RandomSource(seed=1, step=0).field(0, (4096,)).numpy()
    changed = [RandomSource(seed=1 ^ 1 << bit, step=0).field(0, (4096,)).numpy() for bit in range(32)]
    changed += [RandomSource(seed=1, step=1 << bit).field(0, (4096,)).numpy() for bit in range(20)]
    changed += [RandomSource(seed=1, step=0).field(1 << bit, (4096,)).numpy() for bit in range(12)]
    for bits in changed:
        flips = np.unpackbits((base ^ bits).astype(np.uint16).view(np.uint8)).mean()
        assert abs(flips - 0.5) < 5 * 0.5 / (4096 * 16) ** 0.5


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.4294967295, not -1"):
        RandomSource(seed=-1, step=0)
    with pytest.raises(ValueError, match=r"step must be in 0\.\.1048575, not 1048576"):
        RandomSource(seed=0, step=1 << 20)
    with pytest.raises(TypeError, match=r"step must be an integer, not 1\.0"):
        RandomSource(seed=0, step=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tensor must be in 0\.\.4095, not 4096"):
        RandomSource(seed=0, step=0).field(4096, (1,))
    with pytest.raises(ValueError, match=r"rounds must be in 1\.\.32, not 33"):
        RandomSource(seed=0, step=0, rounds=33)
    with pytest.raises(TypeError, match=r"index must be int64, not torch\.int32"):
        RandomSource(seed=0, step=0).at(0, torch.zeros(1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"index must be in 0\.\.4294967295"):
        RandomSource(seed=0, step=0).at(0, torch.tensor([-1]))
    with pytest.raises(ValueError, match="key must be four words"):
        expand_key([1, 2, 3], 16)
