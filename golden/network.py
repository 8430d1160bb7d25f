# SPDX-License-Identifier: Apache-2.0
"""A network as a dataflow of integer layers, with the backward edges that its training needs.

Everything that firmware lowers to jobs is here: geometry, int8 weights, quantiser tables, merge multipliers, the
multiplier of each backward edge, tensor ids. A layer's name is the name of the tensor that it makes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from respin.golden.ops import (
    LossParameters,
    MergeOperand,
    Padding,
    QuantiserTable,
    activation_mask,
    avg_pool,
    conv2d,
    merge_add,
    requantise,
    upsample_nearest,
)
from respin.golden.ops.checks import require_tensor
from respin.golden.ops.errors import Multiplier

INPUT = "input"
"""The name of the network's input tensor."""
PREDICTED_AT_ONCE = 32
"""Images that a prediction runs through the network together."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Trained:
    """What makes a convolution one that learns.

    Parameters
    ----------
    bias_tensor, bias_shift:
        Tensor id of its bias, and the k of ``acc += bias << k``.
    tensor:
        Tensor id of its weights; None where they are frozen and the bias alone learns.
    rate_shift:
        The layer's learning rate is the network's times 2 to the power of this, but 1 at most.
    """

    bias_tensor: int
    bias_shift: int
    tensor: int | None = None
    rate_shift: int = 0

    def log2_rate(self, log2_rate: int) -> int:
        """Binary logarithm of the layer's learning rate, given the network's."""
        return min(0, log2_rate + self.rate_shift)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Convolution:
    """A convolution, depthwise where ``groups`` is the number of inputs; a dense layer is one on a 1 x 1 map.

    Parameters
    ----------
    name, x:
        The tensor it makes, the tensor it reads.
    weight:
        (O, I / groups, kh, kw), int8; what a trained layer starts from.
    table:
        Its quantiser; a trained layer's bias is added to the table's.
    keeps_mask:
        Whether its mask is kept for the backward pass: of a ReLU layer that errors pass.
    """

    name: str
    x: str
    weight: Tensor
    table: QuantiserTable
    stride: int = 1
    padding: Padding = 0
    groups: int = 1
    pad_value: int = 0
    keeps_mask: bool = False
    trained: Trained | None = None


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class AveragePool:
    """Sums over windows of ``kernel``, requantised."""

    name: str
    x: str
    kernel: tuple[int, int]
    table: QuantiserTable


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Upsample:
    """Nearest resize to ``size``."""

    name: str
    x: str
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class MergeInput:
    """One side of a merge: the tensor, its multiplier and its zero point."""

    x: str
    mult: int
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Merge:
    """Sum of tensors of one shape, scaled with one rounding."""

    name: str
    operands: tuple[MergeInput, ...]
    shift: int
    lo: int
    hi: int


Layer = Convolution | AveragePool | Upsample | Merge


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Loss:
    """Softmax cross-entropy on the tensor ``logits``; makes the error ``name`` with tensor id ``tensor``."""

    name: str
    logits: str
    tensor: int
    parameters: LossParameters
    stochastic: bool = True


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Edge:
    """One backward edge.

    Parameters
    ----------
    name:
        The error tensor it makes.
    tensor:
        Its id.
    error:
        The error tensor it starts from.
    through:
        The layer whose transpose carries it (convolution, pool or upsample); None where a merge passes it on.
    mult, fraction:
        ``M_c`` and ``k`` of ``M_c = round(ratio * 2^k)``.
    mask:
        The layer whose mask it takes; None where what comes before is linear.
    stochastic:
        Rounded stochastically, as edges into trained layers are; else to nearest.
    """

    name: str
    tensor: int
    error: str
    through: str | None = None
    mult: Multiplier = 1
    fraction: int = 0
    mask: str | None = None
    stochastic: bool = False


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class FanInEdge:
    """Where errors meet: ``operands`` are error tensors, each with its multiplier. The rest is as for an edge."""

    name: str
    tensor: int
    operands: tuple[tuple[str, Multiplier], ...]
    fraction: int = 0
    mask: str | None = None
    stochastic: bool = False


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Gradient:
    """The weight gradient of the trained convolution ``layer`` from the errors ``error`` at its sums."""

    layer: str
    error: str


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Parameters:
    """What a trained layer has learned: ``weight`` and ``bias`` (O,), int8 in -127..127."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Activations:
    """Every tensor of a forward pass by its layer's name, and the masks that are kept."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class IntegerNetwork:
    """A network of integer layers.

    Parameters
    ----------
    layers:
        In order of execution.
    loss, edges, gradients:
        Its training, edges in order of execution; the loss's logits are also the network's output.
    input_dtype:
        What its input holds: ``torch.int8`` or ``torch.uint8``.

    Raises
    ------
    ValueError
        If ``input_dtype`` is another one, a name is used before it is made, made twice, or a tensor id is used twice.
    """

    layers: tuple[Layer, ...]
    loss: Loss
    edges: tuple[Edge | FanInEdge, ...]
    gradients: tuple[Gradient, ...]
    input_dtype: torch.dtype = torch.uint8

    def __post_init__(self) -> None:
        if self.input_dtype not in (torch.int8, torch.uint8):
            raise ValueError(f"input_dtype must be torch.int8 or torch.uint8, not {self.input_dtype!r}")
        self._check_layers()
        self._check_edges()
        ids = [self.loss.tensor, *(edge.tensor for edge in self.edges)]
        for layer in self.trained:
            if layer.trained is not None:
                ids += [tensor for tensor in (layer.trained.tensor, layer.trained.bias_tensor) if tensor is not None]
        if len(set(ids)) != len(ids):
            raise ValueError(f"tensor ids must be used once each, not {sorted(ids)!r}")

    def _check_layers(self) -> None:
        made = {INPUT}
        for layer in self.layers:
            for name in reads(layer):
                if name not in made:
                    raise ValueError(f"{layer.name} reads {name}, which no layer before it makes")
            if layer.name in made:
                raise ValueError(f"{layer.name} is made twice")
            made.add(layer.name)
        if self.loss.logits not in made:
            raise ValueError(f"the loss reads {self.loss.logits}, which no layer makes")

    def _check_edges(self) -> None:
        made = {self.loss.name}
        names = {layer.name for layer in self.layers}
        for edge in self.edges:
            for source in sources(edge):
                if source not in made:
                    raise ValueError(f"{edge.name} starts from {source}, which no edge before it makes")
            through = edge.through if isinstance(edge, Edge) else None
            for layer in (edge.mask, through):
                if layer is not None and layer not in names:
                    raise ValueError(f"{edge.name} passes {layer}, which is no layer")
            if edge.name in made:
                raise ValueError(f"{edge.name} is made twice")
            made.add(edge.name)
        for gradient in self.gradients:
            if gradient.error not in made or gradient.layer not in {layer.name for layer in self.trained}:
                raise ValueError(
                    f"the gradient of {gradient.layer} from {gradient.error} names no trained layer or edge"
                )

    @property
    def output(self) -> str:
        """The tensor that the network is for: the logits."""
        return self.loss.logits

    def layer(self, name: str) -> Layer:
        """Return the layer called ``name``."""
        return layer_called(self.layers, name)

    def convolution(self, name: str) -> Convolution:
        """Return the convolution called ``name``."""
        return convolution_called(self.layers, name)

    @property
    def trained(self) -> tuple[Convolution, ...]:
        """The trained layers, in order of execution."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolution) and layer.trained is not None)

    def initial_parameters(self) -> dict[str, Parameters]:
        """What the trained layers start from."""
        return initial_parameters(self.layers)

    def forward(self, x: Tensor | Mapping[str, Tensor], parameters: Mapping[str, Parameters]) -> Activations:
        """Run the network on ``x`` (N, C, H, W) of its ``input_dtype``, or on what :meth:`prepare` made of it.

        Returns every tensor; of a prepared ``x`` the frozen ones that are not among it are left out.
        """
        if isinstance(x, Tensor):
            self._require_input(x)
            return run_layers(self.layers, {INPUT: x}, parameters)
        learning = needs_error(self.layers)
        return run_layers([layer for layer in self.layers if layer.name in learning], x, parameters)

    def prepare(
        self, x: Tensor, observe: Callable[[Mapping[str, Tensor]], None] | None = None
    ) -> dict[str, Tensor]:
        """Run the layers that come before everything that learns; returns what the others read of them.

        However often an image is trained on, these tensors stay the same. ``observe`` is shown all of them.
        """
        self._require_input(x)
        learning = needs_error(self.layers)
        frozen = [layer for layer in self.layers if layer.name not in learning]
        read = {name for layer in self.layers if layer.name in learning for name in reads(layer)}
        tensors = run_layers(frozen, {INPUT: x}, {}, masks=False).tensors
        if observe is not None:
            observe(tensors)
        return {name: tensor for name, tensor in tensors.items() if name in read}

    def predict(self, x: Tensor, parameters: Mapping[str, Parameters]) -> Tensor:
        """Return the class with the largest logit for each image of ``x``; the first of equals."""
        self._require_input(x)
        # Some images at a time, so that the tensors between two layers stay in the cache.
        parts = (
            run_layers(self.layers, {INPUT: part}, parameters, masks=False)
            for part in torch.split(x, PREDICTED_AT_ONCE)
        )
        logits = torch.cat([part.tensors[self.loss.logits] for part in parts])
        return logits.flatten(1).to(torch.int64).argmax(1)

    def _require_input(self, x: Tensor) -> None:
        require_tensor("x", x, (self.input_dtype,), 4)


