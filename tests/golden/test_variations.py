# SPDX-License-Identifier: Apache-2.0
"""Variations of the rules: each changes its own part of a training and nothing before it."""

import os
from typing import Any

import pytest
import torch
from small_backbone import SIDE, small_backbone, small_images

from respin.golden.builder import HEAD
from respin.golden.data import Dataset, Task, make_task
from respin.golden.learn.catalogue import METHODS
from respin.golden.learn.learner import IntegerLearner
from respin.golden.learn.methods import Plan
from respin.golden.learn.variations import VARIATIONS
from respin.golden.ops import DelayedScale, GradientStatistics, StepScale
from respin.golden.random import RandomSource
from respin.golden.trainer import Step, StepRecord

SEED = int(os.environ.get("RESPIN_SEED", "1"))
BATCH, STEPS = 8, 24


@pytest.fixture(scope="module")
def task() -> Task:
    data = Dataset(name="waves", classes=tuple("abcd"), train=small_images(160, SEED), test=small_images(80, SEED + 1))
    return make_task(data, size=SIDE, train_images=120, chosen_on=0, seed=SEED)


def train(name: str, task: Task) -> tuple[IntegerLearner, list[StepRecord]]:
    records: list[StepRecord] = []
    method: Any = METHODS[name]
    learner = method.learner(small_backbone(SEED), task, method.settings[0], Plan(steps=STEPS, batch=BATCH, seed=SEED))
    learner.observe = records.append
    for step in range(STEPS):
        index = torch.arange(step * BATCH, (step + 1) * BATCH) % len(task.train)
        learner.step(task.train.images[index], task.train.labels[index])
    return learner, records


@pytest.fixture(scope="module")
def usual(task: Task) -> list[StepRecord]:
    return train("rep-net", task)[1]


def moves(records: list[StepRecord]) -> list[int]:
    return [sum(int(update.move.abs().sum()) for update in record.updates.values()) for record in records]


@pytest.mark.parametrize("name", list(VARIATIONS))
def test_a_variation_trains_otherwise_than_the_rules(task: Task, usual: list[StepRecord], name: str) -> None:
    learner, records = train(name, task)
    assert learner.training.step == STEPS
    assert sum(moves(records)) > 0
    assert any(
        not torch.equal(record.activations.tensors[HEAD], other.activations.tensors[HEAD])
        for record, other in zip(records, usual, strict=True)
    )
    # A state that is gone back to keeps the variation's own kind of scale.
    before = {edge: type(scale) for edge, scale in learner.training.scales.items()}
    learner.load(learner.state())
    assert {edge: type(scale) for edge, scale in learner.training.scales.items()} == before


def test_nearest_errors_draw_no_numbers(task: Task) -> None:
    learner, _ = train("nearest", task)
    assert not any(edge.stochastic for edge in learner.network.edges)
    assert learner.network.loss.stochastic


def test_immediate_errors_fill_their_bits(task: Task) -> None:
    _, records = train("immediate", task)
    for record in records[1:]:
        for edge in record.edges.values():
            largest = int(edge.result.error.abs().max())
            assert largest == 0 or largest >= 64 or edge.shift == 0


@pytest.mark.parametrize(
    ("name", "spare"), [("spare-bit", 1), ("bit-less", -1), ("two-bits-less", -2)]
)
def test_roomier_errors_shift_so_many_bits_more(task: Task, name: str, spare: int) -> None:
    learner, records = train(name, task)
    for edge, scale in learner.training.scales.items():
        last = [record.edges[edge].result.largest for record in records if edge in record.edges]
        largest = next((value for value in reversed(last) if value), 0)
        if largest:
            assert scale.shift == max(0, largest.bit_length() - 7 + spare)
            assert DelayedScale().after(largest).shift == max(0, largest.bit_length() - 7)


