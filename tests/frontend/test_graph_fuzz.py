# SPDX-License-Identifier: Apache-2.0
"""Random small modules of the supported operators: they import exactly, run as integers, and come close to float."""

import os

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from respin.firmware_model.frontend.quantise import quantise
from respin.firmware_model.frontend.torch_import import import_module

SEED = int(os.environ.get("RESPIN_SEED", "1"))


class Drawn(nn.Module):
    """Steps drawn one after the other, each on the tensor before it; some keep a tensor for a sum further on."""

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__()
        channels, size = draw(st.integers(1, 5)), (draw(st.integers(4, 9)), draw(st.integers(4, 9)))
        self.shape = (channels, *size)
        self.layers = nn.ModuleList()
        self.steps: list[tuple[str, object]] = []
        for _ in range(draw(st.integers(1, 5))):
            channels, size = self._step(draw, channels, size)
        if draw(st.booleans()):
            # A linear layer's kernel is the whole map: at most 15 x 15.
            if draw(st.booleans()) or max(size) > 15:
                self.steps.append(("mean", None))
                size = (1, 1)
            self._layer(nn.Linear(channels * size[0] * size[1], draw(st.integers(1, 6))), flat=True)
        if not any(kind != "clamp" for kind, _ in self.steps):
            self._layer(nn.Conv2d(channels, 3, 1))

    def _layer(self, layer: nn.Module, *, flat: bool = False) -> None:
        self.steps.append(("flat layer" if flat else "layer", len(self.layers)))
        self.layers.append(layer)

    def _step(self, draw: st.DrawFn, channels: int, size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        kind = draw(st.sampled_from(["conv", "conv", "depthwise", "norm", "clamp", "residual", "pool", "upsample"]))
        if kind in ("conv", "depthwise"):
            kernel = (draw(st.integers(1, min(3, size[0]))), draw(st.integers(1, min(3, size[1]))))
            pads = [draw(st.integers(0, 2)) for _ in range(4)]
            groups = channels if kind == "depthwise" else draw(st.sampled_from([1, channels]))
            outputs, stride = groups * draw(st.integers(1, 3)), draw(st.integers(1, 2))
            self.steps.append(("pad", pads))
            self._layer(nn.Conv2d(channels, outputs, kernel, stride, groups=groups, bias=draw(st.booleans())))
            rows, columns = size[0] + pads[2] + pads[3], size[1] + pads[0] + pads[1]
            return outputs, ((rows - kernel[0]) // stride + 1, (columns - kernel[1]) // stride + 1)
        if kind == "norm":
            self._layer(nn.BatchNorm2d(channels))
        if kind == "clamp":
            self.steps.append(("clamp", draw(st.sampled_from([(0.0, torch.inf), (0.0, 6.0), (-1.0, 2.0)]))))
        if kind == "residual":
            self.steps.append(("residual", len(self.layers)))
            self.layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        if kind == "pool" and min(size) >= 2:
            self.steps.append(("pool", 2))
            return channels, (size[0] // 2, size[1] // 2)
        if kind == "upsample" and max(size) <= 7:
            size = (size[0] + draw(st.integers(0, 3)), size[1] * 2)
            self.steps.append(("resize", size))
        return channels, size

    def forward(self, x: Tensor) -> Tensor:
        for kind, what in self.steps:
            match kind:
                case "layer":
                    x = self.layers[what](x)
                case "flat layer":
                    x = self.layers[what](x.flatten(1))
                case "pad":
                    x = functional.pad(x, what)
                case "clamp":
                    x = x.clamp(*what)
                case "residual":
                    x = x + self.layers[what](x)
                case "pool":
                    x = functional.avg_pool2d(x, what)
                case "resize":
                    x = functional.interpolate(x, size=what, mode="nearest")
                case "mean":
                    x = x.mean((2, 3))
        return x


@st.composite
def modules(draw: st.DrawFn) -> Drawn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw(st.integers(0, 2**31 - 1)))
        module = Drawn(draw)
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for tensor, low, high in ((norm.weight, -1.5, 2), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
                    tensor.data.uniform_(low, high)
                norm.running_var.uniform_(0.3, 2)
    return module.eval()


@seed(SEED)
# Tracing takes a good part of a second: a failure prints its steps as drawn.
@settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate]
)
@given(modules())
def test_random_modules(module: Drawn) -> None:
    x = torch.randn(24, *module.shape, generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        expected = module(x)
    graph = import_module(module, module.shape)
    torch.testing.assert_close(graph.run(x).reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    network = quantise(graph, x)
    result = network.run_real(x)
    assert tuple(result.shape[1:]) == network.shapes()[network.output] == graph.shapes[graph.output]
    assert {name: shape for name, shape in network.shapes().items() if name in graph.shapes} == graph.shapes
    error = (result.reshape(expected.shape) - expected.double()).norm() / expected.double().norm().clamp_min(1e-6)
    # Each of up to eight layers adds about half a percent of its range; a wrong scale, bias or order is far past this.
    assert float(error) < 0.15, module.steps
