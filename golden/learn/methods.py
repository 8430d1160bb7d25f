# SPDX-License-Identifier: Apache-2.0
"""The methods of learning a task beside or on a frozen backbone.

A method says what trains, makes a learner, and names the settings that a protocol may choose between. What is kept for
the backward pass and what is written follow from what trains.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from respin.golden.backbones import Backbone
from respin.golden.builder import Rules, build_network
from respin.golden.data import Task
from respin.golden.float_network import FloatNetwork
from respin.golden.learn.learner import FloatLearner, IntegerLearner, Learner
from respin.golden.learn.linear import LinearLearner
from respin.golden.network import IntegerNetwork
from respin.golden.schedule import Schedule
from respin.golden.trainer import Step, TrainingState

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

    def network(self, backbone: Backbone, task: Task, plan: Plan) -> IntegerNetwork:
        """Quantise the backbone on the task's images and put beside it what learns."""
        return build_network(
            backbone,
            calibration(task),
            len(task.classes),
            seed=plan.seed,
            batch=plan.batch,
            rules=self.rules,
            range_images=task.ranges,
        )

    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> IntegerLearner:
        """Make the learner of the network."""
        network = self.network(backbone, task, plan)
        schedule = Schedule(steps=plan.steps, first=setting["first"], last=setting["last"])
        return IntegerLearner(
            network,
            backbone.input,
            schedule,
            seed=plan.seed,
            start=self.start(network, plan),
            make_step=self.make_step(),
        )

    def start(self, network: IntegerNetwork, plan: Plan) -> TrainingState:
        """Where training starts."""
        return TrainingState.initial(network, plan.seed)

    def make_step(self) -> Callable[..., Step]:
        """What makes the steps."""
        return Step


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatMethod(Method):
    """The same in float32, with Adam."""

    def learner(self, backbone: Backbone, task: Task, setting: Setting, plan: Plan) -> FloatLearner:
        """Make the float network, let its head see standardised features, and unfreeze what learns."""
        modules = backbone.rep_modules if self.trains == "modules" else ()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = FloatNetwork(backbone, len(task.classes), modules, norm=bool(dict(setting.values).get("norm", 0)))
        network.standardise(network.features_of(calibration(task)))
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


def calibration(task: Task) -> Tensor:
    """Return the images that set scales."""
    return task.train.images[:CALIBRATION_IMAGES]


def falling(*starts: float, fall: float = 6.0) -> tuple[Setting, ...]:
    """Return settings of an integer method: μ falls by ``fall`` over the training, from each of ``starts``."""
    return tuple(
        Setting(name=f"μ {first:g} → {first - fall:g}", values=(("first", first), ("last", first - fall)))
        for first in starts
    )
