# SPDX-License-Identifier: Apache-2.0
"""The smallest network worth a training step: what a board with a few dozen MRAM rows learns digits with.

A stem of random 3 x 3 filters that stays as it is, a 1 x 1 module and a head that learn; errors pass from the logits
to the module.
"""

import torch
from torch import Tensor
from torch.nn import functional

from respin.golden.backward import backward
from respin.golden.digits import CLASSES
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Loss,
    Trained,
    initial_parameters,
    run_layers,
)
from respin.golden.ops import LossParameters
from respin.golden.quantise import requantiser

CHANNELS = 8
_LARGEST_WEIGHT = 60
_LOGIT_SCALE = 1 / 16


def small_module(images: Tensor, *, seed: int) -> IntegerNetwork:
    """Return the network for digits.

    Parameters
    ----------
    images:
        (N, 1, 8, 8), uint8: the scales are such that the largest values that they cause are just represented.
    seed:
        Of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[Layer] = []
    x = images

    def add(name: str, source: str, outputs: int, *, kernel: int = 1, stride: int = 1, tensor: int = 0) -> None:
        nonlocal x
        shape = (outputs, x.shape[1], kernel, kernel)
        weight = torch.randint(-_LARGEST_WEIGHT, _LARGEST_WEIGHT + 1, shape, generator=generator).to(torch.int8)
        sums = functional.conv2d(x.to(torch.float64), weight.to(torch.float64), stride=stride, padding=kernel // 2)
        relu = name != "logits"
        largest = (sums if relu else sums.abs()).amax((0, 2, 3)).clamp(min=1)
        layers.append(
            Convolution(
                name=name,
                x=source,
                weight=weight,
                table=requantiser((255 if relu else 127) / largest, signed=not relu),
                stride=stride,
                padding=kernel // 2,
                keeps_mask=relu and tensor > 0,
                trained=Trained(tensor=tensor, bias_tensor=tensor + 1, bias_shift=4) if tensor else None,
            )
        )
        x = made(name)

    def made(name: str) -> Tensor:
        return run_layers(layers, {INPUT: images}, initial_parameters(layers)).tensors[name]

    add("stem", INPUT, CHANNELS, kernel=3, stride=2)
    add("module", "stem", CHANNELS, tensor=1)
    size = x.shape[-1]
    average = requantiser(torch.full((CHANNELS,), 1 / size**2, dtype=torch.float64), signed=False)
    layers.append(AveragePool(name="features", x="module", kernel=(size, size), table=average))
    x = made("features")
    add("logits", "features", CLASSES, tensor=3)
    loss = Loss(
        name="error.logits", logits="logits", tensor=5, parameters=LossParameters.of(_LOGIT_SCALE, CLASSES, 0.0)
    )
    ids = iter(range(6, 64))
    edges, gradients = backward(layers, loss=loss.name, logits="logits", new_tensor=lambda _: next(ids))
    return IntegerNetwork(layers=tuple(layers), loss=loss, edges=edges, gradients=gradients, input_dtype=torch.uint8)
