# SPDX-License-Identifier: Apache-2.0
"""A task: some training images of a data set, some of those for choices, and the test images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from respin.golden.data.images import Dataset, ImageSet


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Task:
    """What is learned: images (N, 3, size, size).

    ``chosen_on`` are positions in ``train``: the part that settings are chosen on, the rest training meanwhile.
    ``ranges`` are images that set the scales of a frozen backbone, where those must not follow from the task's own.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    chosen_on: Tensor
    ranges: Tensor | None = None

    def for_choices(self) -> "Task":
        """Return the task on which settings are chosen: its test images are training images of this one."""
        kept = torch.ones(len(self.train), dtype=torch.bool)
        kept[self.chosen_on] = False
        return Task(
            name=self.name,
            classes=self.classes,
            train=self.train.take(torch.nonzero(kept).flatten()),
            test=self.train.take(self.chosen_on),
            chosen_on=self.chosen_on[:0],
            ranges=self.ranges,
        )

    def with_few(self, images_a_class: int) -> "Task":
        """Return the task with the first ``images_a_class`` of each class alone to train on, and the same test images.

        Raises
        ------
        ValueError
            If a class has fewer.
        """
        counts = self.train.labels.bincount(minlength=len(self.classes))
        require_of_each(self.name, self.classes, counts, images_a_class)
        few = [torch.nonzero(self.train.labels == label).flatten()[:images_a_class] for label in range(len(counts))]
        index = torch.cat(few).sort().values
        return replace(self, train=self.train.take(index), chosen_on=self.chosen_on[:0])


def require_of_each(name: str, classes: Sequence[str], counts: Tensor, images_a_class: int) -> None:
    """Raise ValueError unless there are at least ``images_a_class`` images of each class; ``counts`` (classes,)."""
    smallest = int(counts.argmin())
    if not 0 < images_a_class <= int(counts[smallest]):
        raise ValueError(
            f"{name} has {int(counts[smallest])} images of {classes[smallest]!r} among the {int(counts.sum())} that it"
            f" trains on: images a class must be in 1..{int(counts[smallest])}, not {images_a_class!r}"
        )


def dealt(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return all positions of ``labels`` in an order that deals the classes out evenly, at random within each."""
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels[order]
    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        of_class = torch.nonzero(shuffled == label).flatten()
        # The k-th of n: its place when all classes are dealt out evenly.
        rank[of_class] = (torch.arange(len(of_class), dtype=torch.float64) + 0.5) / len(of_class)
    return order[rank.argsort(stable=True)]


def balanced(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` positions of ``labels``, shuffled, with the classes in the shares that they have there."""
    chosen = dealt(labels, generator)[:count]
    return chosen[torch.randperm(count, generator=generator)]


def _pools(dataset: Dataset, seed: int) -> tuple[ImageSet, ImageSet | None]:
    """The images to choose training ones from, and those to test on; None where these are what the choice leaves."""
    pool, test = dataset.train, dataset.test
    if test is None and dataset.folds > 1:
        # The folds are the same for every seed; the seed says which one is tested on.
        by_class = dealt(pool.labels, torch.Generator().manual_seed(0))
        by_class = by_class[pool.labels[by_class].argsort(stable=True)]
        fold = torch.arange(len(pool)) % dataset.folds == seed % dataset.folds
        pool, test = pool.take(by_class[~fold].sort().values), pool.take(by_class[fold].sort().values)
    return pool, test


def class_counts(dataset: Dataset, *, train_images: int, seed: int) -> Tensor:
    """Return how many training images of each class :func:`make_task` would choose."""
    labels = _pools(dataset, seed)[0].labels
    chosen = balanced(labels, train_images, torch.Generator().manual_seed(seed))
    return labels[chosen].bincount(minlength=len(dataset.classes))


def make_task(
    dataset: Dataset, *, size: int, train_images: int, chosen_on: int, seed: int, held_out: int = 0
) -> Task:
    """Cut a task from a data set.

    Parameters
    ----------
    dataset:
        Where from.
    size:
        Side of an image, pixels.
    train_images:
        Training images, at most what there is.
    chosen_on:
        How many of them are for choices.
    seed:
        Of the choice of images; with folds it is also the fold that is tested on.
    held_out:
        If not 0, so many further training images are the test images: for whoever decides on rules, which must not be
        done on the test set.

    Raises
    ------
    ValueError
        If there are fewer images than are asked for, or none is left to test on.
    """
    generator = torch.Generator().manual_seed(seed)
    pool, test = _pools(dataset, seed)
    if not 0 < train_images <= len(pool):
        raise ValueError(f"{dataset.name} has {len(pool)} training images: at most that many, not {train_images!r}")
    if not 0 <= chosen_on < train_images:
        raise ValueError(f"the images for choices must be fewer than {train_images}, not {chosen_on!r}")
    index = balanced(pool.labels, train_images, generator)
    train = pool.take(index)
    if test is None or held_out:
        rest = torch.ones(len(pool), dtype=torch.bool)
        rest[index] = False
        test = pool.take(torch.nonzero(rest).flatten())
    if held_out:
        if held_out > len(test):
            raise ValueError(
                f"{dataset.name} has {len(test)} training images besides the {train_images}: at most that many can be"
                f" held out, not {held_out!r}"
            )
        test = test.take(balanced(test.labels, held_out, generator))
    if not len(test):
        raise ValueError(f"{dataset.name} has {len(pool)} images: {train_images} to train with leave none to test on")
    return Task(
        name=dataset.name,
        classes=dataset.classes,
        train=train.resized(size),
        test=test.resized(size),
        chosen_on=balanced(train.labels, chosen_on, generator) if chosen_on else index[:0],
    )
