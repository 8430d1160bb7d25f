# SPDX-License-Identifier: Apache-2.0
"""The demonstration's data and backbone: scikit-learn's digits, a small float network that knows classes 0 to 4."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

SIDE = 8
"""Rows and columns of an image."""
CLASSES = 5
"""Classes of either task."""
LEVELS = 16
"""Grey levels above black in the data set."""
STEP = 15
"""What one grey level is in a uint8 image, so that the brightest is 240."""
TEST_SHARE = 3
"""Every third image of a class is for testing."""

CHANNELS = 32
FEATURES = 64


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Task:
    """Five classes: images (N, 1, 8, 8), uint8, and labels (N,), 0..4, for training and for testing."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_task(first: int) -> Task:
    """Return the task of the classes ``first .. first + 4`` (``first`` is 0 or 5), in the data set's order."""
    if first not in (0, CLASSES):
        raise ValueError(f"first must be 0 or {CLASSES}, not {first!r}")
    data = load_digits()
    chosen = (data.target >= first) & (data.target < first + CLASSES)
    images = torch.from_numpy(data.images[chosen] * STEP).to(torch.uint8)[:, None]
    labels = torch.from_numpy(data.target[chosen]).to(torch.int64) - first
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(CLASSES):
        test[torch.nonzero(labels == label).flatten()[::TEST_SHARE]] = True
    return Task(
        train_images=images[~test], train_labels=labels[~test], test_images=images[test], test_labels=labels[test]
    )


def pack_windows(images: Tensor) -> Tensor:
    """Lay the 3 x 3 window of each pixel out as 9 channels, zero-padded: (N, 1, H, W) to (N, 9, H, W), uint8.

    The stem is then a 1 x 1 convolution over 9 lanes, where it would waste 31 of 32 over one channel.
    """
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(f"images must be uint8 (N, 1, H, W), not {images.dtype} {tuple(images.shape)!r}")
    height, width = images.shape[2:]
    padded = functional.pad(images[:, 0], (1, 1, 1, 1))
    return torch.stack([padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], 1)


def batch_indices(count: int, *, steps: int, batch: int, seed: int) -> Tensor:
    """Return the images of each step (steps, batch): passes over a shuffled training set, reshuffled each time."""
    generator = torch.Generator().manual_seed(seed)
    passes = -(-steps * batch // count)
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])
    return order[: steps * batch].reshape(steps, batch)


class Backbone(nn.Module):
    """The float backbone, on images in 0..1.

    Stem 3 x 3 (1 to 32 channels), depthwise 3 x 3 and a linear 1 x 1 make the map at which the Rep-Net module joins;
    then 3 x 3 with stride 2, a residual linear 1 x 1, and 1 x 1 to 64 features, averaged over the map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)
        self.pointwise = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.reduce = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1, bias=False)
        self.residual = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.expand = nn.Conv2d(CHANNELS, FEATURES, 1, bias=False)
        convolutions = {name: module for name, module in self.named_children() if isinstance(module, nn.Conv2d)}
        self.norms = nn.ModuleDict({name: nn.BatchNorm2d(module.out_channels) for name, module in convolutions.items()})

    def _apply_layer(self, name: str, x: Tensor) -> Tensor:
        result: Tensor = self.norms[name](getattr(self, name)(x))
        return result

    def start(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stem's output, which a Rep-Net module reads, and the map that its output is added to."""
        stem = functional.relu(self._apply_layer("stem", images))
        depthwise = functional.relu(self._apply_layer("depthwise", stem))
        return stem, self._apply_layer("pointwise", depthwise)

    def finish(self, joined: Tensor) -> Tensor:
        """Return the features (N, 64) of a joined map."""
        reduced = functional.relu(self._apply_layer("reduce", joined))
        merged = reduced + self._apply_layer("residual", reduced)
        return functional.relu(self._apply_layer("expand", merged)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, 64) of images (N, 1, H, W)."""
        return self.finish(self.start(images)[1])


def to_unit(images: Tensor) -> Tensor:
    """Map uint8 images to floats in 0..1."""
    return images.to(torch.float32) / (LEVELS * STEP)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in one order on any machine: float sums depend on how many threads share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pretrain(task: Task, *, seed: int, epochs: int = 8, batch: int = 32) -> Backbone:
    """Train a backbone on ``task`` from scratch and return it, frozen, in evaluation mode. Some seconds on a CPU."""
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        backbone = Backbone()
        head = nn.Linear(FEATURES, CLASSES)
        steps = epochs * len(task.train_labels) // batch
        optimiser = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
        for index in batch_indices(len(task.train_labels), steps=steps, batch=batch, seed=seed):
            images = to_unit(task.train_images[index]) + 0.05 * torch.randn(batch, 1, SIDE, SIDE)
            loss = functional.cross_entropy(head(backbone(images)), task.train_labels[index], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return backbone.eval().requires_grad_(False)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of ``predicted`` classes that equal ``labels``."""
    return float((predicted == labels).to(torch.float64).mean())
