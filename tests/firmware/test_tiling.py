# SPDX-License-Identifier: Apache-2.0
"""Programs of a network that does not fit store and table: on a model of what descriptors do, against golden and
against the same network on a machine that holds it."""

import asyncio
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from descriptor_model import DescriptorModel
from program_model import ProgramModel
from tiled_network import CLASSES, images, tiled_network

from respin.firmware_model.compiler import INFER, LABELS_AREA, LOGITS_AREA, PROVISION, TRAIN, Compiler
from respin.firmware_model.descriptors import Descriptor, read_header
from respin.firmware_model.geometry import Geometry
from respin.firmware_model.image import ProgramImage
from respin.firmware_model.layout import StoreTensor, words_tensor
from respin.firmware_model.machine import Machine, ProgramSession
from respin.firmware_model.operations import Reach
from respin.firmware_model.placement import Placement
from respin.firmware_model.storage import CapacityError
from respin.firmware_model.structures import from_bits
from respin.firmware_model.training import Session, label_words
from respin.rtl.config import AcceleratorConfig, preset
from respin.rtl.sequencer.descriptor import DESCRIPTOR

SEED = int(os.environ.get("RESPIN_SEED", "1"))
LARGE = replace(preset("tiny"), store_words=4096, mram_rows=1 << 14, depthwise_taps=3)
SIZE = (9, 7)


def compile_for(config: AcceleratorConfig, batch: int, *, size=SIZE, training: bool = True, **shape):
    network = tiled_network(size, seed=SEED, **shape)
    placement = Placement(config, network, (batch, 6, *size), training=training)
    return placement, Compiler(placement, 4096).compile(network.initial_parameters())


def run(placement: Placement, image: ProgramImage, program: str, *, late: bool) -> tuple[ProgramModel, np.ndarray]:
    """The model after a program, and the logits (N, classes)."""
    n, _, *size = placement.whole("input").shape
    rows = np.zeros((placement.config.usable_rows, 32), dtype=np.int8)
    for base, content in placement.frozen_rows(placement.network.initial_parameters()):
        rows[base : base + len(content)] = content
    model = ProgramModel(image, rows, late=late)
    x = images(n, tuple(size), seed=SEED)
    labels = b"".join(word.to_bytes(32, "little") for word in label_words([at % CLASSES for at in range(n)]))
    for area, content in (image.input_content(x.numpy()) | {LABELS_AREA: labels}).items():
        start = image.areas[area].address - image.base
        model.memory[start : start + len(content)] = np.frombuffer(content, dtype=np.uint8)
    if placement.table_resident:
        model.run(PROVISION)
    model.run(program)
    start, size = image.areas[LOGITS_AREA].address - image.base, image.areas[LOGITS_AREA].size
    words = [int.from_bytes(model.memory[at : at + 32].tobytes(), "little") for at in range(start, start + size, 32)]
    logits = words_tensor(words, StoreTensor(0, (n, CLASSES, 1, 1), True))[:, :, 0, 0]
    want = placement.network.forward(x, placement.network.initial_parameters()).tensors["logits"]
    np.testing.assert_array_equal(logits, want.numpy()[:, :, 0, 0])
    return model, logits


