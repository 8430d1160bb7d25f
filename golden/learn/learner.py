# SPDX-License-Identifier: Apache-2.0
"""What learns: one interface for integer and float networks, and the closed-form head that both must beat."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from respin.golden.backbones import InputFormat
from respin.golden.float_network import RUN_AT_ONCE, FloatNetwork
from respin.golden.network import IntegerNetwork, Parameters
from respin.golden.schedule import Schedule
from respin.golden.trainer import Step, StepRecord, TrainingState, train_step

State = dict[str, Any]
"""Tensors, numbers and dictionaries of those: what ``torch.save`` writes and ``weights_only`` reads back."""


Prepared = Mapping[str, Tensor]
"""A batch of which the part before everything that learns has been computed: tensors by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a training is: steps done and in all, mean loss (nats) and share of training images right, lately."""

    step: int
    steps: int
    loss: float
    right: float


class Learner(ABC):
    """Something that learns from batches of uint8 images and can stop and go on anywhere."""

    @abstractmethod
    def step(self, images: Tensor | Prepared, labels: Tensor) -> tuple[float, int]:
        """Learn from a batch; returns the mean loss before it and how many images were classified right."""

    def prepare(self, images: Tensor) -> Callable[[Tensor], Tensor | Prepared]:
        """Return what gives :meth:`step` the images at some positions.

        A learner may compute here what is the same however often an image comes.
        """
        return lambda index: images[index]

    @abstractmethod
    def begin(self, steps: int) -> None:
        """Begin another phase of ``steps`` steps on other images: the learning rate starts again."""

    @abstractmethod
    def predict(self, images: Tensor) -> Tensor:
        """Return the class of each image."""

    @abstractmethod
    def state(self) -> State:
        """Return everything that the next step depends on."""

    @abstractmethod
    def load(self, state: State) -> None:
        """Go back to a state of the same learner."""

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Share of ``images`` whose class is right."""
        return float((self.predict(images) == labels).to(torch.float64).mean())


class IntegerLearner(Learner):
    """The integer rules of docs/arithmetic.md, bit for bit what the accelerator does.

    Parameters
    ----------
    network, form:
        What learns, and how a pixel becomes its input.
    schedule:
        The learning rate over the training.
    seed:
        Of the random numbers.
    observe:
        Called with every step's record.
    start:
        Where training starts; :meth:`TrainingState.initial` unless given.
    make_step:
        Makes the steps: the hardware's unless given.
    observe_frozen:
        Called with the tensors that :meth:`prepare` computes of some images.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        form: InputFormat,
        schedule: Schedule,
        *,
        seed: int,
        observe: Callable[[StepRecord], None] | None = None,
        start: TrainingState | None = None,
        make_step: Callable[..., Step] = Step,
        observe_frozen: Callable[[Mapping[str, Tensor]], None] | None = None,
    ) -> None:
        self.network, self.form, self.schedule = network, form, schedule
        self.training = start or TrainingState.initial(network, seed)
        self._make_step = make_step
        self.began = 0
        self.observe = observe
        self.observe_frozen = observe_frozen

    def begin(self, steps: int) -> None:
        """Begin another phase."""
        self.schedule, self.began = replace(self.schedule, steps=steps), self.training.step

    def prepare(self, images: Tensor) -> Callable[[Tensor], Prepared]:
        """Run the layers before everything that learns, once for each image."""
        parts = [
            self.network.prepare(self.form.to_integer(part), self.observe_frozen)
            for part in torch.split(images, RUN_AT_ONCE)
        ]
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return lambda index: {name: tensor[index] for name, tensor in tensors.items()}

    def step(self, images: Tensor | Prepared, labels: Tensor) -> tuple[float, int]:
        """Run one training step, as :func:`respin.golden.trainer.train_step` does."""
        log2_rate = self.schedule.log2_rate(self.training.step - self.began)
        x = self.form.to_integer(images) if isinstance(images, Tensor) else images
        record = train_step(self.network, self.training, x, labels, log2_rate=log2_rate, make_step=self._make_step)
        self.training = record.after
        if self.observe is not None:
            self.observe(record)
        return record.cross_entropy, record.correct

    def predict(self, images: Tensor) -> Tensor:
        """Return the class with the largest logit."""
        learned = self.training.parameters
        parts = torch.split(images, RUN_AT_ONCE)
        return torch.cat([self.network.predict(self.form.to_integer(part), learned) for part in parts])

    def state(self) -> State:
        """Return the task's trained state: weights, scales, step counter, seed."""
        training = self.training
        return {
            "schedule": (self.schedule.steps, self.schedule.first, self.schedule.last, self.began),
            "step": training.step,
            "seed": training.seed,
            "parameters": {name: (learned.weight, learned.bias) for name, learned in training.parameters.items()},
            "scales": {name: (s.shift, s.valid, s.exponent) for name, s in training.scales.items()},
            "step_scales": {name: (s.order, s.valid) for name, s in training.step_scales.items()},
        }

    def load(self, state: State) -> None:
        """Go back to a state."""
        steps, first, last, self.began = state["schedule"]
        self.schedule = Schedule(steps=steps, first=first, last=last)
        self.training = TrainingState(
            step=state["step"],
            seed=state["seed"],
            parameters={name: Parameters(weight=w, bias=b) for name, (w, b) in state["parameters"].items()},
            scales={
                name: replace(self.training.scales[name], shift=shift, valid=valid, exponent=exponent)
                for name, (shift, valid, exponent) in state["scales"].items()
            },
            step_scales={
                name: replace(self.training.step_scales[name], order=order, valid=valid)
                for name, (order, valid) in state["step_scales"].items()
            },
        )


class FloatLearner(Learner):
    """A float network trained with Adam and a cosine schedule.

    Parameters
    ----------
    network:
        The parameters that require a gradient are trained.
    rate:
        Learning rate at the start.
    steps:
        Steps of the training.
    """

    def __init__(self, network: FloatNetwork, *, rate: float, steps: int) -> None:
        self.network = network
        self.rate = rate
        self.begin(steps)

    def begin(self, steps: int) -> None:
        """Begin another phase, with an optimiser that knows nothing of the last one."""
        self.steps = steps
        self.optimiser = torch.optim.Adam([p for p in self.network.parameters() if p.requires_grad], lr=self.rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)

    def step(self, images: Tensor | Prepared, labels: Tensor) -> tuple[float, int]:
        """Run one step of Adam on the cross-entropy."""
        if not isinstance(images, Tensor):
            raise TypeError("images must be a tensor: a float network prepares nothing")
        self.network.train()
        logits = self.network(self.network.backbone.input.to_float(images))
        loss = functional.cross_entropy(logits, labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach()), int((logits.argmax(1) == labels).sum())

    def predict(self, images: Tensor) -> Tensor:
        """Return the class with the largest logit."""
        return self.network.predict(images)

    def state(self) -> State:
        """Return network, optimiser and schedule."""
        parts: Mapping[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler] = {
            "network": self.network,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        # A state dictionary holds the tensors themselves, which the next step changes.
        return {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}

    def load(self, state: State) -> None:
        """Go back to a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
