# SPDX-License-Identifier: Apache-2.0
"""Modules as graphs and as integer networks: operators one by one, the backbones, and real weights where at hand."""

import io
import os

import pytest
import torch
from reference_backbones import EfficientNetLite0, MobileNetV2, random_backbone
from torch import Tensor, nn
from torch.nn import functional

from respin.firmware_model.frontend.float_graph import FloatGraph
from respin.firmware_model.frontend.quantise import QuantisationRules, quantise
from respin.firmware_model.frontend.torch_import import import_module
from respin.golden.backbones import inverted_residual, load_backbone
from respin.golden.inference import InferenceNetwork, TensorFormat
from respin.golden.network import AveragePool, Convolution, Merge

SEED = int(os.environ.get("RESPIN_SEED", "1"))
SHAPE = (4, 9, 8)


class Calls(nn.Module):
    """A module that is one function of its input and the layers it is given."""

    def __init__(self, function, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Pooled(nn.Module):
    """A backbone that returns the averaged map of its last layer, with a classifier if it is given one."""

    def __init__(self, backbone: nn.Module, classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.backbone(x)[-1].mean((2, 3)))


def settled(module: nn.Module, seed: int = SEED) -> nn.Module:
    """Give every norm statistics that do something."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in ((norm.weight, -1.5, 2.0), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
            norm.running_var.uniform_(0.2, 2, generator=generator)
    return module.eval()


def images(count: int, shape: tuple[int, ...] = SHAPE, seed: int = SEED) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def made(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x)


def imported(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> FloatGraph:
    """Import and hold the float graph against the module."""
    graph = import_module(module, shape)
    x = images(3, shape)
    expected = made(module, x)
    result = graph.run(x if x.dim() == 4 else x[:, :, None, None]).reshape(expected.shape)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    return graph


def relative_error(network: InferenceNetwork, module: nn.Module, x: Tensor) -> float:
    expected = made(module, x).double()
    return float((network.run_real(x).reshape(expected.shape) - expected).norm() / expected.norm())


MODULES = {
    "asymmetric pad": lambda: nn.Sequential(nn.ConstantPad2d((0, 1, 2, 0), 0.0), nn.Conv2d(4, 6, 3, stride=2)),
    "pad in front of a padded one": lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 0, 1)), nn.Conv2d(4, 6, 3, padding=1)),
    "same padding": lambda: nn.Conv2d(4, 6, (2, 3), padding="same"),
    "groups": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise, norm, relu6": lambda: nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)
    ),
    "norm in front": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3, padding=1)),
    "norm without scale": lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)),
    "activation in front": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(4, 5, 1)),
    "hardtanh": lambda: nn.Sequential(nn.Conv2d(4, 5, 3), nn.Hardtanh(-0.5, 0.75)),
    "two clamps": lambda: nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Hardtanh(-1, 0.5)),
    "clamp": lambda: Calls(lambda m, x: m.a(x).clamp(min=-0.25), a=nn.Conv2d(4, 5, 3)),
    "residual": lambda: Calls(
        lambda m, x: functional.relu(m.b(functional.relu(m.a(x))) + m.a(x)),
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
    ),
    "residual in place": lambda: Calls(lambda m, x: m.a(x).add_(x).relu_(), a=nn.Conv2d(4, 4, 1)),
    "read before its activation": lambda: Calls(
        lambda m, x: (lambda y: m.b(functional.relu(y)) + y)(m.n(m.a(x))),
        a=nn.Conv2d(4, 6, 3, padding=1),
        n=nn.BatchNorm2d(6),
        b=nn.Conv2d(6, 6, 1),
    ),
    "a tensor with itself": lambda: Calls(lambda m, x: (lambda y: y + y)(m.a(x)), a=nn.Conv2d(4, 4, 1)),
    "average pool": lambda: nn.Sequential(nn.Conv2d(4, 5, 1), nn.AvgPool2d(2)),
    "average pool across": lambda: nn.Sequential(nn.Conv2d(4, 5, 1), nn.AvgPool2d((3, 2)), nn.ReLU()),
    "global pool, linear": lambda: nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)
    ),
    "mean, linear": lambda: Calls(
        lambda m, x: m.b(m.a(x).mean((-1, -2))), a=nn.Conv2d(4, 8, 3), b=nn.Linear(8, 3, bias=False)
    ),
    "linear of a map": lambda: Calls(
        lambda m, x: m.b(m.a(x).view(x.size(0), -1)), a=nn.Conv2d(4, 2, 3, stride=2), b=nn.Linear(24, 5)
    ),
    "two linears": lambda: nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 3)),
    "upsample": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.Upsample(scale_factor=2)),
    "upsample to a size": lambda: nn.Sequential(nn.Upsample(size=(13, 11)), nn.Conv2d(4, 3, 3)),
    "input scaled": lambda: Calls(
        lambda m, x: m.a((x - torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]) / 2 * m.s[:, None, None]),
        a=nn.Conv2d(4, 3, 3, padding=1),
        s=nn.Parameter(torch.tensor([0.5, 1.0, -2.0, 0.25])),
    ),
    "weights computed from constants": lambda: Calls(
        lambda m, x: functional.conv2d(x, m.a.weight * 0.5 + 0.1), a=nn.Conv2d(4, 3, 3)
    ),
    "identity": lambda: nn.Sequential(nn.Identity(), nn.Conv2d(4, 4, 1), nn.Dropout2d(0.3)),
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_module_becomes_a_graph_and_integers(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = settled(MODULES[kind]())
    graph = imported(module)
    x = images(32)
    # Two layers of 8 bits: a percent or two of noise; a wrong scale or bias would be tens.
    assert relative_error(quantise(graph, x), module, x) < 0.04
    plain = QuantisationRules(equalise=None, correct=False)
    assert relative_error(quantise(graph, x, rules=plain), module, x) < 0.05


def test_norms_and_activations_cost_no_layer() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4))
    network = quantise(imported(settled(module)), images(4))
    assert [type(layer) for layer in network.layers] == [Convolution, Convolution]
    assert [layer.name for layer in network.layers] == ["0", "3"]
    first, last = network.layers
    assert not first.table.signed
    assert last.table.signed


def test_a_residual_block_has_the_layers_that_it_should() -> None:
    module = Calls(
        lambda m, x: functional.relu(m.b(functional.relu(m.a(x))) + x).mean((2, 3)),
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
    )
    network = quantise(imported(settled(module)), images(4))
    assert [type(layer) for layer in network.layers] == [Convolution, Convolution, Merge, AveragePool]
    assert network.layers[2].lo == 0
    assert network.shapes() == {"input": SHAPE, "a": SHAPE, "b": SHAPE, "add": SHAPE, "mean": (4, 1, 1)}


def test_a_vector_goes_in() -> None:
    module = settled(nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)))
    graph = imported(module, (12,))
    x = images(16, (12,))
    network = quantise(graph, x[:, :, None, None])
    expected = made(module, x).double()
    assert float((network.run_real(x[:, :, None, None]).flatten(1) - expected).norm() / expected.norm()) < 0.03


def test_the_given_input_format_is_kept() -> None:
    module = settled(nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()))
    form = TensorFormat(scale=1 / 32, signed=True)
    network = quantise(imported(module), images(4), input_format=form)
    assert network.formats["input"] == form
    with pytest.raises(ValueError, match="the input's zero point must be 0, not 3"):
        quantise(imported(module), images(4), input_format=TensorFormat(scale=0.1, zero_point=3))


def test_a_clamp_that_leaves_nothing_below_zero_is_unsigned() -> None:
    module = settled(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Hardtanh(-1e-6, 6.0)))
    network = quantise(imported(module), images(4))
    x = network.formats["input"].to_integer(images(4))
    form = network.formats["0"]
    assert network.run(x).dtype == (torch.int8 if form.signed else torch.uint8)
    assert not form.signed


def test_an_inputs_size_and_values_are_checked() -> None:
    graph = imported(settled(nn.Conv2d(4, 6, 3)))
    with pytest.raises(ValueError, match=r"images must be float \(N, 4, 9, 8\), not float32 \(2, 4, 9, 9\)"):
        quantise(graph, images(2, (4, 9, 9)))
    with pytest.raises(ValueError, match="images must be at least one, of finite numbers"):
        quantise(graph, images(2) / 0)
    with pytest.raises(ValueError, match="room must be at least 1, not 0.5"):
        QuantisationRules(room=0.5)


@pytest.mark.parametrize(("kind", "layers"), [(EfficientNetLite0, 59), (MobileNetV2, 63)])
def test_backbones_come_through(kind: type[nn.Module], layers: int) -> None:
    x = images(8, (3, 64, 64))
    module = Pooled(random_backbone(kind, x, SEED))
    graph = import_module(module, (3, 64, 64))
    expected = made(module, x)
    result = graph.run(x).flatten(1)
    assert float((result - expected).norm() / expected.norm()) < 1e-3
    # Convolutions, sums of residual blocks and the mean: no norm, pad or activation is left.
    assert len(graph.nodes) == layers
    network = quantise(graph, x)
    assert [layer.name for layer in network.layers] == [node.name for node in graph.nodes]
    # A network of random weights makes noise more from block to block; real weights are held closer below.
    similar = functional.cosine_similarity(network.run_real(x).flatten(1), expected.double())
    assert float(similar.min()) > 0.9


def photos() -> Tensor:
    """Crops of both of scikit-learn's photos, (18, 3, 224, 224)."""
    from sklearn.datasets import load_sample_images

    pictures = [torch.tensor(photo).permute(2, 0, 1) for photo in load_sample_images().images]
    return torch.stack([
        picture[:, y : y + 224, x : x + 224] for picture in pictures for y in (0, 100, 200) for x in (0, 200, 400)
    ])  # fmt: skip


def real_weights(name: str) -> dict[str, Tensor]:
    source = getattr(inverted_residual, f"{name}_WEIGHTS")
    if not source.cached:
        pytest.skip(f"the weights {name} are not in the cache")
    data = source.open(lambda _line: None).read(getattr(inverted_residual, f"{name}_FILE"))
    return torch.load(io.BytesIO(data), weights_only=True)


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    weights = real_weights("LITE0")
    classifier = nn.Linear(1280, 1000)
    classifier.load_state_dict({"weight": weights.pop("_fc.weight"), "bias": weights.pop("_fc.bias")})
    backbone = EfficientNetLite0()
    backbone.load_state_dict(weights)
    return Pooled(backbone, classifier).eval()


def test_lite0_with_its_real_weights_sees_the_same(lite0: nn.Module) -> None:
    x = (photos().float() - 127) / 128
    graph = import_module(lite0, (3, 224, 224))
    expected = made(lite0, x)
    torch.testing.assert_close(graph.run(x).flatten(1), expected, rtol=1e-3, atol=1e-3)
    # Calibrated on some of the images, judged on all.
    network = quantise(graph, x[::3])
    logits = network.run_real(x).flatten(1)
    agree = logits.argmax(1) == expected.argmax(1)
    # Where the float model itself wavers between two classes, noise may turn it.
    best = expected.topk(2).values
    sure = best[:, 0] - best[:, 1] > 0.5
    assert int(sure.sum()) >= 9
    assert bool(agree[sure].all())
    assert int(agree.sum()) >= 15
    assert float(functional.cosine_similarity(logits, expected.double()).min()) > 0.95


def test_mobilenet_with_its_real_weights_makes_the_same_features() -> None:
    backbone = MobileNetV2()
    backbone.load_state_dict(real_weights("MOBILENET"))
    module = Pooled(backbone).eval()
    x = load_backbone("mobilenet-v2").input.to_float(photos())
    graph = import_module(module, (3, 224, 224))
    expected = made(module, x)
    torch.testing.assert_close(graph.run(x).flatten(1), expected, rtol=1e-3, atol=1e-3)
    features = quantise(graph, x[::3]).run_real(x).flatten(1)
    assert float(functional.cosine_similarity(features, expected.double()).min()) > 0.95
    # What the features are for: of the other crops, the nearest is of the same photo.
    centred = functional.normalize(features - features.mean(0))
    nearest = (centred @ centred.t()).fill_diagonal_(-2).argmax(1)
    assert torch.equal(nearest // 9, torch.arange(18) // 9)
