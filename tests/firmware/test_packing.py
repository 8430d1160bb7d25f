# SPDX-License-Identifier: Apache-2.0
"""Packed windows: what the host lays out, which convolutions read it, and programs and sessions that use it."""

import asyncio
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_backbone import CLASSES, SIDE, small_backbone, small_images
from test_tiling import LARGE, SIZE, check_descriptors, compile_for, run
from tiled_network import images, tiled_network
from torch.nn import functional

from respin.firmware_model.compiler import INFER, TRAIN, Compiler
from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.driver import Driver
from respin.firmware_model.image import ImageError, ProgramImage
from respin.firmware_model.layout import tensor_bytes, tensor_words
from respin.firmware_model.packing import InputPool, PackedWindows, choose_packing
from respin.firmware_model.placement import Placement
from respin.firmware_model.training import Session
from respin.golden.builder import build_network
from respin.golden.inference import InferenceNetwork, RawSums, TensorFormat
from respin.golden.network import AveragePool, Convolution, Layer, Upsample
from respin.golden.ops import QuantiserTable, avg_pool, conv2d, conv2d_weight_gradient, requantise
from respin.rtl.sequencer.descriptor import Opcode

SEED = int(os.environ.get("RESPIN_SEED", "1"))
GEOMETRIES = [(3, 3, 2, (0, 1, 0, 1)), (5, 5, 1, (2, 2, 2, 2)), (2, 4, 3, (1, 0, 2, 3)), (1, 1, 2, (0, 0, 0, 0))]
"""Height and width of kernels, strides, padding (top, bottom, left, right)."""


@pytest.fixture(autouse=True)
def _say_seed():
    print(f"RESPIN_SEED={SEED}")


def integers(shape, *, signed: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED)
    low, high, kind = (-128, 128, torch.int8) if signed else (0, 256, torch.uint8)
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int64).to(kind)


