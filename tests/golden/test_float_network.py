# SPDX-License-Identifier: Apache-2.0
"""The float network with Rep-Net modules and a head, against the same written out."""

import os

import pytest
import torch
from small_backbone import BESIDE, BLOCKS, CLASSES, small_backbone, small_images
from torch import Tensor, nn
from torch.nn import functional

from respin.golden.float_network import FloatNetwork

SEED = int(os.environ.get("RESPIN_SEED", "1"))


def made(*, reads_image: bool = True, norm: bool = False, seed: int = SEED) -> FloatNetwork:
    """A network whose modules and head have learned something."""
    backbone = small_backbone(seed, reads_image=reads_image)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FloatNetwork(backbone, CLASSES, backbone.rep_modules, norm=norm)
    with torch.no_grad():
        for parameter in (*network.rep.parameters(), *network.head.parameters()):
            parameter += torch.randn(parameter.shape, generator=generator) / 8
    return network


def written_out(network: FloatNetwork, x: Tensor) -> Tensor:
    """Logits: the backbone's blocks, each with what stands beside it."""
    backbone = network.backbone
    folded = {layer.name: layer for layer in backbone.layers}

    def layer(name: str, y: Tensor, stride: int = 1, groups: int = 1, linear: bool = False) -> Tensor:
        one = folded[name]
        kernel = one.weight.shape[2]
        # "Same" for even maps: with stride 2 the odd row and column come after.
        sides = {(1, 1): [0, 0], (3, 1): [1, 1], (3, 2): [0, 1]}[kernel, stride]
        y = functional.conv2d(functional.pad(y, sides * 2), one.weight, one.bias, stride, groups=groups)
        return y if linear else y.clamp(0, 6)

    y, beside = layer("stem", x, 2), {position: number for number, (position, _) in enumerate(BESIDE)}
    for number, (expand, outputs, stride) in enumerate(BLOCKS):
        before = y
        name = f"block{number}"
        if expand > 1:
            y = layer(f"{name}.expand", y)
        y = layer(f"{name}.depthwise", y, stride, y.shape[1])
        y = layer(f"{name}.project", y, linear=True)
        if number in (2, 4):
            y = y + before
        if number in beside:
            rep = network.rep[beside[number]]
            source = x if number == 1 and backbone.recipe.reads_image else before
            if source.shape[3] > 4:
                source = functional.avg_pool2d(source, 4 if source is x else 2)
            hidden = rep.first_norm(functional.conv2d(
                source, rep.first.weight, rep.first.bias, padding=rep.first.weight.shape[2] // 2,
                groups=1 if source.shape[1] == 3 else 2,
            ))  # fmt: skip
            added = rep.last_norm(functional.conv2d(hidden.clamp(min=0), rep.last.weight, rep.last.bias))
            # Nearest: each element stands for a square of them.
            times = y.shape[2] // added.shape[2]
            y = y + added.repeat_interleave(times, 2).repeat_interleave(times, 3)
        assert y.shape[1] == outputs
    features = layer("last", y).mean((2, 3))
    logits: Tensor = (features - network.mean) / network.deviation @ network.head.weight.t() + network.head.bias
    return logits


@pytest.mark.parametrize("reads_image", [True, False])
@pytest.mark.parametrize("norm", [False, True])
def test_forward_is_what_is_written_out(reads_image: bool, norm: bool) -> None:
    network = made(reads_image=reads_image, norm=norm)
    images = small_images(8, SEED).images
    x = network.backbone.input.to_float(images)
    network.train()
    network(x)  # moves the norms' statistics, where there are norms
    network.eval()
    with torch.no_grad():
        network.standardise(network.features(x))
        logits, expected = network(x), written_out(network, x)
    assert float((logits - expected).abs().max()) < 1e-4 * float(expected.abs().max())
    assert torch.equal(network.predict(images), logits.argmax(1))


def test_images_pass_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = made(), small_images(10, SEED).images
    together = network.features_of(images)
    monkeypatch.setattr("respin.golden.float_network.RUN_AT_ONCE", 4)
    network.train()
    # How many pass together changes the order of float sums.
    assert torch.allclose(network.features_of(images), together, atol=1e-5)
    assert not network.training


def test_the_backbone_is_frozen_and_its_own() -> None:
    network = made()
    free = {name.partition(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert free == {"rep", "head"}
    before = network.backbone.stem.weight.clone()
    with torch.no_grad():
        network.weights["stem"].zero_()
    # What the network learns is not written into the description that the next one is made from.
    assert torch.equal(network.backbone.stem.weight, before)


def test_standardising_features() -> None:
    network = FloatNetwork(small_backbone(SEED), CLASSES)
    nn.init.eye_(network.head.weight)
    features = torch.randn(500, 32, generator=torch.Generator().manual_seed(SEED)) * torch.linspace(1, 3, 32) + 5
    features[:, 7] = 4.0
    features[:, 9] = 2 + 1e-4 * features[:, 9]
    network.standardise(features)
    seen = (features - network.mean) / network.deviation
    live = [channel for channel in range(32) if channel not in (7, 9)]
    assert float(seen.mean(0).abs().max()) < 1e-4
    assert torch.allclose(seen.std(0)[live], torch.ones(30), atol=1e-4)
    # One that never moves, or hardly does, is not blown up.
    assert not seen[:, 7].any()
    assert float(seen[:, 9].std()) < 0.01


def test_most_features_may_be_dead() -> None:
    network = FloatNetwork(small_backbone(SEED), CLASSES)
    features = torch.randn(50, 32, generator=torch.Generator().manual_seed(SEED))
    features[:, :20] = 0.0
    network.standardise(features)
    assert bool(((features - network.mean) / network.deviation).isfinite().all())


def test_a_new_network_knows_nothing() -> None:
    backbone = small_backbone(SEED)
    network = FloatNetwork(backbone, CLASSES, backbone.rep_modules)
    images = small_images(4, SEED).images
    with torch.no_grad():
        assert not network(backbone.input.to_float(images)).any()
        assert torch.equal(network.features_of(images), FloatNetwork(backbone, CLASSES).features_of(images))
