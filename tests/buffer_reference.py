# SPDX-License-Identifier: Apache-2.0
"""What the units of ``rtl/buffer`` must put out, by index arithmetic on whole arrays.

A store word is an integer of 256 bits (plane ``b`` in bits ``32*b ..``) or, as an array, 32 bytes; a store is an array
``[words, 32]`` of bytes.
"""

import random

import numpy as np

PADDING = -1  # an address that stands for a word of padding


def to_word(lanes: np.ndarray) -> int:
    """Pack 32 bytes into the bit-planes of a word."""
    return sum(word << 32 * plane for plane, word in enumerate(to_planes(lanes)))


def to_planes(lanes: np.ndarray) -> list[int]:
    """Return the eight bit-planes of a word."""
    return [int(np.packbits(lanes >> plane & 1, bitorder="little").view("<u4")[0]) for plane in range(8)]


def random_store(chooser: random.Random, words: int) -> np.ndarray:
    """Return a store filled with random bytes."""
    return np.frombuffer(chooser.randbytes(32 * words), np.uint8).reshape(words, 32)


def window_addresses(job: dict) -> np.ndarray:
    """Return the addresses that a WindowJob visits, in order; ``PADDING`` where it sees padding."""
    oh, ow, kh, kw = (job[name] for name in ("oh", "ow", "kh", "kw"))
    n, oy, ox = np.unravel_index(np.arange(job["n"] * oh * ow), (job["n"], oh, ow))
    sequences = []
    for repeat in range(job["repeats"]):
        first = ((job["block0"] + repeat * job["advance"]) * kh + job["ky0"]) * kw + job["kx0"]
        tap = first + np.arange(job["steps"])
        block, ky, kx = tap // (kh * kw), tap // kw % kh, tap % kw
        iy = (oy * job["stride"])[None] + ky[:, None] - job["pad_y"]
        ix = (ox * job["stride"])[None] + kx[:, None] * job["dilation_x"] - job["pad_x"]
        address = job["base"] + block[:, None] * job["block_stride"] + (n[None] * job["h"] + iy) * job["w"] + ix
        inside = (iy >= 0) & (iy < job["h"]) & (ix >= 0) & (ix < job["w"])
        address = np.where(inside, address, PADDING)
        sequences += [address[:, start : start + job["tile"]].ravel() for start in range(0, len(n), job["tile"])]
    return np.concatenate(sequences)


def window_words(job: dict, store: np.ndarray) -> np.ndarray:
    """Return the words, as bytes, that a WindowJob delivers."""
    address = window_addresses(job)
    return np.where((address == PADDING)[:, None], np.uint8(job["pad"]), store[address])


def feed_rows(job: dict, store: np.ndarray, slices: int) -> list[list[int]]:
    """Return the rows that a FeedJob makes of the errors."""
    blocks = -(-job["pixels"] // 32)
    errors = np.zeros((blocks * 32, 32), np.uint8)
    errors[: job["pixels"]] = store[job["base"] : job["base"] + job["pixels"]]
    chosen = errors.view(np.int8)[:, job["lane0"] : job["lane0"] + slices]
    return chosen.reshape(blocks, 32, slices).transpose(0, 2, 1).reshape(-1, 32).tolist()


def feed_words(job: dict, window: dict, store: np.ndarray) -> np.ndarray:
    """Return the words, as bytes, that a FeedJob makes of what a WindowJob with tiles of 32 delivers."""
    whole = window_words({**window, "tile": job["pixels"]}, store).reshape(job["steps"], job["pixels"], 32)
    blocks = -(-job["pixels"] // 32)
    padded = np.zeros((job["steps"], blocks * 32, 32), np.uint8)
    padded[:, : job["pixels"]] = whole
    words = padded.reshape(job["steps"], blocks, 32, 32).transpose(1, 0, 3, 2).reshape(blocks, -1, 32)
    ones = np.ones((blocks, job["bias"], 32), np.uint8)
    return np.concatenate([words, ones], axis=1).reshape(-1, 32)


def random_window(chooser: random.Random, words: int, *, tile: int | None = None, repeats: bool = True) -> dict:
    """Choose a WindowJob whose tensor fits a store of ``words``: any kernel, stride, padding of either sign, part of
    the steps from any tap on, and tiles that do not divide the pixels."""
    while True:
        job = {
            "n": chooser.choice([1, 1, 2, 3]), "h": chooser.randint(1, 9), "w": chooser.randint(1, 9),
            "oh": chooser.randint(1, 5), "ow": chooser.randint(1, 5),
            "kh": chooser.choice([1, 1, 2, 3, 5]), "kw": chooser.choice([1, 1, 2, 3, 5]),
            "stride": chooser.choice([1, 1, 2, 3, 15]), "dilation_x": chooser.choice([1, 1, 2, 5, 15]),
            "pad_y": chooser.randint(-3, 4), "pad_x": chooser.randint(-3, 4),
            "pad": chooser.choice([0, 255, chooser.randrange(256)]),
            "block0": chooser.choice([0, 1, 2]), "repeats": chooser.choice([1, 1, 3]) if repeats else 1,
            "advance": chooser.randrange(2),
        }  # fmt: skip
        job["ky0"] = chooser.randrange(job["kh"])
        job["kx0"] = chooser.randrange(job["kw"]) if job["dilation_x"] == 1 else 0
        job["steps"] = chooser.randint(1, 2 * job["kh"] * job["kw"] + 2)
        pixels = job["n"] * job["oh"] * job["ow"]
        job["tile"] = tile or chooser.choice([1, 2, 5, pixels, chooser.randint(1, pixels + 3)])
        size = job["n"] * job["h"] * job["w"]
        job["block_stride"] = size + chooser.randrange(4)
        blocks = job["block0"] + 1 + job["steps"] // (job["kh"] * job["kw"]) + 1 + job["repeats"]
        if blocks * job["block_stride"] <= words and job["repeats"] * job["steps"] * pixels <= 1200:
            job["base"] = chooser.randint(0, words - blocks * job["block_stride"])
            return job
