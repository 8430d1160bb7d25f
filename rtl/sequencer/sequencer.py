# SPDX-License-Identifier: Apache-2.0
"""Runs programs; what may write rows is checked as a whole before it runs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.dma_ports import DmaError
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.job_control import LIGHT_PASSES
from respin.rtl.jobs import LOG2_RATE, Job, Pass, ReadJob
from respin.rtl.learn.scales import ErrorScale, LargestGradient
from respin.rtl.learn.table import TablePort
from respin.rtl.mram.keeper_ports import KeeperError
from respin.rtl.mram.ports import ReadRow, WriteStatus
from respin.rtl.mram.watchdog import Watchdog
from respin.rtl.ports import WORD_BITS, Fault, HostRange, HostRow, HostWord, Report, TableWrite
from respin.rtl.sequencer.descriptor import CRC_BITS, DESCRIPTOR, JOB_PARTS, PROGRAM_HEADER, Opcode
from respin.rtl.sequencer.edges import EdgeState
from respin.rtl.sequencer.errors import ErrorCode, HeaderProblem
from respin.rtl.sequencer.header import header_problem
from respin.rtl.sequencer.job_slot import JobSlot
from respin.rtl.sequencer.loader import Loader
from respin.rtl.sequencer.ports import INDEX_BITS, Control, EdgeNote, MemoryRead, MemoryWrite
from respin.rtl.sequencer.scaling import ScalingRows
from respin.rtl.sequencer.stager import Stager
from respin.rtl.sequencer.storer import Storer
from respin.rtl.sequencer.transfer_queue import TransferQueue
from respin.rtl.streams import join

_SUM_STEP_BITS = 8
"""Bits of a descriptor's CRC that enter the program's checksum in a cycle."""
_PATIENCE = 2
"""Watchdog periods that the sequencer waits: the DMA and the bank controller tell of their own waits first."""
_JOINING = (Pass.CONVOLUTION, Pass.DEPTHWISE, Pass.GATHER)
"""Passes of which jobs may run beside others, unless they are an edge's."""
_LIGHT_PORTS = {"light_job": Out(stream.Signature(Job)), "light_report": In(stream.Signature(Report))}
"""Of the second job slot."""


def _is_light(kind: Value) -> Value:
    """Whether a pass, given by its number, takes the second of two job slots."""
    return Cat(kind == light.value for light in LIGHT_PASSES).any()


