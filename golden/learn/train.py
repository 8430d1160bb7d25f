# SPDX-License-Identifier: Apache-2.0
"""A training: batches in an order that the seed alone decides, checkpoints that it resumes from."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from respin.golden.data import ImageSet
from respin.golden.learn.learner import Learner, Progress

LATELY = 50
"""Steps that the progress's loss is averaged over."""
CHECKPOINT_EVERY = 250
"""Steps from one checkpoint to the next."""


def batches(count: int, *, steps: int, batch: int, seed: int) -> Tensor:
    """Return the images of each step (steps, batch): passes over the shuffled set, without what is over at each end."""
    if batch > count:
        raise ValueError(f"batch must be at most the {count} training images, not {batch!r}")
    generator = torch.Generator().manual_seed(seed)
    whole = count // batch
    passes = -(-steps // whole)
    order = [torch.randperm(count, generator=generator)[: whole * batch].reshape(whole, batch) for _ in range(passes)]
    return torch.cat(order)[:steps]


def train(
    learner: Learner,
    images: ImageSet,
    *,
    steps: int,
    batch: int,
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] = lambda _progress: None,
) -> list[tuple[float, float]]:
    """Train ``learner`` for ``steps`` steps; returns loss and share of images right of every step.

    With a ``checkpoint`` the training goes on from the one that is there, writes one now and then, and leaves none when
    it is done. It must have been started with the same arguments.
    """
    order = batches(len(images), steps=steps, batch=batch, seed=seed)
    history: list[tuple[float, float]] = []
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        learner.load(saved["learner"])
        history = [(loss, right) for loss, right in saved["history"]]
    take = learner.prepare(images.images)
    for step in range(len(history), steps):
        index = order[step]
        loss, right = learner.step(take(index), images.labels[index])
        history.append((loss, right / batch))
        if (step + 1) % 10 == 0 or step + 1 == steps:
            recent = history[-LATELY:]
            mean = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            report(Progress(step=step + 1, steps=steps, loss=mean[0], right=mean[1]))
        if checkpoint is not None and (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < steps:
            beside = checkpoint.with_suffix(".part")
            torch.save({"learner": learner.state(), "history": history}, beside)
            beside.replace(checkpoint)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return history
