# SPDX-License-Identifier: Apache-2.0
"""Image sets, and how tasks are cut from them."""

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.data import Dataset, ImageSet, class_counts, make_task

SEED = int(os.environ.get("RESPIN_SEED", "1"))


def image_set(count: int, *, channels: int = 1, side: int = 8, classes: int = 4) -> ImageSet:
    """Images that are told apart by their first pixels, labels in the shares 1, 2, 3, ..."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count) % 256
    images[:, 0, 0, 1] = torch.arange(count) // 256
    shares = torch.repeat_interleave(torch.arange(classes), torch.arange(1, classes + 1))
    return ImageSet(images=images, labels=shares[torch.arange(count) % len(shares)])


def numbers(images: ImageSet) -> list[int]:
    """Which images of :func:`image_set` these are."""
    return (images.images[:, 0, 0, 0].int() + 256 * images.images[:, 0, 0, 1].int()).tolist()


def test_wrong_image_sets_are_refused() -> None:
    images, labels = torch.zeros((4, 3, 8, 8), dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    for wrong in (images.float(), images[0], images[:, :2], images.to(torch.int8)):
        with pytest.raises(ValueError, match="images must be uint8"):
            ImageSet(images=wrong, labels=labels)
    for wrong in (labels[:3], labels.to(torch.int32), labels[:, None], labels.float()):
        with pytest.raises(ValueError, match=r"labels must be int64 \(4,\), not torch\."):
            ImageSet(images=images, labels=wrong)
    for label in (-1, 2):
        images_of = ImageSet(images=images, labels=labels + label)
        with pytest.raises(ValueError, match=rf"labels must be in 0\.\.1, not {label}\.\.{label}"):
            Dataset(name="wrong", classes=("a", "b"), train=images_of)


def test_take_keeps_images_and_labels_together() -> None:
    images = image_set(20)
    taken = images.take(torch.tensor([7, 3, 3]))
    assert numbers(taken) == [7, 3, 3]
    assert taken.labels.tolist() == images.labels[[7, 3, 3]].tolist()
    assert len(taken) == 3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 5, 20])
def test_resizing(channels: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("respin.golden.data.images.RESIZED_AT_ONCE", 3)
    images = image_set(7, channels=channels)
    resized = images.resized(size)
    assert resized.images.shape == (7, 3, size, size)
    assert torch.equal(resized.labels, images.labels)
    if channels == 1:
        assert all(torch.equal(resized.images[:, i], resized.images[:, 0]) for i in (1, 2))
    if size == 8:
        assert torch.equal(resized.images, images.images.expand(-1, 3, -1, -1))
    # The float resize, rounded: an integer one may differ by a level.
    expected = functional.interpolate(images.images.double(), size=(size, size), mode="bilinear", antialias=True)
    assert float((resized.images.double() - expected).abs().max()) < 1 + 1e-9


def test_shrinking_is_low_passed() -> None:
    """A board of single pixels becomes its mean, not whichever colour is sampled."""
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255
    images = ImageSet(images=board.to(torch.uint8)[None, None], labels=torch.zeros(1, dtype=torch.int64))
    inner = images.resized(8).images[:, :, 1:-1, 1:-1]
    assert int((inner.int() - 127).abs().max()) <= 2


def data_set(count: int = 200, *, test: int = 0, folds: int = 1) -> Dataset:
    return Dataset(
        name="made up",
        classes=tuple("abcd"),
        train=image_set(count),
        test=image_set(test) if test else None,
        folds=folds,
    )


def shares(labels: Tensor) -> Tensor:
    return labels.bincount(minlength=4).double() / len(labels)


@pytest.mark.parametrize("count", [10, 37, 100, 199])
def test_training_images_are_a_balanced_subset(count: int) -> None:
    data = data_set()
    task = make_task(data, size=8, train_images=count, chosen_on=count // 3, seed=SEED)
    assert len(task.train) == len(set(numbers(task.train))) == count
    for labels in (task.train.labels, task.train.labels[task.chosen_on]):
        counts = labels.bincount(minlength=4).double()
        assert float((counts - shares(data.train.labels) * len(labels)).abs().max()) <= 1
    # They come shuffled, and not one class after the other.
    assert task.train.labels.tolist() != sorted(task.train.labels.tolist())
    assert task.classes == data.classes


def test_what_does_not_train_is_tested_on() -> None:
    task = make_task(data_set(), size=8, train_images=150, chosen_on=30, seed=SEED)
    assert sorted(numbers(task.train) + numbers(task.test)) == list(range(200))


def test_held_out_images_are_training_images_that_do_not_train() -> None:
    dataset = Dataset(name="all", classes=tuple("abcd"), train=image_set(300), test=image_set(40, side=4))
    task = make_task(dataset, size=8, train_images=100, chosen_on=20, seed=SEED, held_out=120)
    assert len(task.test) == 120
    assert not set(numbers(task.train)) & set(numbers(task.test))
    assert set(numbers(task.test)) < set(numbers(dataset.train))
    plain = make_task(dataset, size=8, train_images=100, chosen_on=20, seed=SEED)
    assert numbers(plain.train) == numbers(task.train)
    # Classes have the shares 1, 2, 3, 4.
    assert torch.bincount(task.test.labels).tolist() == pytest.approx([12, 24, 36, 48], abs=1)
    with pytest.raises(ValueError, match="all has 200 training images besides the 100: at most that many"):
        make_task(dataset, size=8, train_images=100, chosen_on=0, seed=SEED, held_out=201)


def test_a_test_part_of_its_own_is_kept_whole() -> None:
    data = data_set(test=50)
    task = make_task(data, size=8, train_images=200, chosen_on=0, seed=SEED)
    assert data.test is not None
    assert torch.equal(task.test.images, data.test.images.expand(-1, 3, -1, -1))
    assert torch.equal(task.test.labels, data.test.labels)
    assert not len(task.chosen_on)


def test_folds_cover_everything_once() -> None:
    data = data_set(203, folds=5)
    tasks = [make_task(data, size=8, train_images=160, chosen_on=20, seed=seed) for seed in range(10)]
    for task in tasks:
        assert not set(numbers(task.train)) & set(numbers(task.test))
        assert len(task.test) in (40, 41)
    assert sorted(number for task in tasks[:5] for number in numbers(task.test)) == list(range(203))
    for fold in range(5):
        # The same fold with another seed: tested on the same images, trained on others.
        assert numbers(tasks[fold].test) == numbers(tasks[fold + 5].test)
        assert numbers(tasks[fold].train) != numbers(tasks[fold + 5].train)


@pytest.mark.parametrize("folds", [1, 4])
def test_the_same_seed_gives_the_same_task(folds: int) -> None:
    def task(seed: int) -> tuple[list[int], list[int], list[int]]:
        made = make_task(data_set(folds=folds), size=8, train_images=90, chosen_on=20, seed=seed)
        return numbers(made.train), numbers(made.test), made.chosen_on.tolist()

    first = task(SEED)
    torch.manual_seed(SEED + 99)  # nothing comes from the global generator
    assert task(SEED) == first
    other = task(SEED + folds)
    assert all(one != another for one, another in zip(first[::2], other[::2], strict=True))


def test_for_choices_tests_on_training_images_only() -> None:
    task = make_task(data_set(test=50), size=8, train_images=100, chosen_on=30, seed=SEED)
    choices = task.for_choices()
    assert (len(choices.train), len(choices.test), len(choices.chosen_on)) == (70, 30, 0)
    assert sorted(numbers(choices.train) + numbers(choices.test)) == sorted(numbers(task.train))
    assert numbers(choices.test) == [numbers(task.train)[position] for position in task.chosen_on]
    assert choices.classes == task.classes


def test_tasks_that_cannot_be_cut_are_refused() -> None:
    for count in (0, -1, 201):
        with pytest.raises(ValueError, match=f"made up has 200 training images: at most that many, not {count}"):
            make_task(data_set(), size=8, train_images=count, chosen_on=0, seed=SEED)
    with pytest.raises(ValueError, match="made up has 150 training images"):
        make_task(data_set(folds=4), size=8, train_images=151, chosen_on=0, seed=SEED)
    for count in (-1, 100, 101):
        with pytest.raises(ValueError, match=f"the images for choices must be fewer than 100, not {count}"):
            make_task(data_set(), size=8, train_images=100, chosen_on=count, seed=SEED)
    with pytest.raises(ValueError, match="made up has 200 images: 200 to train with leave none to test on"):
        make_task(data_set(), size=8, train_images=200, chosen_on=0, seed=SEED)


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_few_images_of_each_class_are_of_the_whole_training(folds: int, seed: int) -> None:
    whole = make_task(data_set(folds=folds), size=8, train_images=100, chosen_on=20, seed=seed)
    counts = whole.train.labels.bincount(minlength=4)
    assert torch.equal(class_counts(data_set(folds=folds), train_images=100, seed=seed), counts)
    smaller = None
    for count in (2, 7, int(counts.min())):
        few = whole.with_few(count)
        assert few.train.labels.bincount(minlength=4).tolist() == [count] * 4
        # In the same order, on the same test images, and none is for choices.
        places = [numbers(whole.train).index(number) for number in numbers(few.train)]
        assert places == sorted(places)
        assert numbers(few.test) == numbers(whole.test)
        assert len(few.chosen_on) == 0
        assert smaller is None or smaller <= set(numbers(few.train))
        smaller = set(numbers(few.train))
    scarce, least = int(counts.argmin()), int(counts.min())
    message = f"made up has {least} images of '{'abcd'[scarce]}' among the 100 .*must be in 1..{least}, not {least + 1}"
    with pytest.raises(ValueError, match=message):
        whole.with_few(least + 1)
    with pytest.raises(ValueError, match="not 0"):
        whole.with_few(0)
