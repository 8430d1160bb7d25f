# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 and MobileNetV2 as modules with norms, named as their files of weights name them.

Written from the papers' tables, on their own: nothing of ``respin`` is used.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM, HEAD = 32, 1280


class SameConv2d(nn.Conv2d):
    """TensorFlow's padding "same": as many outputs as inputs divided by the stride, rounded up; the odd row last."""

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, sides), self.weight, None, self.stride, 0, 1, self.groups)


class LiteBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        if expand > 1:
            self._expand_conv = SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._project_conv = SameConv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    # Repeats, kernel, stride of the first, expansion, outputs.
    STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
              (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=1e-3)
        blocks, inputs = [], STEM
        for repeats, kernel, stride, expand, outputs in self.STAGES:
            for repeat in range(repeats):
                blocks.append(LiteBlock(inputs, outputs, kernel, 1 if repeat else stride, expand))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD, eps=1e-3)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what the stem, each block and the last convolution make."""
        made = [functional.relu6(self._bn0(self._conv_stem(x)))]
        for block in self._blocks:
            made.append(block(made[-1]))
        return [*made, functional.relu6(self._bn1(self._conv_head(made[-1])))]


def _normed(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class BottleneckBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        wide = [*_normed(inputs, hidden), nn.ReLU6()] if expand > 1 else []
        deep = [*_normed(hidden, hidden, 3, stride, hidden), nn.ReLU6()]
        self.conv = nn.Sequential(*wide, *deep, *_normed(hidden, outputs))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.skips else y


class MobileNetV2(nn.Module):
    # Expansion, outputs, repeats, stride of the first.
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*_normed(3, STEM, 3, 2), nn.ReLU6())]
        inputs = STEM
        for expand, outputs, repeats, stride in self.STAGES:
            for repeat in range(repeats):
                features.append(BottleneckBlock(inputs, outputs, 1 if repeat else stride, expand))
                inputs = outputs
        self.features = nn.Sequential(*features, nn.Sequential(*_normed(inputs, HEAD), nn.ReLU6()))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what the stem, each block and the last convolution make."""
        made = []
        for part in self.features:
            x = part(x)
            made.append(x)
        return made


def random_backbone(kind: type[EfficientNetLite0] | type[MobileNetV2], images: Tensor, seed: int) -> nn.Module:
    """Make one whose norms do something: their statistics are those of ``images`` but for noise, none of it trivial.

    Some variances are so small that the norm's epsilon shows; some outputs pass 6.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = kind()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            nn.init.uniform_(norm.weight, 0.5, 2.5)
            nn.init.normal_(norm.bias)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                # A tenth of the channels are weak ones.
                strength = torch.where(torch.rand(module.out_channels) < 0.1, 0.03, 1.0)
                module.weight.normal_().mul_(strength[:, None, None, None] / math.sqrt(fan_in))
        network.train()(images)
        for norm in norms:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean += torch.randn(norm.num_features) * norm.running_var.sqrt() / 4
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.7, 1.5)
    return network.eval()
