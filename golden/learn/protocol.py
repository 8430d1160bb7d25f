# SPDX-License-Identifier: Apache-2.0
"""How methods are compared: settings chosen on a part of the training images, then every seed, then bounds.

Nothing is chosen on test images. Where a data set has folds, the test images of one seed train in another, so there
each seed chooses for itself; elsewhere the first seed's choice serves them all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.experiment import Conditions, Result, Run

RunAll = Callable[[Sequence[Run]], Mapping[Run, Result]]
"""Runs what has no result yet, in any order, and returns every result."""
CONFIDENCE = 0.95


def compare(
    conditions: Sequence[Conditions],
    methods: Sequence[str],
    seeds: Sequence[int],
    run_all: RunAll,
    *,
    own_choice: Callable[[Conditions], bool],
    choose: bool = True,
) -> dict[tuple[str, str], list[Result]]:
    """Compare ``methods`` on every task; returns the results of all seeds by data set and method.

    Parameters
    ----------
    conditions:
        One for each task.
    methods, seeds:
        What is compared, and how often.
    run_all:
        Runs them.
    own_choice:
        Whether each seed of a task chooses for itself.
    choose:
        Whether settings are chosen at all; else the first of each method is taken.
    """
    choosing: dict[tuple[Conditions, str, int], list[Run]] = {}
    for task in conditions:
        for method in methods:
            settings = METHODS[method].settings
            if choose and len(settings) > 1:
                for seed in seeds if own_choice(task) else seeds[:1]:
                    choosing[task, method, seed] = [
                        Run(conditions=task, method=method, setting=setting.name, seed=seed, choosing=True)
                        for setting in settings
                    ]
    tried = run_all([run for runs in choosing.values() for run in runs])
    chosen = {
        # The first of equals.
        which: max(runs, key=lambda run: tried[run].accuracy).setting
        for which, runs in choosing.items()
    }

    def setting(task: Conditions, method: str, seed: int) -> str:
        own = chosen.get((task, method, seed)) or chosen.get((task, method, seeds[0]))
        return own or METHODS[method].settings[0].name

    final = {
        (task, method): [
            Run(conditions=task, method=method, setting=setting(task, method, seed), seed=seed) for seed in seeds
        ]
        for task in conditions
        for method in methods
    }
    done = run_all([run for runs in final.values() for run in runs])
    return {(task.dataset, method): [done[run] for run in runs] for (task, method), runs in final.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Accuracies of several seeds: their mean and standard deviation, in points."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise shares."""
        points = [100 * value for value in values]
        mean = sum(points) / len(points)
        spread = math.sqrt(sum((p - mean) ** 2 for p in points) / (len(points) - 1)) if len(points) > 1 else 0.0
        return cls(mean=mean, deviation=spread, count=len(points))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far one method is above another, in points, seed by seed.

    Parameters
    ----------
    mean:
        Mean difference.
    lower, upper:
        One-sided 95 % bounds of it, by Student's t over the seeds' differences; None for a single seed.
    """

    mean: float
    lower: float | None
    upper: float | None

    @classmethod
    def of(cls, values: Sequence[float], others: Sequence[float]) -> "Difference":
        """Compare shares that were reached with the same seeds."""
        summary = Summary.of([value - other for value, other in zip(values, others, strict=True)])
        if summary.count < 2:
            return cls(mean=summary.mean, lower=None, upper=None)
        reach = float(stats.t.ppf(CONFIDENCE, summary.count - 1)) * summary.deviation / math.sqrt(summary.count)
        return cls(mean=summary.mean, lower=summary.mean - reach, upper=summary.mean + reach)
