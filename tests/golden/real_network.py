# SPDX-License-Identifier: Apache-2.0
"""Gradients of an integer network by torch.autograd, to hold the integer ones against.

Each layer is computed without rounding from the integer network's own activations, and passes its gradient on as the
real layer does; a ReLU passes it where the integer mask does, a linear layer and a merge everywhere. So both backward
passes start from the same numbers, and what is left between them is the rounding of errors.
"""

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.network import (
    INPUT,
    Activations,
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Merge,
    Parameters,
    Upsample,
)
from respin.golden.ops import padding_sides
from respin.golden.ops.loss import ONE
from respin.golden.trainer import StepRecord, TrainingState, train_step

ERROR_ONE = 127
"""A probability of 1 in units of the logits' errors."""


def _real_layer(layer: Layer, tensors: Mapping[str, Tensor], leaves: Mapping[str, Tensor], value: Tensor) -> Tensor:
    match layer:
        case Convolution():
            top, bottom, left, right = padding_sides(layer.padding)
            padded = functional.pad(tensors[layer.x], (left, right, top, bottom))
            weight = leaves.get(f"{layer.name}.weight", layer.weight.double())
            bias = layer.table.bias.double() + leaves.get(f"{layer.name}.bias", 0)
            y = functional.conv2d(padded, weight, bias, stride=layer.stride, groups=layer.groups)
            y = y * layer.table.ratio[:, None, None]
            if layer.table.signed:
                return y
            lo, hi = (column[:, None, None] for column in (layer.table.lo, layer.table.hi))
            return y * ((lo < value) & (value < hi))
        case AveragePool():
            sums = functional.avg_pool2d(tensors[layer.x], layer.kernel, divisor_override=1)
            return (sums + layer.table.bias[:, None, None]) * layer.table.ratio[:, None, None]
        case Upsample():
            return functional.interpolate(tensors[layer.x], size=layer.size, mode="nearest")
        case Merge():
            parts = [(operand.mult / 2**layer.shift) * tensors[operand.x] for operand in layer.operands]
            return torch.stack(parts).sum(0)


def real_gradients(
    network: IntegerNetwork, activations: Activations, labels: Tensor, parameters: Mapping[str, Parameters]
) -> dict[str, Tensor]:
    """Return the gradients of the loss's sum over a batch, by ``layer.weight`` and ``layer.bias``.

    They are in units of the integer ones at exponent 0: 1/127 of a probability at the logits. A bias's is the
    gradient of the sums that it is added to.
    """
    leaves = {}
    for layer in network.trained:
        assert layer.trained is not None
        learned = parameters[layer.name]
        leaves[f"{layer.name}.bias"] = (learned.bias.double() * 2**layer.trained.bias_shift).requires_grad_()
        if layer.trained.tensor is not None:
            leaves[f"{layer.name}.weight"] = learned.weight.double().requires_grad_()
    shaped = {
        name: leaf[:, None, None].squeeze((1, 2)) if name.endswith(".bias") else leaf for name, leaf in leaves.items()
    }
    tensors = {INPUT: activations.tensors[INPUT].double()}
    for layer in network.layers:
        value = activations.tensors[layer.name]
        y = _real_layer(layer, tensors, shaped, value)
        # The integer value, with the real layer's gradient.
        tensors[layer.name] = y + (value.double() - y).detach()
    logits = tensors[network.loss.logits].flatten(1)
    loss_of(network, logits, labels).backward()
    head = network.convolution(network.loss.logits).table.ratio
    assert torch.equal(head, head[:1].expand_as(head))
    unit = float(head[0]) * network.loss.parameters.logit_scale / ERROR_ONE
    return {name: leaf.grad / unit for name, leaf in leaves.items() if leaf.grad is not None}


def loss_of(network: IntegerNetwork, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of real logits (N, classes) in units of the integer ones, summed over the batch."""
    parameters = network.loss.parameters
    smoothing = parameters.off * logits.shape[1] / ONE
    nats = logits * parameters.logit_scale
    return functional.cross_entropy(nats, labels, label_smoothing=smoothing, reduction="sum")


def settled_steps(
    network: IntegerNetwork, x: Tensor, labels: Tensor, parameters: Mapping[str, Parameters], *, seed: int, count: int
) -> list[StepRecord]:
    """Return steps from ``parameters`` with every scale in force; none of them changes the parameters."""
    state = TrainingState.initial(network, seed)
    records: list[StepRecord] = []
    # The first of those has scales that were measured while others still changed.
    while len(records) <= count:
        state = dataclasses.replace(state, parameters=dict(parameters))
        record = train_step(network, state, x, labels, log2_rate=-16)
        if len(record.edges) == len(network.edges) and all(edge.before.valid for edge in record.edges.values()):
            records.append(record)
        assert state.step <= len(network.edges) + count, "the scales do not settle"
        state = record.after
    return records[1:]


def integer_gradients(network: IntegerNetwork, record: StepRecord) -> dict[str, Tensor]:
    """Return the gradients of a step at exponent 0, as floats."""
    exponents = {network.loss.name: 0} | {name: edge.result.exponent for name, edge in record.edges.items()}
    of_layer = {gradient.layer: exponents[gradient.error] for gradient in network.gradients}
    return {
        name: update.gradient.double() * 2.0 ** of_layer[name.rpartition(".")[0]]
        for name, update in record.updates.items()
    }
