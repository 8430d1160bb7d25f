# SPDX-License-Identifier: Apache-2.0
"""The methods of learning a task beside or on a frozen backbone.

A method says what trains, makes a learner, and names the settings that a protocol may choose between. What is kept for
the backward pass and what is written follow from what trains.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from respin.golden.backbones import Backbone
from respin.golden.builder import Rules, build_network
from respin.golden.data import Task
from respin.golden.float_network import FloatNetwork, rep_modules
from respin.golden.learn.learner import FloatLearner, IntegerLearner, Learner
from respin.golden.learn.linear import LinearLearner
from respin.golden.schedule import Schedule

Trains = Literal["modules", "head", "biases", "everything"]
"""What learns: Rep-Net modules and the head, the head alone, it and every bias of the backbone, or all of it."""
CALIBRATION_IMAGES = 512
"""Training images that set the scales of an integer network, and the features' mean and deviation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One choice of a method: a name for tables, and the values that its learner takes."""

    name: str
    values: tuple[tuple[str, float], ...]

    def __getitem__(self, key: str) -> float:
        return dict(self.values)[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long a training is and what it draws from: steps, images a step, and the seed of everything random."""

    steps: int
    batch: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Method(ABC):
    """A method.

    Parameters
    ----------
    name, title:
        On the command line, and in tables.
    arithmetic:
        What it computes in.
    trains:
        What learns.
    settings:
        What a protocol chooses between; the first one is taken where there is no choice.
    """

    name: str
    title: str
    arithmetic: Literal["int8", "float32"]
    trains: Trains
    settings: tuple[Setting, ...]

    @abstractmethod
    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> Learner:
        """Make the learner of a task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerMethod(Method):
    """The accelerator's own arithmetic."""

    rules: Rules = field(default_factory=Rules)

    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> IntegerLearner:
        """Quantise the backbone on the task's images and put beside it what learns."""
        network = build_network(
            backbone,
            _calibration(task),
            len(task.classes),
            seed=plan.seed,
            batch=plan.batch,
            rules=self.rules,
        )
        schedule = Schedule(steps=plan.steps, first=setting["first"], last=setting["last"])
        return IntegerLearner(network, backbone.input, schedule, seed=plan.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatMethod(Method):
    """The same in float32, with Adam."""

    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> FloatLearner:
        """Make the float network, let its head see standardised features, and unfreeze what learns."""
        modules = rep_modules(backbone) if self.trains == "modules" else ()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = FloatNetwork(backbone, len(task.classes), modules, norm=bool(dict(setting.values).get("norm", 0)))
        network.standardise(network.features_of(_calibration(task)))
        thawed = {"biases": [network.biases], "everything": [network.biases, network.weights]}.get(self.trains, [])
        for parameters in thawed:
            for parameter in parameters.values():
                parameter.requires_grad_(True)
        return FloatLearner(network, rate=setting["rate"], steps=plan.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearMethod(Method):
    """Logistic regression on standardised frozen features: the strong baseline of training a head alone."""

    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> LinearLearner:
        """Make the learner, which is fitted at once rather than step by step."""
        return LinearLearner(FloatNetwork(backbone, len(task.classes)), inverse_penalty=setting["C"])


def _calibration(task: Task) -> Tensor:
    return task.train.images[:CALIBRATION_IMAGES]


def _mu(*starts: float, fall: float = 4.0) -> tuple[Setting, ...]:
    return tuple(
        Setting(name=f"μ {first:g} → {first - fall:g}", values=(("first", first), ("last", first - fall)))
        for first in starts
    )


def _rates(*rates: float, norms: tuple[int, ...] = (0,)) -> tuple[Setting, ...]:
    return tuple(
        Setting(name=f"rate {rate:g}{', norm' if norm else ''}", values=(("rate", rate), ("norm", norm)))
        for norm in norms
        for rate in rates
    )


INTEGER_SETTINGS = _mu(-4.0, -3.0, -5.0)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        IntegerMethod(
            name="rep-net",
            title="Rep-Net, INT8",
            arithmetic="int8",
            trains="modules",
            settings=INTEGER_SETTINGS,
        ),
        IntegerMethod(
            name="head",
            title="head only, INT8",
            arithmetic="int8",
            trains="head",
            settings=INTEGER_SETTINGS,
            rules=Rules(modules=False),
        ),
        IntegerMethod(
            name="bias",
            title="biases and head, INT8",
            arithmetic="int8",
            trains="biases",
            settings=INTEGER_SETTINGS,
            rules=Rules(modules=False, biases=True),
        ),
        FloatMethod(
            name="rep-net-float",
            title="Rep-Net, float32",
            arithmetic="float32",
            trains="modules",
            settings=_rates(1e-3, 3e-4, 3e-3, norms=(0, 1)),
        ),
        FloatMethod(
            name="bias-float",
            title="biases and head, float32",
            arithmetic="float32",
            trains="biases",
            settings=_rates(1e-3, 3e-4, 3e-3),
        ),
        FloatMethod(
            name="full-float",
            title="full fine-tuning, float32",
            arithmetic="float32",
            trains="everything",
            settings=_rates(3e-4, 1e-4, 1e-3),
        ),
        LinearMethod(
            name="linear",
            title="logistic regression on frozen features",
            arithmetic="float32",
            trains="head",
            settings=tuple(
                Setting(name=f"C {c:g}", values=(("C", c),)) for c in (1e-2, 1e-4, 3e-4, 1e-3, 3e-3, 3e-2, 1e-1, 1.0)
            ),
        ),
    )
}
"""By name. Another kind needs an entry here and a learner that can ``step``, ``predict`` and save itself."""
