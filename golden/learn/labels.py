# SPDX-License-Identifier: Apache-2.0
"""Label efficiency: how well a task is learned from few images of each class.

Every method trains with the setting that it was given for the whole training, for as many steps (to the nearest pass
over the images), and is tested on the same images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from respin.golden.data import Dataset, class_counts, require_of_each
from respin.golden.learn.experiment import Conditions, FewImages, Result, Run
from respin.golden.learn.protocol import RunAll, Summary


def few_images(task: Conditions, images_a_class: int, classes: int) -> Conditions:
    """Return the conditions of a training on few images, those of ``task`` itself where these are all it has."""
    images = images_a_class * classes
    if images == task.train_images:
        return task
    if images < task.batch:
        raise ValueError(
            f"{images_a_class} images a class are {images} of {task.title}: a batch of {task.batch} needs as many"
        )
    steps = task.epochs * (task.train_images // task.batch)
    values = asdict(task) | {"chosen_on": 0, "epochs": max(1, round(steps / (images // task.batch)))}
    return FewImages(**values, images_a_class=images_a_class)


def check_images(task: Conditions, dataset: Dataset, counts: Sequence[int], seeds: Sequence[int]) -> None:
    """Raise ValueError where some seed has fewer images of a class than one of ``counts``, or those make no batch."""
    for images_a_class in counts:
        few_images(task, images_a_class, len(dataset.classes))
    for seed in seeds:
        of_each = class_counts(dataset, train_images=task.train_images, seed=seed)
        for images_a_class in counts:
            require_of_each(task.title, dataset.classes, of_each, images_a_class)


def label_efficiency(
    results: Mapping[tuple[str, str], Sequence[Result]],
    conditions: Sequence[Conditions],
    counts: Sequence[int],
    classes: Mapping[str, int],
    run_all: RunAll,
) -> dict[str, list[dict[str, Any]]]:
    """Return what every method of a comparison reaches from few images, by task.

    Parameters
    ----------
    results:
        Of the comparison, by data set and method: they say what is trained with which setting and seed.
    conditions:
        Its tasks.
    counts:
        Images of each class.
    classes:
        How many classes each data set has.
    run_all:
        Runs them.

    Returns
    -------
    dict
        For each task a row for each count, the smallest first: ``images_a_class``, ``images`` in all, and ``methods``,
        for each ``mean`` and ``deviation`` (points) and ``seeds`` (shares).
    """
    runs = {
        (task.dataset, images_a_class, name): [
            Run(
                conditions=few_images(task, images_a_class, classes[task.dataset]),
                method=name,
                setting=result.run.setting,
                seed=result.run.seed,
            )
            for result in found
        ]
        for task in conditions
        for images_a_class in sorted(counts)
        for (dataset, name), found in results.items()
        if dataset == task.dataset
    }
    done = run_all([run for of_method in runs.values() for run in of_method])
    reached: dict[str, dict[int, dict[str, Any]]] = {}
    for (dataset, images_a_class, name), of_method in runs.items():
        shares = [done[run].accuracy for run in of_method]
        summary = Summary.of(shares)
        row = reached.setdefault(dataset, {}).setdefault(
            images_a_class,
            {"images_a_class": images_a_class, "images": images_a_class * classes[dataset], "methods": {}},
        )
        row["methods"][name] = {"mean": summary.mean, "deviation": summary.deviation, "seeds": shares}
    return {dataset: list(rows.values()) for dataset, rows in reached.items()}
