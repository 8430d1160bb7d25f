# SPDX-License-Identifier: Apache-2.0
"""ProxylessNAS-Mobile: the shapes of its layers and no weights, for the figures that were published for it.

Layout: Cai, Zhu, Han, *ProxylessNAS* (ICLR 2019), the configuration ``proxyless_mobile`` as its authors released it.
"""

import torch

from respin.golden.backbones.description import Activation, Backbone, BackboneLayer, Block, InputFormat
from respin.golden.backbones.inverted_residual import IMAGENET_DEVIATION, IMAGENET_MEAN
from respin.golden.backbones.recipe import load_recipe

BLOCKS: tuple[tuple[int, int, int, int] | None, ...] = (
    (3, 1, 1, 16),
    (5, 2, 3, 32), (3, 1, 3, 32), None, None,
    (7, 2, 3, 40), (3, 1, 3, 40), (5, 1, 3, 40), (5, 1, 3, 40),
    (7, 2, 6, 80), (5, 1, 3, 80), (5, 1, 3, 80), (5, 1, 3, 80),
    (5, 1, 6, 96), (5, 1, 3, 96), (5, 1, 3, 96), (5, 1, 3, 96),
    (7, 2, 6, 192), (7, 1, 6, 192), (7, 1, 3, 192), (7, 1, 3, 192),
    (7, 1, 6, 320),
)  # fmt: skip
"""Of each block: kernel, stride, expansion, output channels; None where the search left a skip."""
STEM, LAST = 32, 1280
"""Output channels of the first layer and of the last."""


def _layer(
    name: str, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, activation: Activation
) -> BackboneLayer:
    """A layer whose tensors are on torch's ``meta`` device: they have shapes and no storage."""
    return BackboneLayer(
        name=name,
        weight=torch.empty((outputs, inputs // groups, kernel, kernel), device="meta"),
        bias=torch.empty(outputs, device="meta"),
        stride=stride,
        padding=(kernel // 2,) * 4,
        groups=groups,
        activation=activation,
    )


def _blocks() -> tuple[Block, ...]:
    """The blocks that compute, called by their published number."""
    blocks = []
    inputs = STEM
    for number, row in enumerate(BLOCKS):
        if row is None:
            continue
        kernel, stride, expand, outputs = row
        name, hidden = f"block{number}", inputs * expand
        layers = [
            _layer(
                f"{name}.depthwise", hidden, hidden, kernel=kernel, stride=stride, groups=hidden, activation="relu6"
            ),
            _layer(f"{name}.project", hidden, outputs, activation="linear"),
        ]
        if expand > 1:
            layers.insert(0, _layer(f"{name}.expand", inputs, hidden, activation="relu6"))
        blocks.append(Block(name=name, layers=tuple(layers), residual=stride == 1 and inputs == outputs))
        inputs = outputs
    return tuple(blocks)


def proxyless_mobile_shapes() -> Backbone:
    """ProxylessNAS-Mobile on the ``meta`` device: 2,799,512 numbers before its norms are folded."""
    blocks = _blocks()
    return Backbone(
        name="proxyless-mobile",
        licence="none: it has no weights",
        stem=_layer("stem", 3, STEM, kernel=3, stride=2, activation="relu6"),
        blocks=blocks,
        last=_layer("last", blocks[-1].outputs, LAST, activation="relu6"),
        input=InputFormat(mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION, scale=1.0),
        recipe=load_recipe("proxyless-mobile"),
    )
