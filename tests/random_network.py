# SPDX-License-Identifier: Apache-2.0
"""Random small networks of every operator that a machine has, as plans that hypothesis draws, shrinks and prints.

A plan is a chain of steps, each on the tensor before it; some read an earlier one too, by its number: 0 is the input, 1
what the first step makes. A head that learns ends it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from hypothesis import strategies as st
from torch import Tensor

from respin.golden.backward import backward
from respin.golden.network import (
    INPUT,
    AveragePool,
    Convolution,
    IntegerNetwork,
    Layer,
    Loss,
    Merge,
    MergeInput,
    Trained,
    Upsample,
    initial_parameters,
    run_layers,
)
from respin.golden.ops import LossParameters, avg_pool, conv2d, output_size
from respin.golden.ops.convolution import MAX_KERNEL
from respin.golden.quantise import requantiser

BATCHES = 4
"""Different batches of images."""
CLAMPS = {"none": (-128, 127), "hard tanh": (-90, 70), "relu": (0, 255), "relu6": (0, 160)}
"""Least and greatest value."""
LARGEST_MAP = 20
MOST_CHANNELS = 40
MOST_READERS = 4
"""Of a tensor: operands where errors meet."""


@dataclass(frozen=True, slots=True)
class Map:
    """What is known of a tensor: channels, size, sign, and whether errors come to it."""

    channels: int
    size: tuple[int, int]
    signed: bool
    learns: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.size


@dataclass(frozen=True, kw_only=True)
class Conv:
    """A convolution, depthwise where it has as many groups as channels on both sides."""

    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    pad_value: int = 0
    clamp: str = "none"
    learns: bool = False

    def result(self, maps: Sequence[Map]) -> Map:
        size = output_size(maps[-1].size, self.kernel, self.stride, self.padding)
        return Map(self.outputs, size, CLAMPS[self.clamp][0] < 0, maps[-1].learns or self.learns)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """An average pool."""

    kernel: tuple[int, int]

    def result(self, maps: Sequence[Map]) -> Map:
        (h, w), (kh, kw) = maps[-1].size, self.kernel
        return Map(maps[-1].channels, (h // kh, w // kw), maps[-1].signed, maps[-1].learns)


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A nearest resize to a larger or smaller map."""

    size: tuple[int, int]

    def result(self, maps: Sequence[Map]) -> Map:
        return Map(maps[-1].channels, self.size, maps[-1].signed, maps[-1].learns)


@dataclass(frozen=True, kw_only=True)
class Add:
    """The sum with tensors of the same shape."""

    of: tuple[int, ...]
    zero_point: int = 0
    clamp: str = "none"

    def result(self, maps: Sequence[Map]) -> Map:
        learns = any(maps[number].learns for number in (*self.of, -1))
        return Map(maps[-1].channels, maps[-1].size, CLAMPS[self.clamp][0] < 0, learns)


@dataclass(frozen=True, kw_only=True)
class Module:
    """A Rep-Net module that reads an earlier tensor and is added to the one before it."""

    of: int
    hidden: int
    kernel: int = 1
    groups: int = 1
    pool: int = 1

    def result(self, maps: Sequence[Map]) -> Map:
        return Map(maps[-1].channels, maps[-1].size, signed=True, learns=True)


