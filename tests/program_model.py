# SPDX-License-Identifier: Apache-2.0
"""What a program's descriptors do to store, table and external memory, in plain numpy.

Shifts of errors follow from their jobs, and random numbers and the loss are a hash of what they depend on, so two
programs of one network must agree in every element, however they are cut. Transfers take effect at once, or as late as
the program lets them.
"""

from typing import Any

import numpy as np

from respin.firmware_model.descriptors import Descriptor
from respin.firmware_model.image import ProgramImage
from respin.rtl.jobs import Pass, VectorMode, VectorSource
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, Opcode
from respin.rtl.sequencer.transfer_queue import MOST_PENDING

WORD = 32


def hashed(*numbers: Any) -> np.ndarray:
    """16 bits that depend on every number."""
    total = np.uint64(0)
    for number in numbers:
        with np.errstate(over="ignore"):
            mixed = (total ^ np.asarray(number).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        total = mixed ^ (mixed >> np.uint64(29))
    return (total >> np.uint64(20)).astype(np.int64) & 0xFFFF


class ProgramModel:
    """Store, table, rows and external memory, and what programs do to them.

    Parameters
    ----------
    image:
        The programs; ``memory`` starts with their content.
    rows:
        MRAM rows (rows, 32), int8.
    late:
        Whether transfers take effect as late as the program lets them.
    """

    def __init__(self, image: ProgramImage, rows: np.ndarray, *, late: bool) -> None:
        self.image, self.rows, self.late = image, rows.astype(np.int64), late
        self.memory = np.zeros(image.memory + WORD, dtype=np.uint8)
        self.memory[: len(image.content)] = np.frombuffer(image.content, dtype=np.uint8)
        # What nothing has written is 0x5A: of no use to anyone.
        self.store = np.full((image.config.store_words, WORD), 0x5A, dtype=np.uint8)
        self.table = np.zeros((image.config.table_channels, 5), dtype=np.int64)
        self.gradients: list[tuple[int, np.ndarray, np.ndarray]] = []
        """Of each gradient job the tensor that it trains, the words of activations and those of errors."""
        self._under_way: dict[Opcode, list[Descriptor]] = {Opcode.LOAD: [], Opcode.STORE: []}

    def run(self, program: str) -> None:
        """Run a program to its end."""
        content = self.image.bytes_of(program)
        for at in range(DESCRIPTOR_BYTES, len(content), DESCRIPTOR_BYTES):
            self._step(Descriptor.unpack(content[at : at + DESCRIPTOR_BYTES]))

    def _step(self, descriptor: Descriptor) -> None:
        opcode = descriptor.opcode
        if "wait" in descriptor.flags:
            self._finish(Opcode.LOAD, left=descriptor.loads)
            self._finish(Opcode.STORE, left=descriptor.stores)
        if opcode in (Opcode.BARRIER, Opcode.END):
            self._finish(Opcode.LOAD)
            self._finish(Opcode.STORE)
        if opcode in (Opcode.LOAD, Opcode.TABLE, Opcode.STORE):
            unit = Opcode.STORE if opcode is Opcode.STORE else Opcode.LOAD
            self._under_way[unit].append(descriptor)
            self._finish(unit, left=MOST_PENDING if self.late else 0)
        elif opcode is Opcode.BIASES:
            self._finish(Opcode.LOAD)
            self._entries(descriptor)
        elif opcode is Opcode.JOB:
            self._job(descriptor)

    # What is not a job.

    def _finish(self, unit: Opcode, *, left: int = 0) -> None:
        """End the transfers of a unit, in order, but for the last ``left``."""
        while len(self._under_way[unit]) > left:
            descriptor = self._under_way[unit].pop(0)
            if descriptor.opcode is Opcode.TABLE:
                self._entries(descriptor)
            else:
                self._move(descriptor)

    def _move(self, descriptor: Descriptor) -> None:
        body = descriptor.body
        for row in range(body["rows"]):
            outside = body["address"] - self.image.base + row * body["pitch"]
            inside = body["base"] + row * body["base_pitch"]
            words, count = slice(inside, inside + body["words"]), WORD * body["words"]
            assert words.stop <= len(self.store)
            assert outside + count <= len(self.memory)
            # Planes of a word are bits of its bytes here, so that a byte is a channel.
            if descriptor.opcode is Opcode.LOAD:
                self.store[words] = _lanes(self.memory[outside : outside + count].reshape(-1, WORD))
            else:
                self.memory[outside : outside + count] = _planes(self.store[words]).reshape(-1)

    def _entries(self, descriptor: Descriptor) -> None:
        body = descriptor.body
        start = body["address"] - self.image.base
        for at in range(body["count"]):
            entry = int.from_bytes(self.memory[start + 16 * at :][:16].tobytes(), "little")
            fields = [_signed(entry, 0, 32), entry >> 32 & 0xFFFF, entry >> 48 & 63]
            fields += [_signed(entry, 54, 9), _signed(entry, 63, 9)]
            if descriptor.opcode is Opcode.BIASES:
                fields[0] += int(self.rows[body["row"] + at // 32, at % 32]) << body["shift"]
            self.table[body["index"] + at] = fields

    # Jobs.

    def _job(self, descriptor: Descriptor) -> None:
        body = descriptor.body
        match descriptor.kind:
            case Pass.CONVOLUTION:
                sums = self._convolution(body)
            case Pass.DEPTHWISE:
                sums = self._depthwise(body)
            case Pass.GATHER:
                sums = self._gather(body)
            case Pass.LOSS:
                self._loss(body["loss"])
                return
            case _:
                feed = body["feed"]
                x = self._window(body["window"], body["window"]["block0"])
                errors = self.store[feed["base"] : feed["base"] + feed["pixels"]].copy()
                self.gradients.append((body["update"]["tensor"], x, errors))
                return
        self._put(descriptor.tensor, body["vector"], sums, _error_shift(descriptor))

    def _window(self, window: dict[str, int], first_block: int) -> np.ndarray:
        """Words (items, steps, 32) as bytes."""
        n, oh, ow, taps = window["n"], window["oh"], window["ow"], window["kh"] * window["kw"]
        image, y, x = (grid.reshape(-1) for grid in np.mgrid[0:n, 0:oh, 0:ow])
        step = np.arange(window["steps"]) + window["ky0"] * window["kw"] + window["kx0"]
        block, tap = first_block + step // taps, step % taps
        iy = y[:, None] * window["stride"] + tap // window["kw"] - window["pad_y"]
        ix = x[:, None] * window["stride"] + tap % window["kw"] * window["dilation_x"] - window["pad_x"]
        inside = (iy >= 0) & (iy < window["h"]) & (ix >= 0) & (ix < window["w"])
        words = (image[:, None] * window["h"] + iy) * window["w"] + ix + window["base"] + block * window["block_stride"]
        return np.where(inside[..., None], self.store[np.where(inside, words, 0)], np.uint8(window["pad"]))

    def _convolution(self, body: dict[str, Any]) -> np.ndarray:
        read, slices = body["read"], self.image.config.slices
        x = _as_int(self._window(body["window"], 0), body["engine"]["signed"])
        rows = self.rows[read["base"] : read["base"] + read["count"] * read["repeats"]]
        w = rows.reshape(read["repeats"], x.shape[1], slices, WORD).transpose(0, 2, 1, 3)
        return x.reshape(len(x), -1) @ w.reshape(read["repeats"] * slices, -1).T

    def _depthwise(self, body: dict[str, Any]) -> np.ndarray:
        read, window, unit, vector, sums = body["read"], body["window"], body["depthwise"], body["vector"], []
        taps, words, outputs = unit["taps"], window["kw"], vector["ow"]
        for block in range(window["repeats"]):
            x = _as_int(self._window(window, window["block0"] + block), unit["signed"])
            x = x.reshape(-1, window["ow"], window["kh"], words, WORD)
            rows = self.rows[read["base"] + block * read["count"] :][: read["count"]]
            total = np.zeros((len(x), outputs, WORD), dtype=np.int64)
            for number, weights in enumerate(rows.reshape(window["kh"], unit["kw"], WORD).transpose(1, 0, 2)):
                # The word of the column that a tap meets, and how far the column lies from the output's first one.
                word, place = (number % words, number // words) if unit["strided"] else (number // taps, number % taps)
                total += (x[:, place : place + outputs, :, word] * weights).sum(2)
            sums.append(total.reshape(-1, WORD))
        return np.concatenate(sums, axis=1)

    def _gather(self, body: dict[str, Any]) -> np.ndarray:
        vector, gather = body["vector"], body["gather"]
        n, oh, ow, width = vector["n"], vector["oh"], vector["ow"], WORD * vector["repeats"]
        sums = np.zeros((n, oh, ow, width), dtype=np.int64)
        channels = vector["channel0"] + np.arange(width)
        for source in gather["sources"][: gather["count"]]:
            mult = self.table[source["table"] : source["table"] + width, 1] if source["per_channel"] else source["mult"]
            for image, y, x in np.ndindex(n, oh, ow):
                for iy in _range(source["y"], y, source["h"]):
                    for ix in _range(source["x"], x, source["w"]):
                        words = source["base"] + channels // WORD * source["block_stride"]
                        words = words + (image * source["h"] + iy) * source["w"] + ix
                        value = _as_int(self.store[words, channels % WORD], source["signed"])
                        scaled = (value - source["zero"]) * mult << (15 * gather["wide"])
                        sums[image, y, x] += scaled >> source["align"]
        return sums.reshape(-1, width)

    def _loss(self, loss: dict[str, int]) -> None:
        for image in range(loss["n"]):
            label = self.store[loss["labels"] + image, 0]
            for block in range(-(-loss["classes"] // WORD)):
                logits = self.store[loss["base"] + block * loss["block_stride"] + image]
                lanes = block * WORD + np.arange(WORD)
                errors = hashed(logits, lanes, np.full(WORD, label)) % 255 - 127
                errors[lanes >= loss["classes"]] = 0
                self.store[loss["out"] + block * loss["out_stride"] + image] = errors.astype(np.int8).view(np.uint8)

    def _put(self, tensor: int, vector: dict[str, int], sums: np.ndarray, error_shift: int) -> None:
        """Finish sums (items, channels) and put them, and masks, into the store."""
        n, oh, ow, width = vector["n"], vector["oh"], vector["ow"], sums.shape[1]
        assert vector["source"] == VectorSource.ENGINE.value or width % WORD == 0
        image, y, x = (grid.reshape(-1, 1) for grid in np.mgrid[0:n, 0:oh, 0:ow])
        y, x = y * vector["step_y"] + vector["y0"], x * vector["step_x"] + vector["x0"]
        channels = vector["channel0"] + np.arange(width)
        exists, block, lane = channels < vector["channels"], channels // WORD, channels % WORD
        pixel = (image * vector["h"] + y) * vector["w"] + x
        if vector["mode"] == VectorMode.RAW.value:
            words = vector["base"] + block * vector["block_stride"] + pixel
            for byte in range(4):
                self.store[words + byte * vector["raw_stride"], lane] = np.where(exists, sums >> (8 * byte) & 255, 0)
            return
        mask_word = vector["mask_base"] + block * vector["mask_stride"] + pixel // 8
        if vector["per_channel"]:
            bias, mult, shift, lo, hi = self.table[vector["table"] : vector["table"] + width].T
        else:
            bias, mult, shift, lo, hi = 0, *(np.int64(vector[name]) for name in ("mult", "shift", "lo", "hi"))
        if vector["mode"] == VectorMode.ERROR.value:
            keep = self.store[mask_word, lane] >> (pixel % 8) & 1 if vector["mask_read"] else 1
            plane = vector["map_h"] * vector["w"]
            index = vector["index"] + image * vector["channels"] * plane + channels * plane + y * vector["w"] + x
            drawn = hashed(tensor, index) if vector["stochastic"] else 0x8000
            result = np.clip((sums * mult * keep + ((drawn << error_shift) >> 16)) >> error_shift, -127, 127)
        else:
            result = np.clip(((sums + bias) * mult + ((1 << shift) >> 1)) >> shift, lo, hi)
        words = vector["base"] + block * vector["block_stride"] + pixel
        self.store[words, lane] = np.where(exists, result, 0).astype(np.uint8)
        if vector["mask_write"]:
            inside = exists & (result > lo) & (result < hi)
            for item in range(len(sums)):
                bit = int(pixel[item, 0]) % 8
                old = self.store[mask_word[item], lane] & ~np.uint8(1 << bit)
                self.store[mask_word[item], lane] = old | (inside[item].astype(np.uint8) << bit)


def _error_shift(descriptor: Descriptor) -> int:
    """A shift that leaves something of errors, the same for every part of a tensor."""
    vector, gather = descriptor.body["vector"], descriptor.body["gather"]
    if descriptor.kind is not Pass.GATHER:
        return 7 + (15 if vector["per_channel"] else vector["mult"].bit_length() - 1)
    mults = [15 if source["per_channel"] else source["mult"].bit_length() - 1 for source in gather["sources"]]
    return max(mults[: gather["count"]]) + 15 * gather["wide"] + 15 * vector["per_channel"]


def _range(axis: dict[str, int], at: int, extent: int) -> range:
    start = (at * axis["num"] + axis["add"]) // axis["den"]
    end = ((at + 1) * axis["num"] + axis["add"]) // axis["den"] if axis["span"] else start + 1
    return range(start, min(end, extent))


def _as_int(octets: np.ndarray, signed: int) -> np.ndarray:
    return (octets.view(np.int8) if signed else octets).astype(np.int64)


def _signed(value: int, low: int, width: int) -> int:
    bits = value >> low & ((1 << width) - 1)
    return bits - (1 << width) if bits >> (width - 1) else bits


def _lanes(words: np.ndarray) -> np.ndarray:
    """Bytes of the 32 lanes of words that lie as bit-planes."""
    bits = np.unpackbits(words, axis=1, bitorder="little").reshape(-1, 8, WORD)
    return np.packbits(bits, axis=1, bitorder="little").reshape(-1, WORD)


def _planes(lanes: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_lanes`."""
    bits = np.unpackbits(lanes[:, None, :], axis=1, bitorder="little").reshape(-1, 8 * WORD)
    return np.packbits(bits, axis=1, bitorder="little")