def convolution(name: str, x: str, inputs: int, outputs: int, kernel: int, *, groups: int = 1, stride: int = 1):
    weight = integers((outputs, inputs // groups, kernel, kernel), signed=True)
    table = QuantiserTable.build(outputs, mult=1, shift=8, lo=-128, hi=127)
    return Convolution(name=name, x=x, weight=weight, table=table, stride=stride, padding=kernel // 2, groups=groups)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("kh", "kw", "stride", "padding"), GEOMETRIES)
def test_windows_are_what_torch_unfolds(kh, kw, stride, padding, signed):
    x, value = integers((2, 3, 9, 8), signed=signed), -7 if signed else 200
    windows = PackedWindows(kernel=(kh, kw), stride=stride, padding=padding, pad_value=value)
    packed = windows.pack(x.numpy())
    top, bottom, left, right = padding
    padded = functional.pad(x.to(torch.float64), (left, right, top, bottom), value=value)
    want = functional.unfold(padded, (kh, kw), stride=stride)
    assert packed.dtype == x.numpy().dtype
    np.testing.assert_array_equal(packed.reshape(want.shape), want.numpy())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kh", "kw", "stride", "padding"), GEOMETRIES)
def test_a_convolution_of_packed_windows_is_the_same(kh, kw, stride, padding, groups):
    """Sums and gradients; the weights in their own order, so that an update draws the same random numbers."""
    x, weight = integers((2, 4, 9, 8), signed=False), integers((6, 4 // groups, kh, kw), signed=True)
    packed = PackedWindows(kernel=(kh, kw), stride=stride, padding=padding, pad_value=0)
    windows = torch.tensor(packed.pack(x.numpy()))
    want = conv2d(x, weight, stride=stride, padding=padding, groups=groups)
    assert torch.equal(conv2d(windows, weight.reshape(6, -1, 1, 1), groups=groups), want)
    error = integers(want.shape, signed=True).clamp(-127, 127)
    gradient = conv2d_weight_gradient(
        x, error, kernel=(kh, kw), stride=stride, padding=padding, groups=groups
    )  # fmt: skip
    flat = conv2d_weight_gradient(windows, error, kernel=(1, 1), groups=groups)
    assert torch.equal(flat.reshape(-1), gradient.reshape(-1))


@pytest.mark.parametrize("signed", [True, False])
def test_the_host_pools_as_golden_does(signed):
    x, generator = integers((2, 5, 11, 9), signed=signed), torch.Generator().manual_seed(SEED)
    lo, hi = (-100, 120) if signed else (3, 250)
    table = QuantiserTable.build(
        5,
        bias=torch.randint(-900, 900, (5,), generator=generator),
        mult=torch.randint(1, 1 << 16, (5,), generator=generator),
        shift=torch.randint(16, 21, (5,), generator=generator),
        lo=lo,
        hi=hi,
    )
    layer = AveragePool(name="pool", x="input", kernel=(4, 3), table=table)
    got, want = InputPool.of_layer(layer).run(x.numpy()), requantise(avg_pool(x, (4, 3)), table)
    assert got.dtype == want.numpy().dtype
    np.testing.assert_array_equal(got, want.numpy())
    assert len(np.unique(got)) > 10


def test_what_is_packed():
    pool = AveragePool(
        name="pool", x="input", kernel=(2, 2), table=QuantiserTable.build(3, mult=1, shift=2, lo=0, hi=255)
    )
    after, again = convolution("after", "pool", 3, 8, 5), Upsample(name="again", x="pool", size=(3, 3))
    cases: list[tuple[int, list[Layer], dict[str, bool]]] = [
        # Channels, layers, and for each layer that is packed whether the host pools before.
        (3, [convolution("a", "input", 3, 8, 3, stride=2), convolution("b", "a", 8, 8, 3)], {"a": False}),
        (3, [pool, after], {"after": True}),
        (3, [pool, after, again], {}),  # the machine needs the pool
        (3, [convolution("a", "input", 3, 8, 1, stride=2)], {}),
        (32, [convolution("a", "input", 32, 8, 3)], {}),  # 9 words a window either way
        (33, [convolution("a", "input", 33, 8, 3)], {"a": False}),  # 10 instead of 18
        (4, [convolution("a", "input", 4, 4, 3, groups=4), convolution("b", "input", 4, 4, 3, groups=2)], {"b": False}),
        (24, [convolution("a", "input", 24, 8, 15)], {}),  # 5,400 channels are too many
    ]
    for channels, layers, want in cases:
        network = InferenceNetwork(
            name="x",
            input_shape=(channels, 8, 8),
            layers=tuple(layers),
            formats={"input": TensorFormat(scale=1.0, signed=False)},
            output=layers[-1].name,
        )
        shapes = {name: (1, *shape) for name, shape in network.shapes().items()}
        packing = choose_packing(network, shapes, training=False, store_words=1024)
        assert {name: windows.pool is not None for name, windows in packing.windows.items()} == want
        placement = Placement(LARGE, network, shapes["input"], training=False)
        first = [operation for operation in placement.operations if operation.name in want]
        assert all(operation.operands[0].name in placement.inputs for operation in first)


def test_what_has_to_lie_in_the_store_at_once_is_packed_where_it_fits():
    """A pixel's int32 sums are 4 words and its windows 1; the errors of the layer that learns are 1, its windows 2."""
    sums = RawSums(name="sums", x="input", weight=integers((8, 3, 3, 3), signed=True), bias=torch.zeros(8), padding=1)
    network = InferenceNetwork(
        name="x",
        input_shape=(3, 8, 8),
        layers=(),
        formats={"input": TensorFormat(scale=1.0, signed=False)},
        output="sums",
        sums=sums,
    )
    shapes = {name: (2, *shape) for name, shape in network.shapes().items()}
    for words, packed in ((640, True), (639, False)):
        assert ("sums" in choose_packing(network, shapes, training=False, store_words=words).windows) == packed
    learning = tiled_network(SIZE, seed=SEED, kernel=3)
    for words, packed in ((2 * 63 * 2, True), (2 * 63 * 2 - 1, False)):
        shapes = {"input": (2, 6, *SIZE)} | {layer.name: (2, 8, *SIZE) for layer in learning.layers}
        for training in (True, False):
            packing = choose_packing(learning, shapes, training=training, store_words=words)
            assert ("first" in packing.windows) == (packed or not training)


@pytest.mark.parametrize(
    ("size", "store", "batch", "blocks"),
    [((9, 7), 4096, 2, 2), ((9, 8), 512, 2, 2), ((9, 7), 1024, 3, 2), ((9, 8), 512, 3, 1)],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_training_step_reads_the_same_windows_however_it_is_cut(size, store, batch, blocks, groups):
    """Logits are golden's, and the first layer's gradient reads the windows, both channel blocks of them or one after
    the other; however the store cuts the rest."""
    config = replace(LARGE, store_words=store, table_channels=64)
    placement, image = compile_for(config, batch, size=size, kernel=3, groups=groups)
    assert placement.schedule.resident == (store == 4096)
    assert list(placement.packing.windows) == ["first"]
    assert placement.inputs == ("first windows",)
    check_descriptors(placement, image)
    model, _ = run(placement, image, TRAIN, late=True)
    tensor = placement.network.convolution("first").trained.tensor
    jobs = [x for ours, x, _ in model.gradients if ours == tensor]
    # Of the first of two blocks of outputs, step by step; with one channel block at a time the other one is in between.
    jobs = jobs[:: len(jobs) // 2] if blocks == 1 else jobs[: len(jobs) // 2]
    gradient = np.concatenate(jobs, axis=1)
    x = images(batch, size, seed=SEED)
    want = functional.unfold(x.to(torch.float64), (3, 3), padding=1).transpose(1, 2).reshape(-1, 54)
    np.testing.assert_array_equal(gradient.reshape(len(gradient), -1)[:, :54].view(np.int8), want.numpy())
    loads = [step for step in descriptors(image, INFER) if step.opcode is Opcode.LOAD]
    assert reads(image, loads[0], "first windows")


def descriptors(image: ProgramImage, program: str) -> list[Descriptor]:
    content = image.bytes_of(program)
    return [Descriptor.unpack(content[at : at + 256]) for at in range(256, len(content), 256)]


def reads(image: ProgramImage, load: Descriptor, area: str) -> bool:
    there = image.areas[area]
    return there.address <= load.body["address"] < there.address + there.size


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_are_read_back_in_their_own_shape(groups):
    network = tiled_network(SIZE, seed=SEED, kernel=3, groups=groups)
    placement = Placement(LARGE, network, (1, 6, *SIZE), training=True)
    base, count = placement.rows.images["first"]
    assert count == 2 * 2 * 4  # two blocks of 4 outputs, 54 inputs
    rows = dict(placement.frozen_rows(network.initial_parameters()))[base]
    assert torch.equal(placement.learned_weight("first", rows), network.convolution("first").weight)


def small_placement(*, training: bool = False) -> Placement:
    backbone, pixels = small_backbone(SEED), small_images(8, SEED).images
    network = build_network(backbone, pixels, CLASSES, seed=SEED, batch=2)
    return Placement(LARGE, network, (2, 3, SIDE, SIDE), training=training)


def test_an_image_says_what_its_host_lays_out(tmp_path):
    placement = small_placement()
    assert placement.packing.pools == {"block1.rep.pool"}
    assert "block1.rep.pool" not in {operation.name for operation in placement.operations}
    image = Compiler(placement).compile(placement.network.initial_parameters())
    image.save(tmp_path / "small.program")
    loaded = ProgramImage.load(tmp_path / "small.program")
    assert loaded == image
    assert "input" not in image.areas
    x = integers((2, 3, SIDE, SIDE), signed=True)
    tensors = placement.network.forward(x, placement.network.initial_parameters()).tensors
    content = loaded.input_content(x.numpy())
    assert set(content) == {"stem windows", "block1.rep.first windows"}
    pooled = tensors["block1.rep.pool"]
    want = functional.unfold(pooled.to(torch.float64), (3, 3), padding=1).reshape(2, 27, 8, 8).numpy()
    assert content["block1.rep.first windows"] == tensor_bytes(want.astype(np.int64))
    assert all(len(written) == image.areas[name].size for name, written in content.items())
    with pytest.raises(ImageError, match="packed windows stem windows must have an area"):
        replace(image, areas={name: area for name, area in image.areas.items() if name != "stem windows"})


class Store:
    """A transport that keeps the store's words, and looks at them when a job comes."""

    def __init__(self, placement: Placement, x: np.ndarray) -> None:
        self._placement, self._x = placement, x
        self.words = [0] * placement.config.store_words
        self.seen: set[str] = set()

    async def write_store(self, base, words):
        self.words[base : base + len(words)] = words

    async def read_store(self, base, count):
        return self.words[base : base + count]

    async def run(self, job):
        for name in self._placement.inputs:
            tensor = self._placement.tensor(name)
            if "window" in job and job["window"]["base"] == tensor.base and name not in self.seen:
                want = tensor_words(self._placement.input(name, self._x))
                assert self.words[tensor.base : tensor.base + tensor.words] == want
                self.seen.add(name)
        # What it makes lies over everything that is not needed any more, or not yet.
        out, blocks = job["vector"], -(-job["vector"]["channels"] // 32)
        end = out["base"] + (blocks - 1) * out["block_stride"] + out["n"] * out["h"] * out["w"]
        self.words[out["base"] : end] = [1] * (end - out["base"])
        return {"fault": 0}


def test_a_session_lays_windows_out_when_they_are_read():
    placement = small_placement()
    x = integers((2, 3, SIDE, SIDE), signed=True).numpy()
    store = Store(placement, x)
    asyncio.run(Session(Driver(placement.config, store), placement).infer(x))
    assert store.seen == set(placement.inputs)
