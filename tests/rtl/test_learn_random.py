# SPDX-License-Identifier: Apache-2.0
"""The random lanes: the published test vector, equality with a model, and how random the numbers look."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from respin.rtl.config import RANDOM_ROUNDS
from respin.rtl.learn.random import RandomLanes

SEED = int(os.environ.get("RESPIN_SEED", "1"))
Z0 = "11111010001001010110000111001101111101000100101011000011100110"
WEAK_ROUNDS = 8
"""So few rounds that the tests below must see it: they prove that the tests can fail."""
SAMPLES = 1 << 18
SIGMAS = 5.5
"""Bound of every statistic, in standard deviations: of the 10^4 taken the largest is expected near 4."""
STRIDES = (1, 2, 3, 9, 16, 32, 49, 64, 144, 256, 576, 1024, 2304, 4096, 65536)
"""Distances between elements that meet in a network: H*W of maps, C*kh*kw of filters, powers of two."""


def round_keys(key: int, rounds: int) -> list[int]:
    """The published key schedule."""
    keys = [key >> 16 * i & 0xFFFF for i in range(4)]
    for i in range(4, rounds):
        mixed = (keys[i - 1] >> 3 | keys[i - 1] << 13) & 0xFFFF ^ keys[i - 3]
        mixed ^= (mixed >> 1 | mixed << 15) & 0xFFFF
        keys.append(keys[i - 4] ^ 0xFFFC ^ int(Z0[i - 4]) ^ mixed)
    return keys[:rounds]


def encrypt(key: int, index: np.ndarray, rounds: int) -> np.ndarray:
    """The cipher texts ``x << 16 | y`` of 32-bit indices."""
    x, y = (index >> 16).astype(np.uint16), (index & 0xFFFF).astype(np.uint16)
    for word in round_keys(key, rounds):
        one, two, eight = ((x << np.uint16(n)) | (x >> np.uint16(16 - n)) for n in (1, 2, 8))
        x, y = y ^ (one & eight) ^ two ^ np.uint16(word), x
    return x.astype(np.uint32) << 16 | y


def cipher_key(*, seed: int = 1, step: int = 0, tensor: int = 0) -> int:
    return seed | step << 32 | tensor << 52


def draw(key: int, index: Iterable[int] | np.ndarray, rounds: int = RANDOM_ROUNDS) -> np.ndarray:
    return encrypt(key, np.asarray(index, dtype=np.int64), rounds) >> 16


def hardware(lanes: int, rounds: int, key: int, index: np.ndarray, stalls: Sequence[bool]) -> np.ndarray:
    """Cipher texts of ``index`` (beats x lanes) from a RandomLanes whose ``en`` is low where ``stalls`` says so."""
    dut = RandomLanes(lanes=lanes, rounds=rounds)
    out: list[list[int]] = []

    async def bench(ctx: SimulatorContext) -> None:
        assert not ctx.get(dut.ready)
        ctx.set(dut.key, key)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        ctx.set(dut.key, 0)
        cycles = 0
        while not ctx.get(dut.ready):
            await ctx.tick()
            cycles += 1
        assert cycles == rounds - 4
        enabled, stall = 0, 0
        while len(out) < len(index):
            ctx.set(dut.index, [int(i) for i in index[min(enabled, len(index) - 1)]])
            if enabled >= dut.latency:
                texts = [ctx.get(dut.block[lane]) for lane in range(lanes)]
                assert [ctx.get(dut.random[lane]) for lane in range(lanes)] == [text >> 16 for text in texts]
                if len(out) == enabled - dut.latency:
                    out.append(texts)
            move = not stalls[stall % len(stalls)]
            stall += 1
            ctx.set(dut.en, move)
            enabled += move
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(out)


def test_full_cipher_gives_the_published_vector() -> None:
    assert encrypt(0x1918111009080100, np.array([0x65656877]), 32).tolist() == [0xC69BE9BB]
    text = hardware(1, 32, 0x1918111009080100, np.array([[0x65656877]]), [False])
    assert text.tolist() == [[0xC69BE9BB]]


@pytest.mark.parametrize(("lanes", "rounds"), [(1, 4), (1, 5), (2, 11), (4, 16), (8, 16)])
def test_lanes_equal_the_model(lanes: int, rounds: int) -> None:
    rng = np.random.default_rng(SEED)
    index = rng.integers(0, 1 << 32, (40, lanes))
    key = int(rng.integers(0, 1 << 63)) << 1 | 1
    for stalls in ([False], (rng.random(97) < 0.5).tolist()):
        assert np.array_equal(hardware(lanes, rounds, key, index, stalls), encrypt(key, index, rounds))


@pytest.mark.parametrize(
    ("lanes", "rounds", "error", "message"),
    [
        (0, 16, ValueError, "lanes must be at least 1, not 0"),
        (1.0, 16, TypeError, "lanes must be an integer, not 1.0"),
        (1, 3, ValueError, r"rounds must be in 4\.\.32, not 3"),
        (1, True, TypeError, "rounds must be an integer, not True"),
    ],
)
def test_bad_parameters_are_refused(lanes: int, rounds: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RandomLanes(lanes=lanes, rounds=rounds)


def chi_square_sigmas(counts: np.ndarray) -> float:
    """How many standard deviations the chi-square statistic of equally likely cells is away from its mean."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    return abs(float(((counts - expected) ** 2).sum() / expected) - freedom) / (2 * freedom) ** 0.5


