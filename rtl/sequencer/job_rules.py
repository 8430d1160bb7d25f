# SPDX-License-Identifier: Apache-2.0
"""Rules that the fields of a job must keep, without products: each a condition that breaks it, and its problem."""

from collections.abc import Iterator
from functools import reduce
from operator import or_

from amaranth.hdl import Const, Mux, Value
from amaranth.lib import data
from amaranth.utils import exact_log2

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.imc.depthwise import MAX_TAPS
from respin.rtl.jobs import CHANNEL, GATHER_SOURCES, Pass, VectorMode, VectorSource
from respin.rtl.sequencer.errors import Problem
from respin.rtl.vector.loss import FRACTION_BITS, MAX_CLASSES

Rule = tuple[Value, Problem]
MAX_BITS = 8
"""Bit-planes of a word."""


def any_of(*conditions: Value) -> Value:
    """Whether one of the conditions holds."""
    return reduce(or_, conditions)


def zero(*counts: Value) -> Value:
    """Whether one of the counts is 0."""
    return any_of(*(count == 0 for count in counts))


class JobView:
    """A job's parts and pass, and which of the parts the pass uses.

    Parameters
    ----------
    kind, parts:
        The number of the pass, and the jobs of the units (:data:`respin.rtl.sequencer.descriptor.JOB_PARTS`).
    config:
        The accelerator.
    """

    def __init__(self, kind: Value, parts: data.View, config: AcceleratorConfig) -> None:
        self.config = config
        self.window, self.read, self.engine, self.feed = parts.window, parts.read, parts.engine, parts.feed
        self.depthwise_job, self.vector, self.gather_job = parts.depthwise, parts.vector, parts.gather
        self.loss_job, self.update = parts.loss, parts.update
        self.kind = kind
        self.convolution, self.depthwise = kind == Pass.CONVOLUTION.value, kind == Pass.DEPTHWISE.value
        self.gather, self.loss = kind == Pass.GATHER.value, kind == Pass.LOSS.value
        self.updating, self.raw = kind == Pass.GRADIENT.value, kind == Pass.GRADIENT_RAW.value
        self.gradient = self.updating | self.raw
        self.windowed = self.convolution | self.depthwise | self.gradient
        self.finished = self.convolution | self.depthwise | self.gather | self.raw
        engine = self.vector.source == VectorSource.ENGINE
        self.width = Mux(engine, config.slices, BLOCK)
        """Channels of an entry of the vector job."""
        self.width_log2 = Mux(engine, exact_log2(config.slices), exact_log2(BLOCK))
        self.channels_end = self.vector.channel0 + (self.vector.repeats << self.width_log2)
        self.operands = [self.gather & (self.gather_job.count > number) for number in range(GATHER_SOURCES)]
        """Which sources a gather job has."""


def job_rules(job: JobView) -> Iterator[Rule]:
    """Yield the rules in the order of :class:`Problem`."""
    yield from _kinds(job)
    yield from _counts(job)
    yield from _limits(job)
    yield from _agreement(job)
    yield from _memories(job)


def _kinds(job: JobView) -> Iterator[Rule]:
    vector = job.vector
    engine, depthwise = vector.source == VectorSource.ENGINE, vector.source == VectorSource.DEPTHWISE
    gather, raw = vector.source == VectorSource.GATHER, vector.mode == VectorMode.RAW
    known = raw | (vector.mode == VectorMode.REQUANTISE) | (vector.mode == VectorMode.ERROR)
    yield job.kind > max(number.value for number in Pass), Problem.KIND
    yield job.finished & ~known, Problem.KIND
    yield job.convolution & ~engine, Problem.KIND
    yield job.depthwise & ~depthwise, Problem.KIND
    yield job.gather & ~gather, Problem.KIND
    yield job.raw & ~(engine & raw), Problem.KIND


def _counts(job: JobView) -> Iterator[Rule]:
    window, vector, engine = job.window, job.vector, job.engine
    names = ("n", "h", "w", "oh", "ow", "kh", "kw", "dilation_x", "stride", "steps", "tile", "repeats")
    yield job.windowed & zero(*(window[name] for name in names)), Problem.COUNT
    yield (job.convolution | job.depthwise) & zero(job.read.count, job.read.tiles, job.read.repeats), Problem.COUNT
    yield (
        (job.convolution | job.gradient) & zero(engine.repeats, engine.items, engine.tile, engine.steps), Problem.COUNT
    )
    yield job.gradient & zero(job.feed.pixels, job.feed.steps), Problem.COUNT
    yield job.updating & zero(job.update.taps), Problem.COUNT
    yield job.depthwise & zero(job.depthwise_job.kw, job.depthwise_job.taps), Problem.COUNT
    counts = [vector[name] for name in ("n", "oh", "ow", "repeats", "h", "w", "step_y", "step_x")]
    yield job.finished & zero(*counts), Problem.COUNT
    yield job.gather & zero(job.gather_job.count), Problem.COUNT
    for used, operand in zip(job.operands, job.gather_job.sources, strict=True):
        yield used & zero(operand.h, operand.w, operand.y.den, operand.x.den), Problem.COUNT
    yield job.loss & zero(job.loss_job.n, job.loss_job.classes), Problem.COUNT


