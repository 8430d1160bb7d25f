# SPDX-License-Identifier: Apache-2.0
"""A small network whose tensors exceed a small store: everything that errors pass, and channels of several blocks."""

import torch

from respin.golden.backward import backward
from respin.golden.network import (
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    MergeInput,
    Trained,
    Upsample,
)
from respin.golden.ops import LossParameters, output_size
from respin.golden.quantise import requantiser

IMAGE_CHANNELS, CLASSES, WIDE = 6, 5, 72


def tiled_network(
    size: tuple[int, int], *, seed: int, branch: str = "expand", kernel: int = 1, groups: int = 1
) -> IntegerNetwork:
    """Build the network for int8 images (N, 6, *size); a second path leaves it at the layer ``branch``. ``kernel`` and
    ``groups`` are those of the first layer, which reads packed windows if its kernel is larger than 1."""
    generator = torch.Generator().manual_seed(seed)
    ids = iter(range(1, 1000))
    channels = {"input": IMAGE_CHANNELS}
    sizes = {"input": size}
    layers: list[Layer] = []

    def convolution(
        name: str,
        x: str,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
        relu: bool = False,
        learns: bool = False,
    ) -> None:
        inputs = channels[x] // groups
        weight = torch.randint(-60, 61, (outputs, inputs, kernel, kernel), generator=generator).to(torch.int8)
        spread = 0.7 + 0.7 * torch.rand(outputs, generator=generator, dtype=torch.float64)
        ratio = 50 * spread / (2000 * (inputs * kernel * kernel) ** 0.5)
        trained = Trained(tensor=next(ids), bias_tensor=next(ids), bias_shift=4) if learns else None
        layers.append(
            Convolution(
                name=name,
                x=x,
                weight=weight,
                table=requantiser(ratio, signed=not relu),
                stride=stride,
                padding=padding,
                groups=groups,
                keeps_mask=relu,
                trained=trained,
            )
        )
        channels[name] = outputs
        sizes[name] = output_size(sizes[x], (kernel, kernel), stride, padding)

    convolution(
        "first", "input", 8, kernel=kernel, padding=(kernel // 2,) * 4, groups=groups, relu=True, learns=True
    )  # fmt: skip
    convolution("expand", "first", WIDE, relu=True)
    convolution("depthwise", "expand", WIDE, kernel=3, stride=2, padding=(1, 1, 1, 1), groups=WIDE, relu=True)
    convolution("project", "depthwise", 20)
    convolution("reduce", branch, 8, kernel=2, stride=2, relu=True)
    convolution("small", "reduce", 20, kernel=3, padding=(1, 1, 1, 1), learns=True)
    layers.append(Upsample(name="up", x="small", size=sizes["project"]))
    layers.append(
        Merge(
            name="sum",
            operands=(MergeInput(x="project", mult=20000), MergeInput(x="up", mult=18000)),
            shift=15,
            lo=-128,
            hi=127,
        )
    )
    pixels = sizes["project"][0] * sizes["project"][1]
    average = requantiser(torch.full((20,), 4 / pixels, dtype=torch.float64), signed=True)
    layers.append(AveragePool(name="features", x="sum", kernel=sizes["project"], table=average))
    channels["features"], sizes["features"] = 20, (1, 1)
    convolution("logits", "features", CLASSES, learns=True)
    parameters = LossParameters.of(1 / 16, CLASSES, 0.0)
    loss = Loss(name="error.logits", logits="logits", tensor=next(ids), parameters=parameters)
    edges, gradients = backward(layers, loss=loss.name, logits="logits", new_tensor=lambda _: next(ids))
    return IntegerNetwork(
        layers=tuple(layers), loss=loss, edges=edges, gradients=gradients, input_dtype=torch.int8
    )


def images(batch: int, size: tuple[int, int], *, seed: int) -> torch.Tensor:
    """Random int8 images for it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, (batch, IMAGE_CHANNELS, *size), generator=generator).to(torch.int8)
