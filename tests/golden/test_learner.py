# SPDX-License-Identifier: Apache-2.0
"""What learns: that it stops and goes on anywhere, changes what it should and nothing else, and learns."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from small_backbone import BESIDE, CLASSES, SIDE, small_backbone, small_images
from torch import Tensor

from respin.golden.data import Dataset, ImageSet, Task, make_task
from respin.golden.float_network import SMALLEST_DEVIATION, FloatNetwork
from respin.golden.learn import train as train_module
from respin.golden.learn.catalogue import COMPARED, METHODS
from respin.golden.learn.learner import FloatLearner, IntegerLearner, Learner, Progress, State
from respin.golden.learn.linear import LinearLearner
from respin.golden.learn.methods import Plan, Setting
from respin.golden.learn.train import batches, train

SEED = int(os.environ.get("RESPIN_SEED", "1"))
BATCH, STEPS = 8, 14
INTEGER = [name for name, method in COMPARED.items() if method.arithmetic == "int8"]
FLOAT = ["rep-net-float", "bias-float", "full-float"]
# Explicit, since those of the methods are chosen for real tasks.
VALUES = (("first", -1.0), ("last", -3.0), ("rate", 1e-2), ("norm", 0), ("C", 0.01))


@pytest.fixture(scope="module")
def task() -> Task:
    data = Dataset(name="waves", classes=tuple("abcd"), train=small_images(160, SEED), test=small_images(80, SEED + 1))
    return make_task(data, size=SIDE, train_images=120, chosen_on=0, seed=SEED)


def new_learner(name: str, task: Task, *, steps: int = STEPS, norm: bool = False, seed: int = SEED) -> Any:
    setting = Setting(name="one", values=(*VALUES[:3], ("norm", float(norm)), *VALUES[4:]))
    return METHODS[name].learner(small_backbone(SEED), task, setting, Plan(steps=steps, batch=BATCH, seed=seed))


def through_a_file(state: State) -> State:
    """A state as another process reads it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: State = torch.load(file, weights_only=True)
    return loaded


def same(one: object, other: object) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    return type(one) is type(other) and one == other


# The order of batches


@pytest.mark.parametrize(("count", "batch"), [(20, 5), (23, 5), (5, 5), (7, 4)])
def test_batches_pass_over_the_set(count: int, batch: int) -> None:
    order = batches(count, steps=30, batch=batch, seed=SEED)
    assert order.shape == (30, batch)
    whole = count // batch
    passes = [order[start : start + whole].flatten().tolist() for start in range(0, 30 - whole + 1, whole)]
    for one in passes:
        assert len(set(one)) == whole * batch
        assert set(one) <= set(range(count))
    # Passes have orders of their own, and leave out others.
    assert len({tuple(one) for one in passes}) > len(passes) / 2
    assert {image for one in passes for image in one} == set(range(count))


def test_batches_follow_the_seed_alone() -> None:
    torch.manual_seed(SEED + 99)
    order = batches(50, steps=20, batch=8, seed=SEED)
    torch.manual_seed(SEED + 100)
    assert torch.equal(order, batches(50, steps=20, batch=8, seed=SEED))
    assert torch.equal(order[:7], batches(50, steps=7, batch=8, seed=SEED))
    assert not torch.equal(order, batches(50, steps=20, batch=8, seed=SEED + 1))
    with pytest.raises(ValueError, match="batch must be at most the 50 training images, not 51"):
        batches(50, steps=1, batch=51, seed=SEED)


