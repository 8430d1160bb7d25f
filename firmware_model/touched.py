# SPDX-License-Identifier: Apache-2.0
"""What a descriptor reads and writes of store, table and external memory, found from its fields alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.fences import Space, Span, Step
from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.jobs import Pass, VectorMode, VectorSource
from respin.rtl.sequencer.descriptor import Opcode

_WORD_BYTES, _ENTRY_BYTES = 32, 16
_RAW_PARTS = 4
"""Bytes of a sum, which lie in words apart."""

Fields = Mapping[str, Any]


def touched(descriptor: Descriptor, config: AcceleratorConfig) -> Step:
    """Return a descriptor with the words and entries that it touches; of words at regular distances all of them."""
    reads: list[Span] = []
    writes: list[Span] = []
    body = descriptor.body
    match descriptor.opcode:
        case Opcode.LOAD | Opcode.STORE:
            inside = _rows(Space.STORE, body["base"], body["words"], body["base_pitch"], body["rows"])
            first, pitch = body["address"] // _WORD_BYTES, body["pitch"] // _WORD_BYTES
            outside = _rows(Space.EXTERNAL, first, body["words"], pitch, body["rows"])
            load = descriptor.opcode is Opcode.LOAD
            (writes if load else reads).append(inside)
            (reads if load else writes).append(outside)
        case Opcode.TABLE | Opcode.BIASES:
            first = body["address"] // _WORD_BYTES
            words = -(-body["count"] * _ENTRY_BYTES // _WORD_BYTES)
            reads.append(Span(Space.EXTERNAL, first, first + words))
            writes.append(Span(Space.TABLE, body["index"], body["index"] + body["count"]))
        case Opcode.JOB:
            reads += _job_reads(descriptor, config)
            writes += _job_writes(descriptor, config)
    return Step(descriptor=descriptor, reads=tuple(reads), writes=tuple(writes))


def _rows(space: Space, first: int, words: int, pitch: int, rows: int) -> Span:
    if rows > 1 and pitch < words:  # rows that overlap, or follow in no order that matters
        return Span(space, first, first + (rows - 1) * pitch + words)
    return Span.of_rows(space, first, words=words, pitch=pitch, rows=rows)


def _tensor(base: int, stride: int, blocks: tuple[int, int], words: int) -> Span:
    """Words of the channel blocks from the first to the last one of ``blocks``."""
    first, last = blocks
    return _rows(Space.STORE, base + first * stride, words, stride, last - first + 1)


def _vector_blocks(vector: Fields, config: AcceleratorConfig) -> tuple[int, int]:
    width = config.slices if vector["source"] in (VectorSource.ENGINE, VectorSource.ENGINE.value) else BLOCK
    first = vector.get("channel0", 0)
    return first // BLOCK, (first + vector["repeats"] * width - 1) // BLOCK


def _finished(descriptor: Descriptor) -> bool:
    """Whether the vector path takes part."""
    return descriptor.kind not in (Pass.LOSS, Pass.GRADIENT)


def _pixels(part: Fields) -> int:
    return int(part["n"] * part["h"] * part["w"])


def _mask(vector: Fields, config: AcceleratorConfig) -> Span:
    words = -(-_pixels(vector) // PLANES)
    return _tensor(vector["mask_base"], vector["mask_stride"], _vector_blocks(vector, config), words)


def _job_reads(descriptor: Descriptor, config: AcceleratorConfig) -> Iterator[Span]:
    job, kind = descriptor.body, descriptor.kind
    if kind not in (Pass.GATHER, Pass.LOSS):
        window = job["window"]
        steps = window.get("ky0", 0) * window["kw"] + window.get("kx0", 0) + window["steps"]
        first = window.get("block0", 0)
        last = first + -(-steps // (window["kh"] * window["kw"])) - 1
        last += window["repeats"] - 1 if window.get("advance") else 0
        yield _tensor(window["base"], window["block_stride"], (first, last), _pixels(window))
    if _finished(descriptor):
        vector = job["vector"]
        blocks = _vector_blocks(vector, config)
        count = min(vector["channels"], BLOCK * (blocks[1] + 1)) - vector.get("channel0", 0)
        if vector.get("mask_read"):
            yield _mask(vector, config)
        if vector.get("per_channel"):
            yield Span(Space.TABLE, vector["table"], vector["table"] + count)
    if kind is Pass.GATHER:
        for source in job["gather"]["sources"][: job["gather"]["count"]]:
            words = vector["n"] * source["h"] * source["w"]
            yield _tensor(source["base"], source["block_stride"], blocks, words)
            if source.get("per_channel"):
                yield Span(Space.TABLE, source["table"], source["table"] + count)
    if kind is Pass.LOSS:
        loss = job["loss"]
        yield _tensor(loss["base"], loss["block_stride"], (0, (loss["classes"] - 1) // BLOCK), loss["n"])
        yield Span(Space.STORE, loss["labels"], loss["labels"] + loss["n"])
    if kind in (Pass.GRADIENT, Pass.GRADIENT_RAW):
        feed = job["feed"]
        yield Span(Space.STORE, feed["base"], feed["base"] + feed["pixels"])


def _job_writes(descriptor: Descriptor, config: AcceleratorConfig) -> Iterator[Span]:
    job = descriptor.body
    if descriptor.kind is Pass.LOSS:
        loss = job["loss"]
        yield _tensor(loss["out"], loss["out_stride"], (0, (loss["classes"] - 1) // BLOCK), loss["n"])
    if _finished(descriptor):
        vector = job["vector"]
        blocks = _vector_blocks(vector, config)
        raw = vector["mode"] in (VectorMode.RAW, VectorMode.RAW.value)
        for part in range(_RAW_PARTS if raw else 1):
            base = vector["base"] + part * vector.get("raw_stride", 0)
            yield _tensor(base, vector["block_stride"], blocks, _pixels(vector))
        if vector.get("mask_write"):
            yield _mask(vector, config)
