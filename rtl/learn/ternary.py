# SPDX-License-Identifier: Apache-2.0
"""From gradients to ternary steps: measure, scale, compare with random bits."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.interfaces import result_layout
from respin.rtl.jobs import EXPONENT, LAYER_LOG2_RATE, TENSOR_ID, UpdateJob
from respin.rtl.learn.index_walk import IndexWalk
from respin.rtl.learn.probability import SHIFT_BITS, StepProbability
from respin.rtl.learn.random import RandomLanes
from respin.rtl.learn.scales import GRADIENT_BITS, LargestGradient, StepScales
from respin.rtl.learn.statistics import Statistics
from respin.rtl.learn.table import TablePort

SUM_BITS = 32
"""Bits of the engine's sums."""
SEED_BITS = 32
STEP_BITS = 20


def update_width(config: AcceleratorConfig) -> int:
    """Gradients finished in a cycle: ``max(1, M * P * K / 256)``.

    A sum takes the engine at least 8 planes of 32 pixels in 32 / K beats, in which it makes ``M * P`` of them: a wider
    update would wait for it.
    """
    return max(1, config.peak_macs_per_cycle // BLOCK)


class Step(data.Struct):
    """A ternary step ``u``: 0 unless ``moves``, else -1 where ``negative`` and 1 where not. The weight goes by -u."""

    moves: unsigned(1)
    negative: unsigned(1)


def step_beat(width: int) -> data.StructLayout:
    """Steps of ``width`` neighbouring outputs; ``last`` in the last beat of a tile."""
    return data.StructLayout({"steps": data.ArrayLayout(Step, width), "last": 1})


class UpdateCommit(data.Struct):
    """The end of a layer's gradient: what was measured, in units of 2^exponent, goes to the table."""

    tensor: TENSOR_ID
    bias_tensor: TENSOR_ID
    exponent: EXPONENT


class TernarySteps(wiring.Component):
    """Turns the sums of a weight-gradient job into ternary steps and measures them.

    ``p = min(65535, (|G| << 16) >> t)`` with ``t = clamp(order - exponent - min(0, log2_rate), 0, 63)`` and the order
    of the largest gradient that the tensor has had; ``u = sign(G)`` if ``R < p``, else 0, with R the random number of
    (seed, step, tensor, index). Entries that are no weight (outputs or inputs past the last one, off a group's
    diagonal) neither move nor count. Nothing moves where ``apply`` is 0 or the tensor has had no gradient yet.

    A job goes through the weights, then through the bias, whose tensor and random key are others: each part starts
    with M + 3 cycles of preparation and ends when its last step has left. Latency: ``latency`` cycles from a sum to its
    step. Throughput: ``update_width(config)`` sums a cycle.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    seed : In(32)
    step : In(20)
        Of the training run; held while there is a job.
    job : In(stream(UpdateJob))
    log2_rate, exponent : In
        Of the job that is offered: the layer's learning rate, and the unit of its sums, 2^exponent.
    commit : In(stream(UpdateCommit))
        Taken between jobs, before a job that waits; ends with empty statistics.
    results : In(stream(result_layout(config)))
    steps : Out(stream(step_beat(width)))
        M outputs of one k in M / width beats; 32 k a tile, one in a bias tile.
    host : In(TablePort(LargestGradient))
    idle : Out(1)
    entries, moves : Out(range(width + 1))
        How many weights, and how many steps other than 0, leave in this cycle.
    error : Out(1)
        High for a cycle where a tensor id has no entry in the table.

    Raises
    ------
    TypeError
        If ``config`` is no AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        self._width = width = update_width(config)
        self._stream_bits = (config.pixels - 1).bit_length()
        self._random = RandomLanes(lanes=width)
        self._scales = StepScales(config=config)
        super().__init__({
            "seed": In(SEED_BITS),
            "step": In(STEP_BITS),
            "job": In(stream.Signature(UpdateJob)),
            "log2_rate": In(LAYER_LOG2_RATE),
            "exponent": In(EXPONENT),
            "commit": In(stream.Signature(UpdateCommit)),
            "results": In(stream.Signature(result_layout(config))),
            "steps": Out(stream.Signature(step_beat(width))),
            "host": In(TablePort(LargestGradient)),
            "idle": Out(1),
            "entries": Out(range(width + 1)),
            "moves": Out(range(width + 1)),
            "error": Out(1),
        })

    @property
    def latency(self) -> int:
        """Cycles from a sum to its step: two until its index is known, then the random number's."""
        return 2 + self._random.latency

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = IndexWalk(config=self.config, width=self._width)
        m.submodules.random = random = self._random
        m.submodules.scales = scales = self._scales
        m.submodules.statistics = statistics = Statistics(width=self._width)
        m.submodules.likely = likely = StepProbability(width=self._width, latency=random.latency)
        wiring.connect(m, wiring.flipped(self.host), scales.host)

        job = Signal(UpdateJob)
        log2_rate, exponent = Signal.like(self.log2_rate), Signal(EXPONENT)
        bias = Signal()
        tensor = Mux(bias, job.bias_tensor, job.tensor)
        m.d.comb += [
            walk.job.eq(job),
            walk.bias.eq(bias),
            scales.tensor.eq(tensor),
            random.key.eq(Cat(self.seed, self.step, tensor)),
            self.error.eq(scales.error),
        ]
        apply = Mux(bias, job.bias_apply, job.apply) & scales.valid
        distance = Signal(signed(EXPONENT.width + 3))
        shift = Signal(SHIFT_BITS)
        most = (1 << SHIFT_BITS) - 1
        m.d.comb += [distance.eq(scales.largest.order - exponent - log2_rate), likely.shift.eq(shift)]
        # It is known long before the first sum is; the largest shift leaves no probability.
        m.d.sync += shift.eq(Mux(~apply | (distance > most), most, Mux(distance < 0, 0, distance)))
        self._measure(m, scales, statistics, bias)
        en, drained = self._pipeline(m, walk, statistics, likely)
        # The engine's entries come in groups of P; a bias is alone in its group.
        last_of_group = bias | walk.k[: self._stream_bits].all()

        with m.FSM():
            with m.State("Idle"):
                waiting = self.job.valid | self.commit.valid
                m.d.comb += [self.idle.eq(~waiting & scales.measure.ready), self.job.ready.eq(~self.commit.valid)]
                m.d.sync += [
                    job.eq(self.job.payload),
                    log2_rate.eq(Mux(self.log2_rate > 0, 0, self.log2_rate)),
                    exponent.eq(self.exponent),
                ]
                with m.If(self.commit.valid):
                    m.d.sync += bias.eq(0)
                    m.next = "Settle"
                with m.Elif(self.job.valid):
                    m.d.sync += bias.eq(self.job.payload.steps == 0)
                    m.next = "Begin"
            with m.State("Begin"):
                # What is being stored may be this tensor's.
                with m.If(scales.measure.ready):
                    m.d.comb += [scales.lookup.eq(1), random.load.eq(1), walk.begin.eq(1)]
                    m.next = "Prepare"
            with m.State("Prepare"):
                with m.If(walk.ready & random.ready):
                    m.next = "Run"
            with m.State("Run"):
                m.d.comb += [
                    walk.take.eq(self.results.valid),
                    self.results.ready.eq(en & walk.last_part & last_of_group),
                ]
                with m.If(en & walk.take & walk.last_step):
                    m.next = "Drain"
            with m.State("Drain"):
                with m.If(drained):
                    m.d.sync += bias.eq(1)
                    m.next = "Idle"
                    with m.If(job.bias & ~bias):
                        m.next = "Begin"
            with m.State("Settle"):
                m.d.comb += scales.measure.valid.eq(1)
                with m.If(scales.measure.ready):
                    m.d.comb += [statistics.clear.eq(1), self.commit.ready.eq(bias)]
                    m.d.sync += bias.eq(1)
                    with m.If(bias):
                        m.next = "Idle"
        return m

    def _measure(self, m: Module, scales: StepScales, statistics: Statistics, bias: Signal) -> None:
        commit, measure = self.commit.payload, scales.measure.payload
        m.d.comb += [
            statistics.context.eq(bias),
            measure.tensor.eq(Mux(bias, commit.bias_tensor, commit.tensor)),
            measure.exponent.eq(commit.exponent),
            measure.total.eq(statistics.total),
            measure.count.eq(statistics.count),
            measure.maximum.eq(statistics.maximum),
        ]

    def _pipeline(
        self, m: Module, walk: IndexWalk, statistics: Statistics, likely: StepProbability
    ) -> tuple[Signal, Signal]:
        """Everything from a sum to its step; returns whether it moves and whether it is empty."""
        en, drained = Signal(), Signal()
        valid, last = Signal(self.latency), Signal(self.latency)
        m.d.comb += [
            en.eq(~valid[-1] | self.steps.ready),
            drained.eq(~valid.any()),
            walk.en.eq(en),
            self._random.en.eq(en),
            likely.en.eq(en),
            statistics.strobe.eq(en & valid[1]),
            self.steps.valid.eq(valid[-1]),
            self.steps.payload.last.eq(last[-1]),
        ]
        with m.If(en):
            m.d.sync += [valid.eq(Cat(walk.take, valid)), last.eq(Cat(walk.last_entry, last))]

        parts = self.config.slices // self._width
        beat = Cat(walk.part[: (parts - 1).bit_length()], walk.k[: self._stream_bits])
        sums = self.results.payload.as_value().word_select(beat, self._width * SUM_BITS)
        gradients = Signal(data.ArrayLayout(signed(SUM_BITS), self._width))
        counted = Signal(self._width)
        # Signs wait for their steps, one more stage than the magnitudes' probabilities.
        signs = [Signal(self._width, name=f"signs{stage}") for stage in range(likely.latency + 1)]
        with m.If(en):
            m.d.sync += [gradients.eq(sums), counted.eq(walk.counts)]
            m.d.sync += signs[0].eq(Cat(gradient[-1] for gradient in gradients))
            m.d.sync += [later.eq(earlier) for earlier, later in pairwise(signs)]
        for lane, gradient in enumerate(gradients):
            magnitude = Signal(GRADIENT_BITS, name=f"magnitude{lane}")
            with m.If(en):
                m.d.sync += [
                    magnitude.eq(Mux(walk.counts[lane], Mux(gradient[-1], -gradient, gradient), 0)),
                    self._random.index[lane].eq(walk.index[lane]),
                ]
            step = self.steps.payload.steps[lane]
            m.d.comb += [
                statistics.magnitudes[lane].eq(magnitude),
                likely.magnitudes[lane].eq(magnitude),
                step.moves.eq(self._random.random[lane] < likely.probabilities[lane]),
                step.negative.eq(signs[-1][lane]),
            ]
        moves = [step.moves for step in self.steps.payload.steps]
        m.d.comb += [
            self.entries.eq(Mux(statistics.strobe, sum(counted), 0)),
            self.moves.eq(Mux(self.steps.valid & self.steps.ready, sum(moves), 0)),
        ]
        return en, drained
