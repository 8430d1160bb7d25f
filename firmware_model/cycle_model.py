# SPDX-License-Identifier: Apache-2.0
"""How many cycles a job takes, from its fields alone: where a network's time goes, without a simulation.

The model follows what bounds each unit: rows a cycle, words a cycle, planes of a group, channels that the vector path
finishes. It knows nothing of values. Left out: cycles in which two readers want the store at once, reads of partial
sums that meet a drain, and rows that an update rewrites, which depend on the gradient.
"""

import gc
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from amaranth.hdl import UnusedElaboratable

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.imc.depthwise import DepthwiseUnit
from respin.rtl.imc.engine import Engine
from respin.rtl.jobs import Pass, VectorMode
from respin.rtl.vector.finish import Finish
from respin.rtl.vector.gather import Gather
from respin.rtl.vector.loop import RAW_BYTES
from respin.rtl.vector.rounding import ElementRandom
from respin.rtl.vector.unit import VectorUnit

Fields = Mapping[str, Any]

OFFERED = 1
"""Cycles from a job to its units' start."""
SHARED = 2
"""Cycles more from a job to its first row where two job slots share the memory."""
REPORTED = 3
"""Cycles from a job's last word in the store to its report."""
SETTLED = 2
"""Cycles more where the delayed scale is measured."""
ROW_BEGUN = 4
"""Cycles that the gather unit loses at the start of a row of outputs."""
UPDATED, BIAS_UPDATED = 17, 30
"""Cycles from the last sums of a gradient until no row is left to look at, and those that the bias adds."""


