# SPDX-License-Identifier: Apache-2.0
"""The integer training of the demonstration's network: gradients, settling, determinism, learning."""

import dataclasses
import itertools
import os
from typing import Any

import pytest
import torch
from real_network import loss_of
from torch import Tensor
from torch.nn import functional

from respin.golden.digits import accuracy, batch_indices, load_task, pack_windows
from respin.golden.digits_network import BATCH, SCHEDULE, head_only
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    Gradient,
    IntegerNetwork,
    Merge,
    Parameters,
    Upsample,
)
from respin.golden.ops import padding_sides
from respin.golden.schedule import Schedule
from respin.golden.trainer import StepRecord, TrainingState, settle, train_step

SEED = int(os.environ.get("RESPIN_SEED", "1"))
FIRST, LAST = "start.rep.first", "start.rep.last"


def train(demonstration: Any, network: IntegerNetwork, steps: int) -> list[StepRecord]:
    task = demonstration.new
    images = pack_windows(task.train_images)
    state = TrainingState.initial(network, SEED)
    schedule = dataclasses.replace(SCHEDULE, steps=steps)
    records = []
    for index in batch_indices(len(task.train_labels), steps=steps, batch=BATCH, seed=SEED):
        log2_rate = schedule.log2_rate(state.step)
        records.append(train_step(network, state, images[index], task.train_labels[index], log2_rate=log2_rate))
        state = records[-1].after
    return records


@pytest.fixture(scope="module")
def records(demonstration: Any) -> list[StepRecord]:
    return train(demonstration, demonstration.network, SCHEDULE.steps)


def test_every_scale_is_known_after_a_settling_step_and_fits_after_some(demonstration: Any) -> None:
    network, task = demonstration.network, demonstration.new
    index = next(iter(batch_indices(len(task.train_labels), steps=1, batch=BATCH, seed=SEED)))
    batch = pack_windows(task.train_images)[index], task.train_labels[index]
    still = -128  # nothing moves
    once = settle(network, [batch], seed=SEED, log2_rate=lambda _: still)
    assert all(scale.valid for scale in once.scales.values())
    # The slow way, an edge a step, ends at the same scales, but for what rounding draws.
    settled = settle(network, 8 * [batch], seed=SEED, log2_rate=lambda _: still)
    slow = TrainingState.initial(network, SEED)
    for _ in range(3 * len(network.edges)):
        slow = train_step(network, slow, *batch, log2_rate=still).after
    assert settled.step == 8
    for edge in network.edges:
        assert abs(settled.scales[edge.name].shift - slow.scales[edge.name].shift) <= 1


def test_learning(demonstration: Any, records: list[StepRecord]) -> None:
    network, task = demonstration.network, demonstration.new
    images = pack_windows(task.test_images)
    before = accuracy(network.predict(images, network.initial_parameters()), task.test_labels)
    after = accuracy(network.predict(images, records[-1].after.parameters), task.test_labels)
    assert before < 0.3
    assert after > 0.85


def test_the_module_learns_what_the_head_cannot(demonstration: Any) -> None:
    network, task = demonstration.network, demonstration.new
    images, steps = pack_windows(task.test_images), 2 * SCHEDULE.steps
    both, alone = (
        train(demonstration, learner, steps)[-1].after.parameters for learner in (network, head_only(network))
    )
    for layer in (FIRST, LAST):
        assert torch.equal(alone[layer].weight, network.convolution(layer).weight)
    reached = [accuracy(network.predict(images, learned), task.test_labels) for learned in (both, alone)]
    assert reached[0] > reached[1]


def test_the_same_seed_gives_the_same_training(demonstration: Any, records: list[StepRecord]) -> None:
    again = train(demonstration, demonstration.network, SCHEDULE.steps)
    for first, second in zip(records, again, strict=True):
        ours, theirs = first.tensors(), second.tensors()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_scales_settle_layer_by_layer(demonstration: Any, records: list[StepRecord]) -> None:
    network = demonstration.network
    first_run = {edge.name: next(i for i, r in enumerate(records) if edge.name in r.edges) for edge in network.edges}
    first_valid = {
        edge.name: next(i for i, r in enumerate(records) if edge.name in r.edges and r.edges[edge.name].before.valid)
        for edge in network.edges
    }
    chain = [edge for edge in network.edges if isinstance(edge, Edge) and edge.error != network.loss.name]
    for edge in chain:
        assert first_run[edge.name] == first_valid[edge.error]
        assert first_valid[edge.name] > first_run[edge.name]
    for record in records:
        for name, update in record.updates.items():
            assert update.before.valid or not update.move.any()
            layer = network.convolution(name.rpartition(".")[0])
            error = next(g.error for g in network.gradients if g.layer == layer.name)
            assert error == network.loss.name or record.edges[error].before.valid


def test_the_first_convolution_gets_no_error_before_the_last_has_moved(records: list[StepRecord]) -> None:
    for record in records:
        if f"error.{FIRST}" in record.edges and not record.before.parameters[LAST].weight.any():
            assert record.edges[f"error.{FIRST}"].result.largest == 0


def test_weights_move_by_one_unit_at_most(records: list[StepRecord]) -> None:
    for before, after in itertools.pairwise(records):
        for name, learned in after.before.parameters.items():
            step = learned.weight.to(torch.int16) - before.before.parameters[name].weight.to(torch.int16)
            assert int(step.abs().max()) <= 1


