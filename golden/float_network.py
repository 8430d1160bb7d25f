# SPDX-License-Identifier: Apache-2.0
"""A backbone in float with Rep-Net modules and a head: what integer networks are calibrated on and compared with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from respin.golden.backbones import Backbone, BackboneLayer
from respin.golden.repnet import FloatRepModule, RepModule

RUN_AT_ONCE = 64
"""Images that pass the network together where no gradient is wanted."""
SMALLEST_DEVIATION = 1 / 8
"""A feature that moves less than this share of the middle deviation is not blown up further: its noise would drown
the others."""

Watch = Callable[[str, Tensor], None]


def _activate(x: Tensor, layer: BackboneLayer) -> Tensor:
    if layer.activation == "linear":
        return x
    if layer.activation == "relu":
        return functional.relu(x)
    return functional.relu6(x) if layer.limit is None else functional.relu(x).minimum(layer.limit[:, None, None])


class FloatNetwork(nn.Module):
    """The float network: logits of ``((features - mean) / deviation)`` by a head that starts at 0.

    Parameters
    ----------
    backbone:
        Its layers become parameters that are frozen at first.
    classes:
        Of the head.
    modules:
        Rep-Net modules, one for each of ``backbone.beside``, or none.
    norm:
        Whether the modules have the published batch norms.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, backbone: Backbone, classes: int, modules: Sequence[RepModule] = (), *, norm: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = nn.ParameterDict({self._key(layer): layer.weight.clone() for layer in backbone.layers})
        self.biases = nn.ParameterDict({self._key(layer): layer.bias.clone() for layer in backbone.layers})
        self.rep = nn.ModuleList(FloatRepModule(module, norm=norm) for module in modules)
        self.beside = {backbone.beside[number]: number for number in range(len(modules))}
        self.head = nn.Linear(backbone.features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros(backbone.features))
        self.register_buffer("deviation", torch.ones(backbone.features))
        for parameter in (*self.weights.values(), *self.biases.values()):
            parameter.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def _key(layer: BackboneLayer) -> str:
        return layer.name.replace(".", "_")

    def _layer(self, layer: BackboneLayer, x: Tensor, watch: Watch | None) -> Tensor:
        top, bottom, left, right = layer.padding
        around = (top, left)
        if (top, left) != (bottom, right):
            x, around = functional.pad(x, (left, right, top, bottom)), (0, 0)
        key = self._key(layer)
        options = {"stride": layer.stride, "groups": layer.groups}
        y = functional.conv2d(x, self.weights[key], self.biases[key], padding=around, **options)
        y = _activate(y, layer)
        if watch is not None:
            watch(layer.name, y)
        return y

    def maps(self, x: Tensor, watch: Watch | None = None) -> Tensor:
        """Return the last layer's map for float input ``x``; ``watch`` is shown every tensor by its name."""
        image = x
        x = self._layer(self.backbone.stem, x, watch)
        for position, block in enumerate(self.backbone.blocks):
            y = x
            for layer in block.layers:
                y = self._layer(layer, y, watch)
            if block.residual:
                y = x + y
                if watch is not None:
                    watch(f"{block.name}.sum", y)
            if position in self.beside:
                number = self.beside[position]
                source = image if number == 0 and self.backbone.recipe.reads_image else x
                y = y + self.rep[number](source, (y.shape[2], y.shape[3]))
            x = y
        return self._layer(self.backbone.last, x, watch)

    def features(self, x: Tensor) -> Tensor:
        """Return the averaged features (N, features)."""
        return self.maps(x).mean((2, 3))

    def standardise(self, features: Tensor) -> None:
        """Let the head see ``features`` (N, features) with mean 0 and deviation 1."""
        deviation = features.std(0)
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(deviation.clamp_min(max(1e-3, float(deviation.median()) * SMALLEST_DEVIATION)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of float input ``x``."""
        logits: Tensor = self.head((self.features(x) - self.mean) / self.deviation)
        return logits

    @torch.no_grad()
    def features_of(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images, some at a time."""
        self.eval()
        parts = torch.split(images, RUN_AT_ONCE)
        return torch.cat([self.features(self.backbone.input.to_float(part)) for part in parts])

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the class of uint8 images, some at a time."""
        self.eval()
        parts = torch.split(images, RUN_AT_ONCE)
        return torch.cat([self(self.backbone.input.to_float(part)).argmax(1) for part in parts])
