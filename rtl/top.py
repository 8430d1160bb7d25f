# SPDX-License-Identifier: Apache-2.0
"""The accelerator: the units, the streams between them in each pass, and the host's side."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
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
from respin.rtl.job_control import UNITS, JobControl, slot_units
from respin.rtl.jobs import Job, Pass, ReadJob
from respin.rtl.learn.scales import DelayedScales, ErrorScale, LargestGradient
from respin.rtl.learn.table import TablePort
from respin.rtl.learn.update import Update
from respin.rtl.mram.guard import Guard, regions_layout
from respin.rtl.mram.memory import MaintainedMemory
from respin.rtl.mram.ports import Counters, Outcome, ReadRow, WriteStatus, landed
from respin.rtl.mram.share import RowShare
from respin.rtl.mram.upkeep import Upkeep
from respin.rtl.ports import WORD_BITS, Fault, HostRange, HostRow, HostWord, Report, TableWrite
from respin.rtl.streams import join
from respin.rtl.vector.gather import Gather
from respin.rtl.vector.loss import LossHead
from respin.rtl.vector.sources import GatherOrder
from respin.rtl.vector.unit import VectorUnit


def _route(m: Module, when: Value, source: Value, sink: Value) -> None:
    """Connect a stream to another one while ``when`` is high; at other times neither moves."""
    with m.If(when):
        join(m, source, sink)


def _handshake(port: Value) -> Value:
    return port.valid & port.ready


def _writes_nonzero(write: Value, lanes: int) -> Value:
    """Whether a write to the store has a bit set in the groups of ``lanes`` lanes that it writes; the others may hold
    what an earlier one left."""
    groups = range(len(write.groups))
    parts = [Cat(plane[group * lanes : (group + 1) * lanes] for plane in write.data).any() for group in groups]
    return (Cat(parts) & write.groups).any()


class _Slot:
    """A job slot: what of the units a slot has of its own.

    Parameters
    ----------
    config : AcceleratorConfig
    units : sequence of str
        The units that its jobs start.
    job, report : stream interfaces
        The accelerator's.
    """

    def __init__(self, config: AcceleratorConfig, units: Sequence[str], job: Value, report: Value) -> None:
        self.control = JobControl(config=config, units=units)
        self.window = Window(config=config)
        self.vector = VectorUnit(config=config)
        self.job, self.report = job, report

    @property
    def fields(self) -> Value:
        """The job under way."""
        return self.job.payload

    def offers(self, name: str) -> Value | int:
        """Whether a unit is offered its job."""
        units = self.control.units
        return self.control.offer[units.index(name)] if name in units else 0


class Accelerator(Component):
    """The whole machine without its sequencer (ARCHITECTURE.md).

    Which stream feeds which unit follows from the job's pass; units meet nowhere else. The host may reach the store
    and the table at any time, and MRAM rows while no job is under way.

    With one job slot a job runs at a time. With two (``job_slots``) a second port takes those of
    :data:`respin.rtl.job_control.LIGHT_PASSES`, and the first one the others; the two slots meet in the store, whose
    ports they share, and in the memory's rows (:class:`respin.rtl.mram.share.RowShare`). Whoever gives the jobs sees to
    it that neither reads what the other writes. Beside a job with ``scaled``, a loss or a gradient pass nothing runs.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    job : In(stream(Job))
        Held at ``payload`` until its report is taken.
    report : Out(stream(Report))
        How the job ended and what it did.
    light_job : In(stream(Job)), light_report : Out(stream(Report))
        The second slot; there with ``job_slots`` 2.
    store_write : In(stream(HostWord))
    store_read : In(stream(HostRange)), store_data : Out(stream(256))
        Words of the store as bits: plane ``b`` of lane ``i`` is bit ``32*b + i``.
    table_write : In(stream(TableWrite))
        Entries of the vector path's table.
    row_write : In(stream(HostRow)), row_written : Out(stream(WriteStatus))
        Differential, verified writes of rows.
    row_read : In(stream(ReadJob)), row_data : Out(stream(ReadRow))
        Corrected rows.
    error_scales : In(TablePort(ErrorScale)), largest_gradients : In(TablePort(LargestGradient))
        What training has measured, to be saved and restored while no job is under way.
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
        light = {"light_job": In(stream.Signature(Job)), "light_report": Out(stream.Signature(Report))}
        super().__init__(
            {
                **guarded,
                **(light if config.job_slots == 2 else {}),
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
                "error_scales": In(TablePort(ErrorScale)),
                "largest_gradients": In(TablePort(LargestGradient)),
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
        ports = [(self.job, self.report)]
        if config.job_slots == 2:
            ports.append((self.light_job, self.light_report))
        self._slots = [_Slot(config, units, *port) for units, port in zip(slot_units(config), ports, strict=True)]
        self._dense, self._light = self._slots[0], self._slots[-1]
        for prefix, slot in zip(("", "light_"), self._slots, strict=False):
            for name in ("control", "window", "vector"):
                m.submodules[prefix + name] = getattr(slot, name)
            connect(m, flipped(slot.job), slot.control.job)
            connect(m, slot.control.report, flipped(slot.report))
        m.submodules.mram = self._mram = self._front = MaintainedMemory(config=config)
        if config.regions:
            m.submodules.guard = self._front = self._guard(m)
        m.submodules.store = self._store = Store(
            config=config, readers=4 + 2 * len(self._slots), writers=2 + len(self._slots)
        )
        m.submodules.feeder = self._feeder = GradientFeeder(config=config)
        m.submodules.engine = self._engine = Engine(config=config)
        m.submodules.depthwise = self._depthwise = DepthwiseUnit(config=config)
        m.submodules.gather = self._gather = Gather(config=config)
        m.submodules.loss = self._loss = LossHead(config=config)
        m.submodules.update = self._update = Update(config=config)
        m.submodules.scales = self._scales = DelayedScales(config=config)
        self._share = None
        if config.job_slots == 2:
            m.submodules.share = self._share = RowShare(pieces=(config.slices, 0))

        self._idle = Cat(slot.control.idle for slot in self._slots).all()
        self._lone = self._lone_job()
        self._shift = self._rebased_shift(m)
        for slot in self._slots:
            self._give_jobs(m, slot)
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
            self._mram.bare.eq(self.regions.bare),
            guard.clear.eq(self.clear_counters),
            self.writes_locked.eq(guard.refusals),
        ]
        return guard

    def _lone_job(self) -> Value:
        """The job under way, if it is one of those that run alone, as jobs with scales do."""
        dense, light = self._dense, self._light
        if light is dense:
            return dense.fields
        return Job(Mux(light.job.valid, light.fields.as_value(), dense.fields.as_value()))

    def _rebased_shift(self, m: Module) -> Signal:
        """The delayed shift in the units that errors come in with now: ``clamp(shift + rebase, 0, 63)``."""
        shift = Signal.like(self._scales.shift)
        moved = Signal(signed(9))
        m.d.comb += moved.eq(self._scales.shift + self._lone.rebase)
        with m.If(self._scales.valid):
            m.d.comb += shift.eq(Mux(moved < 0, 0, Mux(moved > 63, 63, moved)))
        return shift

    def _give_jobs(self, m: Module, slot: _Slot) -> None:
        """Offer each unit of a slot its part of the job; the delayed shift replaces the vector job's."""
        job, control = slot.fields, slot.control
        reader = self._share.jobs[self._slots.index(slot)] if self._share is not None else self._front.read
        ports = {
            "read": reader,
            "window": slot.window.job,
            "engine": self._engine.job,
            "feed": self._feeder.job,
            "depthwise": self._depthwise.order,
            "vector": slot.vector.job,
            "gather": self._gather.order,
            "loss": self._loss.job,
            "update": self._update.job,
        }
        gather, depthwise = Signal(GatherOrder), Signal(DepthwiseOrder)
        m.d.comb += [gather.gather.eq(job.gather), gather.vector.eq(job.vector)]
        m.d.comb += [depthwise.depthwise.eq(job.depthwise), depthwise.window.eq(job.window)]
        composed = {"gather": gather, "depthwise": depthwise}
        taken = []
        for offered, name in zip(control.offer, control.units, strict=True):
            part = composed[name] if name in composed else job[name]
            with m.If(offered):
                m.d.comb += [ports[name].payload.eq(part), ports[name].valid.eq(1)]
            taken.append(offered & ports[name].ready)
        m.d.comb += control.taken.eq(Cat(taken))
        with m.If(job.scaled):
            m.d.comb += slot.vector.job.payload.shift.eq(self._shift)
        drawing = [slot.vector]
        if slot is self._dense:
            drawing.append(self._loss)
            for name in ("seed", "step", "log2_rate", "exponent"):
                m.d.comb += getattr(self._update, name).eq(job[name])
        for unit in drawing:
            m.d.comb += [unit.seed.eq(job.seed), unit.step.eq(job.step), unit.tensor.eq(job.tensor)]

    def _connect_operands(self, m: Module) -> None:
        """The streams between the units, by pass."""
        dense, light = self._dense, self._light
        kind = dense.fields.kind
        convolution, depthwise = kind == Pass.CONVOLUTION, light.fields.kind == Pass.DEPTHWISE
        raw, updating = kind == Pass.GRADIENT_RAW, kind == Pass.GRADIENT
        gradient = raw | updating

        _route(m, convolution, dense.window.words, self._engine.words)
        _route(m, depthwise, light.window.words, self._depthwise.words)
        _route(m, gradient, dense.window.words, self._feeder.window)
        _route(m, gradient, self._feeder.words, self._engine.words)
        _route(m, gradient, self._feeder.rows, self._engine.rows)
        _route(m, updating, self._engine.results, self._update.results)
        _route(m, convolution | raw, self._engine.results, dense.vector.engine)
        connect(m, self._depthwise.results, light.vector.depthwise)
        connect(m, self._gather.sums, light.vector.gather)
        connect(m, self._gather.multipliers, light.vector.multipliers)

    def _connect_store(self, m: Module) -> None:
        """Clients of the store, the most urgent first; the host's come last."""
        store = self._store
        m.submodules.range_reader = ranges = RangeReader()
        dense, light = self._dense, self._light
        readers = [dense.vector.mask, self._feeder.read, dense.window.read]
        if light is not dense:
            readers += [light.vector.mask, light.window.read]
        readers += [self._gather.read, self._loss.read, ranges.read]
        for port, client in zip(store.reads, readers, strict=True):
            connect(m, client, port)
        connect(m, flipped(self.store_read), ranges.ranges)
        connect(m, ranges.words, flipped(self.store_data))

        *written, host = store.writes
        for port, client in zip(written, (*(slot.vector.write for slot in self._slots), self._loss.write), strict=True):
            connect(m, client, port)
        m.d.comb += [
            host.valid.eq(self.store_write.valid),
            host.addr.eq(self.store_write.payload.addr),
            host.data.as_value().eq(self.store_write.payload.data),
            host.planes.eq(~0),
            host.groups.eq(~0),
            self.store_write.ready.eq(host.ready),
        ]
        m.d.comb += self.table_write.ready.eq(1)
        for slot in self._slots:
            table = slot.vector.table
            m.d.comb += [
                table.valid.eq(self.table_write.valid),
                table.index.eq(self.table_write.payload.index),
                table.entry.as_value().eq(self.table_write.payload.entry),
            ]

    def _connect_memory(self, m: Module) -> None:
        """Rows go to the pass that reads them; between jobs the memory is the host's."""
        mram, front, update = self._mram, self._front, self._update
        working = ~self._idle
        updating = ~self._dense.control.idle & (self._dense.fields.kind == Pass.GRADIENT)
        for outer, inner in zip(self.banks, mram.banks, strict=True):
            connect(m, inner, flipped(outer))
        host_turn = self._idle & ~Cat(slot.job.valid for slot in self._slots).any()
        asked = self._share_rows(m)
        _route(m, ~asked & ~host_turn, update.read, front.read)
        _route(m, ~asked & host_turn, self.row_read, front.read)
        _route(m, updating, mram.rows, update.rows)
        _route(m, self._idle, mram.rows, self.row_data)

        _route(m, working, update.write, front.write)
        _route(m, working, front.written, update.written)
        with m.If(self._idle):
            m.d.comb += [
                front.write.payload.row.eq(self.row_write.payload.row),
                front.write.payload.data.as_value().eq(self.row_write.payload.data),
                front.write.valid.eq(self.row_write.valid),
                self.row_write.ready.eq(front.write.ready),
            ]
        _route(m, self._idle, front.written, self.row_written)
        connect(m, mram.upkeep, flipped(self.upkeep))
        m.d.comb += [self.counters.eq(mram.counters), mram.clear.eq(self.clear_counters)]

    def _share_rows(self, m: Module) -> Value:
        """Give the rows of read jobs to the engine and the depthwise unit; returns whether one is offered."""
        mram, front, share = self._mram, self._front, self._share
        readers = ((self._engine, self._dense, Pass.CONVOLUTION), (self._depthwise, self._light, Pass.DEPTHWISE))
        for number, (unit, slot, reads) in enumerate(readers):
            rows = mram.rows if share is None else share.rows[number]
            with m.If(~slot.control.idle & (slot.fields.kind == reads)):
                m.d.comb += [
                    unit.rows.payload.eq(rows.payload.data),
                    unit.rows.valid.eq(rows.valid),
                    rows.ready.eq(unit.rows.ready),
                ]
        if share is None:
            return Value.cast(self._dense.offers("read"))
        m.d.comb += share.memory_rows.payload.eq(mram.rows.payload)
        with m.If(~share.idle.all()):
            m.d.comb += [
                share.memory_rows.valid.eq(mram.rows.valid),
                mram.rows.ready.eq(share.memory_rows.ready),
            ]
        _route(m, share.memory.valid, share.memory, front.read)
        return share.memory.valid

    def _settle(self, m: Module) -> None:
        """After a tensor's last job: its magnitude, or its gradient's statistics, make the next step's scale."""
        connect(m, flipped(self.error_scales), self._scales.host)
        connect(m, flipped(self.largest_gradients), self._update.host)
        job, scales, commit = self._lone, self._scales, self._update.commit
        gradient = job.kind == Pass.GRADIENT
        magnitude = Signal.like(self._dense.vector.magnitude)
        settle = Cat(slot.control.settle for slot in self._slots).any()
        m.d.comb += [
            scales.lookup.eq(Cat(slot.control.lookup for slot in self._slots).any()),
            scales.tensor.eq(job.tensor),
            scales.measure.payload.tensor.eq(job.tensor),
            scales.measure.payload.maximum.eq(magnitude),
            scales.measure.valid.eq(settle & ~gradient),
            commit.payload.tensor.eq(job.update.tensor),
            commit.payload.bias_tensor.eq(job.update.bias_tensor),
            commit.payload.exponent.eq(job.exponent),
            commit.valid.eq(settle & gradient),
        ]
        for slot in self._slots:
            m.d.comb += slot.control.settled.eq(Mux(gradient, commit.ready, scales.measure.ready))
        with m.If(_handshake(scales.measure)):
            m.d.sync += magnitude.eq(0)
        for slot in self._slots:
            with m.If(slot.vector.done & slot.fields.scaled):
                m.d.sync += magnitude.eq(magnitude | slot.vector.magnitude)

    def _observe(self, m: Module) -> None:
        """What the units say of themselves: busy, moving, and their part of the report."""
        mram, update = self._mram, self._update
        vectors = [slot.vector for slot in self._slots]
        working = {
            "read": ~mram.idle,
            "engine": ~self._engine.idle,
            "depthwise": ~self._depthwise.idle,
            "vector": Cat(~vector.idle for vector in vectors).any(),
            "update": update.busy,
        }
        # The other units keep their job offered until they have done it.
        for name in UNITS:
            offered = Cat(slot.offers(name) for slot in self._slots).any()
            m.d.comb += self.units_busy[list(UNITS).index(name)].eq(offered | working.get(name, 0))
        progress = Cat(
            *(_handshake(port) for port in (*self._store.reads, *self._store.writes)),
            _handshake(self._engine.results),
            _handshake(self._engine.words),
            _handshake(mram.rows),
            _handshake(mram.written),
            # What the memory does for itself is no progress of the job.
            *(port.cmd.as_value().any() & ~mram.idle for port in mram.banks),
            *(vector.busy for vector in vectors),
        ).any()
        dense, light = self._dense.control, self._light.control
        of_dense = ~self._engine.idle | ~self._dense.vector.idle | update.busy
        if self._share is None:
            m.d.comb += dense.busy.eq(of_dense | ~self._depthwise.idle | ~mram.idle)
        else:
            m.d.comb += [
                dense.busy.eq(of_dense | ~self._share.idle[0] | (light.idle & ~mram.idle)),
                light.busy.eq(~self._depthwise.idle | ~self._light.vector.idle | ~self._share.idle[1]),
            ]
        m.d.comb += [self._engine.clear.eq(dense.start), update.clear_counters.eq(dense.start)]
        for slot in self._slots:
            report, vector = slot.control.measured, slot.vector
            m.d.comb += [
                slot.control.progress.eq(progress),
                report.magnitude.eq(vector.magnitude),
                report.above.eq(vector.above),
                report.below.eq(vector.below),
                report.shift.eq(self._shift),
                report.shift_valid.eq(self._scales.valid),
                report.alive.eq(self._alive(m, slot)),
                report.fault.eq(self._first_fault(m, slot)),
            ]
        self._count(m)

    def _count(self, m: Module) -> None:
        """What the units of the dense passes counted."""
        report, update = self._dense.control.measured, self._update
        m.d.comb += [
            report.moves.eq(update.counters.moves),
            report.rows_written.eq(update.counters.rows_written),
            report.rows_skipped.eq(update.counters.rows_skipped),
        ]
        m.d.comb += [
            report[name].eq(self._engine.counters[name])
            for name in ("busy", "starved_rows", "starved_words", "stalled")
        ]

    def _alive(self, m: Module, slot: _Slot) -> Value:
        """Whether a slot's job has written anything other than 0."""
        alive = Signal()
        for writer in (slot.vector.write, *((self._loss.write,) if slot is self._dense else ())):
            with m.If(_handshake(writer) & _writes_nonzero(writer, self.config.slices)):
                m.d.sync += alive.eq(1)
        with m.If(slot.control.start):
            m.d.sync += alive.eq(0)
        return alive

    def _first_fault(self, m: Module, slot: _Slot) -> Value:
        """The first fault since a slot's job began; an address out of range is one of every job under way."""
        mram, store, update = self._mram, self._store, self._update
        outcome = update.written.payload.outcome
        failed = ~landed(outcome)
        refused_before, fault = Signal(32), Signal(Fault)
        m.d.sync += refused_before.eq(mram.counters.refused)
        with m.If(slot.control.start):
            m.d.comb += store.clear_error.eq(1)
        theirs = Const(0) if self._share is None else self._share.rows[1 - self._slots.index(slot)].valid
        causes = {
            Fault.ADDRESS: store.address_error | (mram.counters.refused > refused_before),
            Fault.UNCORRECTABLE: _handshake(mram.rows) & mram.rows.payload.uncorrectable & ~theirs,
            Fault.LOCKED: _handshake(update.written) & (outcome == Outcome.LOCKED),
            Fault.WRITE_FAILED: _handshake(update.written) & failed & (outcome != Outcome.LOCKED),
        }
        with m.If(slot.control.start):
            m.d.sync += fault.eq(Fault.NONE)
        with m.Elif(fault == Fault.NONE):
            for name, seen in causes.items():
                with m.If(seen):
                    m.d.sync += fault.eq(name)
        return fault
