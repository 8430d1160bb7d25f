# SPDX-License-Identifier: Apache-2.0
"""Where each gradient of a tile lies in its tensor: the loop nest of an update job, without multipliers."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.jobs import CHANNEL, UpdateJob

INDEX = unsigned(24)
"""A tensor has at most 2^24 weights, which is also what the statistics can count."""


class InputPosition(data.Struct):
    """What depends on the input ``k``: its share of the index, its group and its place there."""

    index: INDEX
    group: CHANNEL
    offset: CHANNEL


class OutputLane(data.Struct):
    """What is the same for all gradients of one output: its group, and the index of its group's input 0 less that
    input's own share. ``exists`` is low past the layer's last output."""

    index: INDEX
    group: CHANNEL
    exists: unsigned(1)


class IndexWalk(wiring.Component):
    """Walks the gradients of a job in the order in which the engine delivers them, ``width`` outputs in each beat.

    ``for step in steps: for k in 32: for part in M / width``, or for a bias ``for part in M / width`` alone. The
    index of output ``o``, input ``k`` and tap in a tensor OIHW, I being the inputs of a group, is
    ``((o - group(o)) * group_in + k) * taps + tap``: a term of the output, from a small table filled at the start,
    and a term of ``(k, tap)``, counted. A gradient counts where the output exists and the group of ``k`` is the
    output's: inputs past the last one belong to a group that no output has.

    Latency: ``ready`` M + 2 cycles after ``begin``; ``index`` and ``counts`` show the beat in the cycle after it was
    taken. Throughput: one beat a cycle.

    Parameters
    ----------
    config:
        The accelerator.
    width:
        Outputs in a beat; divides M.

    Members
    -------
    job : In(UpdateJob)
        Held from ``begin`` on.
    bias : In(1)
        Walk the bias instead of the weights; held from ``begin`` on.
    begin : In(1)
    ready : Out(1)
        The table is filled.
    en : In(1)
        Lets ``index`` and ``counts`` move.
    take : In(1)
        Moves to the next beat, with ``en``.
    part : Out(range(M / width))
        At least one bit wide: Verilog has no narrower signals.
    k : Out(range(32))
    last_part, last_entry, last_step : Out(1)
        The beat is the last one of its entry, of its tile, of the walk.
    index : Out(ArrayLayout(32, width))
    counts : Out(width)

    Raises
    ------
    TypeError
        If ``config`` is no AcceleratorConfig.
    ValueError
        If ``width`` does not divide M.
    """

    def __init__(self, *, config: AcceleratorConfig, width: int) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        if config.slices % width:
            raise ValueError(f"width must divide slices ({config.slices}), not {width!r}")
        self.config = config
        self._width = width
        self._parts = config.slices // width
        super().__init__({
            "job": In(UpdateJob),
            "bias": In(1),
            "begin": In(1),
            "ready": Out(1),
            "en": In(1),
            "take": In(1),
            "part": Out(range(max(2, self._parts))),
            "k": Out(range(BLOCK)),
            "last_part": Out(1),
            "last_entry": Out(1),
            "last_step": Out(1),
            "index": Out(data.ArrayLayout(INDEX, width)),
            "counts": Out(width),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A memory of one entry would have no address.
        m.submodules.outputs = outputs = memory.Memory(
            shape=data.ArrayLayout(OutputLane, self._width), depth=max(2, self._parts), init=[]
        )
        self._fill(m, outputs.write_port(granularity=1))
        position, tap = self._count(m)

        lanes = outputs.read_port()
        index, group = Signal(INDEX), Signal(CHANNEL)
        m.d.comb += [lanes.addr.eq(self.part), lanes.en.eq(self.en)]
        with m.If(self.en):
            m.d.sync += [index.eq(position.index + tap), group.eq(position.group)]
        for lane in range(self._width):
            output = lanes.data[lane]
            m.d.comb += [
                self.index[lane].eq(output.index + index),
                self.counts[lane].eq(output.exists & (output.group == group)),
            ]
        return m

    def _fill(self, m: Module, table: memory.WritePort) -> None:
        """Fill the table of outputs, one a cycle."""
        job = self.job
        output = Signal(CHANNEL)
        offset = Signal(CHANNEL)
        lane = Signal(OutputLane)
        slot = Signal(range(self.config.slices + 1), init=self.config.slices)
        filling = slot != self.config.slices
        width_bits = (self._width - 1).bit_length()
        m.d.comb += [
            self.ready.eq(~filling),
            lane.exists.eq(output < job.outputs),
            table.addr.eq(slot[width_bits:]),
            table.en.eq(Mux(filling, 1 << slot[:width_bits], 0)),
        ]
        for element in table.data:
            m.d.comb += element.eq(lane)
        with m.If(self.begin):
            m.d.sync += [
                slot.eq(0),
                output.eq(job.o0),
                offset.eq(job.o_offset),
                lane.index.eq(Mux(self.bias, job.o0, job.index)),
                lane.group.eq(Mux(self.bias, 0, job.o_group)),
            ]
        with m.Elif(filling):
            m.d.sync += [slot.eq(slot + 1), output.eq(output + 1), offset.eq(offset + 1)]
            with m.If(self.bias):
                m.d.sync += lane.index.eq(lane.index + 1)
            with m.Elif(offset + 1 == job.group_out):
                # o and its group grow together, so the index stays.
                m.d.sync += [lane.group.eq(lane.group + 1), offset.eq(0)]
            with m.Else():
                m.d.sync += lane.index.eq(lane.index + job.index_stride)

    def _count(self, m: Module) -> tuple[InputPosition, Signal]:
        """Count the loops; returns where k is, and the tap."""
        job = self.job
        step = Signal.like(job.steps)
        tap = Signal.like(job.taps)
        # ``block`` is where the block of k starts, to which its next tap goes back.
        position, block, following = Signal(InputPosition), Signal(InputPosition), Signal(InputPosition)
        m.d.comb += [
            following.index.eq(position.index + job.taps),
            following.group.eq(position.group),
            following.offset.eq(position.offset + 1),
            self.last_part.eq(self.part == self._parts - 1),
            self.last_entry.eq(self.last_part & (self.bias | (self.k == BLOCK - 1))),
            self.last_step.eq(self.last_entry & (self.bias | (step + 1 == job.steps))),
        ]
        with m.If(position.offset + 1 == job.group_in):
            m.d.comb += [following.group.eq(position.group + 1), following.offset.eq(0)]

        with m.If(self.begin):
            m.d.sync += [self.part.eq(0), self.k.eq(0), step.eq(0), tap.eq(Mux(self.bias, 0, job.tap0))]
            for start in (position, block):
                m.d.sync += [
                    start.index.eq(0),
                    start.group.eq(Mux(self.bias, 0, job.k_group)),
                    start.offset.eq(job.k_offset),
                ]
        with m.Elif(self.en & self.take):
            m.d.sync += self.part.eq(Mux(self.last_part, 0, self.part + 1))
            with m.If(self.last_part):
                m.d.sync += [self.k.eq(self.k + 1), position.eq(following)]
            with m.If(self.last_entry):
                m.d.sync += [step.eq(step + 1), tap.eq(tap + 1), position.eq(block)]
                with m.If(tap + 1 == job.taps):
                    m.d.sync += [tap.eq(0), position.eq(following), block.eq(following)]
        return position, tap
