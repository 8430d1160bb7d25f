# SPDX-License-Identifier: Apache-2.0
"""A backbone of inverted residual blocks small enough to train in a test, on random weights, and images for it."""

import math

import torch

from respin.golden.backbones import Backbone, BackboneLayer, Block, InputFormat
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.data import ImageSet

SIDE = 32
CLASSES = 4
STEM, FEATURES = 16, 32
BLOCKS = ((1, 16, 1), (2, 16, 2), (2, 16, 1), (2, 24, 2), (2, 24, 1))
"""Expansion, outputs and stride of each block: the third and the fifth are residual."""
Beside = tuple[tuple[int, int], ...]
BESIDE: Beside = ((1, 3), (2, 5), (4, 3))
"""Modules that pool by 4 from the image, resize from 4 x 4 to 8 x 8, and neither pool nor resize."""


def recipe(beside: Beside = BESIDE, *, reads_image: bool) -> Recipe:
    """Modules beside blocks, by number and kernel; one that reads the image has no groups and pools by 4."""
    attachments = []
    for number, (position, kernel) in enumerate(beside):
        first = {"groups": 1, "pool": 4} if reads_image and not number else {}
        attachments.append(Attachment(block=f"block{position}", kernel=kernel, **first))
    return Recipe(attachments=tuple(attachments), reads_image=reads_image)


def small_backbone(seed: int, *, reads_image: bool = True, beside: Beside = BESIDE) -> Backbone:
    """Maps of 16 x 16 (stem and first block), 8 x 8 and 4 x 4; strided layers pad as TensorFlow does."""
    generator = torch.Generator().manual_seed(seed)

    def layer(
        name: str, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> BackboneLayer:
        fan_in = inputs // groups * kernel**2
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = torch.randn(shape, generator=generator) * math.sqrt(2 / fan_in)
        before = (kernel - stride) // 2
        sides = (before, kernel - stride - before) * 2
        bias = torch.randn(outputs, generator=generator) / 4
        activation = "linear" if linear else "relu6"
        return BackboneLayer(
            name=name, weight=weight, bias=bias, stride=stride, padding=sides, groups=groups, activation=activation
        )  # type: ignore[arg-type]

    blocks, inputs = [], STEM
    for number, (expand, outputs, stride) in enumerate(BLOCKS):
        name, hidden = f"block{number}", inputs * expand
        layers = [layer(f"{name}.expand", inputs, hidden)] if expand > 1 else []
        layers.append(layer(f"{name}.depthwise", hidden, hidden, 3, stride, groups=hidden))
        layers.append(layer(f"{name}.project", hidden, outputs, linear=True))
        residual = stride == 1 and inputs == outputs and number > 0
        blocks.append(Block(name=name, layers=tuple(layers), residual=residual))
        inputs = outputs
    return Backbone(
        name="small",
        licence="Apache-2.0",
        stem=layer("stem", 3, STEM, 3, 2),
        blocks=tuple(blocks),
        last=layer("last", inputs, FEATURES),
        input=InputFormat(mean=(127.0,) * 3, deviation=(64.0,) * 3, scale=1 / 64),
        recipe=recipe(beside, reads_image=reads_image),
    )


def small_images(count: int, seed: int) -> ImageSet:
    """Waves, whose direction tells the class, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    angle = labels * math.pi / CLASSES
    phase = torch.rand(count, generator=generator) * 2 * math.pi
    rows = torch.arange(SIDE, dtype=torch.float32)
    along = rows[:, None] * angle.sin()[:, None, None] + rows * angle.cos()[:, None, None]
    waves = torch.sin(along / 2 + phase[:, None, None])[:, None] * torch.tensor([60.0, 40.0, 20.0])[:, None, None]
    noise = torch.randn((count, 3, SIDE, SIDE), generator=generator) * 25
    images = (128 + waves + noise).round().clamp(0, 255).to(torch.uint8)
    return ImageSet(images=images, labels=labels)