def check_descriptors(placement: Placement, image: ProgramImage) -> None:
    """The hardware's checks let every descriptor pass."""
    for program in image.programs:
        content = image.bytes_of(program)
        header = read_header(content[:256])
        first, count = header["row_first"], header["row_count"]
        model = DescriptorModel(placement.config, range(first, first + count))
        for at in range(256, len(content), 256):
            fields = from_bits(DESCRIPTOR, int.from_bytes(content[at : at + 256], "little"))
            why = model.judge(fields, last=at + 256 == len(content))
            assert not why, (program, at // 256 - 1, why, Descriptor.unpack(content[at : at + 256]).line())


@pytest.mark.parametrize(
    ("size", "store", "table", "batch", "late"),
    [
        ((9, 7), 4096, 1024, 2, True),
        ((9, 7), 4096, 64, 2, False),
        ((9, 7), 1024, 1024, 3, True),
        ((9, 8), 512, 64, 2, True),
        ((11, 4), 256, 64, 2, True),
        ((11, 4), 256, 128, 2, False),
        ((8, 9), 1024, 64, 3, False),
    ],
)
def test_a_training_step_is_the_same_however_it_is_cut(size, store, table, batch, late):
    """Logits are golden's; what each gradient job reads is what it reads where all fits."""
    whole, _ = run(*compile_for(LARGE, batch, size=size), TRAIN, late=True)
    placement, image = compile_for(replace(LARGE, store_words=store, table_channels=table), batch, size=size)
    assert placement.schedule.resident == (store == 4096)
    check_descriptors(placement, image)
    model, _ = run(placement, image, TRAIN, late=late)
    assert len(model.gradients) == len(whole.gradients)
    layers = {layer.trained.tensor: layer for layer in placement.network.trained}
    for (ours, x, errors), (theirs, same_x, same_errors) in zip(model.gradients, whole.gradients, strict=True):
        assert ours == theirs
        # Lanes past the last channel hold anything.
        outputs, inputs = layers[ours].weight.shape[:2]
        np.testing.assert_array_equal(x[..., :inputs], same_x[..., :inputs], err_msg=layers[ours].name)
        np.testing.assert_array_equal(errors[:, :outputs], same_errors[:, :outputs], err_msg=layers[ours].name)
        assert len(np.unique(errors[:, :outputs])) > 5, f"{layers[ours].name}: hardly any errors"


@pytest.mark.parametrize(
    ("size", "store", "batch", "branch", "chain"),
    [
        ((9, 7), 128, 3, "expand", ["depthwise"]),
        ((21, 15), 512, 1, "first", ["expand", "depthwise", "project"]),
        ((12, 8), 256, 2, "expand", ["depthwise", "project"]),
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_inference_in_bands(size, store, batch, branch, chain, late):
    """The wide map never is whole where one layer alone reads it and half of the store has room for a row."""
    placement, image = compile_for(
        replace(LARGE, store_words=store), batch, size=size, training=False, branch=branch
    )
    assert chain in [[operation.name for operation in chain] for chain in placement.schedule.chains]
    check_descriptors(placement, image)
    run(placement, image, INFER, late=late)
    assert image.memory == len(image.content) + image.scratch
    assert image.scratch > 0


def test_bands_use_the_rows_that_they_need():
    """A reach's rows are all those that some row of the result takes, found one by one."""
    for stride, kernel, pad, height in [(1, 3, 1, 9), (2, 3, 0, 9), (2, 5, 2, 8), (3, 3, 1, 10), (1, 1, 0, 5)]:
        shape = Geometry(kh=kernel, kw=kernel, stride=stride, pad_y=pad, pad_x=pad)
        out = (height + 2 * pad - kernel) // stride + 1
        taken = {(oy, oy * stride + ky - pad) for oy in range(out) for ky in range(kernel)}
        for row in range(out):
            for rows in range(1, out - row + 1):
                needed = {y for oy, y in taken if row <= oy < row + rows and 0 <= y < height}
                first, count = Reach.of_window(shape).rows(row, rows, height)
                assert needed <= set(range(first, first + count))
                assert {first, first + count - 1} <= needed or count == 1
        for row in range(0, height, stride):
            for rows in range(1, height - row + 1):
                needed = {oy for oy, y in taken if row <= y < row + rows}
                first, count = Reach.of_error(shape).rows(row, rows, out)
                assert needed <= set(range(first, first + count))


def test_what_does_not_fit_is_told():
    config = replace(LARGE, store_words=256)
    with pytest.raises(CapacityError, match=r"first gradient needs 352 words of the store at once, tiny has 256"):
        compile_for(config, 4, size=(11, 4))
    placement, _ = compile_for(replace(LARGE, store_words=1024), 2)
    with pytest.raises(CapacityError, match=r"the network needs \d+ words of the store, tiny has 1024"):
        Session(driver=None, placement=placement)
    placement, _ = compile_for(replace(LARGE, table_channels=64), 2)
    with pytest.raises(CapacityError, match=r"the network needs \d+ table entries, tiny has 64"):
        Session(driver=None, placement=placement)


def test_the_network_says_what_it_takes():
    placement, image = compile_for(LARGE, 1)
    x = images(1, SIZE, seed=SEED)
    with pytest.raises(TypeError, match="x must be int8, not uint8"):
        placement.network.forward(x.to(torch.uint8), placement.network.initial_parameters())
    session = ProgramSession(Machine(LARGE, transport=None), image)
    with pytest.raises(TypeError, match="x must be int8, as the network takes it, not uint8"):
        asyncio.run(session.infer(x.numpy().view(np.uint8)))
    with pytest.raises(ValueError, match=r"x must have shape \(1, 6, 9, 7\), not \(1, 6, 7, 9\)"):
        asyncio.run(session.infer(x.numpy().transpose(0, 1, 3, 2)))
