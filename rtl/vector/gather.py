# SPDX-License-Identifier: Apache-2.0
"""Sums over store tensors: merge, pool, upsample, the backward of each, and errors that meet."""

from amaranth.hdl import Array, Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import StoreRead
from respin.rtl.jobs import STORE_ADDRESS
from respin.rtl.vector.gather_lanes import GatherLanes
from respin.rtl.vector.sources import GatherOrder, SourceWalker, tag_layout
from respin.rtl.vector.table import MultiplierRead
from respin.rtl.vector.unit import gather_layout


class Gather(Component):
    """For each group of V channels of each output of a vector job: the sum over its sources' ranges.

    ``sum = Σ_j Σ_(y, x) ((byte - zero_j) * mult_j << (15 if wide)) >> align_j``, ranges as :class:`AxisMap` says. A
    word is read anew for each group of channels, so that V sums are all that is kept.

    An order is accepted (``order.ready``) when its last sum has been taken; until then it must be offered.

    In the store's arbitration this unit's reader must come after the vector unit's mask reader: whether it asks depends
    on whether that unit takes a sum, which depends on its mask having been read.

    Latency: 10 cycles from an element's turn to its sum. Throughput: an element a cycle, an element being one word of
    one source for V channels; see :class:`SourceWalker` for the exceptions.

    Parameters
    ----------
    config:
        ``vector_width`` channels in a group.

    Members
    -------
    order: In(stream(GatherOrder))
        What to do.
    sums: Out(stream(gather_layout(config)))
        To the vector unit.
    read: Out(StoreRead)
        Store port.
    multipliers: Out(MultiplierRead)
        Port to the vector unit's table.
    busy, starved, stalled: Out(1)
        In this cycle an element was read, waited for the store, or waited for the vector unit.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    latency = 4 + GatherLanes.latency

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "order": In(stream.Signature(GatherOrder)),
            "sums": Out(stream.Signature(gather_layout(config))),
            "read": Out(StoreRead()),
            "multipliers": Out(MultiplierRead(config)),
            "busy": Out(1),
            "starved": Out(1),
            "stalled": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.walker = walker = SourceWalker(config=self._config)
        m.submodules.lanes = lanes = GatherLanes(lanes=self._config.vector_width)
        en, start = Signal(), Signal()
        m.d.comb += [
            walker.order.eq(self.order.payload),
            walker.start.eq(start),
            walker.step.eq(en),
            lanes.en.eq(en),
        ]
        tag = self._tag_stages(m, en, walker.element.tag)
        address = self._address(m, en, walker.element)
        blocked = self.sums.valid & ~self.sums.ready
        m.d.comb += [
            self.read.addr.eq(address),
            self.read.valid.eq(tag[3].valid & ~tag[3].blank & ~blocked),
            self.stalled.eq(blocked),
            self.starved.eq(self.read.valid & ~self.read.ready),
            self.busy.eq(self.read.valid & self.read.ready),
            en.eq(~blocked & ~self.starved),
        ]
        self._operands(m, en, lanes, tag[3], tag[4])

        # The sum stands in the lanes' accumulators until it is taken: what follows waits behind them.
        with m.If(self.sums.ready):
            m.d.sync += self.sums.valid.eq(0)
        with m.If(en & tag[-2].valid & tag[-2].last):
            m.d.sync += self.sums.valid.eq(1)
        m.d.comb += self.sums.payload.eq(lanes.sums)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += start.eq(self.order.valid)
                with m.If(self.order.valid):
                    m.next = "WORK"
            with m.State("WORK"):
                under_way = Cat(stage.valid for stage in tag[:-1])
                with m.If(~walker.running & ~under_way.any() & ~self.sums.valid):
                    m.d.comb += self.order.ready.eq(1)
                    m.next = "IDLE"
        return m

    def _tag_stages(self, m: Module, en: Signal, tag: Value) -> list[Value]:
        """The tag at the walk, and after each of the stages to the accumulators."""
        stages = [tag]
        for number in range(1, self.latency + 1):
            stage = Signal(tag_layout(self._config), name=f"tag_{number}")
            with m.If(en):
                m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        return stages

    def _address(self, m: Module, en: Signal, element: Value) -> Signal:
        """Three stages: ``base + line * w + x``."""
        taken = Signal(element.shape())
        column, line, address = Signal(STORE_ADDRESS), Signal(STORE_ADDRESS), Signal(STORE_ADDRESS)
        with m.If(en):
            m.d.sync += [
                taken.eq(element),
                column.eq(taken.base + taken.x),
                line.eq(taken.line * taken.w),
                address.eq(column + line),
            ]
        return address

    def _operands(self, m: Module, en: Signal, lanes: GatherLanes, asked: Value, tag: Value) -> None:
        """Bytes and constants of the element whose word has come; the word stands for one cycle, its bytes are kept."""
        width = self._config.vector_width
        sources = self.order.payload.gather.sources
        fresh = Signal()
        octets, kept = (Signal(data.ArrayLayout(unsigned(8), width), name=name) for name in ("octets", "kept"))
        m.d.sync += [fresh.eq(self.read.valid & self.read.ready), kept.eq(octets)]
        planes = [plane.word_select(tag.group, width) for plane in self.read.data]
        with m.If(fresh):
            m.d.comb += [octet.eq(Cat(plane[lane] for plane in planes)) for lane, octet in enumerate(octets)]
        with m.Else():
            m.d.comb += octets.eq(kept)

        def pick(name: str, source: Value) -> Value:
            return Array(Value.cast(operand[name]) for operand in sources)[source]

        m.d.comb += [
            self.multipliers.en.eq(en),
            self.multipliers.row.eq((pick("table", asked.source) >> (width - 1).bit_length()) + asked.row),
            lanes.valid.eq(tag.valid),
            lanes.first.eq(tag.first),
            lanes.blank.eq(tag.blank),
            lanes.octets.eq(octets),
            lanes.signed.eq(pick("signed", tag.source)),
            lanes.zero.eq(pick("zero", tag.source)),
            lanes.align.eq(pick("align", tag.source)),
            lanes.wide.eq(self.order.payload.gather.wide),
        ]
        with m.If(pick("per_channel", tag.source)):
            m.d.comb += lanes.mults.eq(self.multipliers.mult)
        with m.Else():
            m.d.comb += [mult.eq(pick("mult", tag.source)) for mult in lanes.mults]
