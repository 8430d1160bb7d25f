# SPDX-License-Identifier: Apache-2.0
"""Integer networks that are built from a small float backbone: their structure, their logits, their gradients."""

import dataclasses
import os
from typing import Literal

import pytest
import torch
from real_network import integer_gradients, real_gradients, settled_steps
from small_backbone import BESIDE, CLASSES, small_backbone, small_images
from torch import Tensor
from torch.nn import functional

from respin.golden.backbones import Backbone, BackboneLayer, Block
from respin.golden.backbones.equalise import equalise
from respin.golden.backbones.recipe import Attachment, Recipe
from respin.golden.backward import backward
from respin.golden.builder import Rules, build_network, channel_ranges
from respin.golden.float_network import FloatNetwork
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    IntegerNetwork,
    Layer,
    Merge,
    Parameters,
    Trained,
    Upsample,
    sources,
)
from respin.golden.quantise import requantiser
from respin.golden.trainer import TrainingState, train_step

SEED = int(os.environ.get("RESPIN_SEED", "1"))
BATCH = 16
# What learns, by name; the wide range keeps features whole that random modules make.
RULES = {
    "modules": Rules(feature_range=12.0),
    "biases": Rules(feature_range=12.0, modules=False, biases=True),
    "everything": Rules(feature_range=12.0, biases=True),
    "head": Rules(feature_range=12.0, modules=False),
}
PLAIN = dataclasses.replace(RULES["modules"], equalise=None)


def build(
    backbone: Backbone | None = None, rules: Rules = RULES["modules"], *, batch: int = BATCH, seed: int | None = None
) -> IntegerNetwork:
    backbone, images = backbone or small_backbone(SEED), small_images(96, SEED).images
    seed = SEED if seed is None else seed
    return build_network(backbone, images, CLASSES, seed=seed, batch=batch, rules=rules)


@pytest.fixture(scope="module")
def networks() -> dict[str, IntegerNetwork]:
    return {name: build(rules=rules) for name, rules in RULES.items()}


def some_parameters(network: IntegerNetwork, *, last: int, head: int, bias: int) -> dict[str, Parameters]:
    """Parameters as they may be after a training: what starts at 0 is drawn up to these magnitudes."""
    generator = torch.Generator().manual_seed(SEED)

    def draw(like: Tensor, limit: int) -> Tensor:
        return torch.randint(-limit, limit + 1, like.shape, generator=generator).to(torch.int8)

    learned = {}
    for name, start in network.initial_parameters().items():
        weight = start.weight
        if not weight.any():
            weight = draw(weight, head if name == "logits" else last)
        learned[name] = Parameters(weight=weight, bias=draw(start.bias, bias))
    return learned


# Structure

FROZEN_BLOCKS = {
    "block0": ("depthwise", "project"),
    "block1": ("expand", "depthwise", "project"),
    "block2": ("expand", "depthwise", "project"),
    "block3": ("expand", "depthwise", "project"),
    "block4": ("expand", "depthwise", "project"),
}
MODULES = {
    "block1": ("rep.pool", "rep.first", "rep.last", "sum"),
    "block2": ("rep.pool", "rep.first", "rep.last", "rep.up", "sum"),
    "block4": ("rep.first", "rep.last", "sum"),
}
RESIDUAL = ("block2", "block4")


@pytest.mark.parametrize("learning", RULES)
def test_layers_stand_in_order(networks: dict[str, IntegerNetwork], learning: str) -> None:
    with_modules = RULES[learning].modules
    beside = MODULES if with_modules else dict.fromkeys(RESIDUAL, ("sum",))
    blocks = [f"{b}.{part}" for b, parts in FROZEN_BLOCKS.items() for part in (*parts, *beside.get(b, ()))]
    network = networks[learning]
    assert [layer.name for layer in network.layers] == ["stem", *blocks, "last", "features", "logits"]
    for name, layer in {layer.name: layer for layer in network.layers}.items():
        kind = {"sum": Merge, "up": Upsample, "pool": AveragePool, "features": AveragePool}
        assert isinstance(layer, kind.get(name.rpartition(".")[2], Convolution))