class CycleModel:
    """Predicts the cycles of a job's report.

    Parameters
    ----------
    config:
        The accelerator.
    read_cycles:
        Cycles of a READ of the macro.
    """

    def __init__(self, config: AcceleratorConfig, *, read_cycles: int) -> None:
        self._config = config
        decoding = 4 // config.ecc_decoders
        asked = read_cycles + decoding + 3  # from a read job to its first row
        # Where two units share the memory each asks for the rows of a step when it has room for them.
        self._piece = asked if config.job_slots == 2 else None
        self._first_row = OFFERED + asked + (SHARED if config.job_slots == 2 else 0)
        self._row_at_hand = decoding
        self._row = max(decoding, -(-(read_cycles + 1 + decoding) // config.banks))
        self._engine_latency = _latency(Engine, config)
        self._depthwise_latency = _latency(DepthwiseUnit, config)
        self._walk_ahead = max(1, _latency(ElementRandom, config) - Finish.random_delay - 1)

    def cycles(self, job: Fields) -> int:
        """Cycles from the job's acceptance to its report; of a gradient pass without the rows that it rewrites."""
        match job["kind"]:
            case Pass.CONVOLUTION:
                last = self._convolution(job)
            case Pass.DEPTHWISE:
                last = self._depthwise(job)
            case Pass.GATHER:
                last = self._gather(job)
            case Pass.LOSS:
                last = self._loss(job["loss"])
            case _:
                last = self._gradient(job)
        return last + REPORTED + (SETTLED if job.get("settle") else 0)

    # Starts.

    def _window_start(self, window: Fields) -> int:
        """The cycle of the first word."""
        factors = (
            window["h"] if window["n"] > 1 else 0,
            window["stride"],
            window["kh"] - 1,
            abs(window.get("ky0", 0) - window.get("pad_y", 0)),
            window.get("block0", 0),
        )
        return OFFERED + 5 + max(1, *(factor.bit_length() for factor in factors))

    def _vector_start(self, vector: Fields, width: int) -> int:
        """The cycle in which the vector path can take the first sums, of entries of ``width`` channels."""
        factors = [vector["h"], vector.get("step_y", 1), vector.get("y0", 0)]
        constants = 7
        if vector.get("stochastic"):
            factors += [vector.get("map_h", 0), vector["channels"]]
            constants += 4
        constants += sum(factor.bit_length() for factor in factors)
        skipped = vector.get("channel0", 0) // width
        return int(OFFERED + constants + 4 + skipped + self._walk_ahead)

    def _pixel(self, vector: Fields, width: int) -> int:
        """Cycles in which the vector path finishes ``width`` channels of a pixel."""
        groups = width // self._config.vector_width
        if vector["mode"] is VectorMode.RAW:
            return int(RAW_BYTES * groups)
        return groups + 1 if vector.get("mask_write") else groups

    def _stored(self, fetched: int, vector: Fields) -> int:
        """The cycle of the last word's write, its last sums having been taken in cycle ``fetched``."""
        return fetched + int(VectorUnit.latency) + (1 if vector.get("mask_write") else 0)

    # Passes.

    def _convolution(self, job: Fields) -> int:
        engine, vector = job["engine"], job["vector"]
        slices = self._config.slices
        rows_there = self._first_row + (slices - 1) * self._row
        words_there = self._window_start(job["window"])
        taken = self._tiles(job, words_there, rows_there, self._vector_start(vector, slices), tile_sizes(engine))
        return self._stored(taken, vector)

    def _tiles(self, job: Fields, words_there: int, rows_there: int, free: int, sizes: list[int]) -> int:
        """Stream and drain an engine job's tiles; the cycle in which the last sums are taken.

        Parameters
        ----------
        job:
            With the parts ``engine`` and ``vector``.
        words_there, rows_there:
            The cycles of the first word, and of the last row of the first step.
        free:
            The cycle from which on sums are taken.
        sizes:
            Items of each tile of a repeat.
        """
        config, engine = self._config, job["engine"]
        pixels, slices = config.pixels, config.slices
        planes = engine["bits"] * config.beats
        pace = max(planes, pixels)
        pixel = self._pixel(job["vector"], slices)
        # A cycle is lost between two entries, unless masks are written then.
        between = 0 if job["vector"].get("mask_write") else 1
        refill = min(config.banks, slices - 1) * self._row_at_hand + max(0, slices - 1 - config.banks) * self._row
        if self._piece is not None:
            refill = self._piece + (slices - 1) * self._row
        loaded, streamed, taken, half = words_there - 1, -1, free - 1, 0
        drained = [0, 0]
        for _ in range(engine["repeats"]):
            for size in sizes:
                groups = -(-size // pixels)
                rest = size - (groups - 1) * pixels
                for step in range(engine["steps"]):
                    loaded = max(loaded + (rest if groups == 1 else pixels), streamed)
                    start = max(loaded + 1, rows_there)
                    if step == 0:
                        start = max(start, drained[half])
                    elif groups == 1:
                        start = max(start, streamed + 3)  # its entry has just been updated
                    last = start
                    if groups > 1:
                        last += (groups - 2) * pace + max(planes, rest)
                    loaded, streamed = last - 1, last + planes - 1
                    rows_there = max(start + 1 + refill, rows_there + slices * self._row)
                # Entries leave one after the other, each when the one before has been taken.
                drawn = max(streamed + self._engine_latency - 3, taken)
                taken = max(drawn + 2, free) + min(size, pixels) * pixel - 1
                if groups > 1:
                    drawn = taken + (groups - 2) * (pixels * pixel + between)
                    taken = drawn + between + rest * pixel
                drained[half], half = drawn + 1, 1 - half
        return taken

    def _depthwise(self, job: Fields) -> int:
        unit, window, vector = job["depthwise"], job["window"], job["vector"]
        beats = BLOCK // self._config.depthwise_lanes
        taps, outputs, rows = unit["taps"], vector["ow"], window["kh"] * unit["kw"]
        pixel = self._pixel(vector, BLOCK)
        # The mask's reader goes first; it is in the way only where words are wanted in every cycle.
        column = window["steps"] * beats + (1 if vector.get("mask_read") and beats == 1 else 0)
        latency = self._depthwise_latency
        free = self._vector_start(vector, BLOCK)
        # Sums are there ``latency`` after the last word of their column; the unit holds them until they are taken, and
        # works on the next ones meanwhile.
        summed, taken = self._window_start(window) - beats + latency, -1
        for block in range(window["repeats"]):
            # A word of a block's first column waits for its kernel row, the first or the last one longest.
            for row in (1, window["kh"]):
                loaded = self._first_row + 1 + (block * rows + row * unit["kw"] - 1) * self._row
                waiting = (window["kh"] - row + 1) * window["kw"]
                summed = max(summed, loaded + (waiting - 1) * beats + latency - column)
            for _ in range(window["n"] * window["oh"]):
                summed = max(summed + taps * column, taken + 1)
                taken = max(summed, free) + pixel - 1
                if outputs > 1:
                    summed = max(summed + column, taken + 1) + (outputs - 2) * max(column, pixel)
                    taken = summed + pixel - 1
        return self._stored(taken, vector)

    def _gather(self, job: Fields) -> int:
        gather, vector = job["gather"], job["vector"]
        groups = BLOCK // self._config.vector_width
        pixel = self._pixel(vector, BLOCK)
        elements = np.zeros((vector["oh"], vector["ow"]), dtype=np.int64)
        for source in gather["sources"][: gather["count"]]:
            rows = range_sizes(source["y"], vector["oh"], source["h"])
            columns = range_sizes(source["x"], vector["ow"], source["w"])
            elements += np.maximum(rows[:, None] * columns[None, :], 1)
        maps = vector["repeats"] * vector["n"]
        busy = int(np.maximum(elements * groups + 1 + vector.get("mask_read", 0), pixel).sum()) * maps
        moves = max(source["x"]["num"] // source["x"]["den"] for source in gather["sources"][: gather["count"]])
        row = ROW_BEGUN + 2 * max(0, moves - 1)
        rows_begun = vector["oh"] * maps
        start = max(OFFERED + 7, self._vector_start(vector, BLOCK) - Gather.latency)
        return self._stored(start + busy + (rows_begun - 1) * row + Gather.latency - 3, vector)

    def _loss(self, loss: Fields) -> int:
        images, classes = loss["n"], loss["classes"]
        return int(OFFERED + images * ((3 + 6 + 39) * classes + 3 * (1 + 4 * -(-classes // BLOCK))))

    def _gradient(self, job: Fields) -> int:
        """Errors and activations through the transposer; one tile of sums, which drain when it is complete."""
        config, engine, feed = self._config, job["engine"], job["feed"]
        word = PLANES // config.transposers
        transposed = BLOCK * word * (feed["steps"] + 1)
        planes = engine["bits"] * config.beats
        groups = -(-engine["items"] // config.pixels)
        block = max(transposed, groups * max(planes, config.pixels))
        first = self._window_start(job["window"]) + (2 * BLOCK + 1) * word
        streamed = first + (engine["steps"] - 1) * block + groups * max(planes, config.pixels, word * config.pixels)
        if job["kind"] is Pass.GRADIENT_RAW:
            entry = config.pixels * self._pixel(job["vector"], config.slices) + 1
            return self._stored(streamed + self._engine_latency + groups * entry, job["vector"])
        width = max(1, config.slices * config.pixels * config.lanes // 256)  # sums that the update takes in a cycle
        entry = config.slices * config.pixels // width + 1
        bias = BIAS_UPDATED if feed["bias"] else 0
        return int(streamed + self._engine_latency + groups * entry + UPDATED + bias)


@cache
def _latency(unit: type[Any], config: AcceleratorConfig) -> int:
    """Return what a unit says of its latency; that it is made into no hardware is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        latency = int(unit(config=config).latency)
        gc.collect()  # parts that refer to one another warn when they are collected, which must not be later
    return latency


def tile_sizes(engine: Fields) -> list[int]:
    """Items of each tile of a repeat of an engine job."""
    items, tile = engine["items"], engine["tile"]
    return [min(tile, items - first) for first in range(0, items, tile)]


def range_sizes(axis: Fields, outputs: int, extent: int) -> Any:
    """Elements of each output's range (outputs,) of an :class:`respin.rtl.jobs.AxisMap`."""
    starts = np.minimum((np.arange(outputs + 1) * axis["num"] + axis["add"]) // axis["den"], extent)
    if axis["span"]:
        return np.diff(starts)
    return (starts[:-1] < extent).astype(np.int64)
