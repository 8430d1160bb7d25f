# SPDX-License-Identifier: Apache-2.0
"""A backbone as plain layers: what the float learners run and what the integer networks are made of."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from respin.golden.backbones.recipe import NO_MODULES, Recipe, RecipeError
from respin.golden.repnet import RepModule

Activation = Literal["relu6", "relu", "linear"]
RELU6_LIMIT = 6.0
Sides = tuple[int, int, int, int]
"""Padding: top, bottom, left, right."""


def fold_norm(
    weight: Tensor, *, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return weight (O, ...) and bias (O,) of the convolution that equals ``norm(convolution(x))``."""
    factor = scale / torch.sqrt(variance + epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.dim() - 1)), shift - mean * factor


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class BackboneLayer:
    """A convolution, its norm folded in, and its activation.

    ``weight`` is (O, I / groups, kh, kw) and ``bias`` (O,), float32. ``limit`` (O,) is where a ReLU6 cuts: 6 if it is
    not given.
    """

    name: str
    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: Sides = (0, 0, 0, 0)
    groups: int = 1
    activation: Activation = "linear"
    limit: Tensor | None = None

    @property
    def upper(self) -> Tensor | None:
        """Where a ReLU6 cuts (O,); None for anything else."""
        if self.activation != "relu6":
            return None
        return torch.full_like(self.bias, RELU6_LIMIT) if self.limit is None else self.limit

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.weight.shape[1] * self.groups

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.weight.shape[0]

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of the output for an input of ``size``."""
        top, bottom, left, right = self.padding
        kh, kw = self.weight.shape[2:]
        return (size[0] + top + bottom - kh) // self.stride + 1, (size[1] + left + right - kw) // self.stride + 1


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Block:
    """Layers one after the other; with ``residual`` the block's input is added to what they make."""

    name: str
    layers: tuple[BackboneLayer, ...]
    residual: bool = False

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Output channels."""
        return self.layers[-1].outputs


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class InputFormat:
    """How a pixel (0..255) becomes the network's input.

    Parameters
    ----------
    mean, deviation:
        Per channel: the float input is ``(pixel - mean) / deviation``.
    scale:
        What a unit of the integer input is worth.
    signed:
        Whether the integer input is int8; else it is uint8.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    scale: float
    signed: bool = True

    @classmethod
    def reaching(cls, mean: tuple[float, ...], deviation: tuple[float, ...]) -> "InputFormat":
        """Return the format whose integers reach the brightest or the darkest pixel; uint8 if none is below 0."""
        ends = [(pixel - m) / d for m, d in zip(mean, deviation, strict=True) for pixel in (0, 255)]
        signed = min(ends) < 0
        scale = max(abs(end) for end in ends) / (127 if signed else 255)
        return cls(mean=mean, deviation=deviation, scale=scale, signed=signed)

    def to_float(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, C, H, W) as the float network's input."""
        mean, deviation = (torch.tensor(column)[:, None, None] for column in (self.mean, self.deviation))
        return (images.to(torch.float32) - mean) / deviation

    def to_integer(self, images: Tensor) -> Tensor:
        """Return uint8 images as the integer network's input: the float one in units of ``scale``, rounded."""
        low, high = (-128, 127) if self.signed else (0, 255)
        levels = torch.round(self.to_float(images) / self.scale).clamp_(low, high)
        return levels.to(torch.int8 if self.signed else torch.uint8)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Classifier:
    """A dense layer of the features: ``weight`` (classes, features) and ``bias`` (classes,), float32."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Backbone:
    """A pretrained network without its classifier: the stem, blocks, and the layer whose averaged map is the feature.

    Parameters
    ----------
    name, licence:
        What it is and the licence of its weights.
    stem, blocks, last:
        Its layers, in order.
    input:
        How a pixel becomes its input.
    recipe:
        Which Rep-Net modules stand beside which blocks.
    classifier:
        What it was trained with, where that is known; none of its layers.

    Raises
    ------
    RecipeError
        If the recipe names a block that there is not, or blocks in another order.
    """

    name: str
    licence: str
    stem: BackboneLayer
    blocks: tuple[Block, ...]
    last: BackboneLayer
    input: InputFormat
    recipe: Recipe = NO_MODULES
    classifier: Classifier | None = None

    def __post_init__(self) -> None:
        positions = self.beside
        if list(positions) != sorted(set(positions)):
            raise RecipeError("modules must come in the order of their blocks, one beside each")

    @property
    def beside(self) -> tuple[int, ...]:
        """For each Rep-Net module the position in ``blocks`` of the block that it stands beside."""
        found: dict[str | tuple[str, str], int] = {block.name: at for at, block in enumerate(self.blocks)}
        found |= {(block.layers[0].name, block.layers[-1].name): at for at, block in enumerate(self.blocks)}
        for attachment in self.recipe.attachments:
            if attachment.block not in found:
                names = ", ".join(block.name for block in self.blocks)
                raise RecipeError(f"{attachment} is no block of {self.name}; the blocks are {names}")
        return tuple(found[attachment.block] for attachment in self.recipe.attachments)

    @property
    def rep_modules(self) -> tuple[RepModule, ...]:
        """The Rep-Net modules that stand beside it."""
        modules = []
        for number, (position, attachment) in enumerate(zip(self.beside, self.recipe.attachments, strict=True)):
            block = self.blocks[position]
            inputs = self.stem.inputs if number == 0 and self.recipe.reads_image else block.inputs
            modules.append(attachment.module(inputs, block.outputs))
        return tuple(modules)

    @property
    def layers(self) -> tuple[BackboneLayer, ...]:
        """Every layer, in order."""
        return (self.stem, *(layer for block in self.blocks for layer in block.layers), self.last)

    @property
    def features(self) -> int:
        """Channels of the feature."""
        return self.last.outputs

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(layer.weight.numel() + layer.bias.numel() for layer in self.layers)
