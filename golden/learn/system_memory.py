# SPDX-License-Identifier: Apache-2.0
"""The memory of an integer training step on this accelerator, read off the network by the lives of its tensors.

Layers outside, batch inside: each layer and each edge runs over the whole batch before the next. A tensor lives from
the operation that makes it to the last one that reads it, be that a layer, the loss, an edge or a gradient. A gradient
runs as soon as it can: once the errors at its layer's sums are there, and all that pass the layer have passed its old
weights. (The trainer and the firmware model run gradients after all edges: the same numbers, longer lives.)

int8 tensors, activations and errors, take a byte an element, kept masks a bit. Weights are not RAM but MRAM. The int32
sums of a gradient are reduced on chip, a tile at a time, and applied at once. Left out are the quantisers' constants,
labels, the trained state's scales, and padding to words and rows, which belongs to a configuration.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from respin.golden.memory.secded import CODE_BITS, DATA_BITS
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    Edge,
    FanInEdge,
    Gradient,
    IntegerNetwork,
    Layer,
    Merge,
    Upsample,
    reads,
    sources,
)
from respin.golden.ops.convolution import output_size

Shape = tuple[int, int, int]
"""Channels, height and width of one image's part of a tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemMemory:
    """Memory of a training step, in bytes, for the whole batch.

    Parameters
    ----------
    forward, backward:
        Most that lives at a time in the forward pass, and from the loss to the last update.
    on_chip:
        Most that is on chip at a time where the operands of weight gradients lie in external memory, except while an
        operation makes or reads them.
    saved, masks:
        What lives from the forward pass into the backward one, and the masks among it.
    external:
        The operands of weight gradients: the inputs of the layers whose weights learn, and the errors at their sums.
        A bias alone needs no input, and sums its errors as they are made.
    trainable, frozen:
        Weights and biases that learn; weights that do not.
    mram:
        Weights and trained biases, with a second, transposed image of each layer that errors pass.
    check:
        The SECDED(72,64) check bits of those, an eighth more.
    """

    forward: int
    backward: int
    on_chip: int
    saved: int
    masks: int
    external: int
    trainable: int
    frozen: int
    mram: int
    check: int

    @property
    def peak(self) -> int:
        """Most that lives at a time."""
        return max(self.forward, self.backward)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tensor:
    """A forward tensor or an error by its name, or the mask of the layer ``name``."""

    name: str
    mask: bool = False


def tensor_shapes(network: IntegerNetwork, shape: Shape) -> dict[str, Shape]:
    """Return the shape of every tensor of a training step on images of ``shape``, errors included."""
    shapes = {INPUT: shape}
    for layer in network.layers:
        shapes[layer.name] = _output_shape(layer, shapes[reads(layer)[0]])
    shapes[network.loss.name] = shapes[network.loss.logits]
    for edge in network.edges:
        passed = _passed(edge)
        shapes[edge.name] = shapes[sources(edge)[0] if passed is None else reads(network.layer(passed))[0]]
    return shapes