Step = Conv | Pool | Resize | Add | Module


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network, its batch, and the seed of weights, images and labels.

    ``flat`` is whether the head reads all pixels of the last map; else it reads their average.
    """

    channels: int
    size: tuple[int, int]
    signed: bool = True
    batch: int = 1
    steps: tuple[Step, ...] = ()
    flat: bool = False
    classes: int = 2
    seed: int = 0


# How plans are drawn.


def _channels(most: int) -> st.SearchStrategy[int]:
    """Mostly within a block of 32, where there may be more."""
    return st.integers(1, min(most, 10)) | st.integers(1, most)


def _sides(largest: int) -> st.SearchStrategy[int]:
    """Of a map; the tensors of large ones do not fit a small store."""
    return st.integers(1, largest // 2) | st.integers(largest // 2, largest)


def _divisors(*numbers: int) -> list[int]:
    return [d for d in range(1, min(numbers) + 1) if not any(number % d for number in numbers)]


@st.composite
def _convolutions(draw: st.DrawFn, x: Map, channels: st.SearchStrategy[int]) -> Conv:
    depthwise = draw(st.booleans())
    outputs = x.channels if depthwise else draw(channels)
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    rows, columns = x.size[0] + padding[0] + padding[1], x.size[1] + padding[2] + padding[3]
    most = draw(st.sampled_from([5, 5, 5, MAX_KERNEL]))
    kernel = (draw(st.integers(1, min(most, rows))), draw(st.integers(1, min(most, columns))))
    groups = x.channels if depthwise else draw(st.sampled_from(_divisors(x.channels, outputs)))
    # Errors through a kernel smaller than its stride are refused.
    stride = draw(st.integers(1, min(3, *kernel) if x.learns else 3))
    # A strided layer does not learn if errors pass it.
    learns = (stride == 1 or not x.learns) and draw(st.booleans())
    zero_points = st.just(0) if learns or x.learns else st.integers(-128, 127) if x.signed else st.integers(0, 255)
    return Conv(
        outputs=outputs,
        kernel=kernel,
        stride=stride,
        padding=padding,
        groups=groups,
        pad_value=draw(zero_points) if any(padding) else 0,
        clamp=draw(st.sampled_from(sorted(CLAMPS))),
        learns=learns,
    )


@st.composite
def _pools(draw: st.DrawFn, x: Map) -> Pool:
    return Pool(kernel=(draw(st.integers(1, min(4, x.size[0]))), draw(st.integers(1, min(4, x.size[1])))))


@st.composite
def _resizes(draw: st.DrawFn) -> Resize:
    side = st.integers(1, LARGEST_MAP // 2)
    return Resize(size=(draw(side), draw(side)))


@st.composite
def _sums(draw: st.DrawFn, maps: Sequence[Map], peers: list[int]) -> Add:
    of = tuple(draw(st.lists(st.sampled_from(peers), min_size=1, max_size=3, unique=True)))
    # Errors know nothing of a sum's clamp or zero points.
    frozen = not any(maps[number].learns for number in (*of, -1))
    return Add(
        of=of,
        zero_point=draw(st.integers(-128, 255)) if frozen else 0,
        clamp=draw(st.sampled_from(sorted(CLAMPS))) if frozen else "none",
    )


@st.composite
def _modules(
    draw: st.DrawFn, maps: Sequence[Map], free: list[int], channels: st.SearchStrategy[int]
) -> Module:
    of = draw(st.sampled_from(free))
    x, hidden = maps[of], draw(channels)
    groups = draw(st.sampled_from(_divisors(x.channels, hidden)))
    kernel = draw(st.sampled_from([1, 3, 5]))
    return Module(of=of, hidden=hidden, kernel=kernel, groups=groups, pool=draw(st.integers(1, min(4, *x.size))))


@st.composite
def plans(
    draw: st.DrawFn, *, most_steps: int = 7, largest: int = LARGEST_MAP, most_channels: int = MOST_CHANNELS
) -> Plan:
    """Draw a plan of at most ``most_steps`` steps on a map of at most ``largest`` pixels a side."""
    channels = _channels(most_channels)
    size = (draw(_sides(largest)), draw(_sides(largest)))
    signed = draw(st.booleans())
    maps = [Map(draw(channels), size, signed, learns=False)]
    read: Counter[int] = Counter()
    steps: list[Step] = []
    for last in range(draw(st.integers(0, most_steps))):
        x = maps[-1]
        free = [number for number in range(last + 1) if read[number] < MOST_READERS - 1]
        peers = [number for number in free[:-1] if maps[number].shape == x.shape]
        # As often as it is named; errors pass a resize in a module only.
        kinds = ["conv", "conv", "conv", "pool", "module", "module"]
        kinds += ["sum"] * (2 if peers else 0) + ["resize"] * (not x.learns)
        step: Step
        match draw(st.sampled_from(kinds)):
            case "conv":
                step = draw(_convolutions(x, channels))
            case "pool":
                step = draw(_pools(x))
            case "module":
                step = draw(_modules(maps, free, channels))
            case "sum":
                step = draw(_sums(maps, peers))
            case _:
                step = draw(_resizes())
        if isinstance(step, Add | Module):
            read.update(step.of if isinstance(step, Add) else [step.of])
        steps.append(step)
        maps.append(step.result(maps))
    return Plan(
        channels=maps[0].channels,
        size=size,
        signed=signed,
        batch=draw(st.integers(1, 4)),
        steps=tuple(steps),
        flat=max(maps[-1].size) <= 4 and draw(st.booleans()),
        classes=draw(st.integers(2, 6) | st.integers(30, 40)),
        seed=draw(st.integers(0, 1 << 16)),
    )


# What becomes of a plan.


class _Network:
    """Makes the layers of a plan and runs them as it goes, so that every tensor's range is in use."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.values = {INPUT: images}
        self.layers: list[Layer] = []
        self.generator = torch.Generator().manual_seed(seed)
        self.ids: Iterator[int] = count(1)

    def random(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def add(self, layer: Layer) -> str:
        self.layers.append(layer)
        made = run_layers([layer], self.values, initial_parameters([layer]), masks=False)
        self.values[layer.name] = made.tensors[layer.name]
        return layer.name

    def size(self, name: str) -> tuple[int, int]:
        _, _, height, width = self.values[name].shape
        return height, width

    def ratio(self, sums: Tensor, reach: int) -> Tensor:
        """For each channel what brings the sums to ``reach``, or half as far again as it goes, or not so far."""
        largest = sums.to(torch.float64).abs().amax((0, 2, 3)).clamp_min(1)
        return reach * (0.5 + torch.rand(len(largest), generator=self.generator, dtype=torch.float64)) / largest

    def convolution(self, name: str, x: str, conv: Conv, *, errors: bool) -> str:
        """Add a convolution; ``errors`` says whether they come to it."""
        shape = (conv.outputs, self.values[x].shape[1] // conv.groups, *conv.kernel)
        weight = self.random(-127, 127, *shape).to(torch.int8)
        sums = conv2d(
            self.values[x],
            weight,
            stride=conv.stride,
            padding=conv.padding,
            groups=conv.groups,
            zero_point=conv.pad_value,
        )
        least, limit = CLAMPS[conv.clamp]
        bias = self.random(-1000, 1000, conv.outputs)
        table = requantiser(self.ratio(sums, limit), bias=bias, signed=least < 0, least=least, limit=limit)
        trained = None
        if conv.learns:
            trained = Trained(tensor=next(self.ids), bias_tensor=next(self.ids), bias_shift=4)
        return self.add(
            Convolution(
                name=name,
                x=x,
                weight=weight,
                table=table,
                stride=conv.stride,
                padding=conv.padding,
                groups=conv.groups,
                pad_value=conv.pad_value,
                keeps_mask=errors and conv.clamp != "none",
                trained=trained,
            )
        )

    def pool(self, name: str, x: str, kernel: tuple[int, int]) -> str:
        signed = self.values[x].dtype == torch.int8
        ratio = self.ratio(avg_pool(self.values[x], kernel), 127 if signed else 255)
        return self.add(AveragePool(name=name, x=x, kernel=kernel, table=requantiser(ratio, signed=signed)))

    def sum(self, name: str, operands: Sequence[str], *, zero_point: int = 0, clamp: str = "none") -> str:
        """Add tensors, of which the first has a zero point."""
        mults = self.random(6000, 30000, len(operands)).tolist()
        zeros = [zero_point, *[0] * (len(operands) - 1)]
        inputs = [MergeInput(x=x, mult=m, zero_point=z) for x, m, z in zip(operands, mults, zeros, strict=True)]
        lo, hi = CLAMPS[clamp]
        return self.add(Merge(name=name, operands=tuple(inputs), shift=15, lo=lo, hi=hi))

    def module(self, name: str, x: str, y: str, module: Module) -> str:
        """Add a Rep-Net module that reads ``x`` to ``y``."""
        inner = partial(self.convolution, errors=True)
        if module.pool > 1:
            x = self.pool(f"{name}.pool", x, (module.pool,) * 2)
        first = Conv(
            outputs=module.hidden,
            kernel=(module.kernel,) * 2,
            padding=(module.kernel // 2,) * 4,
            groups=module.groups,
            clamp="relu",
            learns=True,
        )
        x = inner(f"{name}.first", x, first)
        x = inner(f"{name}.last", x, Conv(outputs=self.values[y].shape[1], learns=True))
        if self.size(x) != self.size(y):
            x = self.add(Upsample(name=f"{name}.up", x=x, size=self.size(y)))
        return self.sum(name, [y, x])


def images_of(plan: Plan) -> tuple[Tensor, Tensor]:
    """Random images (N, C, H, W) of some batches, and their labels (N,)."""
    generator = torch.Generator().manual_seed(plan.seed)
    n = BATCHES * plan.batch
    low, high = (-128, 128) if plan.signed else (0, 256)
    images = torch.randint(low, high, (n, plan.channels, *plan.size), generator=generator)
    labels = torch.randint(0, plan.classes, (n,), generator=generator)
    return images.to(torch.int8 if plan.signed else torch.uint8), labels


def build(plan: Plan) -> IntegerNetwork:
    """Make the network of a plan."""
    network = _Network(images_of(plan)[0], plan.seed)
    maps = [Map(plan.channels, plan.size, plan.signed, learns=False)]
    names = [INPUT]
    for number, step in enumerate(plan.steps, 1):
        name, x = f"t{number}", names[-1]
        maps.append(step.result(maps))
        match step:
            case Conv():
                network.convolution(name, x, step, errors=maps[-1].learns)
            case Pool():
                network.pool(name, x, step.kernel)
            case Resize():
                network.add(Upsample(name=name, x=x, size=step.size))
            case Add():
                operands = [x, *(names[other] for other in step.of)]
                network.sum(name, operands, zero_point=step.zero_point, clamp=step.clamp)
            case Module():
                network.module(name, names[step.of], x, step)
        names.append(name)
    x, kernel = names[-1], (1, 1)
    if plan.flat:
        kernel = network.size(x)
    else:
        x = network.pool("features", x, network.size(x))
    network.convolution("logits", x, Conv(outputs=plan.classes, kernel=kernel, learns=True), errors=True)
    loss = Loss(
        name="error.logits",
        logits="logits",
        tensor=next(network.ids),
        parameters=LossParameters.of(1 / 16, plan.classes, 0.0),
    )
    edges, gradients = backward(
        network.layers, loss=loss.name, logits=loss.logits, new_tensor=lambda _: next(network.ids)
    )
    return IntegerNetwork(
        layers=tuple(network.layers),
        loss=loss,
        edges=edges,
        gradients=gradients,
        input_dtype=torch.int8 if plan.signed else torch.uint8,
    )
