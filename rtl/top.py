# SPDX-License-Identifier: Apache-2.0
"""The accelerator: the units, the streams between them in each pass, and the host's side."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.buffer.feeder import GradientFeeder
from respin.rtl.buffer.reader import RangeReader
from respin.rtl.buffer.store import Store
from respin.rtl.buffer.window import Window
from respin.rtl.config import AcceleratorConfig
from respin.rtl.imc.depthwise import DepthwiseOrder, DepthwiseUnit
from respin.rtl.imc.engine import Engine
from respin.rtl.interfaces import BankPins
from respin.rtl.job_control import UNITS, JobControl
from respin.rtl.jobs import Job, Pass, ReadJob
from respin.rtl.learn.scales import DelayedScales
from respin.rtl.learn.update import Update
from respin.rtl.mram.guard import Guard, regions_layout
from respin.rtl.mram.memory import MaintainedMemory
from respin.rtl.mram.ports import Counters, Outcome, ReadRow, WriteStatus
from respin.rtl.mram.upkeep import Upkeep
from respin.rtl.ports import WORD_BITS, Fault, HostRange, HostRow, HostWord, Report, TableWrite
from respin.rtl.vector.gather import Gather
from respin.rtl.vector.loss import LossHead
from respin.rtl.vector.sources import GatherOrder
from respin.rtl.vector.unit import VectorUnit


def _route(m: Module, when: Value, source: Value, sink: Value) -> None:
    """Connect a stream to another one while ``when`` is high; at other times neither moves."""
    with m.If(when):
        m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)]


def _handshake(port: Value) -> Value:
    return port.valid & port.ready


def _writes_nonzero(write: Value, lanes: int) -> Value:
    """Whether a write to the store has a bit set in the groups of ``lanes`` lanes that it writes; the others may hold
    what an earlier one left."""
    groups = range(len(write.groups))
    parts = [Cat(plane[group * lanes : (group + 1) * lanes] for plane in write.data).any() for group in groups]
    return (Cat(parts) & write.groups).any()


class Accelerator(Component):
    """The whole machine, one job at a time (ARCHITECTURE.md).

    Which stream feeds which unit follows from the job's pass; units meet nowhere else. The host may reach the store
    and the table at any time, and MRAM rows while no job is under way.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    job : In(stream(Job))
        Held at ``payload`` until its report is taken.
    report : Out(stream(Report))
        How the job ended and what it did.
    store_write : In(stream(HostWord))
    store_read : In(stream(HostRange)), store_data : Out(stream(256))
        Words of the store as bits: plane ``b`` of lane ``i`` is bit ``32*b + i``.
    table_write : In(stream(TableWrite))
        Entries of the vector path's table.
    row_write : In(stream(HostRow)), row_written : Out(stream(WriteStatus))
        Differential, verified writes of rows.
    row_read : In(stream(ReadJob)), row_data : Out(stream(ReadRow))
        Corrected rows.
    banks : Out(BankPins(mram_rows)).array(B)
        The SAS-MRAM macros.
    counters : Out(Counters)
        Events of the bank controller since reset or ``clear_counters``.
    clear_counters : In(1)
    regions : In(regions_layout(config)), writes_locked : Out(32)
        What :class:`respin.rtl.mram.guard.Guard` goes by, and writes that it refused since ``clear_counters``; not
        there with ``regions`` 0.
    upkeep : Out(Upkeep())
        Of the memory.
    units_busy : Out(9)
        Units that have something to do in this cycle, in the order of :data:`respin.rtl.job_control.UNITS`.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        guarded = {"regions": In(regions_layout(config)), "writes_locked": Out(32)} if config.regions else {}
        super().__init__(
            {
                **guarded,
                "job": In(stream.Signature(Job)),
                "report": Out(stream.Signature(Report)),
                "store_write": In(stream.Signature(HostWord)),
                "store_read": In(stream.Signature(HostRange)),
                "store_data": Out(stream.Signature(unsigned(WORD_BITS))),
                "table_write": In(stream.Signature(TableWrite)),
                "row_write": In(stream.Signature(HostRow)),
                "row_written": Out(stream.Signature(WriteStatus)),
                "row_read": In(stream.Signature(ReadJob)),
                "row_data": Out(stream.Signature(ReadRow)),
                "banks": Out(BankPins(config.mram_rows)).array(config.banks),
                "counters": Out(Counters),
                "clear_counters": In(1),
                "upkeep": Out(Upkeep()),
                "units_busy": Out(len(UNITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = self._control = JobControl(config=config)
        m.submodules.mram = self._mram = self._front = MaintainedMemory(config=config)
        if config.regions:
            m.submodules.guard = self._front = self._guard(m)
        m.submodules.store = self._store = Store(config=config, readers=6, writers=3)
        m.submodules.window = self._window = Window(config=config)
        m.submodules.feeder = self._feeder = GradientFeeder(config=config)
        m.submodules.engine = self._engine = Engine(config=config)
        m.submodules.depthwise = self._depthwise = DepthwiseUnit(config=config)
        m.submodules.vector = self._vector = VectorUnit(config=config)
        m.submodules.gather = self._gather = Gather(config=config)
        m.submodules.loss = self._loss = LossHead(config=config)
        m.submodules.update = self._update = Update(config=config)
        m.submodules.scales = self._scales = DelayedScales(config=config)

        self._shift = self._rebased_shift(m)
        connect(m, flipped(self.job), self._control.job)
        connect(m, self._control.report, flipped(self.report))
        self._give_jobs(m)
        self._connect_operands(m)
        self._connect_store(m)
        self._connect_memory(m)
        self._settle(m)
        self._observe(m)
        return m

    def _guard(self, m: Module) -> Guard:
        """What all rows pass on their way to the memory."""
        guard, mram = Guard(config=self.config), self._mram
        connect(m, guard.inner_read, mram.read)
        connect(m, guard.inner_write, mram.write)
        connect(m, mram.written, guard.inner_written)
        m.d.comb += [
            guard.regions.eq(self.regions),
            guard.clear.eq(self.clear_counters),
            self.writes_locked.eq(guard.refusals),
        ]
        return guard

    def _rebased_shift(self, m: Module) -> Signal:
        """The delayed shift in the units that errors come in with now: ``clamp(shift + rebase, 0, 63)``."""
        shift = Signal.like(self._scales.shift)
        moved = Signal(signed(9))
        m.d.comb += moved.eq(self._scales.shift + self.job.payload.rebase)
        with m.If(self._scales.valid):
            m.d.comb += shift.eq(Mux(moved < 0, 0, Mux(moved > 63, 63, moved)))
        return shift

    def _give_jobs(self, m: Module) -> None:
        """Offer each unit its part of the job; the delayed shift replaces the vector job's."""
        job, control = self.job.payload, self._control
        ports = {
            "read": self._front.read,
            "window": self._window.job,
            "engine": self._engine.job,
            "feed": self._feeder.job,
            "depthwise": self._depthwise.order,
            "vector": self._vector.job,
            "gather": self._gather.order,
            "loss": self._loss.job,
            "update": self._update.job,
        }
        gather, depthwise = Signal(GatherOrder), Signal(DepthwiseOrder)
        m.d.comb += [gather.gather.eq(job.gather), gather.vector.eq(job.vector)]
        m.d.comb += [depthwise.depthwise.eq(job.depthwise), depthwise.window.eq(job.window)]
        parts = {name: job[name] for name in UNITS} | {"gather": gather, "depthwise": depthwise}
        taken = []
        for offered, name in zip(control.offer, UNITS, strict=True):
            with m.If(offered):
                m.d.comb += [ports[name].payload.eq(parts[name]), ports[name].valid.eq(1)]
            taken.append(offered & ports[name].ready)
        m.d.comb += control.taken.eq(Cat(taken))
        with m.If(job.scaled):
            m.d.comb += self._vector.job.payload.shift.eq(self._shift)
        for unit in (self._vector, self._loss):
            m.d.comb += [unit.seed.eq(job.seed), unit.step.eq(job.step), unit.tensor.eq(job.tensor)]
        m.d.comb += [getattr(self._update, name).eq(job[name]) for name in ("seed", "step", "log2_rate", "exponent")]

    def _connect_operands(self, m: Module) -> None:
        """The streams between the units, by pass."""
        kind = self.job.payload.kind
        convolution, depthwise = kind == Pass.CONVOLUTION, kind == Pass.DEPTHWISE
        raw, updating = kind == Pass.GRADIENT_RAW, kind == Pass.GRADIENT
        gradient = raw | updating

        _route(m, convolution, self._window.words, self._engine.words)
        _route(m, depthwise, self._window.words, self._depthwise.words)
        _route(m, gradient, self._window.words, self._feeder.window)
        _route(m, gradient, self._feeder.words, self._engine.words)
        _route(m, gradient, self._feeder.rows, self._engine.rows)
        _route(m, updating, self._engine.results, self._update.results)
        _route(m, convolution | raw, self._engine.results, self._vector.engine)
        connect(m, self._depthwise.results, self._vector.depthwise)
        connect(m, self._gather.sums, self._vector.gather)
        connect(m, self._gather.multipliers, self._vector.multipliers)

    def _connect_store(self, m: Module) -> None:
        """Clients of the store, the most urgent first; the host's come last."""
        store = self._store
        m.submodules.range_reader = ranges = RangeReader()
        readers = (
            self._vector.mask,
            self._feeder.read,
            self._window.read,
            self._gather.read,
            self._loss.read,
            ranges.read,
        )
        for port, client in zip(store.reads, readers, strict=True):
            connect(m, client, port)
        connect(m, flipped(self.store_read), ranges.ranges)
        connect(m, ranges.words, flipped(self.store_data))

        for port, client in zip(store.writes, (self._vector.write, self._loss.write), strict=False):
            connect(m, client, port)
        host = store.writes[2]
        m.d.comb += [
            host.valid.eq(self.store_write.valid),
            host.addr.eq(self.store_write.payload.addr),
            host.data.as_value().eq(self.store_write.payload.data),
            host.planes.eq(~0),
            host.groups.eq(~0),
            self.store_write.ready.eq(host.ready),
        ]
        m.d.comb += [
            self._vector.table.valid.eq(self.table_write.valid),
            self._vector.table.index.eq(self.table_write.payload.index),
            self._vector.table.entry.as_value().eq(self.table_write.payload.entry),
            self.table_write.ready.eq(1),
        ]

    def _connect_memory(self, m: Module) -> None:
        """Rows go to the pass that reads them; between jobs the memory is the host's."""
        mram, front, update = self._mram, self._front, self._update
        kind = self.job.payload.kind
        for outer, inner in zip(self.banks, mram.banks, strict=True):
            connect(m, inner, flipped(outer))
        host_turn = self._control.idle & ~self.job.valid
        offered = self._control.offer[list(UNITS).index("read")]
        _route(m, ~offered & ~host_turn, update.read, front.read)
        _route(m, ~offered & host_turn, self.row_read, front.read)

        rows = mram.rows
        for unit, reads in ((self._engine, Pass.CONVOLUTION), (self._depthwise, Pass.DEPTHWISE)):
            with m.If(~self._control.idle & (kind == reads)):
                m.d.comb += [
                    unit.rows.payload.eq(rows.payload.data),
                    unit.rows.valid.eq(rows.valid),
                    rows.ready.eq(unit.rows.ready),
                ]
        _route(m, ~self._control.idle & (kind == Pass.GRADIENT), rows, update.rows)
        _route(m, self._control.idle, rows, self.row_data)

        _route(m, ~self._control.idle, update.write, front.write)
        _route(m, ~self._control.idle, front.written, update.written)
        with m.If(self._control.idle):
            m.d.comb += [
                front.write.payload.row.eq(self.row_write.payload.row),
                front.write.payload.data.as_value().eq(self.row_write.payload.data),
                front.write.valid.eq(self.row_write.valid),
                self.row_write.ready.eq(front.write.ready),
            ]
        _route(m, self._control.idle, front.written, self.row_written)
        connect(m, mram.upkeep, flipped(self.upkeep))
        m.d.comb += [self.counters.eq(mram.counters), mram.clear.eq(self.clear_counters)]

    def _settle(self, m: Module) -> None:
        """After a tensor's last job: its magnitude, or its gradient's statistics, make the next step's scale."""
        job, control, scales = self.job.payload, self._control, self._scales
        gradient = job.kind == Pass.GRADIENT
        magnitude = Signal.like(self._vector.magnitude)
        m.d.comb += [
            scales.lookup.eq(control.lookup),
            scales.tensor.eq(job.tensor),
            scales.measure.payload.tensor.eq(job.tensor),
            scales.measure.payload.maximum.eq(magnitude),
            scales.measure.valid.eq(control.settle & ~gradient),
            self._update.commit.payload.tensor.eq(job.update.tensor),
            self._update.commit.payload.bias_tensor.eq(job.update.bias_tensor),
            self._update.commit.payload.exponent.eq(job.exponent),
            self._update.commit.valid.eq(control.settle & gradient),
            control.settled.eq(Mux(gradient, self._update.commit.ready, scales.measure.ready)),
        ]
        with m.If(_handshake(scales.measure)):
            m.d.sync += magnitude.eq(0)
        with m.Elif(self._vector.done & job.scaled):
            m.d.sync += magnitude.eq(magnitude | self._vector.magnitude)

    def _observe(self, m: Module) -> None:
        """What the units say of themselves: busy, moving, and their part of the report."""
        control, mram, vector, update = self._control, self._mram, self._vector, self._update
        report = control.measured
        working = {
            "read": ~mram.idle,
            "engine": ~self._engine.idle,
            "depthwise": ~self._depthwise.idle,
            "vector": ~vector.idle,
            "update": update.busy,
        }
        # The other units keep their job offered until they have done it.
        units = [offered | working.get(name, 0) for offered, name in zip(control.offer, UNITS, strict=True)]
        m.d.comb += [
            self.units_busy.eq(Cat(units)),
            control.busy.eq(~self._engine.idle | ~self._depthwise.idle | ~vector.idle | update.busy | ~mram.idle),
            control.progress.eq(
                Cat(
                    *(_handshake(port) for port in (*self._store.reads, *self._store.writes)),
                    _handshake(self._engine.results),
                    _handshake(self._engine.words),
                    _handshake(mram.rows),
                    _handshake(mram.written),
                    # What the memory does for itself is no progress of the job.
                    *(port.cmd.as_value().any() & ~mram.idle for port in mram.banks),
                    vector.busy,
                ).any()
            ),
            self._engine.clear.eq(control.start),
            update.clear_counters.eq(control.start),
            report.magnitude.eq(vector.magnitude),
            report.above.eq(vector.above),
            report.below.eq(vector.below),
            report.shift.eq(self._shift),
            report.shift_valid.eq(self._scales.valid),
            report.moves.eq(update.counters.moves),
            report.rows_written.eq(update.counters.rows_written),
            report.rows_skipped.eq(update.counters.rows_skipped),
        ]
        m.d.comb += [
            report[name].eq(self._engine.counters[name])
            for name in ("busy", "starved_rows", "starved_words", "stalled")
        ]
        alive = Signal()
        for writer in (vector.write, self._loss.write):
            with m.If(_handshake(writer) & _writes_nonzero(writer, self.config.slices)):
                m.d.sync += alive.eq(1)
        with m.If(control.start):
            m.d.sync += alive.eq(0)
        m.d.comb += [report.alive.eq(alive), report.fault.eq(self._first_fault(m))]

    def _first_fault(self, m: Module) -> Value:
        """The first fault since the job began."""
        mram, store = self._mram, self._store
        outcome = self._update.written.payload.outcome
        failed = (outcome != Outcome.OK) & (outcome != Outcome.DEFECT)
        refused_before, fault = Signal(32), Signal(Fault)
        m.d.sync += refused_before.eq(mram.counters.refused)
        m.d.comb += store.clear_error.eq(self._control.start)
        causes = {
            Fault.ADDRESS: store.address_error | (mram.counters.refused > refused_before),
            Fault.UNCORRECTABLE: _handshake(mram.rows) & mram.rows.payload.uncorrectable,
            Fault.LOCKED: _handshake(self._update.written) & (outcome == Outcome.LOCKED),
            Fault.WRITE_FAILED: _handshake(self._update.written) & failed & (outcome != Outcome.LOCKED),
        }
        with m.If(self._control.start):
            m.d.sync += fault.eq(Fault.NONE)
        with m.Elif(fault == Fault.NONE):
            for name, seen in causes.items():
                with m.If(seen):
                    m.d.sync += fault.eq(name)
        return fault
