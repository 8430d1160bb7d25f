# SPDX-License-Identifier: Apache-2.0
"""Users' networks as backbones: the integer network that learns is the one of golden's own description, bit for bit."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from respin.firmware_model.frontend.backbone import to_backbone, to_graph
from respin.firmware_model.frontend.refusal import RefusedError
from respin.firmware_model.frontend.torch_import import import_module
from respin.golden.backbones import Backbone, inverted_residual
from respin.golden.backbones.description import Classifier, InputFormat
from respin.golden.backbones.recipe import Attachment, Recipe, RecipeError
from respin.golden.builder import Rules, build_network
from respin.golden.float_network import FloatNetwork

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SIDE, CLASSES, FEATURES = 32, 5, 48
FORM = InputFormat(mean=(127.0,) * 3, deviation=(64.0,) * 3, scale=1 / 64)
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 2, 24), (2, 5, 2, 2, 24))
"""Repeats, kernel, stride of the first, expansion, outputs."""
RECIPE = Recipe(
    attachments=(Attachment(block="block1", groups=1, pool=4, kernel=3), Attachment(block="block4", expand=2)),
    reads_image=True,
)


class Convolution(nn.Conv2d):
    """With TensorFlow's padding "same" where ``lite``, else with as much on each side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, groups: int = 1, lite: bool) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0 if lite else kernel // 2, groups=groups, bias=False)
        self.lite = lite

    def forward(self, x: Tensor) -> Tensor:
        if not self.lite:
            return super().forward(x)
        sides = []
        for size in (x.shape[3], x.shape[2]):
            stride, kernel = self.stride[0], self.kernel_size[0]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, sides))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, *, lite: bool) -> None:
        super().__init__()
        hidden = inputs * expand
        if expand > 1:
            self.expand = Convolution(inputs, hidden, 1, 1, lite=lite)
            self.expand_norm = nn.BatchNorm2d(hidden, eps=1e-3 if lite else 1e-5)
        self.depthwise = Convolution(hidden, hidden, kernel, stride, groups=hidden, lite=lite)
        self.depthwise_norm = nn.BatchNorm2d(hidden, eps=1e-3 if lite else 1e-5)
        self.project = Convolution(hidden, outputs, 1, 1, lite=lite)
        self.project_norm = nn.BatchNorm2d(outputs, eps=1e-3 if lite else 1e-5)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self.expand_norm(self.expand(x))) if hasattr(self, "expand") else x
        y = functional.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.skips else y


