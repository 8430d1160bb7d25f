# SPDX-License-Identifier: Apache-2.0
"""Rep-Net modules: published counts, and the float module behind them."""

import pytest
import torch

from respin.golden.backbones.proxyless import proxyless_mobile_shapes
from respin.golden.backbones.recipe import load_recipe
from respin.golden.repnet import FloatRepModule, RepModule, weight_unit

CHANNELS = {
    "proxyless-mobile": (3, 32, 40, 80, 96, 192, 320),
    "mobilenet-v2": (3, 24, 32, 64, 96, 160, 320),
    "efficientnet-lite0": (3, 24, 40, 80, 112, 192, 320),
}
"""Of the image, and of the outputs of the blocks that the published recipes name."""


def modules_of(name: str) -> list[RepModule]:
    attachments, channels = load_recipe(name).attachments, CHANNELS[name]
    return [
        attachment.module(inputs, outputs)
        for attachment, inputs, outputs in zip(attachments, channels, channels[1:], strict=False)
    ]


@pytest.mark.parametrize(
    ("name", "counts", "total"),
    [
        ("proxyless-mobile", [936, 14_224, 23_440, 88_032, 60_480, 228_352], 415_464),
        ("mobilenet-v2", None, 380_072),
    ],
)
def test_counts_equal_the_published_ones(name: str, counts: list[int] | None, total: int) -> None:
    modules = modules_of(name)
    assert sum(module.published_parameters for module in modules) == total
    if counts:
        assert [module.published_parameters for module in modules] == counts


def test_proxyless_modules_stand_beside_the_stages() -> None:
    backbone = proxyless_mobile_shapes()
    assert list(backbone.rep_modules) == modules_of("proxyless-mobile")
    assert [backbone.blocks[at].name for at in backbone.beside] == [f"block{at}" for at in (1, 5, 9, 13, 17, 21)]


@pytest.mark.parametrize("name", CHANNELS)
def test_counts_are_those_of_real_modules(name: str) -> None:
    for module in modules_of(name):
        normed, plain = FloatRepModule(module, norm=True), FloatRepModule(module)
        assert sum(p.numel() for p in normed.parameters()) == module.published_parameters
        assert sum(p.numel() for p in plain.parameters()) == module.parameters


@pytest.mark.parametrize("norm", [False, True])
def test_a_new_module_adds_nothing(norm: bool) -> None:
    rep = FloatRepModule(RepModule(inputs=8, outputs=16, kernel=3), norm=norm)
    added = rep(torch.randn(2, 8, 9, 7), (9, 7))
    assert added.shape == (2, 16, 9, 7)
    assert not added.any()


def test_small_maps_are_not_pooled() -> None:
    module = RepModule(inputs=2, outputs=2, kernel=1, groups=1)
    rep = FloatRepModule(module)
    torch.nn.init.dirac_(rep.last.weight)
    x = torch.rand(1, 2, 4, 4)
    hidden = torch.relu(rep.first(x))
    assert torch.equal(rep(x, (4, 4)), rep.last(hidden))


def test_weight_unit() -> None:
    assert weight_unit(32) == 1 / 128
    assert weight_unit(33) == 1 / 128
    assert weight_unit(144) == 0.5 / 128
    with pytest.raises(ValueError, match="fan_in must be at least 1, not 0"):
        weight_unit(0)


def test_wrong_modules_are_refused() -> None:
    with pytest.raises(ValueError, match="groups must divide 3 inputs and 8 hidden channels, not 2"):
        RepModule(inputs=3, outputs=8)
    with pytest.raises(ValueError, match="kernel must be odd, not 4"):
        RepModule(inputs=8, outputs=8, kernel=4)
    with pytest.raises(ValueError, match="pool must be at least 1, not 0"):
        RepModule(inputs=8, outputs=8, pool=0)
    with pytest.raises(TypeError, match=r"inputs must be an integer, not 8\.0"):
        RepModule(inputs=8.0, outputs=8)  # type: ignore[arg-type]