def _limits(job: JobView) -> Iterator[Rule]:
    config, window, engine, vector = job.config, job.window, job.engine, job.vector
    streamed = job.convolution | job.gradient
    yield job.windowed & ((window.ky0 >= window.kh) | (window.kx0 >= window.kw)), Problem.LIMIT
    yield job.windowed & (window.dilation_x != 1) & (window.kx0 != 0), Problem.LIMIT
    yield streamed & ((engine.bits == 0) | (engine.bits > MAX_BITS)), Problem.LIMIT
    yield streamed & (engine.tile > config.acc_depth * config.pixels), Problem.LIMIT
    too_many = (job.read.count > MAX_TAPS) | (job.depthwise_job.taps > config.depthwise_taps)
    yield job.depthwise & too_many, Problem.LIMIT
    yield job.gradient & (job.feed.lane0 + config.slices > BLOCK), Problem.LIMIT
    update = job.update
    yield job.updating & (update.tap0 >= update.taps), Problem.LIMIT
    # Of a group that has no end, or lies past the last one, the walk would come to inputs that there are not.
    yield job.updating & ((update.k_offset >= update.group_in) | (update.o_offset >= update.group_out)), Problem.LIMIT
    yield job.updating & (update.o_group + config.slices > 1 << CHANNEL.width), Problem.LIMIT
    yield job.finished & ((vector.channel0 & (job.width - 1)) != 0), Problem.LIMIT
    yield job.finished & (job.channels_end > 1 << CHANNEL.width), Problem.LIMIT
    yield job.gather & (job.gather_job.count > GATHER_SOURCES), Problem.LIMIT
    loss, one = job.loss_job, 1 << FRACTION_BITS
    yield job.loss & ((loss.classes > MAX_CLASSES) | (loss.on > one) | (loss.off > one)), Problem.LIMIT


def _agreement(job: JobView) -> Iterator[Rule]:
    config, window, read, engine, vector = job.config, job.window, job.read, job.engine, job.vector
    feed, depthwise, update = job.feed, job.depthwise_job, job.update

    def differ(*values: Value | int) -> Value:
        return any_of(*(value != values[0] for value in values[1:]))

    # The sums of the first columns of a line have not met all their taps.
    columns = vector.ow + Mux(job.depthwise, depthwise.taps - 1, 0)
    walked = differ(window.n, vector.n) | differ(window.oh, vector.oh) | differ(window.ow, columns)
    yield (job.convolution | job.depthwise) & walked, Problem.AGREEMENT
    conditions = [
        differ(engine.steps, window.steps),
        differ(engine.tile, window.tile),
        differ(engine.repeats, window.repeats, read.repeats, vector.repeats),
        differ(read.count, engine.steps * config.slices),
    ]
    # Where P = 1 the vector path takes no account of tiles.
    tiled = [differ(vector.tile, engine.tile)] if config.pixels > 1 else []
    yield job.convolution & any_of(*conditions, *tiled), Problem.AGREEMENT
    conditions = [
        differ(window.repeats, read.repeats, vector.repeats),
        differ(1, window.tile, read.tiles),
        depthwise.strided & (depthwise.kw < window.kw),
    ]
    yield job.depthwise & any_of(*conditions), Problem.AGREEMENT
    conditions = [
        differ(feed.steps, window.steps),
        differ(BLOCK, window.tile),
        differ(1, window.repeats, engine.repeats),
        differ(engine.items, feed.steps * BLOCK + feed.bias, engine.tile),
        differ(engine.steps, (feed.pixels + (BLOCK - 1)) >> exact_log2(BLOCK)),
    ]
    yield job.gradient & any_of(*conditions), Problem.AGREEMENT
    yield job.updating & (differ(update.steps, feed.steps) | differ(update.bias, feed.bias)), Problem.AGREEMENT
    conditions = [differ(1, vector.n, vector.oh, vector.repeats), differ(engine.items, vector.ow)]
    yield job.raw & any_of(*conditions, *tiled), Problem.AGREEMENT


def _memories(job: JobView) -> Iterator[Rule]:
    """Store words and table entries that need no product; rows are looked at one by one."""
    config, vector = job.config, job.vector
    yield job.gradient & (job.feed.base + job.feed.pixels > config.store_words), Problem.STORE
    yield job.loss & (job.loss_job.labels + job.loss_job.n > config.store_words), Problem.STORE
    yield from _table(job, job.finished & vector.per_channel, vector.table, vector.repeats << job.width_log2)
    for used, operand in zip(job.operands, job.gather_job.sources, strict=True):
        # The gather unit counts its entries from the first channel that it makes.
        yield from _table(job, used & operand.per_channel, operand.table, vector.repeats << exact_log2(BLOCK))


def _table(job: JobView, used: Value, first: Value, entries: Value) -> Iterator[Rule]:
    config = job.config
    within = Const(config.vector_width - 1, len(first))
    yield used & ((first + entries > config.table_channels) | ((first & within) != 0)), Problem.TABLE