def test_layers_are_the_backbones() -> None:
    network = build(rules=PLAIN)
    for layer in small_backbone(SEED).layers:
        made = network.convolution(layer.name)
        assert (made.stride, made.padding, made.groups) == (layer.stride, layer.padding, layer.groups)
        assert made.table.signed == (layer.activation == "linear")
        assert made.trained is None
        largest = layer.weight.flatten(1).abs().amax(1)
        # Each channel fills int8 on its own.
        assert made.weight.flatten(1).abs().amax(1).tolist() == [127] * layer.outputs
        scaled = layer.weight / largest[:, None, None, None] * 127
        assert float((made.weight - scaled).abs().max()) < 0.5 + 1e-3


def test_merges_add_what_they_should(networks: dict[str, IntegerNetwork]) -> None:
    def operands(network: IntegerNetwork) -> dict[str, set[str]]:
        merges = (layer for layer in network.layers if isinstance(layer, Merge))
        return {merge.name: {operand.x for operand in merge.operands} for merge in merges}

    assert operands(networks["modules"]) == {
        "block1.sum": {"block1.project", "block1.rep.last"},
        "block2.sum": {"block2.project", "block1.sum", "block2.rep.up"},
        "block4.sum": {"block4.project", "block3.project", "block4.rep.last"},
    }
    assert operands(networks["head"]) == {
        "block2.sum": {"block2.project", "block1.project"},
        "block4.sum": {"block4.project", "block3.project"},
    }


