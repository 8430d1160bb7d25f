# SPDX-License-Identifier: Apache-2.0
"""What a module may not ask for: every refusal names the node and what is supported."""

import pytest
import torch
from test_torch_import import Calls, images
from torch import nn
from torch.nn import functional

from respin.firmware_model.frontend.quantise import quantise
from respin.firmware_model.frontend.refusal import ModelError, RefusedError
from respin.firmware_model.frontend.torch_import import import_module, import_program

SHAPE = (4, 8, 8)


def conv(**options: object) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, **options)


REFUSED = {
    "dilation": (lambda: nn.Sequential(conv(), conv(dilation=2)), "1: dilation (2, 2); supported: dilation 1"),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 2)), "0: operator conv_transpose2d.input"),
    "activation": (lambda: nn.Sequential(conv(), nn.SiLU()), "1: operator silu; supported: conv2d"),
    "gate": (lambda: Calls(lambda m, x: m.a(x) * x, a=conv()), "mul: a product of two tensors"),
    "max pool": (lambda: nn.Sequential(conv(), nn.MaxPool2d(2)), "1: operator max_pool2d"),
    "oblong stride": (lambda: nn.Conv2d(4, 4, 3, stride=(1, 2)), "stride (1, 2)"),
    "concatenation": (lambda: Calls(lambda m, x: torch.cat([m.a(x), x], 1), a=conv()), "cat: operator cat"),
    "bilinear": (lambda: nn.Sequential(conv(), nn.Upsample(scale_factor=2, mode="bilinear")), "1: operator upsample_b"),
    "odd scale": (lambda: nn.Sequential(nn.Upsample(scale_factor=1.3), conv()), "0: a scale of 1.3 from 8 to 10"),
    "overlapping pool": (lambda: nn.AvgPool2d(3, stride=2), "windows of (3, 3) every (2, 2)"),
    "padded pool": (lambda: nn.AvgPool2d(2, padding=1), "padding [1, 1]"),
    "uneven adaptive pool": (lambda: nn.AdaptiveAvgPool2d(3), "an output of (3, 3) from a map of (8, 8)"),
    "mean over channels": (lambda: Calls(lambda m, x: m.a(x).mean(1), a=conv()), "mean: a mean over dimensions [1]"),
    "reflected pad": (lambda: nn.Sequential(nn.ReflectionPad2d(1), conv()), "0: "),
    "pad with a number": (
        lambda: nn.Sequential(nn.ConstantPad2d(1, 2.0), conv()),
        "0: a pad of mode 'constant' with 2",
    ),
    "pad before an activation": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ReLU()),
        "1: a pad before something that is",
    ),
    "clamp without zero": (lambda: nn.Sequential(conv(), nn.Hardtanh(1, 2)), "1: a clamp between 1.0 and 2.0"),
    "weights from the image": (
        lambda: Calls(lambda m, x: functional.conv2d(x, m.a(x)[0, :, None, :1, :1].expand(4, 4, 1, 1)), a=conv()),
        "operator select.int",
    ),
    "image as weight": (
        lambda: Calls(lambda m, x: functional.linear(x.flatten(1), x.flatten(1))),
        "linear: a weight that depends on the image",
    ),
    "random numbers": (
        lambda: Calls(lambda m, x: m.a(x) + torch.rand(1), a=conv()),
        "rand: operator rand, which draws",
    ),
    "infinite weights": (
        lambda: Calls(lambda m, x: functional.conv2d(x, m.a.weight / 0), a=conv()),
        "conv2d: a weight that is not finite",
    ),
    "training norm": (lambda: nn.Sequential(conv(), nn.BatchNorm2d(4)).train(), "1: a batch norm in training mode"),
    "training dropout": (lambda: nn.Sequential(conv(), nn.Dropout(0.5)).train(), "1: dropout in training mode"),
    "norm of batches": (
        lambda: nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False)).eval(),
        "1: a batch norm",
    ),
    "two outputs": (lambda: Calls(lambda m, x: (m.a(x), x), a=conv()), "output: 2 outputs"),
    "no layer": (lambda: nn.Identity(), "output: an output that no layer makes"),
    "linear over a map": (lambda: nn.Linear(8, 3), "a linear layer of a map"),
    "transposition": (lambda: Calls(lambda m, x: m.a(x).transpose(2, 3), a=conv()), "operator transpose.int"),
    "linear of a large map": (
        lambda: nn.Sequential(nn.Upsample(size=(16, 4)), nn.Flatten(), nn.Linear(256, 2)),
        "2: a linear layer of maps of (16, 4); supported: maps of at most 15 a side",
    ),
    "large kernel": (lambda: nn.Conv2d(4, 4, 17, padding=8), "kernel must be in 1..15, not 17"),
    "five dimensions": (
        lambda: Calls(lambda m, x: m.a(x).unsqueeze(0), a=conv()),
        "unsqueeze: a view of (1, 4, 8, 8) as (1, 1, 4, 8, 8)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_node(kind: str) -> None:
    make, message = REFUSED[kind]
    module = make()
    with pytest.raises(RefusedError) as caught:
        import_module(module if "training" in kind else module.eval(), SHAPE)
    assert message in str(caught.value)
    assert "; supported: " in str(caught.value)


def test_every_node_is_refused_at_once() -> None:
    module = nn.Sequential(nn.SiLU(), conv(), nn.MaxPool2d(2), conv(dilation=2), nn.Sigmoid())
    with pytest.raises(RefusedError) as caught:
        import_module(module, SHAPE)
    # What only follows from another refusal is not one of its own.
    assert [refusal.node for refusal in caught.value.refusals] == ["0"]
    module = Calls(
        lambda m, x: m.a(x) + m.b(x), a=nn.Conv2d(4, 4, 3, padding=2, dilation=2), b=nn.ConvTranspose2d(4, 4, 1)
    )
    with pytest.raises(RefusedError, match=r"a: dilation \(2, 2\); supported: dilation 1 \(and 1 more\)") as caught:
        import_module(module, SHAPE)
    assert [refusal.node for refusal in caught.value.refusals] == ["a", "b"]


def test_dynamic_shapes_are_refused() -> None:
    height = torch.export.Dim("height", min=4, max=64)
    program = torch.export.export(conv(), (torch.zeros(1, 4, 8, 8),), dynamic_shapes=({2: height},))
    with pytest.raises(RefusedError, match="input: a dynamic shape .1, 4, "):
        import_program(program, name="dynamic")


def test_two_inputs_are_refused() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    program = torch.export.export(Sum(), (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)))
    with pytest.raises(RefusedError, match="a: 2 inputs; supported: one"):
        import_program(program, name="sum")