def system_memory(network: IntegerNetwork, shape: Shape, *, batch: int) -> SystemMemory:
    """Return the memory of a training step of ``network`` on ``batch`` images of ``shape`` (C, H, W)."""
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch!r}")
    shapes = tensor_shapes(network, shape)

    def size(tensors: Iterable[_Tensor]) -> int:
        elements = [(tensor, batch * math.prod(shapes[tensor.name])) for tensor in tensors]
        return sum(-(-count // 8) if tensor.mask else count for tensor, count in elements)

    forward, backward = _forward(network), _backward(network)
    moments = [*forward, *backward]
    living = _living(moments)
    # The loss is the first moment of the backward pass; what is still there in the second was saved.
    saved = set().union(*forward) & set().union(*living[len(forward) + 1 :])
    operands = set().union(*(_operands(network, gradient) for gradient in network.gradients))
    mram = sum(weight_images(network, layer) * layer.weight.numel() for layer in _convolutions(network))
    biases = sum(layer.weight.shape[0] for layer in network.trained)
    trainable = sum(layer.weight.numel() for layer in network.trained if weights_learn(layer))
    return SystemMemory(
        forward=max(size(alive) for alive in living[: len(forward)]),
        backward=max(size(alive) for alive in living[len(forward) :]),
        on_chip=max(size(alive - (operands - touched)) for alive, touched in zip(living, moments, strict=True)),
        saved=size(saved),
        masks=size(tensor for tensor in saved if tensor.mask),
        external=size(operands),
        trainable=trainable + biases,
        frozen=sum(layer.weight.numel() for layer in _convolutions(network)) - trainable,
        mram=mram + biases,
        check=-(-(mram + biases) * (CODE_BITS - DATA_BITS) // DATA_BITS),
    )


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    """Shape of what ``layer`` makes of a first input of ``shape``."""
    channels, height, width = shape
    match layer:
        case Convolution():
            outputs, _, kh, kw = layer.weight.shape
            return (outputs, *output_size((height, width), (kh, kw), layer.stride, layer.padding))
        case AveragePool():
            return channels, height // layer.kernel[0], width // layer.kernel[1]
        case Upsample():
            return (channels, *layer.size)
        case Merge():
            return shape


def _convolutions(network: IntegerNetwork) -> tuple[Convolution, ...]:
    return tuple(layer for layer in network.layers if isinstance(layer, Convolution))


def weights_learn(layer: Convolution) -> bool:
    """Whether a layer's weights are trained, not its bias alone."""
    return layer.trained is not None and layer.trained.tensor is not None


def _passed(edge: Edge | FanInEdge) -> str | None:
    """Name of the layer whose transpose carries the errors of an edge."""
    return edge.through if isinstance(edge, Edge) else None


def weight_images(network: IntegerNetwork, layer: Convolution) -> int:
    """Return how many images of a layer's weights MRAM holds: a transposed one too where errors pass the layer."""
    return 2 if any(_passed(edge) == layer.name for edge in network.edges) else 1


def _operands(network: IntegerNetwork, gradient: Gradient) -> set[_Tensor]:
    """What a weight gradient is computed from; nothing where a bias alone learns."""
    layer = network.convolution(gradient.layer)
    return {_Tensor(name=layer.x), _Tensor(name=gradient.error)} if weights_learn(layer) else set()


# What each operation touches, in order of execution.


def _forward(network: IntegerNetwork) -> list[set[_Tensor]]:
    masked = {edge.mask for edge in network.edges}
    moments = []
    for layer in network.layers:
        touched = {_Tensor(name=name) for name in (*reads(layer), layer.name)}
        if layer.name in masked:
            touched.add(_Tensor(name=layer.name, mask=True))
        moments.append(touched)
    return moments


def _backward(network: IntegerNetwork) -> list[set[_Tensor]]:
    """The loss, then the edges, each followed by the gradients that waited for it."""
    due: dict[int, list[Gradient]] = {}
    for gradient in network.gradients:
        waits = (
            number
            for number, edge in enumerate(network.edges)
            if edge.name == gradient.error or _passed(edge) == gradient.layer
        )
        due.setdefault(max(waits, default=-1), []).append(gradient)
    moments = [{_Tensor(name=network.loss.logits), _Tensor(name=network.loss.name)}]
    for number in range(-1, len(network.edges)):
        if number >= 0:
            edge = network.edges[number]
            touched = {_Tensor(name=name) for name in (*sources(edge), edge.name)}
            moments.append(touched | ({_Tensor(name=edge.mask, mask=True)} if edge.mask is not None else set()))
        for gradient in due.get(number, ()):
            moments.append({_Tensor(name=gradient.error)} | _operands(network, gradient))
    return moments


def _living(moments: list[set[_Tensor]]) -> list[set[_Tensor]]:
    """What lives at each moment: a tensor does from the first that touches it to the last, the input from the start."""
    first, last = {_Tensor(name=INPUT): 0}, {_Tensor(name=INPUT): 0}
    for time, touched in enumerate(moments):
        for tensor in touched:
            first.setdefault(tensor, time)
            last[tensor] = time
    return [{tensor for tensor in first if first[tensor] <= time <= last[tensor]} for time in range(len(moments))]
