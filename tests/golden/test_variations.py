# SPDX-License-Identifier: Apache-2.0
"""Variations of the rules: each changes its own part of a training and nothing before it."""

import os
from types import SimpleNamespace
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


def test_steps_by_the_largest_entry_are_smaller_than_by_the_mean() -> None:
    statistics = GradientStatistics.of(torch.tensor([1, -3, 0, 64], dtype=torch.int32))
    variation: Any = VARIATIONS["largest"]
    assert variation.scale.after(statistics, -5).order == 7 - 1 - 5
    assert StepScale().after(statistics, -5).order == 7 - 2 - 5


def test_full_steps_follow_the_last_gradient() -> None:
    large, small = (GradientStatistics.of(torch.full((4,), g, dtype=torch.int32)) for g in (6400, 100))
    none = GradientStatistics.of(torch.zeros(4, dtype=torch.int32))
    variation: Any = VARIATIONS["full-steps"]
    full = variation.scale.after(large, -3).after(small, -3).after(none, 5)
    assert full.order == StepScale().after(small, -3).order < StepScale().after(large, -3).order


def test_momentum_averages_the_gradients_of_the_head_alone(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Step, "update_tensor", lambda self, name, tensor, value, gradient, **_: seen.append(gradient))
    method: Any = METHODS["momentum"]
    step = method.make_step()(network=None, state=None, activations=None, random=None, log2_rate=0)
    gradients = [torch.tensor(values, dtype=torch.int32) for values in ([80, -16], [8, 0], [-1, 9])]
    for name in (f"{HEAD}.weight", "other.weight"):
        for gradient in gradients:
            step.update_tensor(name, 1, gradient, gradient, log2_rate=0, exponent=0)
    # v - (v >> 3) + g, by hand.
    assert [one.tolist() for one in seen[:3]] == [[80, -16], [78, -14], [68, -3]]
    assert [one.tolist() for one in seen[3:]] == [[80, -16], [8, 0], [-1, 9]]
    # The next step's object goes on from the same averages.
    factory = method.make_step()
    one, other = (factory(network=None, state=None, activations=None, random=None, log2_rate=0) for _ in range(2))
    assert one.averages is other.averages


@pytest.mark.parametrize("name", ["fine-steps", "channel-steps"])
def test_other_means_scale_steps_alike(name: str) -> None:
    method: Any = METHODS[name]
    random: Any = RandomSource(seed=SEED, step=1)
    state: Any = SimpleNamespace(step_scales={"x.weight": StepScale()})
    step = method.make_step()(network=None, state=state, activations=None, random=random, log2_rate=0)
    value = torch.zeros((4, 4096), dtype=torch.int8)

    def share(gradient: int, exponent: int) -> float:
        """How many of the weights a gradient moves."""
        whole = torch.full(value.shape, gradient, dtype=torch.int32)
        taken = step.update_tensor("x.weight", 1, value, whole, log2_rate=-1, exponent=exponent)
        assert torch.equal(taken.value, -taken.move)
        return float(taken.move.double().mean())

    assert share(1024, -3) == 0.0
    # What 1024 of 2^-3 moves half of the weights for, 1024 of 2^-7 does for a sixteenth of that; a larger one ends it.
    assert share(1024, -3) == pytest.approx(1 / 2, abs=0.02)
    assert share(1024, -7) == pytest.approx(1 / 32, abs=0.01)
    share(4096, -3)
    assert share(1024, -3) == pytest.approx(1 / 8, abs=0.02)


def test_fine_steps_tell_means_of_the_same_order_apart() -> None:
    method: Any = METHODS["fine-steps"]
    random: Any = RandomSource(seed=SEED, step=1)
    state: Any = SimpleNamespace(step_scales={"x.weight": StepScale()})
    gradient = torch.full((1, 1 << 14), 1000, dtype=torch.int32)
    value = torch.zeros(gradient.shape, dtype=torch.int8)
    shares = []
    for mean in (520, 1000):
        step = method.make_step()(network=None, state=state, activations=None, random=random, log2_rate=0)
        for one in (torch.full_like(gradient, mean), gradient):
            taken = step.update_tensor("x.weight", 1, value, one, log2_rate=-2, exponent=-4)
        shares.append(float(taken.move.double().mean()))
    assert shares[0] == pytest.approx(1000 / 520 / 4, abs=0.02)
    assert shares[1] == pytest.approx(1 / 4, abs=0.02)


def test_a_random_head_is_random(task: Task) -> None:
    learner, _ = train("random-head", task)
    head = learner.network.convolution(HEAD).weight
    assert int(torch.count_nonzero(head)) > head.numel() / 4