class Network(nn.Module):
    """EfficientNet-Lite0's kind, or MobileNetV2's, with fewer blocks."""

    def __init__(self, *, lite: bool) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2, lite=lite)
        self.stem_norm = nn.BatchNorm2d(32, eps=1e-3 if lite else 1e-5)
        self.blocks, inputs = 0, 32
        for repeats, kernel, stride, expand, outputs in STAGES:
            for repeat in range(repeats):
                block = Bottleneck(inputs, outputs, kernel, 1 if repeat else stride, expand, lite=lite)
                self.add_module(f"block{self.blocks}", block)
                self.blocks, inputs = self.blocks + 1, outputs
        self.last = Convolution(inputs, FEATURES, 1, 1, lite=lite)
        self.last_norm = nn.BatchNorm2d(FEATURES, eps=1e-3 if lite else 1e-5)
        self.dropout, self.classifier = nn.Dropout(0.2), nn.Linear(FEATURES, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem_norm(self.stem(x)))
        for number in range(self.blocks):
            x = getattr(self, f"block{number}")(x)
        x = functional.relu6(self.last_norm(self.last(x)))
        return self.classifier(self.dropout(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


def pixels(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def settled(module: nn.Module, seed: int = SEED) -> nn.Module:
    """With norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    for norm in [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]:
        for tensor, low, high in ((norm.weight, 0.5, 2.5), (norm.running_var, 0.05, 2.0), (norm.bias, -1.0, 1.0)):
            tensor.data.uniform_(low, high, generator=generator)
        norm.running_mean.normal_(generator=generator)
    for layer in [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]:
        layer.weight.data.normal_(generator=generator).mul_(math.sqrt(2 / layer.weight[0].numel()))
    return module.eval()


def described(module: nn.Module, *, lite: bool) -> Backbone:
    """Golden's own description of the same weights."""
    reader = inverted_residual._Reader(
        weights=module.state_dict(),
        padding=inverted_residual._same if lite else inverted_residual._symmetric,
        epsilon=1e-3 if lite else 1e-5,
    )
    stages = tuple(
        inverted_residual.Stage(repeats=n, kernel=k, stride=s, expand=t, outputs=c) for n, k, s, t, c in STAGES
    )
    return Backbone(
        name="network",
        licence="",
        stem=reader.layer("stem", ("stem", "stem_norm"), stride=2),
        blocks=reader.blocks(stages, lambda n, part, _: (f"block{n}.{part}", f"block{n}.{part}_norm")),
        last=reader.layer("last", ("last", "last_norm")),
        input=FORM,
        recipe=RECIPE,
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return all(equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def imported(module: nn.Module, recipe: Recipe = RECIPE) -> Backbone:
    return to_backbone(import_module(module, (3, SIDE, SIDE), name="network"), FORM, recipe)


@pytest.mark.parametrize("lite", [True, False])
def test_the_network_is_that_of_golden_s_own_description(lite: bool) -> None:
    module = settled(Network(lite=lite))
    backbone, own = imported(module), described(module, lite=lite)
    assert (backbone.beside, backbone.rep_modules) == (own.beside, own.rep_modules)
    assert equal(backbone.layers, own.layers)
    for rules in (Rules(), Rules(modules=False), Rules(equalise=None, biases=True)):
        network = build_network(backbone, pixels(), CLASSES, seed=SEED, batch=8, rules=rules)
        assert equal(network, build_network(own, pixels(), CLASSES, seed=SEED, batch=8, rules=rules))
        names = {layer.name for layer in network.trained}
        beside = {f"block{number}.rep.{part}" for number in (1, 4) for part in ("first", "last")}
        assert (beside <= names) == rules.modules
        assert network.convolution("logits").weight.shape == (CLASSES, FEATURES, 1, 1)
    # Again from the module: nothing is drawn but by the seed.
    again = build_network(imported(module), pixels(), CLASSES, seed=SEED, batch=8)
    assert equal(again, build_network(own, pixels(), CLASSES, seed=SEED, batch=8))


def test_the_float_network_is_the_module_s() -> None:
    module = settled(Network(lite=True))
    backbone = imported(module)
    x = FORM.to_float(pixels())
    with torch.no_grad():
        features = FloatNetwork(backbone, 2).features(x)
        assert torch.allclose(module.classifier(features), module(x), atol=1e-4)
    # And back: a graph of the backbone computes the features, with a classifier the logits.
    graph = to_graph(backbone, (SIDE, SIDE))
    assert torch.allclose(graph.run(x).flatten(1), features, atol=1e-4)
    classifier = Classifier(weight=module.classifier.weight.detach(), bias=module.classifier.bias.detach())
    whole = to_graph(dataclasses.replace(backbone, classifier=classifier), (SIDE, SIDE))
    with torch.no_grad():
        assert torch.allclose(whole.run(x).flatten(1), module(x), atol=1e-4)


class Line(nn.Module):
    """Layers in a list, some of which their input is added to: no modules that blocks could be named by."""

    def __init__(self, *, limit: float = 6.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv2d(3, 8, 3, 2), *(nn.Conv2d(8, 8, 1) for _ in range(6)), nn.Conv2d(8, 16, 1)]
        )
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x]
        for number, layer in enumerate(self.layers):
            y = layer(tensors[-1])
            if number in (2, 4):
                y = y + tensors[number - 1]
            elif number != 1:
                y = y.clamp(0, self.limit)
            tensors.append(y)
        return tensors[-1].mean((2, 3))


def test_blocks_by_their_first_and_last_layer() -> None:
    pairs = (("layers.1", "layers.2"), ("layers.5", "layers.6"))
    recipe = Recipe(attachments=tuple(Attachment(block=pair, kernel=3) for pair in pairs))
    backbone = imported(settled(Line(limit=3.0)), recipe)
    assert [(block.layers[0].name, block.layers[-1].name, block.residual) for block in backbone.blocks] == [
        ("layers.1", "layers.2", True), ("layers.3", "layers.4", True), ("layers.5", "layers.6", False),
    ]  # fmt: skip
    assert backbone.beside == (0, 2)
    assert [layer.activation for layer in backbone.layers] == [
        "relu6", "linear", "linear", "relu6", "linear", "relu6", "relu6", "relu6",
    ]  # fmt: skip
    assert backbone.last.upper is not None
    assert set(backbone.last.upper.tolist()) == {3.0}
    network = build_network(backbone, pixels(), 2, seed=1, batch=4)
    assert {layer.name for layer in network.trained} >= {"layers.1.rep.first", "layers.5.rep.last", "logits"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("block9", "block9 is no layer of the backbone, nor a module of some; respin inspect lists them"),
        (("block1.expand", "nothing"), "nothing is no layer of the backbone; respin inspect lists them"),
        ("stem", "stem must lie between the backbone's first layer and its last, in their order"),
        (
            ("block2.expand", "block1.expand"),
            "must lie between the backbone's first layer and its last, in their order",
        ),
        ("block2.expand", "must be a whole block, or lie between blocks: there is block2.expand to block2.project"),
        (("block1.expand", "block2.project"), "must be a whole block, or lie between blocks: there is block2.expand"),
    ],
)
def test_blocks_that_are_none(block: Any, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        imported(settled(Network(lite=True)), Recipe(attachments=(Attachment(block=block),)))
    assert message in str(raised.value)


class Calls(nn.Module):
    def __init__(self, call: Callable[["Calls", Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def conv(inputs: int, outputs: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "an activation of a sum": (
        lambda: Calls(
            lambda m, x: (lambda y: m.c(functional.relu(m.b(y) + y)).mean((2, 3)))(m.a(x)),
            a=conv(3, 8), b=conv(8, 8), c=conv(8, 8),
        ),
        "add: an activation of a sum; supported: activations of convolutions",
    ),
    "another path": (
        lambda: Calls(lambda m, x: m.c(m.a(x) + m.b(x)).mean((2, 3)), a=conv(3, 8), b=conv(3, 8), c=conv(8, 8)),
        "b: a layer that is no part of a backbone",
    ),
    "a pool between": (
        lambda: nn.Sequential(conv(3, 8), nn.AvgPool2d(2), conv(8, 8)),
        "1: a pool that is no part of a backbone",
    ),
    "groups": (
        lambda: nn.Sequential(conv(3, 8), conv(8, 8, groups=2), conv(8, 8)),
        "1: a convolution of 2 groups; supported: 1 group, or depthwise",
    ),
    "a clamp below 0": (
        lambda: nn.Sequential(conv(3, 8), nn.Hardtanh(-1.0, 1.0), conv(8, 8)),
        "0: a clamp between -1.0 and 1.0; supported: ReLU, or between 0 and a limit",
    ),
    "one convolution": (
        lambda: conv(3, 8),
        "conv2d: a backbone of one convolution; supported: a stem, blocks, and a last one",
    ),
    "a dense layer of a map": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 4), conv(8, 8), nn.Flatten(), nn.Linear(8 * 64, 5)),
        "3: a dense layer of a map; supported: one of the map's averages",
    ),
    "a sum at the end": (
        lambda: Calls(lambda m, x: (lambda y: m.b(y) + y)(m.a(x)).mean((2, 3)), a=conv(3, 8), b=conv(8, 8)),
        "add: a last layer that is no convolution; supported: a convolution",
    ),
    "a name of the head's": (
        lambda: Calls(lambda m, x: m.features(m.a(x)), a=conv(3, 8), features=conv(8, 8)),
        "features: a layer called features; supported: names of their own, other than features, logits, error.logits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_backbone_is_refused_by_node(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(RefusedError) as raised:
        imported(make().eval(), Recipe())
    assert str(raised.value).startswith(message), str(raised.value)
