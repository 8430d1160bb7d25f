# SPDX-License-Identifier: Apache-2.0
"""Where the ternary steps of a tile wait for the rows they move."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.learn.ternary import Step, step_beat, update_width

HALVES = 2
"""Tiles held: one is filled while the rows of the other are written."""


class TileBuffer(wiring.Component):
    """Two tiles of steps, written by outputs of one k, read by k.

    Beats of a tile come as :class:`respin.rtl.learn.ternary.TernarySteps` gives them. A tile that is whole is
    ``full`` until ``release``; meanwhile the next one is filled. ``outputs[o]`` and ``inputs[k]`` tell where steps
    other than 0 are.

    Latency: a word shows in the cycle after its address. Throughput: one beat and one word a cycle.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    beats : In(stream(step_beat(width)))
    full : Out(1)
    release : In(1)
    outputs : Out(M)
    inputs : Out(32)
    k : In(range(32))
    word : Out(ArrayLayout(Step, M))
        Steps of all outputs of input ``k`` of the full tile.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        self.config = config
        self._width = update_width(config)
        super().__init__({
            "beats": In(stream.Signature(step_beat(self._width))),
            "full": Out(1),
            "release": In(1),
            "outputs": Out(config.slices),
            "inputs": Out(BLOCK),
            "k": In(range(BLOCK)),
            "word": Out(data.ArrayLayout(Step, config.slices)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slices, width = self.config.slices, self._width
        lane_shape = unsigned(width * Step.as_shape().size)
        m.submodules.steps = steps = memory.Memory(
            shape=data.ArrayLayout(lane_shape, slices // width), depth=HALVES * BLOCK, init=[]
        )
        store, load = steps.write_port(granularity=1), steps.read_port()

        filling, reading = Signal(range(HALVES)), Signal(range(HALVES))
        full = Signal(HALVES)
        outputs = Signal(data.ArrayLayout(slices, HALVES))
        inputs = Signal(data.ArrayLayout(BLOCK, HALVES))
        part, k = Signal(range(max(2, slices // width))), Signal(range(BLOCK))
        beat = self.beats.payload
        moves = Signal(width)
        taken = self.beats.valid & self.beats.ready
        m.d.comb += [
            self.beats.ready.eq(~full.bit_select(filling, 1)),
            moves.eq(Cat(step.moves for step in beat.steps)),
            store.addr.eq(Cat(k, filling)),
            store.en.eq(Mux(taken, 1 << part, 0)),
            load.addr.eq(Cat(self.k, reading)),
            self.word.eq(load.data),
            self.full.eq(full.bit_select(reading, 1)),
            self.outputs.eq(outputs[reading]),
            self.inputs.eq(inputs[reading]),
        ]
        m.d.comb += [lane.eq(beat.steps) for lane in store.data]

        with m.If(self.release):
            m.d.sync += [
                full.bit_select(reading, 1).eq(0),
                outputs[reading].eq(0),
                inputs[reading].eq(0),
                reading.eq(reading + 1),
            ]
        with m.If(taken):
            m.d.sync += part.eq(part + 1)
            m.d.sync += outputs[filling].word_select(part, width).eq(outputs[filling].word_select(part, width) | moves)
            with m.If(moves.any()):
                m.d.sync += inputs[filling].bit_select(k, 1).eq(1)
            with m.If(part == slices // width - 1):
                m.d.sync += [part.eq(0), k.eq(k + 1)]
            with m.If(beat.last):
                m.d.sync += [k.eq(0), full.bit_select(filling, 1).eq(1), filling.eq(filling + 1)]
        return m
