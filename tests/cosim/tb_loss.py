# SPDX-License-Identifier: Apache-2.0
"""Benches of the loss head against golden's integer softmax cross-entropy."""

import json
import os
import random

import cocotb
import numpy as np
import torch
from cocotb.triggers import with_timeout
from store_ports import StoreModel
from vector_cases import put_tensor

from respin.golden.ops.loss import LossParameters, softmax_cross_entropy
from respin.golden.random import RandomSource
from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.jobs import LossJob
from respin.sim.runner import seed
from respin.sim.streams import StreamDriver, reset, start_clock

CONFIG = AcceleratorConfig(**json.loads(os.environ["RESPIN_CONFIG"]))
WORDS = 256
OUT, LABELS = 100, 200


class Bench:
    """The loss head and a store."""

    def __init__(self, dut, pause: float) -> None:
        self.dut = dut
        start_clock(dut)
        self.store = StoreModel(dut, WORDS)
        self.store.add_read("read", pause)
        self.store.add_write("write", CONFIG.slices, pause)
        self.job = StreamDriver(dut, "job", LossJob)

    async def run(self, logits: np.ndarray, labels: list[int], parameters: LossParameters, key=None) -> None:
        """Run one job, with random numbers if there is a key, and compare the whole store."""
        n, classes = logits.shape
        put_tensor(self.store, 0, n, logits[:, :, None, None])
        for image, label in enumerate(labels):
            self.store.put_bytes(LABELS + image, 0, [label & 0xFF, label >> 8])
        drawn = None
        if key:
            self.dut.seed.value, self.dut.step.value, self.dut.tensor.value = key
            drawn = RandomSource(seed=key[0], step=key[1]).field(key[2], (n, classes))
        error = softmax_cross_entropy(torch.from_numpy(logits.astype(np.int8)), torch.tensor(labels), parameters, drawn)
        before = list(self.store.words)
        job = {
            "base": 0, "block_stride": n, "out": OUT, "out_stride": n, "labels": LABELS, "n": n, "classes": classes,
            "alpha": parameters.alpha, "on": parameters.on, "off": parameters.off, "stochastic": int(key is not None),
        }  # fmt: skip
        await with_timeout(self.job.send(job), 5_000_000, "ns")
        got, self.store.words = self.store.words, before
        padded = np.zeros((n, -(-classes // BLOCK) * BLOCK), dtype=np.int64)
        padded[:, :classes] = error.numpy()
        put_tensor(self.store, OUT, n, padded[:, :, None, None])
        wrong = [address for address in range(WORDS) if got[address] != self.store.words[address]]
        assert not wrong, f"words {wrong[:8]} of {job}, logits {logits.tolist()}, labels {labels}"


def draw_logits(rng: random.Random, n: int, classes: int) -> np.ndarray:
    spread = rng.choice([1, 10, 60, 128])
    flat = [rng.randint(-spread, spread - 1) for _ in range(n * classes)]
    return np.array(flat, dtype=np.int64).reshape(n, classes)


@cocotb.test()
@cocotb.parametrize(pause=[0.0, 0.5], stochastic=[False, True])
async def random_batches(dut, pause, stochastic):
    bench = Bench(dut, pause)
    await reset(dut)
    rng = random.Random(f"{seed()} {pause} {stochastic}")
    for classes in (1, 2, 10, 31, 32, 33, 100):
        n = rng.randint(1, 3)
        alpha = rng.choice([0, 65535, rng.randrange(2000), rng.randrange(65536)])
        off = rng.randrange(200)
        parameters = LossParameters(alpha=alpha, on=32768 - off * (classes - 1), off=off)
        key = (rng.getrandbits(32), rng.getrandbits(20), rng.getrandbits(12)) if stochastic else None
        labels = [rng.randrange(classes) for _ in range(n)]
        await bench.run(draw_logits(rng, n, classes), labels, parameters, key)


@cocotb.test()
async def corners(dut):
    """All logits equal, one far above, all at an end; the most classes there are."""
    bench = Bench(dut, 0.0)
    await reset(dut)
    sharp = LossParameters(alpha=65535)
    flat = LossParameters(alpha=0)
    for value in (-128, 0, 127):
        await bench.run(np.full((1, 40), value), [39], sharp)
    spike = np.full((1, 12), -128)
    spike[0, 5] = 127
    for label in (5, 0):
        for parameters in (sharp, flat, LossParameters(alpha=300)):
            await bench.run(spike, [label], parameters)
    rng = random.Random(seed())
    await bench.run(draw_logits(rng, 1, 1024), [1023], LossParameters(alpha=90))