def layer_called(layers: Sequence[Layer], name: str) -> Layer:
    """Return the layer called ``name``; ValueError lists the names."""
    for layer in layers:
        if layer.name == name:
            return layer
    raise ValueError(f"{name} is no layer; the layers are {', '.join(layer.name for layer in layers)}")


def convolution_called(layers: Sequence[Layer], name: str) -> Convolution:
    """Return the convolution called ``name``; ValueError if it is none."""
    layer = layer_called(layers, name)
    if not isinstance(layer, Convolution):
        raise ValueError(f"{name} must be a convolution, not {type(layer).__name__}")
    return layer


def reads(layer: Layer) -> tuple[str, ...]:
    """Names of the tensors that a layer reads."""
    return tuple(operand.x for operand in layer.operands) if isinstance(layer, Merge) else (layer.x,)


def learns(layer: Layer) -> bool:
    """Whether anything of a layer is trained."""
    return isinstance(layer, Convolution) and layer.trained is not None


def needs_error(layers: Sequence[Layer]) -> set[str]:
    """Names of the layers at or before which something learns: those that errors have to reach."""
    reached: set[str] = set()
    for layer in layers:
        if learns(layer) or any(name in reached for name in reads(layer)):
            reached.add(layer.name)
    return reached


def run_layers(
    layers: Sequence[Layer], given: Mapping[str, Tensor], parameters: Mapping[str, Parameters], *, masks: bool = True
) -> Activations:
    """Run ``layers`` in order on the tensors ``given`` (the input, say).

    Returns every tensor, the given ones too, and the masks that are kept if ``masks``.
    """
    result = Activations(tensors=dict(given))
    tensors = result.tensors
    for layer in layers:
        match layer:
            case Convolution():
                y, table = _convolve(layer, tensors[layer.x], parameters)
                if masks and layer.keeps_mask:
                    result.masks[layer.name] = activation_mask(y, table)
            case AveragePool():
                y = requantise(avg_pool(tensors[layer.x], layer.kernel), layer.table)
            case Upsample():
                y = upsample_nearest(tensors[layer.x], layer.size)
            case Merge():
                operands = [
                    MergeOperand(x=tensors[operand.x], mult=operand.mult, zero_point=operand.zero_point)
                    for operand in layer.operands
                ]
                y = merge_add(operands, shift=layer.shift, lo=layer.lo, hi=layer.hi)
        tensors[layer.name] = y
    return result


