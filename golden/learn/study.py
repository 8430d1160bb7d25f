# SPDX-License-Identifier: Apache-2.0
"""A study: what a comparison gave, as one plain object that tables, the page and scripts read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from respin.golden.backbones import Backbone, load_backbone
from respin.golden.builder import build_network
from respin.golden.data import DATASETS
from respin.golden.float_network import FloatNetwork
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, Result
from respin.golden.learn.methods import IntegerMethod
from respin.golden.learn.protocol import Difference, Summary
from respin.golden.learn.published_memory import published_memory
from respin.golden.learn.saturation import KINDS, kind_of
from respin.golden.learn.scenarios import ContinualResult, ContinualRun, Scenario
from respin.golden.learn.system_memory import system_memory
from respin.golden.learn.task_storage import float_task_storage, task_storage
from respin.golden.learn.variations import VARIATIONS

ENDURANCE = 1e12
"""Pulses that a strip endures: an assumption of the device files (published range 1e10 to 1e15)."""
TASKS_A_DAY = 24
"""How often a device is taken to learn a new task, for its years of endurance: an assumption."""
AGAINST = (("rep-net", "rep-net-float"), ("rep-net", "linear"), ("rep-net", "head"))
"""Methods whose difference is bounded: one, and what it is held against. So is that of each variation and the rules."""
RULES = "rep-net"
"""The method of which the variations each change one rule."""
SHAPE_IMAGES = 4
"""Images that a network is built from where nothing but its shapes is read."""


def describe(results: Mapping[tuple[str, str], Sequence[Result]], conditions: Sequence[Conditions]) -> dict[str, Any]:
    """Return the study of a comparison.

    ``accuracy[task][method]`` has ``mean`` and ``deviation`` (points), ``seeds`` (shares), ``settings``, ``curves``
    (for each seed [step, loss in nats, share of training images right]), ``images_per_second`` and ``wear`` (means over
    the seeds, of methods in INT8); ``differences`` are in points, with one-sided 95 % bounds, of the pairs
    :data:`AGAINST` and of each variation against the rules as they are; ``saturation`` is :func:`largest_saturation` by
    task and method; ``licences`` are those of backbones and data. What a training step needs is
    :func:`measure_memory`'s, as the study's ``memory``.
    """
    names = list(dict.fromkeys(method for _, method in results))
    tasks = [task.dataset for task in conditions]
    return {
        "conditions": [asdict(task) for task in conditions],
        "methods": {
            name: {
                "title": METHODS[name].title,
                "arithmetic": METHODS[name].arithmetic,
                "trains": METHODS[name].trains,
                "settings": [setting.name for setting in METHODS[name].settings],
            }
            for name in names
        },
        "accuracy": {
            task: {name: _accuracy(results[task, name]) for name in names if (task, name) in results} for task in tasks
        },
        "means": {name: asdict(_mean(results, tasks, name)) for name in names},
        "differences": differences(results, tasks, names),
        "saturation": {
            task: {
                name: found for name in names if (found := largest_saturation(results.get((task, name), ())))
            }
            for task in tasks
        },
        "licences": {name: load_backbone(name).licence for name in dict.fromkeys(task.backbone for task in conditions)}
        | {task: _licence(task) for task in tasks},
    }


def follow(
    scenario: Scenario,
    results: Mapping[tuple[str, str], Sequence[Result]],
    conditions: Sequence[Conditions],
    rehearsal: int,
    run_all: Callable[[Sequence[ContinualRun]], Mapping[ContinualRun, ContinualResult]],
    *,
    storage: Mapping[str, int | None],
) -> dict[str, Any]:
    """Return a continual scenario with the settings that the comparison chose on the first task.

    Its ``tasks``, and of each of its ``methods`` the ``rows`` of the accuracy matrix (means over the seeds),
    ``average`` with its ``deviation``, ``backward_transfer`` and ``forgetting``; all are shares. To those joins what
    ``storage`` says of the method, as ``storage_bytes_per_task``.
    """
    runs: dict[str, list[ContinualRun]] = {}
    for (task, name), separate in results.items():
        if task == conditions[0].dataset:
            runs[name] = [
                ContinualRun(
                    scenario=scenario,
                    tasks=tuple(conditions),
                    method=name,
                    setting=result.run.setting,
                    seed=result.run.seed,
                    rehearsal=rehearsal if scenario == "class-incremental" else 0,
                )
                for result in separate
            ]
    done = run_all([run for of_method in runs.values() for run in of_method])
    first = next(iter(done.values()))
    return {
        "tasks": list(first.names),
        "methods": {
            name: {**_continual([done[run] for run in of_method]), "storage_bytes_per_task": storage[name]}
            for name, of_method in runs.items()
        },
    }


def _continual(results: Sequence[ContinualResult]) -> dict[str, Any]:
    count = len(results)
    averages = Summary.of([result.matrix.average for result in results])
    return {
        "rows": [
            [sum(cell) / count for cell in zip(*rows, strict=True)]
            for rows in zip(*(result.rows for result in results), strict=True)
        ],
        "average": averages.mean / 100,
        "deviation": averages.deviation / 100,
        "backward_transfer": sum(result.matrix.backward_transfer for result in results) / count,
        "forgetting": sum(result.matrix.forgetting for result in results) / count,
    }


def measure_memory(
    backbone: Backbone, names: Sequence[str], *, size: int, batch: int, classes: int
) -> dict[str, dict[str, int | None]]:
    """Return bytes of a training step of each method; images have three channels of ``size`` by ``size``.

    ``published`` is by the rule of :mod:`respin.golden.learn.published_memory`, norms folded, as these networks have
    them; it counts float32 activations whatever a method computes in. Of methods in INT8 ``system`` is this system's
    peak of RAM, and ``mram`` what the array holds, check bits included. ``task`` is what each task keeps for itself, by
    the rule of :mod:`respin.golden.learn.task_storage`.
    """
    return {
        name: {
            "published": round(
                published_memory(
                    backbone,
                    size=(size, size),
                    classes=classes,
                    batch=batch,
                    trains=METHODS[name].trains,
                    norms=False,
                ).total
            ),
            **_own_memory(backbone, name, size=size, batch=batch, classes=classes),
        }
        for name in names
    }


def _own_memory(backbone: Backbone, name: str, *, size: int, batch: int, classes: int) -> dict[str, int | None]:
    method = METHODS[name]
    if not isinstance(method, IntegerMethod):
        modules = backbone.rep_modules if method.trains == "modules" else ()
        task = float_task_storage(FloatNetwork(backbone, classes, modules), method.trains)
        return {"system": None, "mram": None, "task": task}
    # The figures follow from shapes, so any images do.
    shape = (3, size, size)
    images = torch.randint(
        0, 256, (SHAPE_IMAGES, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    network = build_network(backbone, images, classes, seed=0, batch=batch, rules=method.rules)
    memory = system_memory(network, shape, batch=batch)
    return {"system": memory.peak, "mram": memory.mram + memory.check, "task": task_storage(network).total}


def _licence(dataset: str) -> str:
    if dataset not in DATASETS:
        return "a folder of the user's own"
    source = DATASETS[dataset][1]
    return source.licence if source else "BSD-3-Clause (in scikit-learn's wheel)"


def _accuracy(results: Sequence[Result]) -> dict[str, Any]:
    wears = [result.wear for result in results if result.wear is not None]
    wear = {key: sum(w[key] for w in wears) / len(wears) for key in wears[0]} if wears else None
    if wear is not None:
        wear["years"] = ENDURANCE / max(wear["most"], 1.0) / TASKS_A_DAY / 365.25
    return {
        **asdict(Summary.of([result.accuracy for result in results])),
        "seeds": [result.accuracy for result in results],
        "settings": [result.run.setting for result in results],
        "curves": [result.curve for result in results],
        "images_per_second": sum(result.images_per_second for result in results) / len(results),
        "test_images": results[0].test_images,
        "wear": wear,
    }


def largest_saturation(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Return the tensor of each kind that saturated most in any seed: its name (``tensor``) and its ``share``.

    Kinds are those of :data:`respin.golden.learn.saturation.KINDS`; results that do not say so count nothing.
    """
    largest: dict[str, dict[str, Any]] = {}
    for result in results:
        for tensor, share in (result.saturation or {}).items():
            kind = kind_of(tensor)
            if kind is not None and (kind not in largest or share > largest[kind]["share"]):
                largest[kind] = {"tensor": tensor, "share": share}
    return {kind: largest[kind] for kind in KINDS if kind in largest}