def test_exponents_do_not_oscillate(records: list[StepRecord]) -> None:
    """Without the exponent in a delayed scale, a chain of edges turns a change of one bit into one of ten and more."""
    settled = [record for record in records if all(edge.before.valid for edge in record.edges.values())][10:]
    for before, after in itertools.pairwise(settled):
        for name, edge in after.edges.items():
            assert abs(edge.result.exponent - before.edges[name].result.exponent) <= 3


def real_forward(network: IntegerNetwork, x: Tensor, parameters: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """The network without rounding, in float64: logits in units of the int8 ones."""
    tensors = {INPUT: x.double()}
    for layer in network.layers:
        match layer:
            case Convolution():
                weight, bias = layer.weight.double(), layer.table.bias.double()
                if layer.trained:
                    weight, learned = parameters[layer.name]
                    bias = bias + learned * 2**layer.trained.bias_shift
                top, bottom, left, right = padding_sides(layer.padding)
                padded = functional.pad(tensors[layer.x], (left, right, top, bottom))
                y = functional.conv2d(padded, weight, bias, stride=layer.stride, groups=layer.groups)
                y = y * layer.table.ratio[:, None, None]
                if not layer.table.signed:
                    y = y.clamp(0, 255)
            case AveragePool():
                sums = functional.avg_pool2d(tensors[layer.x], layer.kernel, divisor_override=1)
                y = (sums + layer.table.bias[:, None, None]) * layer.table.ratio[:, None, None]
            case Upsample():
                y = functional.interpolate(tensors[layer.x], size=layer.size, mode="nearest")
            case Merge():
                y = sum((o.mult * tensors[o.x] for o in layer.operands), start=torch.zeros(())) / 2**layer.shift
        tensors[layer.name] = y
    return tensors[network.loss.logits].flatten(1)


def test_integer_gradients_point_where_autograd_does(demonstration: Any, records: list[StepRecord]) -> None:
    network, task = demonstration.network, demonstration.new
    images = pack_windows(task.train_images)
    indices = batch_indices(len(task.train_labels), steps=SCHEDULE.steps, batch=BATCH, seed=SEED)
    for step in (30, 45, 60):
        record = records[step]
        learned = {
            name: (p.weight.double().requires_grad_(), p.bias.double().requires_grad_())
            for name, p in record.before.parameters.items()
        }
        logits = real_forward(network, images[indices[step]], learned)
        loss_of(network, logits, task.train_labels[indices[step]]).backward()
        for name, (weight, _) in learned.items():
            integer = record.updates[f"{name}.weight"].gradient.double().flatten()
            assert weight.grad is not None
            assert float(functional.cosine_similarity(integer, weight.grad.flatten(), dim=0)) > 0.8


def test_schedule_falls() -> None:
    schedule = Schedule(steps=3, first=-2, last=-6)
    assert [schedule.log2_rate(step) for step in range(4)] == [-2, -4, -6, -6]


def test_windows_make_the_stem_a_pointwise_convolution(demonstration: Any) -> None:
    images = demonstration.new.train_images[:4]
    stem = demonstration.network.convolution("stem")
    packed = functional.conv2d(pack_windows(images).double(), stem.weight.double())
    plain = functional.conv2d(images.double(), stem.weight.double().reshape(-1, 1, 3, 3), padding=1)
    assert torch.equal(packed, plain)
    with pytest.raises(ValueError, match="images must be uint8"):
        pack_windows(images.to(torch.int16))


def test_tasks_are_apart(demonstration: Any) -> None:
    for task, count in ((demonstration.old, 901), (demonstration.new, 896)):
        assert len(task.train_labels) + len(task.test_labels) == count
        assert set(task.train_labels.tolist()) == set(range(5))
        train_set = {bytes(image.flatten().tolist()) for image in task.train_images}
        assert not any(bytes(image.flatten().tolist()) in train_set for image in task.test_images)
    with pytest.raises(ValueError, match="first must be 0 or 5, not 3"):
        load_task(3)


def test_wrong_networks_are_refused(demonstration: Any) -> None:
    network = demonstration.network
    with pytest.raises(ValueError, match="stem reads input, which no layer|reads stem, which no layer before it makes"):
        dataclasses.replace(network, layers=network.layers[1:])
    with pytest.raises(ValueError, match="stem is made twice"):
        dataclasses.replace(network, layers=(network.layers[0], *network.layers))
    with pytest.raises(ValueError, match=r"error\.expand starts from error\.features, which no edge before it makes"):
        dataclasses.replace(network, edges=network.edges[1:])
    with pytest.raises(ValueError, match="tensor ids must be used once each"):
        dataclasses.replace(network, edges=(*network.edges, Edge(name="again", tensor=1, error="error.logits")))
    with pytest.raises(ValueError, match="the gradient of stem"):
        dataclasses.replace(network, gradients=(Gradient(layer="stem", error="error.logits"),))
    with pytest.raises(ValueError, match="features must be a convolution, not AveragePool"):
        network.convolution("features")
    with pytest.raises(ValueError, match="nothing is no layer"):
        network.layer("nothing")


def test_inference_leaves_the_parameters_alone(demonstration: Any) -> None:
    network = demonstration.network
    parameters = network.initial_parameters()
    copies = {name: Parameters(weight=p.weight.clone(), bias=p.bias.clone()) for name, p in parameters.items()}
    network.predict(pack_windows(demonstration.new.test_images), parameters)
    assert all(torch.equal(parameters[name].weight, copies[name].weight) for name in copies)