@pytest.mark.parametrize("reads_image", [True, False])
def test_modules_read_the_image_or_their_block_s_input(reads_image: bool) -> None:
    network = build(small_backbone(SEED, reads_image=reads_image))
    first = network.layer("block1.rep.pool")
    assert isinstance(first, AveragePool)
    assert (first.x, first.kernel) == ((INPUT, (4, 4)) if reads_image else ("block0.project", (2, 2)))
    assert network.convolution("block1.rep.first").groups == (1 if reads_image else 2)
    second, third = network.layer("block2.rep.pool"), network.convolution("block4.rep.first")
    assert isinstance(second, AveragePool)
    assert (second.x, second.kernel, third.x) == ("block1.sum", (2, 2), "block3.project")
    for name, module in zip(MODULES, small_backbone(SEED, reads_image=reads_image).rep_modules, strict=True):
        made = network.convolution(f"{name}.rep.first")
        assert made.weight.shape == (module.hidden, module.inputs // module.groups, module.kernel, module.kernel)
        # It starts from a normal distribution; its last convolution at 0.
        fan_in = made.weight[0].numel()
        deviation = float(made.weight.double().std()) * RULES["modules"].unit("first", fan_in)
        assert abs(deviation / (2 / fan_in) ** 0.5 - 1) < 0.15
        assert not network.convolution(f"{name}.rep.last").weight.any()
    assert not network.convolution("logits").weight.any()


def test_what_learns(networks: dict[str, IntegerNetwork]) -> None:
    def learning(network: IntegerNetwork) -> tuple[set[str], set[str]]:
        weights = {layer.name for layer in network.trained if layer.trained and layer.trained.tensor is not None}
        return weights, {layer.name for layer in network.trained}

    convolutions = {layer.name for layer in small_backbone(SEED).layers}
    modules = {f"block{position}.rep.{part}" for position, _ in BESIDE for part in ("first", "last")}
    assert learning(networks["modules"]) == (modules | {"logits"}, modules | {"logits"})
    assert learning(networks["biases"]) == ({"logits"}, convolutions | {"logits"})
    assert learning(networks["everything"]) == (modules | {"logits"}, convolutions | modules | {"logits"})
    assert learning(networks["head"]) == ({"logits"}, {"logits"})
    for network in networks.values():
        assert sorted(g.layer for g in network.gradients) == sorted(layer.name for layer in network.trained)
    assert networks["head"].edges == ()


@pytest.mark.parametrize("learning", RULES)
def test_edges_lead_from_the_loss_to_what_learns(networks: dict[str, IntegerNetwork], learning: str) -> None:
    network = networks[learning]
    made, used = {network.loss.name}, set()
    for edge in network.edges:
        assert set(sources(edge)) <= made
        used |= set(sources(edge))
        made.add(edge.name)
    used |= {gradient.error for gradient in network.gradients}
    assert used == made
    # Tensor ids name random streams: none twice, and none is 0.
    ids = [network.loss.tensor, *(edge.tensor for edge in network.edges)]
    for layer in network.trained:
        assert layer.trained is not None
        ids += [tensor for tensor in (layer.trained.tensor, layer.trained.bias_tensor) if tensor is not None]
    assert len(set(ids)) == len(ids)
    assert 0 < min(ids) <= max(ids) < 1 << 12


@pytest.mark.parametrize("learning", RULES)
def test_errors_have_their_layer_s_shape_and_mask(networks: dict[str, IntegerNetwork], learning: str) -> None:
    network = networks[learning]
    images = small_images(BATCH, SEED + 1)
    x = small_backbone(SEED).input.to_integer(images.images)
    learned = some_parameters(network, last=6, head=20, bias=5)
    (record,) = settled_steps(network, x, images.labels, learned, seed=SEED, count=1)
    layers = {layer.name: layer for layer in network.layers}
    relu = {n for n, layer in layers.items() if isinstance(layer, Convolution) and not layer.table.signed}
    for edge in network.edges:
        name = edge.name.removeprefix("error.")
        if name not in layers:
            # What passes one of several consumers: the layer's name, then the consumer's.
            assert isinstance(edge, Edge)
            assert edge.through is not None
            assert edge.mask is None
            name = name.removesuffix(f".{edge.through}")
        else:
            assert edge.mask == (name if name in relu else None)
        assert edge.stochastic
        assert record.errors[edge.name].shape == record.activations.tensors[name].shape
        assert bool(record.errors[edge.name].any())
    # No mask is kept in vain.
    assert record.activations.masks.keys() == {edge.mask for edge in network.edges if edge.mask is not None}


# Logits


@pytest.mark.parametrize("equalised", [True, False])
@pytest.mark.parametrize("reads_image", [True, False])
def test_logits_come_near_the_float_network_s(reads_image: bool, equalised: bool) -> None:
    """The same modules and head in float: the difference is the quantisation of weights and activations.

    Over fourteen seeds the cosine between the logits was 0.978 to 0.998, the integer ones' share of the float ones 0.95
    to 1.02, the frozen layers' cosines above 0.996 and the middle one of the features' above 0.98.
    """
    rooms = {"linear_room": 1.0, "merge_room": 2.0, "hidden_room": 2.0}
    rules = Rules(feature_range=16.0, feature_gain=2.0, logit_unit=1 / 8, fine=(0, 0, 0), **rooms)
    rules = rules if equalised else dataclasses.replace(rules, equalise=None)
    backbone = small_backbone(SEED, reads_image=reads_image)
    network = build(backbone, rules)
    learned = some_parameters(network, last=6, head=20, bias=0)
    if rules.equalise is not None:
        # Modules read and write channels in the units that those are brought to.
        backbone, _ = equalise(backbone, channel_ranges(backbone, small_images(96, SEED).images), rules.equalise)
    reference = FloatNetwork(backbone, CLASSES, backbone.rep_modules)
    # The features are standardised before anything has been learned.
    reference.standardise(reference.features_of(small_images(96, SEED).images))
    images = small_images(64, SEED + 1).images
    frozen: dict[str, Tensor] = {}
    x = backbone.input.to_integer(images)
    with torch.no_grad():
        reference.maps(backbone.input.to_float(images), lambda name, y: frozen.update({name: y}))
        untouched = network.forward(x, network.initial_parameters()).tensors
        without = reference.features_of(images)
        for name, weight in float_weights(network, learned, rules).items():
            if name == "logits":
                reference.head.weight.copy_(weight.flatten(1))
            else:
                number = [position for position, _ in BESIDE].index(int(name[len("block")]))
                getattr(reference.rep[number], name.rpartition(".")[2]).weight.copy_(weight)
        moved = reference.features_of(images) - without
        seen = (reference.features_of(images) - reference.mean) / reference.deviation
        logits = reference.head(seen)
    # The modules matter here.
    assert float((moved / reference.deviation).abs().mean()) > 0.2
    for name, y in frozen.items():
        assert cosine(untouched[name], y) > 0.99, name
    tensors = network.forward(x, learned).tensors
    features = functional.cosine_similarity(tensors["features"].flatten(1).float(), seen, dim=0)
    assert float(features.median()) > 0.97
    # Equalised, a feature that calibration hardly saw is as large as the others, and cut where modules wake it.
    if not equalised:
        integer = tensors["logits"].flatten(1).float() * rules.logit_unit
        assert cosine(integer, logits) > 0.96
        assert 0.9 < float((integer * logits).sum() / (logits**2).sum()) < 1.1


def float_weights(network: IntegerNetwork, learned: dict[str, Parameters], rules: Rules) -> dict[str, Tensor]:
    """What the learned weights are worth to a float network."""
    weights = {}
    for layer in network.trained:
        weight = learned[layer.name].weight
        part = {"first": "first", "last": "last", "logits": "head"}[layer.name.rpartition(".")[2]]
        worth = rules.unit(part, weight[0].numel())  # type: ignore[arg-type]
        weights[layer.name] = weight.float() * worth * (rules.feature_gain if part == "head" else 1)
    return weights


def cosine(one: Tensor, other: Tensor) -> float:
    return float(functional.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0))