def _by_seed(
    results: Mapping[tuple[str, str], Sequence[Result]], tasks: Sequence[str], name: str
) -> list[float]:
    """Mean accuracy over the tasks for each seed."""
    columns = [[result.accuracy for result in results[task, name]] for task in tasks]
    return [sum(column) / len(column) for column in zip(*columns, strict=True)]


def _mean(results: Mapping[tuple[str, str], Sequence[Result]], tasks: Sequence[str], name: str) -> Summary:
    return Summary.of(_by_seed(results, tasks, name))


def differences(
    results: Mapping[tuple[str, str], Sequence[Result]], tasks: Sequence[str], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return how far methods of ``names`` are above others, on each of ``tasks`` and on their mean ("mean")."""
    rows = []
    pairs = [*AGAINST, *((name, RULES) for name in names if name in VARIATIONS)]
    for one, other in pairs:
        if one not in names or other not in names:
            continue
        for task in tasks:
            values = [[result.accuracy for result in results[task, name]] for name in (one, other)]
            rows.append({"task": task, "of": one, "against": other, **asdict(Difference.of(*values))})
        means = [_by_seed(results, tasks, name) for name in (one, other)]
        rows.append({"task": "mean", "of": one, "against": other, **asdict(Difference.of(*means))})
    return rows