class Sequencer(Component):
    """Runs programs of descriptors (docs/sequencer.md).

    A start fetches the program's header and refuses one that was not made for this machine. If the header lets the
    program write rows, every descriptor is fetched and checked, before the first has an effect. Then each is fetched,
    checked (again) and run, the next one while the one before it runs; all together have to be those that the header
    was made for. Jobs come one after the other; LOAD and TABLE go on beside them in one queue, STORE in another. With
    two job slots a job of each may run at a time: a descriptor that is ``beside`` a slot does not wait for the job
    there, all others do. What needs to know of a job's end before anything else happens, the jobs of edges, the loss
    and gradients, waits for it as with one slot.

    What a training step knows of its tensors of errors is kept here (:class:`EdgeState`): a descriptor with sources
    runs only if all of them may be used, and its ``rebase``, the alignment of its operands and the exponent of what it
    makes follow from theirs.

    Latency: 5 cycles from one job's report to the acceptance of the next one (2 with two slots, of jobs that need not
    wait for its end to be judged), and ``EdgeState.latency`` more for the first job of an edge, if the next descriptor
    has been staged by then. Staging, and so the first pass, takes the DMA's latency and 256 bytes, and
    :class:`DescriptorCheck`'s latency, for each descriptor.

    Every wait is bounded: jobs by the accelerator's watchdog, transfers by the DMA's, rows by the bank controller's,
    and all others by one of twice ``watchdog_cycles``, after which only a reset helps.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    control : Out(Control())
        The registers' side.
    fetch, load : Out(MemoryRead())
        Readers of external memory: for descriptors, and for what they name.
    store : Out(MemoryWrite())
    job : Out(stream(Job)), report : In(stream(Report))
        The accelerator, its second slot where there are two (``light_job``, ``light_report``), and its memories:
    store_write : Out(stream(HostWord)), store_read : Out(stream(HostRange)), store_data : In(stream(256))
    table_write : Out(stream(TableWrite))
    row_write : Out(stream(HostRow)), row_written : In(stream(WriteStatus))
    row_read : Out(stream(ReadJob)), row_data : In(stream(ReadRow))
    error_scales : Out(TablePort(ErrorScale)), largest_gradients : Out(TablePort(LargestGradient))
        The accelerator's tables of what training has measured.
    memory_ready : In(1, init=1), memory_works : In(1)
        The memory's keeper is idle and no march test runs: a program may go on; one of them has something to do, of a
        bounded length.
    commit : Out(1), memory_error : In(KeeperError)
        Commit the working slot (pulse); how that ended, once the memory is ready again.
    note : Out(EdgeNote)
        What is noted of tensors of errors, for those who look on.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "control": Out(Control()),
            "fetch": Out(MemoryRead()),
            "load": Out(MemoryRead()),
            "store": Out(MemoryWrite()),
            "job": Out(stream.Signature(Job)),
            "report": In(stream.Signature(Report)),
            "store_write": Out(stream.Signature(HostWord)),
            "store_read": Out(stream.Signature(HostRange)),
            "store_data": In(stream.Signature(WORD_BITS)),
            "table_write": Out(stream.Signature(TableWrite)),
            "row_write": Out(stream.Signature(HostRow)),
            "row_written": In(stream.Signature(WriteStatus)),
            "row_read": Out(stream.Signature(ReadJob)),
            "row_data": In(stream.Signature(ReadRow)),
            "error_scales": Out(TablePort(ErrorScale)),
            "largest_gradients": Out(TablePort(LargestGradient)),
            "memory_ready": In(1, init=1),
            "memory_works": In(1),
            "commit": Out(1),
            "memory_error": In(KeeperError),
            "note": Out(EdgeNote),
            **(_LIGHT_PORTS if config.job_slots == 2 else {}),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.stager = self._stager = Stager(config=self.config)
        m.submodules.edges = self._edges = EdgeState(config=self.config)
        m.submodules.loader = self._loader = Loader()
        m.submodules.storer = self._storer = Storer()
        m.submodules.scaling = self._scaling = ScalingRows(config=self.config)
        m.submodules.loads = self._loads = TransferQueue()
        m.submodules.stores = self._stores = TransferQueue()
        m.submodules.watchdog = self._watchdog = Watchdog(cycles=_PATIENCE * self.config.watchdog_cycles)
        m.submodules.checksum = self._checksum = CRC32_ISO_HDLC(data_width=_SUM_STEP_BITS).create()
        self._slots = []
        if self.config.job_slots == 2:
            m.submodules.dense = dense = JobSlot()
            m.submodules.light = light = JobSlot()
            self._slots = [dense, light]
        self._registers()
        self._connect(m)
        self._offer_job(m)
        self._bound_waits(m)
        self._take_reports(m)
        self._sum(m)
        with m.FSM():
            self._start_states(m)
            self._first_pass_states(m)
            self._run_states(m)
            self._job_states(m)
            self._end_states(m)
        return m

    def _registers(self) -> None:
        self._base, self._count = Signal(32), Signal(INDEX_BITS)
        self._seed, self._step, self._log2_rate = Signal(32), Signal(20), Signal(LOG2_RATE)
        self._wanted_sum, self._summing = Signal(CRC_BITS), Signal()
        self._current = Signal(DESCRIPTOR)
        self._aborted, self._stuck = Signal(), Signal()
        self._skipping, self._edge_skipped = Signal(), Signal()  # the descriptor at hand, the edge under way
        self._alive, self._measured = Signal(), Signal()  # over the jobs of an edge
        self._report = Signal(Report)
        self._stop = Signal()
        self._busy = Cat(slot.busy for slot in self._slots)
        self._own_done, self._job_done = Signal(), Signal()  # the descriptor at hand ends; a job that ran beside it
        self._waits = Signal()  # for the report of a job that nothing runs beside
        self._fault, self._fault_index = Signal(Fault), Signal(INDEX_BITS)  # of a job that ran beside other descriptors
        self._all_moved = (self._loads.pending == 0) & (self._stores.pending == 0)

    def _connect(self, m: Module) -> None:
        control, stager, loader, storer = self.control, self._stager, self._loader, self._storer
        for inner, outer in ((stager.memory, self.fetch), (loader.memory, self.load), (storer.memory, self.store)):
            connect(m, inner, flipped(outer))
        for name in ("store_write", "table_write"):
            connect(m, getattr(loader, name), flipped(getattr(self, name)))
        connect(m, storer.store_read, flipped(self.store_read))
        connect(m, flipped(self.store_data), storer.store_data)
        for queue, unit in ((self._loads, loader), (self._stores, storer)):
            m.d.comb += [
                queue.descriptor.eq(self._current),
                queue.index.eq(control.current),
                queue.stop.eq(self._stop),
                queue.idle.eq(unit.idle),
                queue.error.eq(unit.error),
                unit.descriptor.eq(queue.transfer),
                unit.start.eq(queue.start),
            ]
        row_end = Signal(ROW_ADDRESS_BITS + 1)
        row_first = Signal(ROW_ADDRESS_BITS + 1)
        self._row_first, self._row_end = row_first, row_end
        m.d.comb += [
            stager.base.eq(self._base),
            stager.count.eq(self._count),
            stager.row_first.eq(row_first),
            stager.row_end.eq(row_end),
            stager.stop.eq(self._stop),
            loader.stop.eq(self._stop),
            storer.stop.eq(self._stop),
            self._edges.tensor.eq(self._current.header.tensor),
            self._edges.sources.eq(self._current.header.sources),
            self.note.valid.eq(self._edges.commit),
            self.note.tensor.eq(self._edges.tensor),
            self.note.state.eq(self._edges.state),
            self.note.measured.eq(self._edges.measured),
            self.note.incoming.eq(self._edges.incoming),
            self.note.shift.eq(self._report.shift),
        ]
        with m.If(control.abort & control.running):
            m.d.sync += self._aborted.eq(1)
        self._connect_rows(m)

    def _connect_rows(self, m: Module) -> None:
        """The rows are the loader's, but for SAVE and RESTORE, which begin when it has nothing left to do."""
        loader, scaling = self._loader, self._scaling
        for turn, user in ((scaling.idle, loader), (~scaling.idle, scaling)):
            pairs = [(getattr(user, name), getattr(self, name)) for name in ("row_write", "row_read")]
            pairs += [(getattr(self, name), getattr(user, name)) for name in ("row_written", "row_data")]
            with m.If(turn):
                for source, sink in pairs:
                    join(m, source, sink)
        connect(m, scaling.measured, self._edges.host)
        connect(m, scaling.errors, flipped(self.error_scales))
        connect(m, scaling.gradients, flipped(self.largest_gradients))
        m.d.comb += [scaling.descriptor.eq(self._current), scaling.stop.eq(self._stop | self._aborted)]

    def _offer_job(self, m: Module) -> None:
        """The job of the descriptor at hand; the rest of it comes from registers and from what was measured."""
        header = self._current.header
        self._job = job = Signal(Job)
        m.d.comb += [job[name].eq(self._current.job[name]) for name, _ in JOB_PARTS]
        m.d.comb += [
            job.kind.eq(header.kind),
            job.seed.eq(self._seed),
            job.step.eq(self._step),
            job.tensor.eq(header.tensor),
            job.scaled.eq(header.flags.edge),
            job.rebase.eq(self._edges.rebase),
            job.exponent.eq(self._edges.incoming),
            job.log2_rate.eq(self._log2_rate + header.rate_shift),
            job.settle.eq(header.flags.last),
        ]
        with m.If(header.flags.fan_in):
            m.d.comb += [
                source.align.eq(align)
                for source, align in zip(job.gather.sources, self._edges.align, strict=True)
            ]
        self._offered, self._accepted = Signal(), Signal()
        self._reported, self._ended = Signal(Report), Signal()  # of the job that is waited for
        if not self._slots:
            m.d.comb += [
                self.job.payload.eq(job),
                self.job.valid.eq(self._offered),
                self._reported.eq(self.report.payload),
                self.report.ready.eq(self._offered),
                self._ended.eq(self._offered & self.report.valid),
            ]
            return
        ports = ((self.job, self.report), (self.light_job, self.light_report))
        for number, (slot, (outer_job, outer_report)) in enumerate(zip(self._slots, ports, strict=True)):
            connect(m, slot.held, flipped(outer_job))
            connect(m, flipped(outer_report), slot.report)
            m.d.comb += [slot.job.payload.eq(job), slot.index.eq(self.control.current)]
            with m.If(_is_light(header.kind) == number):
                m.d.comb += [
                    slot.job.valid.eq(self._offered),
                    self._accepted.eq(slot.job.ready),
                    self._reported.eq(slot.ended.payload),
                    self._ended.eq(slot.ended.valid),
                ]

    def _take_reports(self, m: Module) -> None:
        """Tell the ends of descriptors: of the one at hand, and of jobs that ran beside it, one in a cycle."""
        control = self.control
        m.d.comb += [control.descriptor_done.eq(self._own_done | self._job_done), control.ended.eq(control.current)]
        free = ~self._own_done
        for slot in self._slots:
            report = slot.ended.payload
            m.d.comb += slot.ended.ready.eq(self._waits | free)
            with m.If(slot.ended.valid & ~self._waits & free):
                with m.If(report.fault == Fault.NONE):
                    m.d.comb += [self._job_done.eq(1), control.ended.eq(slot.current)]
                with m.Elif(self._fault == Fault.NONE):
                    m.d.sync += [self._fault.eq(report.fault), self._fault_index.eq(slot.current)]
            free = free & ~slot.ended.valid
        with m.If(self._fault == Fault.WATCHDOG):
            m.d.sync += self._stuck.eq(1)

    def _sum(self, m: Module) -> None:
        """Add the CRC of each descriptor that is taken to the checksum of the pass over the program."""
        part = Signal(range(CRC_BITS // _SUM_STEP_BITS))
        m.d.comb += [
            self._checksum.start.eq(self._stager.restart),
            self._checksum.valid.eq(self._summing),
            self._checksum.data.eq(self._current.crc.word_select(part, _SUM_STEP_BITS)),
        ]
        with m.If(self._summing):
            m.d.sync += part.eq(part + 1)
            with m.If(part == CRC_BITS // _SUM_STEP_BITS - 1):
                m.d.sync += self._summing.eq(0)
        with m.If(self._stager.take):
            m.d.sync += [
                self._current.eq(self._stager.descriptor),
                self.control.current.eq(self._stager.index),
                self._summing.eq(1),
            ]

    def _bound_waits(self, m: Module) -> None:
        under_way = self._waits | self._busy.any()
        ports = (self.fetch.command, self.fetch.words, self.fetch.status, self._stager)
        handshakes = [port.valid & port.ready for port in ports[:-1]]
        moves = Cat(*handshakes, self.memory_works, self._loader.moves, self._storer.moves, self._scaling.moves,
                    self._stager.take).any()
        m.d.comb += self._watchdog.waiting.eq(self.control.running & ~under_way & ~moves)

    def _fail(self, m: Module, code: ErrorCode | Value, index: Value, info: Value | int = 0) -> None:
        """End the program with an error, once what is under way has come to an end."""
        m.d.sync += [
            self.control.error_code.eq(code),
            self.control.error_index.eq(index),
            self.control.error_info.eq(info),
        ]
        m.next = "Stop"

    def _fail_waiting(self, m: Module) -> None:
        """The wait of this state has lasted too long."""
        with m.If(self._watchdog.expired):
            m.d.sync += self._stuck.eq(1)
            self._fail(m, ErrorCode.WATCHDOG, self.control.current)
            m.next = "Tell the error"

    def _fail_background(self, m: Module) -> None:
        """A transfer beside the jobs has ended with an error."""
        for unit, queue in ((self._storer, self._stores), (self._loader, self._loads)):
            with m.If(unit.idle & (unit.error != ErrorCode.NONE)):
                self._fail(m, unit.error, queue.current, unit.info)

    # Starting.

    def _start_states(self, m: Module) -> None:
        control, stager = self.control, self._stager
        with m.State("Idle"):
            m.d.comb += control.ready.eq(~self._stuck & ~control.blocked)
            with m.If(control.start):
                m.d.sync += [
                    self._base.eq(control.program_base),
                    self._count.eq(control.program_count),
                    self._seed.eq(control.seed),
                    self._step.eq(control.step),
                    self._log2_rate.eq(control.log2_rate),
                    self._aborted.eq(0),
                    control.running.eq(1),
                    control.done.eq(0),
                    control.error.eq(0),
                    control.error_code.eq(ErrorCode.NONE),
                    control.error_index.eq(0),
                    control.error_info.eq(0),
                    control.current.eq(0),
                ]
                m.next = "Ask for the header"
                with m.If(~control.ready):
                    self._fail(m, ErrorCode.RESET_NEEDED, Const(0))
                    m.next = "Tell the error"
        with m.State("Ask for the header"):
            with m.If(self.memory_ready):
                m.d.comb += [stager.fetch_header.eq(1), self._edges.clear.eq(1)]
                m.d.comb += [self._loader.clear.eq(1), self._storer.clear.eq(1)]
                m.d.sync += self._fault.eq(Fault.NONE)
                m.next = "Take the header"
            self._fail_waiting(m)
        with m.State("Take the header"):
            info = PROGRAM_HEADER(stager.descriptor.as_value()).info
            problem = Signal(HeaderProblem)
            m.d.comb += problem.eq(header_problem(info, base=self._base, count=self._count, config=self.config))
            m.d.sync += [
                self._row_first.eq(info.row_first),
                self._row_end.eq(info.row_first + info.row_count),
                self._wanted_sum.eq(info.checksum),
            ]
            with m.If(stager.valid):
                m.d.comb += stager.restart.eq(1)
                m.next = "Check"
                with m.If(info.row_count == 0):
                    m.next = "Wait for the edges"
                with m.If(stager.error == ErrorCode.DMA):
                    self._fail(m, ErrorCode.DMA, control.current, stager.info)
                with m.Elif(stager.error == ErrorCode.CRC):
                    self._fail(m, ErrorCode.HEADER, control.current, HeaderProblem.CRC)
                with m.Elif(problem != HeaderProblem.NONE):
                    self._fail(m, ErrorCode.HEADER, control.current, problem)
            self._fail_waiting(m)

    def _first_pass_states(self, m: Module) -> None:
        """Look at every descriptor of a program that may write rows."""
        control, stager, checksum = self.control, self._stager, self._checksum
        with m.State("Check"):
            with m.If(self._aborted):
                self._fail(m, ErrorCode.ABORTED, stager.index)
            with m.Elif(stager.valid & (stager.error != ErrorCode.NONE)):
                self._fail(m, stager.error, stager.index, stager.info)
            with m.Elif(stager.valid & ~self._summing):
                m.d.comb += stager.take.eq(1)
                with m.If(stager.index + 1 == self._count):
                    m.next = "Compare the sum"
            self._fail_waiting(m)
        with m.State("Compare the sum"), m.If(~self._summing):
            with m.If(checksum.crc != self._wanted_sum):
                self._fail(m, ErrorCode.HEADER, control.current, HeaderProblem.CHECKSUM)
            with m.Else():
                m.d.comb += stager.restart.eq(1)
                m.next = "Wait for the edges"
        with m.State("Wait for the edges"), m.If(self._edges.ready):
            m.next = "Next"

    # Running.

    def _run_states(self, m: Module) -> None:
        control, stager, edges = self.control, self._stager, self._edges
        header, staged = self._current.header, stager.descriptor.header
        moved = (self._loads.pending <= staged.flags.loads) & (self._stores.pending <= staged.flags.stores)
        # For its own slot a job waits when it is offered.
        own = Mux(staged.opcode == Opcode.JOB, Mux(_is_light(staged.kind), 0b10, 0b01), 0)
        free = ~(self._busy & ~(staged.flags.beside | own)).any()
        with m.State("Next"):
            with m.If(self._aborted):
                self._fail(m, ErrorCode.ABORTED, stager.index)
            with m.Elif(self._fault != Fault.NONE):
                self._fail(m, ErrorCode.JOB, self._fault_index, self._fault)
            with m.Elif(stager.valid & (stager.error != ErrorCode.NONE)):
                self._fail(m, stager.error, stager.index, stager.info)
            with m.Elif(stager.valid & free & (~staged.flags.wait | moved) & ~self._summing):
                m.d.comb += stager.take.eq(1)
                m.next = "Begin"
            self._fail_background(m)
            self._fail_waiting(m)
        with m.State("Begin"):
            begins = ~header.flags.edge | header.flags.first
            m.d.sync += self._skipping.eq(Mux(begins, 0, self._edge_skipped))
            # Transfers between an edge's jobs change nothing of what is known of it.
            with m.If(begins & (header.opcode == Opcode.JOB)):
                m.d.sync += [self._edge_skipped.eq(0), self._alive.eq(0), self._measured.eq(0)]
            m.next = "Go"
            # An end that is skipped would be none.
            skippable = header.opcode != Opcode.END
            with m.If(begins & skippable & Cat(source.valid for source in header.sources).any()):
                m.d.comb += edges.resolve.eq(1)
                m.next = "Resolve"
        with m.State("Resolve"):
            m.d.sync += [self._skipping.eq(~edges.usable), self._edge_skipped.eq(header.flags.edge & ~edges.usable)]
            with m.If(edges.resolved):
                m.next = "Go"
            self._fail_waiting(m)
        with m.State("Go"):
            self._go(m)
            self._fail_waiting(m)
        with m.State("Wait for the loader"):
            with m.If(self._loads.pending == 0):
                self._done(m)
                with m.If(self._loader.error != ErrorCode.NONE):
                    self._fail(m, self._loader.error, control.current, self._loader.info)
            self._fail_waiting(m)

        with m.State("Wait for the scaling"):
            with m.If(self._scaling.idle):
                self._done(m)
                with m.If(self._scaling.error != ErrorCode.NONE):
                    self._fail(m, self._scaling.error, control.current, self._scaling.info)
            self._fail_waiting(m)
        with m.State("Wait for the memory"):
            with m.If(self.memory_ready):
                self._done(m)
                with m.If(self.memory_error != KeeperError.NONE):
                    m.d.comb += self._own_done.eq(0)
                    self._fail(m, ErrorCode.MEMORY, control.current, self.memory_error)

    def _go(self, m: Module) -> None:
        """Begin with the descriptor at hand."""
        control, header, loads, stores = self.control, self._current.header, self._loads, self._stores
        with m.If(self._skipping):
            self._done(m)
            with m.If(header.flags.edge & header.flags.last):
                m.d.comb += self._edges.commit.eq(1)  # as a tensor that cannot be used
        with m.Else(), m.Switch(header.opcode):
            with m.Case(Opcode.JOB):
                m.next = "Work"
            with m.Case(Opcode.LOAD, Opcode.TABLE), m.If(~loads.full):
                m.d.comb += loads.push.eq(1)
                self._done(m)
            with m.Case(Opcode.STORE), m.If(~stores.full):
                m.d.comb += stores.push.eq(1)
                self._done(m)
            with m.Case(Opcode.BIASES, Opcode.ROWS), m.If(loads.pending == 0):
                m.d.comb += loads.push.eq(1)
                m.next = "Wait for the loader"
            with m.Case(Opcode.SAVE, Opcode.RESTORE), m.If(loads.pending == 0):
                m.d.comb += self._scaling.start.eq(1)
                m.next = "Wait for the scaling"
            with m.Case(Opcode.COMMIT), m.If(loads.pending == 0):
                m.d.comb += self.commit.eq(1)
                m.next = "Wait for the memory"
            with m.Case(Opcode.BARRIER), m.If(self._all_moved):
                self._done(m)
            with m.Case(Opcode.END), m.If(self._all_moved & ~self._summing):
                m.next = "Tell the end"
                with m.If(self._checksum.crc != self._wanted_sum):
                    self._fail(m, ErrorCode.HEADER, control.current, HeaderProblem.CHECKSUM)
        self._fail_background(m)

    def _done(self, m: Module) -> None:
        m.d.comb += self._own_done.eq(1)
        m.next = "Next"

    def _job_states(self, m: Module) -> None:
        control, header, edges, report = self.control, self._current.header, self._edges, self._report
        is_loss = header.kind == Pass.LOSS.value
        alone = header.flags.edge | ~Cat(header.kind == kind.value for kind in _JOINING).any()
        with m.State("Work"):
            m.d.comb += self._offered.eq(1)
            if self._slots:
                with m.If(self._accepted):
                    m.next = "Next"
                    with m.If(alone):
                        m.next = "Wait for the report"
            else:
                self._await_report(m)
        if self._slots:
            with m.State("Wait for the report"):
                self._await_report(m)
        with m.State("Judge"):
            m.d.comb += [
                edges.state.usable.eq(is_loss | report.shift_valid),
                edges.state.alive.eq(self._alive),
                edges.state.exponent.eq(Mux(is_loss, 0, edges.incoming + report.shift - header.fraction)),
                edges.measured.eq(~is_loss & self._measured),
                edges.commit.eq(is_loss | header.flags.edge & header.flags.last),
            ]
            self._done(m)
            with m.If(report.fault != Fault.NONE):
                m.d.comb += [edges.commit.eq(0), self._own_done.eq(0)]
                self._fail(m, ErrorCode.JOB, control.current, report.fault)
                m.d.sync += self._stuck.eq(report.fault == Fault.WATCHDOG)

    def _await_report(self, m: Module) -> None:
        m.d.comb += self._waits.eq(1)
        m.d.sync += self._report.eq(self._reported)
        with m.If(self._ended):
            m.d.sync += [
                self._alive.eq(self._alive | self._reported.alive),
                self._measured.eq(self._measured | self._reported.magnitude.any()),
            ]
            m.next = "Judge"

    # Ending.

    def _end_states(self, m: Module) -> None:
        control, stager = self.control, self._stager
        with m.State("Tell the end"):
            m.d.comb += [control.irq_done.eq(1), self._own_done.eq(1)]
            m.d.sync += [control.running.eq(0), control.done.eq(1)]
            m.next = "Idle"
        with m.State("Stop"):
            m.d.comb += self._stop.eq(1)
            with m.If((control.error_code == ErrorCode.DMA) & (control.error_info == DmaError.TIMEOUT.value)):
                m.d.sync += self._stuck.eq(1)
            with m.If(stager.idle & self._all_moved & ~self._busy.any()):
                m.next = "Tell the error"
            with m.If(self._watchdog.expired):
                m.d.sync += self._stuck.eq(1)
                m.next = "Tell the error"
        with m.State("Tell the error"):
            m.d.comb += control.irq_error.eq(1)
            m.d.sync += [control.running.eq(0), control.error.eq(1)]
            m.next = "Idle"