def test_the_head_reads_standardised_features(networks: dict[str, IntegerNetwork]) -> None:
    images = small_images(96, SEED).images
    x = small_backbone(SEED).input.to_integer(images)
    network = networks["modules"]
    features = network.forward(x, network.initial_parameters()).tensors["features"].flatten(1).double()
    scaled = features * RULES["modules"].feature_range / 127
    assert float(scaled.mean(0).abs().max()) < 0.1
    # Those that hardly move are not blown up to 1.
    assert float(scaled.std(0).max()) < 1.05
    assert float(scaled.std(0).median()) > 0.95


# Gradients


DRAWS = 12


def compare(network: IntegerNetwork, backbone: Backbone, *, bias: int = 5) -> None:
    """Hold the integer gradients against autograd's.

    Every error is rounded stochastically, so that the mean of many draws is the real gradient: it may miss that by
    what the draws scatter, and by a few hundredths for errors that were cut at 127 and for the integer softmax.
    """
    learned = some_parameters(network, last=6, head=20, bias=bias)
    images = small_images(BATCH, SEED + 1)
    x = backbone.input.to_integer(images.images)
    records = settled_steps(network, x, images.labels, learned, seed=SEED, count=DRAWS)
    draws = [integer_gradients(network, record) for record in records]
    real = real_gradients(network, records[0].activations, images.labels, learned)
    assert draws[0].keys() == real.keys()
    for name, expected in real.items():
        every = torch.stack([draw[name] for draw in draws])
        mean, scatter = every.mean(0), float(every.var(0).sum() / DRAWS) ** 0.5
        assert bool(expected.any()), name
        assert float((mean - expected).norm()) < 2.5 * scatter + 0.06 * float(expected.norm()), name
        assert cosine(mean, expected) > 0.7, name


@pytest.mark.parametrize("learning", RULES)
def test_gradients_are_autograd_s(networks: dict[str, IntegerNetwork], learning: str) -> None:
    compare(networks[learning], small_backbone(SEED))


def test_gradients_where_errors_reach_the_stem() -> None:
    """The first module reads its block's input here, so that its errors pass the pool and meet the block's."""
    backbone = small_backbone(SEED, reads_image=False)
    compare(build(backbone, RULES["everything"]), backbone)


