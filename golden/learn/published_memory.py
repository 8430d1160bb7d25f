# SPDX-License-Identifier: Apache-2.0
"""The memory of a training step by the rule that TinyTL and Rep-Net report theirs by.

Cai, Gan, Zhu, Han, *TinyTL* (NeurIPS 2020); Rep-Net (CVPR 2022) takes its profiler over. The rule, in bytes::

    images x (largest over the operations, in order of execution: what runs + what was saved before it)
    + 4 for each number that trains + 1 for each that is frozen

Convolutions, linear layers, norms and ReLUs are operations of their own, in float32. Left out are pools, resizes and
sums, the errors of the backward pass, gradients and the optimiser's state. Its MB is 10^6 bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from respin.golden.backbones import Backbone, BackboneLayer
from respin.golden.repnet import SMALLEST_POOLED_MAP, RepModule

MEGABYTE = 1_000_000
ACTIVATION_BYTES = 4
TRAINED_BYTES = 4
FROZEN_BYTES = 1

Kind = Literal["convolution", "linear", "norm", "relu", "smooth"]
"""``relu`` stands for ReLU6 too, ``smooth`` for activations whose derivative needs their input, as sigmoid's does."""
PublishedTrains = Literal["head", "biases", "modules", "modules+biases", "everything"]
"""What learns besides the head: nothing, every bias, the Rep-Net modules, both, or the backbone with all of it."""
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """What the rule sees of an operation; elements are those of one image.

    Parameters
    ----------
    kind:
        What it is.
    inputs, outputs:
        Elements that it reads and makes.
    groups:
        Of a convolution. The rule lets one group's share of the output exist at a time.
    beside:
        Elements that wait meanwhile: a residual block's input, while its main branch runs.
    weights, biases:
        Numbers that it holds.
    weights_train, biases_train:
        Which of them learn.
    """

    kind: Kind
    inputs: int
    outputs: int
    groups: int = 1
    beside: int = 0
    weights: int = 0
    biases: int = 0
    weights_train: bool = False
    biases_train: bool = False

    @property
    def running(self) -> int:
        """Bytes while it runs; norms and activations work in place."""
        made = ACTIVATION_BYTES * self.outputs // self.groups if self.kind in ("convolution", "linear") else 0
        return ACTIVATION_BYTES * (self.inputs + self.beside) + made

    def saved(self, *, backward: bool) -> float:
        """Bytes that it leaves for the backward pass, an eighth for each element of a ReLU.

        The input is needed for the gradient of weights, not of biases. Activations keep theirs wherever there is a
        backward pass at all (``backward``), even before everything that trains.
        """
        match self.kind:
            case "relu":
                return self.inputs / 8 if backward else 0
            case "smooth":
                return ACTIVATION_BYTES * self.inputs if backward else 0
            case _:
                return ACTIVATION_BYTES * self.inputs if self.weights_train else 0

    @property
    def trained(self) -> int:
        """Numbers that learn."""
        return self.weights * self.weights_train + self.biases * self.biases_train


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedMemory:
    """Memory of a training step.

    Parameters
    ----------
    activations:
        Peak bytes of one image.
    saved:
        Bytes of one image that the backward pass needs.
    batch:
        Images.
    trained, frozen:
        Numbers that learn, and that do not.
    """

    activations: float
    saved: float
    batch: int
    trained: int
    frozen: int

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all numbers."""
        return TRAINED_BYTES * self.trained + FROZEN_BYTES * self.frozen

    @property
    def total(self) -> float:
        """Bytes in all."""
        return self.batch * self.activations + self.parameter_bytes


def measure(operations: Sequence[Operation], *, batch: int, backward: bool = True) -> PublishedMemory:
    """Apply the rule to operations in order of execution; ``backward``: errors go further back than the head."""
    saved = peak = 0.0
    for operation in operations:
        peak = max(peak, saved + operation.running)
        saved += operation.saved(backward=backward)
    trained = sum(operation.trained for operation in operations)
    held = sum(operation.weights + operation.biases for operation in operations)
    return PublishedMemory(activations=peak, saved=saved, batch=batch, trained=trained, frozen=held - trained)


def published_memory(
    backbone: Backbone, *, size: Size, classes: int, batch: int, trains: PublishedTrains, norms: bool = True
) -> PublishedMemory:
    """Return the memory of a training step on ``backbone`` with a linear head.

    Parameters
    ----------
    backbone:
        The shapes of its layers; weights may be on the ``meta`` device.
    size:
        Height and width of an image.
    classes:
        Of the head.
    batch:
        Images of a step.
    trains:
        What learns. Modules are there only where they do.
    norms:
        Count the norms as operations with a scale and a shift for each channel, as published. Else they are folded into
        convolutions with biases, as in :class:`respin.golden.float_network.FloatNetwork` without ``norm``.
    """
    return measure(
        operations(backbone, size=size, classes=classes, trains=trains, norms=norms),
        batch=batch,
        backward=trains != "head",
    )


def operations(
    backbone: Backbone, *, size: Size, classes: int, trains: PublishedTrains, norms: bool = True
) -> tuple[Operation, ...]:
    """Return the operations in order of execution; parameters as for :func:`published_memory`."""
    trace = _Trace(norms=norms, trains=trains)
    modules: dict[int, RepModule] = {}
    if trains in ("modules", "modules+biases"):
        modules = dict(zip(backbone.beside, backbone.rep_modules, strict=True))
    if backbone.recipe.reads_image and modules:
        # The released code runs the module that reads the image before everything else.
        trace.module(modules.pop(backbone.beside[0]), size)
    size = trace.layer(backbone.stem, size)
    for position, block in enumerate(backbone.blocks):
        block_size = size
        beside = block.inputs * math.prod(size) if block.residual else 0
        for layer in block.layers:
            size = trace.layer(layer, size, beside=beside)
        if position in modules:
            trace.module(modules[position], block_size)
    trace.layer(backbone.last, size)
    trace.head(backbone.features, classes)
    return tuple(trace.operations)


class _Trace:
    """Collects operations; layers return the size of their output map."""

    def __init__(self, *, norms: bool, trains: PublishedTrains) -> None:
        self.norms = norms
        self.weights_train = trains == "everything"
        self.biases_train = trains in ("biases", "modules+biases", "everything")
        self.operations: list[Operation] = []

    def layer(self, layer: BackboneLayer, size: Size, *, beside: int = 0) -> Size:
        """Add a layer of the backbone."""
        result = layer.output_size(size)
        self._convolution(
            inputs=layer.inputs * math.prod(size),
            outputs=layer.outputs * math.prod(result),
            channels=layer.outputs,
            groups=layer.groups,
            weights=layer.weight.numel(),
            relu=layer.activation != "linear",
            beside=beside,
            trains=(self.weights_train, self.biases_train),
        )
        return result

    def module(self, module: RepModule, size: Size) -> None:
        """Add a module that reads a map of ``size``; its convolutions keep the size of the pooled map."""
        if min(size) > SMALLEST_POOLED_MAP:
            size = (size[0] // module.pool, size[1] // module.pool)
        pixels = math.prod(size)
        self._convolution(
            inputs=module.inputs * pixels,
            outputs=module.hidden * pixels,
            channels=module.hidden,
            groups=module.groups,
            weights=module.inputs * module.hidden // module.groups * module.kernel**2,
            relu=True,
            trains=(True, True),
        )
        self._convolution(
            inputs=module.hidden * pixels,
            outputs=module.outputs * pixels,
            channels=module.outputs,
            groups=1,
            weights=module.hidden * module.outputs,
            relu=False,
            trains=(True, True),
        )

    def head(self, features: int, classes: int) -> None:
        """Add the head, which always learns."""
        self.operations.append(
            Operation(
                kind="linear",
                inputs=features,
                outputs=classes,
                weights=features * classes,
                biases=classes,
                weights_train=True,
                biases_train=True,
            )
        )

    def _convolution(
        self,
        *,
        inputs: int,
        outputs: int,
        channels: int,
        groups: int,
        weights: int,
        relu: bool,
        trains: tuple[bool, bool],
        beside: int = 0,
    ) -> None:
        """Add a convolution with its norm, if there are norms, and its ReLU."""
        weights_train, biases_train = trains
        convolution = Operation(
            kind="convolution",
            inputs=inputs,
            outputs=outputs,
            groups=groups,
            beside=beside,
            weights=weights,
            biases=0 if self.norms else channels,
            weights_train=weights_train,
            biases_train=biases_train,
        )
        self.operations.append(convolution)
        after = replace(convolution, inputs=outputs, groups=1, weights=channels, biases=channels)
        if self.norms:
            self.operations.append(replace(after, kind="norm"))
        if relu:
            self.operations.append(replace(after, kind="relu", weights=0, biases=0))
