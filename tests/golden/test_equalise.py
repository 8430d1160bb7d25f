# SPDX-License-Identifier: Apache-2.0
"""Equalised channels: the same function in other numbers, and ranges that are alike."""

import dataclasses
import os

import pytest
import torch
from small_backbone import small_backbone, small_images
from torch import Tensor

from respin.golden.backbones import Backbone
from respin.golden.backbones.equalise import SMALLEST_FACTOR, Strength, equalise
from respin.golden.builder import channel_ranges
from respin.golden.float_network import FloatNetwork

SEED = int(os.environ.get("RESPIN_SEED", "1"))
STRENGTHS = (Strength(), Strength(free=1.0, hidden=1.0, between=1.0), Strength(free=0.0, hidden=0.7, between=0.0))


def uneven() -> Backbone:
    """Channels of very different ranges, one dead, one so small that it cannot be enlarged to the others' range."""
    backbone = small_backbone(SEED)
    generator = torch.Generator().manual_seed(SEED)
    blocks = []
    for block in backbone.blocks:
        layers = []
        for layer in block.layers:
            spread = torch.exp2(-5 * torch.rand(layer.outputs, generator=generator))
            weight, bias = layer.weight * spread[:, None, None, None], layer.bias * spread
            if layer.name == "block1.expand":
                weight[2], bias[2] = 0, -1
                weight[3], bias[3] = weight[3] * 1e-4, bias[3].abs() * 1e-4
            layers.append(dataclasses.replace(layer, weight=weight, bias=bias))
        blocks.append(dataclasses.replace(block, layers=tuple(layers)))
    return dataclasses.replace(backbone, blocks=tuple(blocks))


def tensors_of(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    with torch.no_grad():
        FloatNetwork(backbone, 1).maps(backbone.input.to_float(images), lambda name, y: seen.update({name: y}))
    return seen


def factors_of(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.where(after[name] > 0, before[name] / after[name], 1.0) for name in before}


@pytest.mark.parametrize("strength", STRENGTHS, ids=["default", "full", "hidden"])
def test_the_function_stays_the_same(strength: Strength) -> None:
    backbone, images = uneven(), small_images(24, SEED).images
    before = channel_ranges(backbone, images)
    changed, after = equalise(backbone, before, strength)
    factors = factors_of(before, after)
    # Other images than the ranges are from: some pass 6, which is another limit for each channel now.
    others = 255 - small_images(24, SEED + 1).images
    plain, equalised = tensors_of(backbone, others), tensors_of(changed, others)
    assert plain.keys() == equalised.keys() == factors.keys()
    for name, y in plain.items():
        back = equalised[name] * factors[name][:, None, None]
        scale = y.abs().amax((0, 2, 3)).clamp_min(1e-12)
        assert float(((back - y).abs().amax((0, 2, 3)) / scale).max()) < 1e-3, name


@pytest.mark.parametrize("strength", STRENGTHS, ids=["default", "full", "hidden"])
def test_ranges_are_those_of_the_changed_backbone(strength: Strength) -> None:
    backbone, images = uneven(), small_images(24, SEED).images
    before = channel_ranges(backbone, images)
    changed, after = equalise(backbone, before, strength)
    measured = channel_ranges(changed, images)
    for name, ranges in measured.items():
        assert torch.allclose(ranges, after[name], rtol=1e-3, atol=1e-6), name
    for name, factor in factors_of(before, after).items():
        assert float(factor.max()) <= 1 + 1e-6, name
        assert float(factor.min()) >= SMALLEST_FACTOR * (1 - 1e-6), name


def test_free_channels_fill_the_range() -> None:
    backbone, images = uneven(), small_images(24, SEED).images
    before = channel_ranges(backbone, images)
    _, after = equalise(backbone, before, Strength(free=1.0, hidden=0.5, between=0.5))
    for block in backbone.blocks:
        for layer in block.layers:
            if layer.name.endswith("expand"):
                within = before[layer.name] > before[layer.name].max() * SMALLEST_FACTOR
                assert torch.allclose(after[layer.name][within], before[layer.name].max(), rtol=1e-3)
                # The rest came 64 times nearer.
                small = ~within & (before[layer.name] > 0)
                assert torch.allclose(after[layer.name][small], before[layer.name][small] / SMALLEST_FACTOR, rtol=1e-3)
    assert float(after["last"][before["last"] > before["last"].max() / 32].std()) < 1e-3 * float(after["last"].max())


def test_dead_channels_stay_dead() -> None:
    backbone, images = uneven(), small_images(24, SEED).images
    before = channel_ranges(backbone, images)
    assert before["block1.expand"][2] == 0
    changed, after = equalise(backbone, before, Strength(free=1.0, hidden=1.0, between=1.0))
    assert after["block1.expand"][2] == 0
    assert all(bool(layer.weight.isfinite().all() and layer.bias.isfinite().all()) for layer in changed.layers)


def test_no_strength_changes_nothing() -> None:
    backbone, images = uneven(), small_images(8, SEED).images
    changed, after = equalise(backbone, channel_ranges(backbone, images), Strength(free=0.0, hidden=0.0, between=0.0))
    for one, two in zip(backbone.layers, changed.layers, strict=True):
        assert torch.equal(one.weight, two.weight)
        assert torch.equal(one.bias, two.bias)
    assert after.keys() == channel_ranges(backbone, images).keys()


def test_added_tensors_share_their_factors() -> None:
    backbone, images = uneven(), small_images(24, SEED).images
    before = channel_ranges(backbone, images)
    factors = factors_of(before, equalise(backbone, before, Strength())[1])
    # Blocks 2 and 4 add their input, which blocks 1 and 3 make.
    for maker, adder in (("block1", "block2"), ("block3", "block4")):
        shared = [factors[name] for name in (f"{maker}.project", f"{adder}.project", f"{adder}.sum")]
        assert all(torch.allclose(shared[0], other, rtol=1e-4) for other in shared)
        assert float(shared[0].std()) > 0.01
