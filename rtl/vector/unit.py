# SPDX-License-Identifier: Apache-2.0
"""The vector unit: sums of the engine, the depthwise or the gather unit become words of the store."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.interfaces import StoreRead, StoreWrite, result_layout
from respin.rtl.jobs import TENSOR_ID, VectorJob, VectorMode, VectorSource
from respin.rtl.mram.popcount import popcount
from respin.rtl.vector.finish import SUM_BITS, Finish
from respin.rtl.vector.rounding import ElementRandom
from respin.rtl.vector.skid import SkidBuffer
from respin.rtl.vector.table import EntryWrite, MultiplierRead, QuantiserEntry, QuantiserTable
from respin.rtl.vector.walker import OutputWalker, token_layout
from respin.rtl.vector.writer import WordWriter

ERROR_MAX = 127
_HALF = 1 << 15
"""The random number that rounds to nearest."""


def depthwise_layout() -> data.ArrayLayout:
    """An entry of the depthwise unit: int32 sums of the 32 channels of a block."""
    return data.ArrayLayout(signed(32), BLOCK)


def gather_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """What the gather unit delivers: the 48-bit sums of V channels."""
    return data.ArrayLayout(signed(SUM_BITS), config.vector_width)


class VectorUnit(Component):
    """Finishes sums, V channels a cycle, and writes them to the store with their masks.

    The walk of the job runs ahead: from it come the addresses, the table's rows and the indices of the random numbers,
    which take longest. At the fetch stage it meets the sums; then :class:`Finish` and :class:`WordWriter` follow. One
    enable moves all stages, so a group that waits for its sum, its mask or the store holds up those behind and before
    it.

    A job is accepted (``job.ready``) when its last word is in the store; until then it must be offered.

    Latency: from sums to ``write`` ``latency`` cycles for the last group of a word; between jobs the walk's start.
    Throughput: V channels a cycle; a RAW job stores a byte of each in that time. A word of the store is written in a
    cycle of its own, and a mask in another one.

    Parameters
    ----------
    config:
        Widths and the size of the table.

    Members
    -------
    job: In(stream(VectorJob))
        What to do.
    seed, step, tensor: In(32), In(20), In(12)
        Key of the random numbers; hold with the job.
    engine: In(stream(result_layout(config)))
        Entries of P pixels of M channels.
    depthwise: In(stream(depthwise_layout()))
        Entries of 32 channels.
    gather: In(stream(gather_layout(config)))
        Groups of V channels.
    table: In(EntryWrite)
        Host port of the table of constants.
    multipliers: In(MultiplierRead)
        The gather unit's port to it.
    mask: Out(StoreRead), write: Out(StoreWrite)
        Store ports.
    done: Out(1)
        The job ends in this cycle.
    idle: Out(1)
        No job is under way.
    magnitude: Out(48)
        Bitwise or of ``|v|`` over the job's elements: its bit length is that of the largest, which is all that the
        delayed scale asks for.
    above, below: Out(32)
        Elements of the job that were cut to the upper, and to the lower limit.
    busy, starved, stalled: Out(1)
        In this cycle a group was taken, its sum was missing, or the store held it up.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    latency = Finish.latency + 2

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "job": In(stream.Signature(VectorJob)),
            "seed": In(32),
            "step": In(20),
            "tensor": In(TENSOR_ID),
            "engine": In(stream.Signature(result_layout(config))),
            "depthwise": In(stream.Signature(depthwise_layout())),
            "gather": In(stream.Signature(gather_layout(config))),
            "table": In(EntryWrite()),
            "multipliers": In(MultiplierRead(config)),
            "mask": Out(StoreRead()),
            "write": Out(StoreWrite(config)),
            "done": Out(1),
            "idle": Out(1),
            "magnitude": Out(SUM_BITS),
            "above": Out(32),
            "below": Out(32),
            "busy": Out(1),
            "starved": Out(1),
            "stalled": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.walker = walker = OutputWalker(config=self._config)
        m.submodules.random = random = ElementRandom(config=self._config)
        m.submodules.finish = finish = Finish(lanes=self._config.vector_width)
        m.submodules.writer = writer = WordWriter(config=self._config)

        en, start = Signal(), Signal()
        # Random numbers are due when the rounding stage of Finish is, one stage after the fetch stage.
        lead = random.latency - (Finish.random_delay + 1)
        ahead = max(1, lead)
        first = self._ahead(m, walker, random, en)
        tokens = self._pipeline(m, en, "ahead", first, ahead)
        fetch = tokens[-1]
        held = self._pipeline(m, en, "held", fetch, 1)[-1]
        places = self._pipeline(m, en, "place", held.place, Finish.latency)
        numbers = self._pipeline(m, en, "number", random.random, ahead - lead)[-1]

        write_ready = ~places[-1].valid | writer.ready
        available = self._fetch(m, finish, en, fetch)
        self._keep(m, finish, en, fetch, held, available & write_ready)
        self._constants(m, finish, en, tokens[-2], fetch)
        self._random(m, walker, random, finish, en, numbers)
        under_way = [place.valid for place in (walker.token.place, *(token.place for token in tokens), *places)]
        self._control(m, walker, writer, start, under_way)
        self._statistics(m, finish, start, en)
        mask_ready = ~self.mask.valid | self.mask.ready
        m.d.comb += [
            en.eq((available | ~fetch.place.valid) & write_ready & mask_ready),
            walker.job.eq(self.job.payload),
            walker.start.eq(start),
            finish.en.eq(en),
            finish.clear.eq(start),
            finish.valid.eq(Mux(held.place.valid, held.channels, 0)),
            writer.place.eq(places[-1]),
            writer.bytes.eq(finish.result),
            writer.inside.eq(finish.inside),
            writer.take.eq(en),
            writer.whole.eq(self.job.payload.source != VectorSource.ENGINE),
            writer.masks.eq(self.job.payload.mask_write),
            self.busy.eq(fetch.place.valid & en),
            self.starved.eq(fetch.place.valid & ~available),
            self.stalled.eq(~self.starved & ~(write_ready & mask_ready)),
        ]
        connect(m, writer.write, flipped(self.write))
        return m

    def _ahead(self, m: Module, walker: OutputWalker, random: ElementRandom, en: Signal) -> Value:
        """The walk's tokens, parted from it by a buffer: the enable comes late in a cycle, and the walk is long."""
        layout = data.StructLayout({"token": token_layout(self._config), "index": unsigned(32)})
        m.submodules.buffer = buffer = SkidBuffer(layout)
        token = Signal(token_layout(self._config))
        m.d.comb += [
            buffer.i.valid.eq(walker.token.place.valid),
            buffer.i.payload.token.eq(walker.token),
            buffer.i.payload.index.eq(walker.index),
            walker.step.eq(buffer.i.ready),
            buffer.o.ready.eq(en),
            random.index.eq(buffer.o.payload.index),
            token.eq(buffer.o.payload.token),
            token.place.valid.eq(buffer.o.valid),
        ]
        return token

    def _pipeline(self, m: Module, en: Signal, name: str, value: Value, stages: int) -> list[Value]:
        """``value`` and its next ``stages`` registers."""
        values = [value]
        for stage in range(stages):
            register = Signal(value.shape(), name=f"{name}_{stage}")
            with m.If(en):
                m.d.sync += register.eq(values[-1])
            values.append(register)
        return values

    def _fetch(self, m: Module, finish: Finish, en: Signal, fetch: Value) -> Signal:
        """Take the group's sums out of the entry at hand; returns whether there is one."""
        config, source = self._config, self.job.payload.source
        width = 32 * config.vector_width
        available = Signal()
        sums = Signal(gather_layout(config))
        slot_groups = config.slices // config.vector_width
        engine = self.engine.payload.as_value().word_select(fetch.slot * slot_groups + fetch.group, width)
        depthwise = self.depthwise.payload.as_value().word_select(fetch.group, width)
        chosen = data.View(data.ArrayLayout(signed(32), config.vector_width), Signal(width))
        m.d.comb += [
            chosen.as_value().eq(Mux(source == VectorSource.ENGINE, engine, depthwise)),
            finish.sums.eq(sums),
        ]
        for ours, stream_, ends in (
            (VectorSource.ENGINE, self.engine, fetch.entry_last),
            (VectorSource.DEPTHWISE, self.depthwise, fetch.entry_last),
            (VectorSource.GATHER, self.gather, 1),
        ):
            with m.If(source == ours):
                m.d.comb += [available.eq(stream_.valid), stream_.ready.eq(en & fetch.place.valid & ends)]
        with m.If(en & fetch.place.valid):
            with m.If(source == VectorSource.GATHER):
                m.d.sync += sums.eq(self.gather.payload)
            with m.Else():
                m.d.sync += [sums[lane].eq(chosen[lane]) for lane in range(config.vector_width)]
        return available

    def _keep(
        self, m: Module, finish: Finish, en: Signal, fetch: Value, held: Value, movable: Value
    ) -> None:
        """Read the pixel's mask with its first group, and keep it for the others."""
        lanes = self._config.vector_width
        fresh, kept, bits = Signal(), Signal(BLOCK), Signal(BLOCK)
        read = self.job.payload.mask_read
        m.d.comb += [
            self.mask.valid.eq(fetch.place.valid & fetch.word_first & read & movable),
            self.mask.addr.eq(fetch.place.mask_address),
            bits.eq(Mux(fresh, self.mask.data.as_value().word_select(held.place.plane, BLOCK), kept)),
        ]
        with m.If(en):
            m.d.sync += finish.keep.eq(Mux(read, bits.word_select(held.place.group, lanes), (1 << lanes) - 1))
        m.d.sync += [fresh.eq(self.mask.valid & self.mask.ready), kept.eq(bits)]

    def _constants(self, m: Module, finish: Finish, en: Signal, before: Value, fetch: Value) -> None:
        """The constants of each channel: the table's, read a stage before the fetch, or one set for all."""
        m.submodules.table = table = QuantiserTable(config=self._config)
        connect(m, flipped(self.table), table.write)
        connect(m, flipped(self.multipliers), table.multipliers)
        job = self.job.payload
        error, raw = job.mode == VectorMode.ERROR, job.mode == VectorMode.RAW
        common = Signal(QuantiserEntry)
        m.d.comb += [
            table.en.eq(en),
            table.row.eq(before.row),
            common.mult.eq(job.mult),
            common.shift.eq(Mux(raw, fetch.byte << 3, job.shift)),
            common.lo.eq(Mux(error, -ERROR_MAX, job.lo)),
            common.hi.eq(Mux(error, ERROR_MAX, job.hi)),
            finish.bypass.eq(job.unit | raw),
            finish.clamp.eq(~raw),
        ]
        for lane, own in enumerate(table.entries):
            entry = Signal(QuantiserEntry, name=f"entry_{lane}")
            with m.If(en):
                m.d.sync += finish.entries[lane].eq(entry)
            with m.If(job.per_channel & (job.mode == VectorMode.REQUANTISE)):
                m.d.comb += entry.eq(own)
            with m.Else():
                m.d.comb += entry.eq(common)
            with m.If(job.per_channel):
                m.d.comb += entry.mult.eq(own.mult)

    def _random(
        self, m: Module, walker: OutputWalker, random: ElementRandom, finish: Finish, en: Signal, numbers: Value
    ) -> None:
        job = self.job.payload
        m.d.comb += [
            random.key.eq(Cat(self.seed, self.step, self.tensor)),
            random.plane.eq(walker.plane),
            random.load.eq(walker.plane_ready),
            walker.hold.eq(job.stochastic & ~random.ready),
            random.en.eq(en),
        ]
        for lane in range(self._config.vector_width):
            fixed = Mux(job.mode == VectorMode.RAW, 0, _HALF)
            m.d.comb += finish.random[lane].eq(Mux(job.stochastic, numbers[lane], fixed))

    def _control(
        self, m: Module, walker: OutputWalker, writer: WordWriter, start: Signal, under_way: list[Value]
    ) -> None:
        m.d.comb += self.done.eq(self.job.ready)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), start.eq(self.job.valid)]
                with m.If(self.job.valid):
                    m.next = "WORK"
            with m.State("WORK"), m.If(~walker.running & ~Cat(under_way).any() & writer.idle):
                m.d.comb += self.job.ready.eq(1)
                m.next = "IDLE"

    def _statistics(self, m: Module, finish: Finish, start: Signal, en: Signal) -> None:
        m.d.comb += self.magnitude.eq(finish.magnitude)
        for total, flags in ((self.above, finish.above), (self.below, finish.below)):
            with m.If(start):
                m.d.sync += total.eq(0)
            with m.Elif(en & finish.clamp):
                m.d.sync += total.eq(total + popcount(flags))