def initial_parameters(layers: Sequence[Layer]) -> dict[str, Parameters]:
    """What the trained ones among ``layers`` start from; biases start at 0."""
    return {
        layer.name: Parameters(weight=layer.weight.clone(), bias=torch.zeros(layer.weight.shape[0], dtype=torch.int8))
        for layer in layers
        if isinstance(layer, Convolution) and layer.trained is not None
    }


def layer_weight(layer: Convolution, parameters: Mapping[str, Parameters]) -> Tensor:
    """Return the weights in force: learned ones for a trained layer."""
    return layer.weight if layer.trained is None else parameters[layer.name].weight


def sources(edge: Edge | FanInEdge) -> tuple[str, ...]:
    """Names of the error tensors that an edge starts from."""
    return (edge.error,) if isinstance(edge, Edge) else tuple(name for name, _ in edge.operands)


def _convolve(layer: Convolution, x: Tensor, parameters: Mapping[str, Parameters]) -> tuple[Tensor, QuantiserTable]:
    table = layer.table
    if layer.trained is not None:
        bias = parameters[layer.name].bias.to(torch.int64)
        table = table.with_bias(table.bias + (bias << layer.trained.bias_shift))
    sums = conv2d(
        x,
        layer_weight(layer, parameters),
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
        zero_point=layer.pad_value,
    )
    return requantise(sums, table), table