def test_every_bias_learns_and_no_frozen_weight(networks: dict[str, IntegerNetwork]) -> None:
    network = networks["biases"]
    images = small_images(BATCH, SEED)
    x = small_backbone(SEED).input.to_integer(images.images)
    state = TrainingState.initial(network, SEED)
    for _ in range(2 * len(network.edges)):
        state = train_step(network, state, x, images.labels, log2_rate=-1).after
    for layer in network.trained:
        assert bool(state.parameters[layer.name].bias.any()), layer.name
        if layer.name != "logits":
            assert torch.equal(state.parameters[layer.name].weight, layer.weight)


# Dead channels


def with_dead_channels() -> Backbone:
    """Channels 3 and 4 of a layer have tiny weights and a large bias, as pruning leaves them; 5 has nothing at all."""
    backbone = small_backbone(SEED)
    expand, *rest = backbone.blocks[2].layers
    weight, bias = expand.weight.clone(), expand.bias.clone()
    weight[3:5] *= 1e-9
    bias[3:5] = torch.tensor([3.0, -2.0])
    weight[5], bias[5] = 0, 0
    block = dataclasses.replace(
        backbone.blocks[2], layers=(dataclasses.replace(expand, weight=weight, bias=bias), *rest)
    )
    return dataclasses.replace(backbone, blocks=(*backbone.blocks[:2], block, *backbone.blocks[3:]))


def test_dead_channels_have_their_bias() -> None:
    backbone = with_dead_channels()
    network = build(backbone, PLAIN)
    images, real = small_images(BATCH, SEED + 1).images, dict[str, Tensor]()
    x = backbone.input.to_integer(images)
    integer = network.forward(x, network.initial_parameters()).tensors["block2.expand"]
    with torch.no_grad():
        maps = FloatNetwork(backbone, CLASSES).maps
        maps(backbone.input.to_float(images), lambda name, y: real.update({name: y}))
    # What a unit is worth, by the other channels.
    unit = float((real["block2.expand"] * integer).sum() / (integer.double() ** 2).sum())
    for channel, value in ((3, 3.0), (4, 0.0), (5, 0.0)):
        (level,) = integer[:, channel].unique().tolist()
        assert abs(level * unit - value) < 1.5 * unit


@pytest.mark.parametrize("learning", ["modules", "everything"])
def test_dead_channels_leave_the_gradients_right(learning: str) -> None:
    backbone = with_dead_channels()
    compare(build(backbone, RULES[learning]), backbone, bias=0)


# Seeds and refusals


def same(one: Layer, other: Layer) -> bool:
    """Whether two layers are the same, tensors included."""
    if type(one) is not type(other):
        return False
    for field in dataclasses.fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, Tensor):
            equal = torch.equal(mine, theirs)
        elif field.name == "table":
            equal = all(
                torch.equal(getattr(mine, c), getattr(theirs, c)) for c in ("bias", "mult", "shift", "lo", "hi")
            )
        elif field.name == "operands":
            equal = [(o.x, o.mult, o.zero_point) for o in mine] == [(o.x, o.mult, o.zero_point) for o in theirs]
        elif field.name == "trained" and mine is not None:
            equal = dataclasses.asdict(mine) == dataclasses.asdict(theirs)
        else:
            equal = mine == theirs
        if not equal:
            return False
    return True


def test_the_seed_decides_the_modules_alone(networks: dict[str, IntegerNetwork]) -> None:
    first = networks["modules"]
    torch.manual_seed(SEED + 99)  # nothing comes from the global generator
    again, other = build(), build(seed=SEED + 1)
    assert all(same(one, two) for one, two in zip(first.layers, again.layers, strict=True))
    for one, two in zip(first.layers, other.layers, strict=True):
        # The scale of a first convolution's output follows its weights, and the last one's ratio follows that.
        assert same(one, two) == (".rep.first" not in one.name and ".rep.last" not in one.name)