def test_what_cannot_be_traced_is_one_line() -> None:
    with pytest.raises(ModelError, match="torch.export cannot trace it: ") as caught:
        import_module(nn.Conv2d(3, 4, 3), SHAPE)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"shape must be \(C, H, W\) or \(C,\), each at least 1, not \(4, 0, 2\)"):
        import_module(conv(), (4, 0, 2))
    with pytest.raises(ModelError, match="module must be a torch.nn.Module, not dict"):
        import_module({}, SHAPE)


def test_sums_that_could_overflow_are_refused() -> None:
    # A fan-in of 80,000 weights of full size: 80,000 * 127 * 255 passes 2^31.
    module = nn.Sequential(nn.Flatten(), nn.Linear(80_000, 2)).eval()
    nn.init.ones_(module[1].weight)
    with pytest.raises(RefusedError, match="1: "):
        quantise(import_module(module, (80_000, 1, 1)), torch.rand(2, 80_000, 1, 1))


def test_values_that_are_not_finite_are_refused() -> None:
    module = nn.Sequential(conv(), conv()).eval()
    nn.init.constant_(module[0].weight, 1e30)
    nn.init.constant_(module[1].weight, 1e30)
    with pytest.raises(RefusedError, match="1: values that are not finite on the calibration images"):
        quantise(import_module(module, SHAPE), images(2, SHAPE).abs())


@pytest.mark.parametrize("count", [5, 9])
def test_sums_of_many_tensors_are_sums_of_two(count: int) -> None:
    module = Calls(lambda m, x: sum(m.a(x) for _ in range(count)), a=conv()).eval()
    network = quantise(import_module(module, SHAPE), images(2, SHAPE))
    assert len(network.layers) >= count