class Recorder(Learner):
    """Learns nothing; keeps what it was shown, and may break down."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.seen: list[tuple[list[int], list[int]]] = []
        self.done, self.fails_at = 0, fails_at

    def begin(self, steps: int) -> None:
        raise AssertionError(f"nothing begins a phase of {steps} steps here")

    def step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        if self.done == self.fails_at:
            raise KeyboardInterrupt
        self.seen.append((images[:, 0, 0, 0].tolist(), labels.tolist()))
        self.done += 1
        return 1 / self.done, self.done % 3

    def predict(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, 0].long() % 4

    def state(self) -> State:
        return {"done": self.done}

    def load(self, state: State) -> None:
        self.done = state["done"]


def numbered(count: int) -> ImageSet:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 4, 4)
    return ImageSet(images=images, labels=torch.arange(count) % 4)


def test_a_training_shows_the_batches_in_order() -> None:
    recorder, said = Recorder(), list[Progress]()
    history = train(recorder, numbered(40), steps=23, batch=4, seed=SEED, report=said.append)
    order = batches(40, steps=23, batch=4, seed=SEED)
    assert recorder.seen == [(index.tolist(), (index % 4).tolist()) for index in order]
    assert history == [(1 / step, step % 3 / 4) for step in range(1, 24)]
    assert [(progress.step, progress.steps) for progress in said] == [(10, 23), (20, 23), (23, 23)]
    assert said[0].loss == pytest.approx(sum(1 / step for step in range(1, 11)) / 10)
    assert said[0].right == pytest.approx(sum(step % 3 / 4 for step in range(1, 11)) / 10)


def test_progress_forgets_what_is_long_ago() -> None:
    said = list[Progress]()
    steps = 2 * train_module.LATELY
    train(Recorder(), numbered(40), steps=steps, batch=4, seed=SEED, report=said.append)
    lately = [1 / step for step in range(steps - train_module.LATELY + 1, steps + 1)]
    assert said[-1].loss == pytest.approx(sum(lately) / len(lately))


def test_accuracy_is_the_share_that_is_right() -> None:
    images = numbered(40)
    assert Recorder().accuracy(images.images, images.labels) == 1
    assert Recorder().accuracy(images.images, images.labels.roll(1)) == 0
    assert Recorder().accuracy(images.images, torch.zeros(40, dtype=torch.int64)) == 0.25


@pytest.mark.parametrize("name", INTEGER)
def test_what_comes_before_all_that_learns_is_computed_once(task: Task, name: str) -> None:
    prepared, plain = new_learner(name, task), new_learner(name, task)
    take = prepared.prepare(task.train.images)
    order = batches(len(task.train), steps=STEPS, batch=BATCH, seed=SEED)
    for index in order:
        images, labels = task.train.images[index], task.train.labels[index]
        assert prepared.step(take(index), labels) == plain.step(images, labels)
    assert same(prepared.state(), plain.state())
    # Of a head alone everything before it is frozen, of biases nothing but the image.
    given = set(take(order[0]))
    if name == "head":
        assert given == {"features"}
    if name == "bias":
        assert given == {"input"}


# Stopping and going on


@pytest.mark.parametrize("fails_at", [2, 6, 7, 12])
def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    monkeypatch.setattr(train_module, "CHECKPOINT_EVERY", 3)
    checkpoint = tmp_path / "one.pt"
    arguments = {"steps": 13, "batch": 4, "seed": SEED}
    expected = Recorder()
    history = train(expected, numbered(40), **arguments)
    with pytest.raises(KeyboardInterrupt):
        train(Recorder(fails_at), numbered(40), checkpoint=checkpoint, **arguments)
    assert checkpoint.is_file() == (fails_at >= 3)
    resumed = Recorder()
    assert train(resumed, numbered(40), checkpoint=checkpoint, **arguments) == history
    assert resumed.seen == expected.seen[fails_at // 3 * 3 :]
    assert not list(tmp_path.iterdir())


def interrupt(learner: Learner, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, done = learner.step, 0

    def step(images: Tensor, labels: Tensor) -> tuple[float, int]:
        nonlocal done
        if done == after:
            raise KeyboardInterrupt
        done += 1
        return original(images, labels)

    monkeypatch.setattr(learner, "step", step)


@pytest.mark.parametrize(("name", "norm"), [*((n, False) for n in (*INTEGER, *FLOAT)), ("rep-net-float", True)])
def test_a_resumed_training_is_bit_for_bit_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task, name: str, norm: bool
) -> None:
    monkeypatch.setattr(train_module, "CHECKPOINT_EVERY", 6)
    arguments = {"steps": STEPS, "batch": BATCH, "seed": SEED}
    whole = new_learner(name, task, norm=norm)
    history = train(whole, task.train, **arguments)
    checkpoint = tmp_path / "one.pt"
    first = new_learner(name, task, norm=norm)
    interrupt(first, 9, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(first, task.train, checkpoint=checkpoint, **arguments)
    # Another process starts from the same plan, and whatever state its own generators are in.
    torch.manual_seed(SEED + 99)
    second = new_learner(name, task, norm=norm)
    assert train(second, task.train, checkpoint=checkpoint, **arguments) == history
    assert same(second.state(), whole.state())
    assert torch.equal(second.predict(task.test.images), whole.predict(task.test.images))


@pytest.mark.parametrize("name", [*INTEGER, *FLOAT])
def test_a_state_is_all_there_is(task: Task, name: str) -> None:
    learner = new_learner(name, task)
    order = batches(len(task.train), steps=STEPS, batch=BATCH, seed=SEED)
    for index in order[:9]:
        learner.step(task.train.images[index], task.train.labels[index])
    state = through_a_file(learner.state())
    assert same(state, learner.state())
    for index in order[9:]:
        learner.step(task.train.images[index], task.train.labels[index])
    # Whatever another one did before it is loaded.
    other = new_learner(name, task)
    for index in order[3:5]:
        other.step(task.train.images[index], task.train.labels[index])
    other.load(state)
    assert same(other.state(), state)
    for index in order[9:]:
        other.step(task.train.images[index], task.train.labels[index])
    assert same(other.state(), learner.state())


def test_the_seed_is_in_an_integer_state(task: Task) -> None:
    learner = new_learner("head", task)
    other = IntegerLearner(learner.network, learner.form, learner.schedule, seed=SEED + 1)
    index = torch.arange(BATCH)
    images, labels = task.train.images[index], task.train.labels[index]
    state = through_a_file(learner.state())
    for one in (learner, other):
        for _ in range(4):
            one.step(images, labels)
    assert not same(other.state()["parameters"], learner.state()["parameters"])
    other.load(state)
    for _ in range(4):
        other.step(images, labels)
    assert same(other.state(), learner.state())


@pytest.mark.parametrize("name", [*INTEGER, *FLOAT])
def test_a_state_in_memory_is_gone_back_to(task: Task, name: str) -> None:
    learner = new_learner(name, task)
    change(learner, task)
    state = learner.state()
    expected = through_a_file(state)
    change(learner, task)
    learner.load(state)
    assert same(learner.state(), expected)


def test_records_can_be_watched(task: Task) -> None:
    learner = new_learner("head", task)
    records = []
    watched = IntegerLearner(learner.network, learner.form, learner.schedule, seed=SEED, observe=records.append)
    for one in (learner, watched):
        for _ in range(3):
            one.step(task.train.images[:BATCH], task.train.labels[:BATCH])
    assert [record.before.step for record in records] == [0, 1, 2]
    assert same(watched.state(), learner.state())


# What changes


def change(learner: Any, task: Task, steps: int = 3) -> None:
    for _ in range(steps):
        learner.step(task.train.images[:BATCH], task.train.labels[:BATCH])


@pytest.mark.parametrize("name", FLOAT)
def test_a_float_learner_changes_what_learns_alone(task: Task, name: str) -> None:
    learner = new_learner(name, task)
    network = learner.network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    described = [layer.weight.clone() for layer in network.backbone.layers]
    change(learner, task)
    changed = {
        key.partition(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])
    }
    expected = {"modules": {"rep"}, "biases": {"biases"}, "everything": {"biases", "weights"}}
    assert changed == expected[METHODS[name].trains] | {"head"}
    held = {id(parameter) for group in learner.optimiser.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    # The description that other learners start from stays what it was.
    assert all(torch.equal(one, layer.weight) for one, layer in zip(described, network.backbone.layers, strict=True))


@pytest.mark.parametrize("name", INTEGER)
def test_an_integer_learner_learns_what_its_method_says(task: Task, name: str) -> None:
    learner = new_learner(name, task)
    learned = set(learner.training.parameters)
    modules = {f"block{position}.rep.{part}" for position, _ in BESIDE for part in ("first", "last")}
    layers = {layer.name for layer in small_backbone(SEED).layers}
    expected = {"modules": modules, "biases": layers, "head": set()}
    assert learned == expected[METHODS[name].trains] | {"logits"}


@pytest.mark.parametrize("name", ["rep-net", "rep-net-float"])
def test_a_learner_follows_its_plan_s_seed(task: Task, name: str) -> None:
    def weights(seed: int) -> Tensor:
        learner = new_learner(name, task, seed=seed)
        if isinstance(learner, FloatLearner):
            return learner.network.rep[0].first.weight.detach()
        return learner.network.convolution("block1.rep.first").weight

    torch.manual_seed(SEED + 99)
    first = weights(SEED)
    torch.manual_seed(SEED + 100)
    assert torch.equal(first, weights(SEED))
    assert not torch.equal(first, weights(SEED + 1))


@pytest.mark.parametrize("name", FLOAT)
def test_a_float_rate_falls_to_nothing(task: Task, name: str) -> None:
    learner = new_learner(name, task, steps=5)
    rates = []
    for _ in range(5):
        rates.append(learner.optimiser.param_groups[0]["lr"])
        change(learner, task, steps=1)
    assert rates[0] == dict(VALUES)["rate"]
    assert rates == sorted(rates, reverse=True)
    assert learner.optimiser.param_groups[0]["lr"] < 1e-9


# Learning


@pytest.mark.parametrize("name", [*INTEGER, *FLOAT])
def test_waves_are_learned(task: Task, name: str) -> None:
    """Four classes: a guess is right in a quarter of the cases; a head on features of random weights can do little."""
    enough = {"head": 0.38, "biases": 0.38, "modules": 0.55, "everything": 0.55}
    steps = 80 if name == "rep-net" else 50
    learner = new_learner(name, task, steps=steps)
    before = learner.accuracy(task.test.images, task.test.labels)
    history = train(learner, task.train, steps=steps, batch=BATCH, seed=SEED)
    assert before == 0.25
    assert learner.accuracy(task.test.images, task.test.labels) > enough[METHODS[name].trains]
    assert sum(loss for loss, _ in history[-10:]) < sum(loss for loss, _ in history[:10])


def test_predictions_come_in_the_images_order(task: Task) -> None:
    learner = new_learner("head", task)
    change(learner, task, steps=10)
    images = task.test.images.repeat(4, 1, 1, 1)
    assert len(images) > 256  # more than pass together
    predicted = learner.predict(images)
    alone = torch.cat([learner.predict(image[None]) for image in task.test.images])
    assert predicted.dtype == torch.int64
    assert torch.equal(predicted, alone.repeat(4))
    assert len(predicted.unique()) > 1


def test_the_linear_learner_is_scikit_learn_s(task: Task) -> None:
    learner = new_learner("linear", task)
    assert isinstance(learner, LinearLearner)
    learner.fit(task.train)
    network = FloatNetwork(small_backbone(SEED), CLASSES)
    features = [network.features_of(part.images).double() for part in (task.train, task.test)]
    spread = features[0].std(0)
    spread = spread.clamp_min(float(spread.median()) * SMALLEST_DEVIATION)
    seen = [(part - features[0].mean(0)) / spread for part in features]
    model = LogisticRegression(C=0.01, max_iter=1000).fit(seen[0].numpy(), task.train.labels.numpy())
    predicted = learner.predict(task.test.images)
    assert float((predicted == torch.from_numpy(model.predict(seen[1].numpy()))).double().mean()) > 0.97
    assert learner.accuracy(task.test.images, task.test.labels) > 0.38
    assert learner.state() == {}
    learner.load({})
    assert torch.equal(learner.predict(task.test.images), predicted)
    with pytest.raises(NotImplementedError, match="fitted at once"):
        learner.step(task.train.images[:BATCH], task.train.labels[:BATCH])


def test_methods_can_be_told_apart() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        names = [setting.name for setting in method.settings]
        assert len(set(names)) == len(names) > 0
        with pytest.raises(KeyError):
            method.settings[0]["nothing"]
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