def test_sums_that_could_overflow_are_refused() -> None:
    pixels = 8 * 8
    build(batch=65_793 // pixels)
    with pytest.raises(ValueError, match="batch x output pixels must be at most 65793, not 65856"):
        build(batch=65_793 // pixels + 1)
    # A bias that is worth so much that its shifted units pass an int32.
    for learning, what in (("modules", "a trained convolution's sum"), ("biases", "a convolution's sum")):
        rules = dataclasses.replace(RULES[learning], bias_share=2.0**19)
        with pytest.raises(ValueError, match=f"{what} could reach [-0-9]+, past the int32 range"):
            build(rules=rules)


def test_sums_that_could_underflow_are_refused() -> None:
    """Negative weights alone, and a bias whose shifted units nearly fill an int32 by themselves."""
    generator = torch.Generator().manual_seed(SEED)
    stem = torch.randn((1024, 3, 1, 1), generator=generator)
    inner = -0.5 - torch.rand((8, 1024, 1, 1), generator=generator)
    last = -0.5 - torch.rand((8, 8, 1, 1), generator=generator)

    def plain(name: str, weight: Tensor, activation: Literal["relu", "linear"]) -> BackboneLayer:
        return BackboneLayer(name=name, weight=weight, bias=torch.ones(len(weight)), activation=activation)

    backbone = dataclasses.replace(
        small_backbone(SEED),
        stem=plain("stem", stem, "relu"),
        blocks=(Block(name="block0", layers=(plain("block0.project", inner, "linear"),)),),
        last=plain("last", last, "relu"),
        recipe=Recipe(attachments=(Attachment(block="block0", kernel=3, groups=1, pool=4),), reads_image=True),
    )
    images = small_images(16, SEED).images[:, :, :4, :4]
    accepted = 0
    for doublings in range(6, 14):
        rules = dataclasses.replace(RULES["biases"], equalise=None, bias_share=2.0**doublings)
        try:
            network = build_network(backbone, images, CLASSES, seed=SEED, batch=BATCH, rules=rules)
        except ValueError:
            continue
        accepted += 1
        made = network.convolution("block0.project")
        assert made.trained is not None
        bias = made.table.bias.abs() + (127 << made.trained.bias_shift)
        assert int((made.weight.long().clamp(max=0).sum((1, 2, 3)) * 255 - bias).min()) >= -(1 << 31)
    assert accepted


def layer(name: str, x: str, *, learns: bool = False) -> Convolution:
    return Convolution(
        name=name,
        x=x,
        weight=torch.ones((2, 2, 1, 1), dtype=torch.int8),
        table=requantiser(torch.ones(2, dtype=torch.float64), signed=True),
        trained=Trained(bias_tensor=100, bias_shift=0) if learns else None,
    )


def test_a_layer_that_learns_must_lead_to_the_loss() -> None:
    ids = iter(range(1, 50))

    def edges(*layers: Layer) -> list[str]:
        made, _ = backward(layers, loss="error.logits", logits="logits", new_tensor=lambda _name: next(ids))
        return [edge.name for edge in made]

    start, end = layer("start", INPUT, learns=True), layer("logits", "start", learns=True)
    assert edges(start, end) == ["error.start"]
    # A frozen layer that leads nowhere is not asked for errors unless something learns before it.
    aside = layer("aside", INPUT)
    assert edges(aside, start, end) == ["error.start"]
    with pytest.raises(ValueError, match="no error comes to aside: nothing that reads it leads to the loss"):
        edges(dataclasses.replace(aside, trained=Trained(bias_tensor=101, bias_shift=0)), start, end)
    with pytest.raises(ValueError, match="no error comes to behind"):
        edges(start, layer("behind", "start"), end)


def test_an_upsample_is_for_merges() -> None:
    up = Upsample(name="up", x="start", size=(4, 4))
    with pytest.raises(ValueError, match="up must be read by merges only"):
        backward(
            (layer("start", INPUT, learns=True), up, layer("logits", "up")),
            loss="error.logits",
            logits="logits",
            new_tensor=lambda _name: 1,
        )
