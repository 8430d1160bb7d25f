# SPDX-License-Identifier: Apache-2.0
"""A study of made-up figures, with every key."""

import math
from dataclasses import asdict

from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.protocol import Difference, Summary
from respin.golden.learn.study import AGAINST
from respin.golden.learn.variations import VARIATIONS

TASKS = ("cifar10", "fashion_mnist", "elpv", "photos/of <mine> & $yours$")
NAMES = ("rep-net", "rep-net-float", "linear", "head", "bias", "full-float")
ABOVE = dict(zip(NAMES, (0.0, 0.006, -0.02, -0.03, -0.01, 0.02), strict=True))
"""Accuracy of a method, less that of the first."""


SATURATION = {"sum": 0.00123, "logits": 0.0}
"""The largest share of the kinds that have one."""


def accuracies(task: int, name: str, seeds: int) -> list[float]:
    return [0.8 + 0.03 * task + ABOVE[name] + 0.002 * math.sin(7 * seed + len(name)) for seed in range(seeds)]


def cell(task: int, name: str, seeds: int) -> dict[str, object]:
    values = accuracies(task, name, seeds)
    curve = [(step, 2 * math.exp(-step / 100), 1 - math.exp(-step / 100)) for step in range(50, 501, 50)]
    wear = {"rows": 9e5, "bytes": 3.2e7, "strips": 5e6, "weights": 2.6e6 + task, "most": 610.0 + task, "years": 187e3}
    return {
        **asdict(Summary.of(values)),
        "seeds": values,
        "settings": [METHODS[name].settings[0].name] * seeds,
        "curves": [[] if name == "linear" else curve[: len(curve) - seed % 2] for seed in range(seeds)],
        "wear": wear if METHODS[name].arithmetic == "int8" else None,
    }


def differences(tasks: tuple[str, ...], names: tuple[str, ...], seeds: int) -> list[dict[str, object]]:
    rows = []
    for of, against in AGAINST:
        if {of, against} <= set(names):
            for number, task in enumerate((*tasks, "mean")):
                found = Difference.of(accuracies(number, of, seeds), accuracies(number, against, seeds))
                rows.append({"task": task, "of": of, "against": against, **asdict(found)})
    return rows


def scenario(tasks: list[str], names: tuple[str, ...]) -> dict[str, object]:
    rows = [[0.9 - 0.031 * (row - column) for column in range(row + 1)] for row in range(len(tasks))]
    figures = {"rows": rows, "average": 0.8617, "backward_transfer": -0.0413, "forgetting": 0.0427}
    return {"tasks": tasks, "methods": {name: {**figures, "storage_bytes_per_task": 391_802} for name in names}}


def few(task: int, names: tuple[str, ...], seeds: int) -> list[dict[str, object]]:
    found = {name: asdict(Summary.of(accuracies(task, name, seeds))) for name in names}
    return [
        {
            "images_a_class": count,
            "images": 10 * count,
            "methods": {
                name: {"mean": row["mean"] - 80 / count, "deviation": row["deviation"], "seeds": [0.5] * seeds}
                for name, row in found.items()
            },
        }
        for count in (10, 50, 1000)
    ]


def study(tasks: tuple[str, ...] = TASKS, names: tuple[str, ...] = NAMES, seeds: int = 3) -> dict[str, object]:
    """A study of made-up figures, with every key."""
    shared = {"backbone": "efficientnet-lite0", "size": 96, "chosen_on": 400, "epochs": 8, "batch": 16}
    integer = [name for name in names if METHODS[name].arithmetic == "int8"]
    return {
        "conditions": [{**shared, "dataset": task, "train_images": 1968 if task == "elpv" else 2000} for task in tasks],
        "methods": {
            name: {"title": METHODS[name].title, "arithmetic": METHODS[name].arithmetic, "trains": METHODS[name].trains}
            for name in names
        },
        "accuracy": {task: {name: cell(number, name, seeds) for name in names} for number, task in enumerate(tasks)},
        "means": {name: asdict(Summary.of(accuracies(1, name, seeds))) for name in names},
        "differences": differences(tasks, names, seeds),
        "memory": {
            name: {
                "published": 22_336_408,
                "system": 4_866_048 if name in integer else None,
                "mram": 8_471_964 if name in integer else None,
                "task": 1_234_567,
            }
            for name in names
        },
        "continual": {
            "task-incremental": scenario(list(tasks), tuple(integer)),
            "class-incremental": scenario([str(label) for label in range(10)], tuple(integer)),
        },
        "saturation": {
            task: {"rep-net": {kind: {"tensor": kind, "share": share} for kind, share in SATURATION.items()}}
            for task in tasks
        },
        "labels": {task: few(number, names, seeds) for number, task in enumerate(tasks)},
        "licences": {"efficientnet-lite0": "Apache-2.0", "elpv": "CC-BY-NC-SA-4.0 (no commercial use)"},
        "command": "respin learn --tasks cifar10 --report",
    }


def varied(count: int) -> dict[str, object]:
    """A study of the rules and so many variations of them, each a tenth of a point better than the one before."""
    names = ("rep-net", *list(VARIATIONS)[:count])
    base = study(tasks=("cifar10", "elpv"), names=names[:1], seeds=2) | {"continual": {}, "labels": {}}
    for part in (*base["accuracy"].values(), base["means"], base["memory"]):
        for name in names:
            part[name] = part["rep-net"]
    base["methods"] = {name: base["methods"]["rep-net"] | {"title": METHODS[name].title} for name in names}
    base["differences"] = [
        {"task": task, "of": name, "against": "rep-net", "mean": value, "lower": value - 0.5, "upper": value + 0.5}
        for value, name in ((number / 10 - 0.4, name) for number, name in enumerate(names[1:]))
        for task in ("cifar10", "elpv", "mean")
    ]
    return base