def uniformity(bits: np.ndarray) -> float:
    return chi_square_sigmas(np.bincount(bits.ravel(), minlength=1 << 16))


def dependence(a: np.ndarray, b: np.ndarray) -> float:
    """The worst of three looks at pairs, in standard deviations: values, single bits, joint high bytes."""
    a, b = a.ravel(), b.ravel()
    root = len(a) ** 0.5
    values = abs(float(((a - 32767.5) * (b - 32767.5)).mean())) * 12 / 65536**2 * root
    signs = [((word[:, None] >> np.arange(16)) & 1) * np.float32(2) - 1 for word in (a, b)]
    single = float(np.abs(signs[0].T @ signs[1]).max()) / root
    joint = chi_square_sigmas(np.bincount((a & 0xFF00) | b >> 8, minlength=1 << 16))
    return max(values, single, joint)


def avalanche(change_key: bool, rounds: int) -> float:
    """How far from one half an output bit flips when one bit of the key or of the index does."""
    index = np.random.default_rng(SEED).integers(0, 1 << 32, SAMPLES // 4)
    key = cipher_key(seed=0x12345678, step=3, tensor=5)
    plain = draw(key, index, rounds)
    worst = 0.0
    for bit in range(64 if change_key else 32):
        moved = draw(key ^ 1 << bit, index, rounds) if change_key else draw(key, index ^ 1 << bit, rounds)
        flips = (((plain ^ moved)[:, None] >> np.arange(16)) & 1).mean(0)
        worst = max(worst, float(np.abs(flips - 0.5).max()) * 2 * len(index) ** 0.5)
    return worst


def across_strides(rounds: int) -> float:
    index = np.arange(SAMPLES)
    key = cipher_key(seed=SEED)
    plain = draw(key, index, rounds)
    return max(dependence(plain, draw(key, index + stride, rounds)) for stride in STRIDES)


def across_keys(rounds: int) -> float:
    index = np.arange(SAMPLES)
    plain = draw(cipher_key(), index, rounds)
    others = [{name: value} for name in ("step", "tensor") for value in (1, 2)]
    others += [{"seed": 2}, {"seed": 3}, {"step": 1, "tensor": 1}]
    return max(dependence(plain, draw(cipher_key(**other), index, rounds)) for other in others)


def along(name: str, rounds: int) -> float:
    """Uniformity and serial dependence of the first 256 elements over consecutive steps, tensors or seeds."""
    index = np.arange(256)
    draws = np.array([draw(cipher_key(**{name: value}), index, rounds) for value in range(4096)])
    return max(uniformity(draws), dependence(draws[:-1], draws[1:]))


@pytest.mark.parametrize("keyed", [{}, {"seed": 0}, {"seed": 0xFFFFFFFF}, {"step": 0xFFFFF}, {"tensor": 4095}])
def test_consecutive_indices_are_uniform(keyed: dict[str, int]) -> None:
    assert uniformity(draw(cipher_key(**keyed), np.arange(1 << 21))) < SIGMAS


LOOKS: dict[str, Callable[[int], float]] = {
    "index strides": across_strides,
    "keys": across_keys,
    "steps": lambda rounds: along("step", rounds),
    "tensors": lambda rounds: along("tensor", rounds),
    "seeds": lambda rounds: along("seed", rounds),
    "avalanche of the index": lambda rounds: avalanche(False, rounds),
    "avalanche of the key": lambda rounds: avalanche(True, rounds),
}


@pytest.mark.parametrize("look", LOOKS)
def test_numbers_look_random(look: str) -> None:
    assert LOOKS[look](RANDOM_ROUNDS) < SIGMAS


@pytest.mark.parametrize("look", LOOKS)
def test_the_looks_see_a_weak_cipher(look: str) -> None:
    assert LOOKS[look](WEAK_ROUNDS) > SIGMAS