def test_steps_by_the_largest_gradient_are_smaller_than_by_the_mean() -> None:
    statistics = GradientStatistics.of(torch.tensor([1, -3, 0, 64], dtype=torch.int32))
    scale: Any = VARIATIONS["largest-0"]
    by_largest, by_mean = scale.scale.after(statistics, 4096), StepScale().after(statistics, 4096)
    step = [one.multiplier * 2.0**-one.shift for one in (by_largest, by_mean)]
    mean = (1 + 3 + 64) / 3
    assert step[0] * 64 == pytest.approx(4096 / 256, rel=0.01)
    assert step[1] * mean == pytest.approx(4096 / 256, rel=0.01)


def test_free_steps_follow_the_gradient_at_once() -> None:
    large, small = (GradientStatistics.of(torch.full((4,), g, dtype=torch.int32)) for g in (6400, 100))
    variation: Any = VARIATIONS["free-steps"]
    free = variation.scale.after(large, 4096).after(small, 4096)
    assert (free.multiplier, free.shift) == (
        StepScale().after(small, 4096).multiplier,
        StepScale().after(small, 4096).shift,
    )
    bound = StepScale().after(large, 4096).after(small, 4096)
    assert bound.multiplier * 2.0**-bound.shift < free.multiplier * 2.0**-free.shift / 32


def test_momentum_averages_the_gradients_of_the_head_alone(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Step, "update_tensor", lambda self, name, tensor, value, gradient, **_: seen.append(gradient))
    method: Any = METHODS["momentum"]
    step = method.make_step()(network=None, state=None, activations=None, random=None, rate=1)
    gradients = [torch.tensor(values, dtype=torch.int32) for values in ([80, -16], [8, 0], [-1, 9])]
    for name in (f"{HEAD}.weight", "other.weight"):
        for gradient in gradients:
            step.update_tensor(name, 1, gradient, gradient, rate=1, exponent=0)
    # v - (v >> 3) + g, by hand.
    assert [one.tolist() for one in seen[:3]] == [[80, -16], [78, -14], [68, -3]]
    assert [one.tolist() for one in seen[3:]] == [[80, -16], [8, 0], [-1, 9]]
    # The next step's object goes on from the same averages.
    factory = method.make_step()
    one, other = (factory(network=None, state=None, activations=None, random=None, rate=1) for _ in range(2))
    assert one.averages is other.averages


@pytest.mark.parametrize("rate", [1, 255, 256, 4096, 65535])
def test_steps_fade_with_the_gradient_and_its_exponent(rate: int) -> None:
    method: Any = METHODS["fading-steps"]
    random: Any = RandomSource(seed=SEED, step=1)
    step = method.make_step()(network=None, state=None, activations=None, random=random, rate=rate)
    value = torch.zeros((4, 4), dtype=torch.int8)

    def scale(gradient: int, exponent: int) -> float:
        """What a unit of the gradient is worth, of a step's 2^16, in units of the gradient's own tensor."""
        whole = torch.full((4, 4), gradient, dtype=torch.int32)
        taken = step.update_tensor("x.weight", 1, value, whole, rate=rate, exponent=exponent).before
        return float(taken.valid * taken.multiplier * 2.0**-taken.shift * 256)

    assert scale(1000, -3) == 0.0
    # What 1000 of 2^-3 is a step of the rate for, 1000 of 2^-7 is a sixteenth of one for; a larger one ends that.
    assert scale(1000, -3) == pytest.approx(rate / 1000, rel=2**-6)
    assert scale(1000, -7) == pytest.approx(rate / 1000 / 16, rel=2**-6)
    assert scale(3000, -3) == pytest.approx(rate / 1000, rel=2**-6)
    assert scale(1000, -3) == pytest.approx(rate / 3000, rel=2**-6)


def test_a_random_head_is_random(task: Task) -> None:
    learner, _ = train("random-head", task)
    head = learner.network.convolution(HEAD).weight
    assert int(torch.count_nonzero(head)) > head.numel() / 4
