# SPDX-License-Identifier: Apache-2.0
"""Continual learning, measured as the field does: the accuracy matrix, forgetting, backward transfer.

``R[i][j]`` is the accuracy on task ``j`` after task ``i`` was learned (Lopez-Paz and Ranzato, *Gradient Episodic
Memory*, NeurIPS 2017). Average accuracy is the mean of the last row; backward transfer the mean of ``R[T-1][j] -
R[j][j]`` over all tasks but the last; forgetting the mean of ``max over i of R[i][j], less R[T-1][j]`` over them
(Chaudhry et al., ECCV 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.data import ImageSet


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyMatrix:
    """Accuracies (shares) by tasks learned so far and task tested; a row has the tasks up to it, or all."""

    rows: tuple[tuple[float, ...], ...]

    @property
    def average(self) -> float:
        """Mean accuracy over all tasks at the end."""
        return sum(self.rows[-1]) / len(self.rows[-1])

    @property
    def backward_transfer(self) -> float:
        """How much better (or worse) earlier tasks have become since they were learned."""
        last, earlier = self.rows[-1], len(self.rows) - 1
        return sum(last[j] - self.rows[j][j] for j in range(earlier)) / earlier if earlier else 0.0

    @property
    def forgetting(self) -> float:
        """How far earlier tasks are below the best that they have been."""
        last, earlier = self.rows[-1], len(self.rows) - 1
        best = [max(self.rows[i][j] for i in range(j, earlier)) for j in range(earlier)]
        return sum(best[j] - last[j] for j in range(earlier)) / earlier if earlier else 0.0


def split_by_class(images: ImageSet, groups: Sequence[Sequence[int]]) -> list[ImageSet]:
    """Return the images of each group of classes, labels as they were."""
    return [
        images.take(torch.nonzero(torch.isin(images.labels, torch.tensor(list(group)))).flatten()) for group in groups
    ]


class Rehearsal:
    """A small memory of earlier images, as many of each class: what a region of its own holds.

    Parameters
    ----------
    capacity:
        Images.
    seed:
        Of the choice.
    """

    def __init__(self, capacity: int, *, seed: int) -> None:
        self.capacity = capacity
        self._generator = torch.Generator().manual_seed(seed)
        self.images: ImageSet | None = None

    def remember(self, new: ImageSet) -> None:
        """Take images of new classes in, and drop as many of the old ones as that needs."""
        joined = new if self.images is None else join(self.images, new)
        kept: list[Tensor] = []
        classes = torch.unique(joined.labels)
        for label in classes.tolist():
            of_class = torch.nonzero(joined.labels == label).flatten()
            order = torch.randperm(len(of_class), generator=self._generator)
            kept.append(of_class[order][: self.capacity // len(classes)])
        self.images = joined.take(torch.cat(kept))

    def beside(self, new: ImageSet) -> ImageSet:
        """Return the images to train on: the new ones, and the remembered ones repeated to half as many."""
        if self.images is None:
            return new
        count = len(new) // 2
        index = torch.randint(len(self.images), (count,), generator=self._generator)
        return join(new, self.images.take(index))


def join(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return both sets as one."""
    return ImageSet(
        images=torch.cat([first.images, second.images]), labels=torch.cat([first.labels, second.labels])
    )


__all__ = ["AccuracyMatrix", "Rehearsal", "join", "split_by_class"]
