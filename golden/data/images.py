# SPDX-License-Identifier: Apache-2.0
"""Images with labels, and how they are resized."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RESIZED_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ImageSet:
    """``images`` (N, channels, height, width), uint8, 1 or 3 channels, and ``labels`` (N,), int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be uint8 (N, 1 or 3, H, W), not {self.images.dtype} {tuple(self.images.shape)!r}"
            )
        if self.labels.dtype != torch.int64 or tuple(self.labels.shape) != (self.images.shape[0],):
            raise ValueError(
                f"labels must be int64 ({self.images.shape[0]},), not {self.labels.dtype} {tuple(self.labels.shape)!r}"
            )

    def __len__(self) -> int:
        return self.labels.shape[0]

    def take(self, index: Tensor) -> "ImageSet":
        """Return the images at ``index``, in its order."""
        return ImageSet(images=self.images[index], labels=self.labels[index])

    def resized(self, size: int | tuple[int, int]) -> "ImageSet":
        """Return the images as (N, 3, size, size) or (N, 3, *size), bilinear and low-passed where they shrink; grey
        ones thrice."""
        sides = (size, size) if isinstance(size, int) else size
        parts = []
        for part in torch.split(self.images, RESIZED_AT_ONCE):
            if part.shape[2:] != sides:
                part = functional.interpolate(part, size=sides, mode="bilinear", antialias=True)
            parts.append(part.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
        return ImageSet(images=torch.cat(parts), labels=self.labels)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Dataset:
    """A data set as it comes.

    Parameters
    ----------
    name, classes:
        Its name and its classes'.
    train, test:
        Its images; ``test`` is None where the data set has no split of its own.
    folds:
        Where there is no split: 1 keeps everything that does not train for the test, n > 1 tests on an n-th part.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet | None = None
    folds: int = 1

    @property
    def trainable(self) -> int:
        """Images that a task can train on at most."""
        if self.test is not None or self.folds == 1:
            return len(self.train)
        return len(self.train) - -(-len(self.train) // self.folds)

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            if part is not None and not bool(((part.labels >= 0) & (part.labels < len(self.classes))).all()):
                low, high = (int(label) for label in torch.aminmax(part.labels))
                raise ValueError(f"labels must be in 0..{len(self.classes) - 1}, not {low}..{high}")
