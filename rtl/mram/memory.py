# SPDX-License-Identifier: Apache-2.0
"""The memory that keeps itself: bank controller, spare rows, scrubber, march test and error log."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import enum, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from respin.rtl.config import PAGE_SPARES, ROW_COLUMNS, AcceleratorConfig
from respin.rtl.interfaces import ROW, ROW_ADDRESS_BITS, BankPins
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.controller import MramController
from respin.rtl.mram.error_log import ErrorLog
from respin.rtl.mram.march import MarchWalk
from respin.rtl.mram.ports import (
    Counters,
    ErrorKind,
    ErrorRecord,
    Outcome,
    ReadRow,
    WriteKind,
    WriteRequest,
    WriteStatus,
)
from respin.rtl.mram.row_map import RowMap
from respin.rtl.mram.spare_map import CRC_BYTES, PAGE_BYTES, PageLayout
from respin.rtl.mram.upkeep import Upkeep
from respin.rtl.mram.watchdog import Watchdog
from respin.rtl.streams import join


class _Task(enum.Enum):
    """What the memory does for itself, or a user's write that failed."""

    LOAD = 0
    WRITE = 1
    SCRUB = 2
    MARCH = 3


class MaintainedMemory(wiring.Component):
    """A :class:`MramController` that looks after itself, with the same streams. They pass through it without
    latency.

    *Start.* Once all banks have power the spare map is read and copies of it that are torn or old are rewritten;
    then requests are taken. One that has waited for power for ``watchdog_cycles`` is given up: a read job is dropped,
    a write request ends with TIMEOUT. *Remapping.* A WRITE that ends with FAILED, or DEFECT with ``remap_defects``, is
    repeated on spares of its bank until one takes it; the map is stored, the row compared through it, and that is
    how the request ends. Without a free spare it ends as it did. *Scrubbing.* Every ``scrub_interval`` cycles a row
    falls due. As soon as nobody uses the memory it is read; if it had an error it is rewritten, in place if all
    errors lie on one strip, on a spare if not. *March test.* :class:`MarchWalk`; rows that fail it go to spares. A
    spare that fails is cleared, as far as it can be. *Bare rows.* For erasing what spares have replaced; rows then
    stay as a write leaves them, and spares that a row has left are written with it.

    A power cut at any time leaves old or new content. Of the map's two copies one is whole: they are written one
    after the other. A spare is written before the map names it. A repair in place pulses one strip of a row without
    an error elsewhere, so that the code bears whatever that strip ends with.

    Parameters
    ----------
    config : AcceleratorConfig
        As :class:`MramController`; and ``spare_rows``, ``remap_defects`` and ``gray_code``.

    Members
    -------
    banks, read, rows, write, written, raw_columns, counters, read_error, write_error
        As :class:`MramController`. Requests name rows below ``usable_rows``.
    idle : Out(1)
        No job and no request of the users; nothing of theirs in flight.
    bare : In(1)
        Write requests name rows as they lie in the banks, up to the last one: no spare stands for any. Nothing is
        remapped, scrubbed or marched over meanwhile. Taken over where no write request waits, for those from the next
        cycle on.
    clear : In(1)
        Counters, error records and the overflow of the log start anew.
    upkeep : Out(Upkeep())

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__(
            {
                "banks": Out(BankPins(config.mram_rows)).array(config.banks),
                "read": In(stream.Signature(ReadJob)),
                "rows": Out(stream.Signature(ReadRow)),
                "write": In(stream.Signature(WriteRequest)),
                "written": Out(stream.Signature(WriteStatus)),
                "raw_columns": Out(ROW_COLUMNS),
                "bare": In(1),
                "clear": In(1),
                "counters": Out(Counters),
                "read_error": Out(ErrorRecord),
                "write_error": Out(ErrorRecord),
                "idle": Out(1),
                "upkeep": Out(Upkeep()),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.controller = self._inner = inner = MramController(config=config)
        m.submodules.walk = self._walk = MarchWalk(config=config)
        m.submodules.log = log = ErrorLog()
        self._map = RowMap(config=config) if config.spare_rows else None
        self._task, self._status = Signal(_Task), Signal(WriteStatus)
        self._scrub_row = Signal(range(config.first_spare_row))
        self._own_error, self._own_new = Signal(ErrorRecord), Signal()
        m.d.sync += self._own_new.eq(0)
        self._row, self._content = Signal(ROW_ADDRESS_BITS), Signal(ROW)
        with m.Switch(self._task):
            with m.Case(_Task.WRITE):
                m.d.comb += [self._row.eq(self.write.payload.row), self._content.eq(self.write.payload.data)]
            with m.Case(_Task.SCRUB):
                m.d.comb += [self._row.eq(self._scrub_row), self._content.eq(inner.rows.payload.data)]
            with m.Case(_Task.MARCH):
                m.d.comb += [self._row.eq(self._walk.row), self._content.eq(self._walk.data)]

        self._connect_banks(m)
        m.d.comb += [
            self.raw_columns.eq(inner.raw_columns),
            self.counters.eq(inner.counters),
            self.read_error.eq(inner.read_error),
            self.write_error.eq(inner.write_error),
            inner.clear.eq(self.clear),
            log.new.eq(Cat(inner.new_errors, self._own_new)),
            log.clear.eq(self.clear),
            self.upkeep.overflow.eq(log.overflow),
        ]
        for port, record in zip(log.records, (inner.read_error, inner.write_error, self._own_error), strict=True):
            m.d.comb += port.eq(record)
        connect(m, log.errors, flipped(self.upkeep.errors))

        self._powered = Cat(bank.power_good for bank in self.banks).all()
        self._marching, self._map_failed, self._bare = Signal(), Signal(), Signal()
        with m.If(~self.write.valid):
            m.d.sync += self._bare.eq(self.bare)
        with m.If(self.upkeep.march):
            m.d.sync += self._marching.eq(1)
        self._schedule(m)

        # A user's reads go on while a write of theirs is remapped.
        passing = Signal()
        users_read = passing | (self._task == _Task.WRITE)
        with m.If(users_read):
            join(m, self.read, inner.read)
            join(m, inner.rows, self.rows)
        m.d.comb += [
            self.idle.eq(Mux(users_read, inner.idle, ~self.read.valid) & ~self.write.valid),
            self.upkeep.state.ready.eq(passing | (self._task != _Task.LOAD)),
            self.upkeep.state.marching.eq(self._marching),
            self.upkeep.state.map_failed.eq(self._map_failed),
            inner.maintenance.eq(Cat(~users_read, ~passing | self._bare)),
        ]
        with m.FSM() as self._states:
            self._power_states(m)
            with m.State("pass"):
                m.d.comb += passing.eq(1)
                if self._map is not None:
                    m.d.comb += self._map.bare.eq(self._bare)
                self._pass(m)
            if self._map is not None:
                self._load_states(m)
                self._page_states(m)
            self._spare_states(m)
            self._scrub_states(m)
            self._march_states(m)
            with m.State("answer"):
                self._answer(m)
        with m.If(self.clear):
            m.d.sync += self.upkeep.care.as_value().eq(0)
        return m

    def _connect_banks(self, m: Module) -> None:
        """The map is in the way of the row pins and of nothing else."""
        for b, (inner, outer) in enumerate(zip(self._inner.banks, self.banks, strict=True)):
            for name, member in BankPins(self._config.mram_rows).members.items():
                source, sink = getattr(inner, name), getattr(outer, name)
                if member.flow == In:
                    m.d.comb += source.eq(sink)
                elif name == "row" and self._map is not None:
                    m.d.comb += [self._map.rows[b].eq(source), sink.eq(self._map.places[b])]
                else:
                    m.d.comb += sink.eq(source)
        if self._map is not None:
            m.submodules.map = self._map
            m.d.comb += [
                self._map.row.eq(self._row),
                self.upkeep.state.spares_left.eq(self._map.left),
                self.upkeep.state.spares_low.eq(self._map.low),
            ]

    def _ask(self, m: Module, kind: WriteKind | Value, row: Value | int, content: Value) -> Value:
        """Make a request to the controller in this state; returns that it has ended."""
        inner = self._inner
        m.d.comb += [
            inner.write.payload.kind.eq(kind),
            inner.write.payload.row.eq(row),
            inner.write.payload.data.as_value().eq(Value.cast(content)),
            inner.write.valid.eq(1),
            inner.written.ready.eq(1),
        ]
        return inner.written.valid

    def _took(self, *outcomes: Outcome) -> Value:
        """The controller's request ended in one of these ways."""
        return Cat(self._inner.written.payload.outcome == outcome for outcome in outcomes).any()

    def _report(self, m: Module, kind: ErrorKind, row: Value) -> None:
        m.d.sync += [self._own_error.kind.eq(kind), self._own_error.row.eq(row), self._own_new.eq(1)]

    def _count(self, m: Module, name: str) -> None:
        m.d.sync += self.upkeep.care[name].eq(self.upkeep.care[name] + 1)

    def _pass(self, m: Module) -> None:
        """Users' requests pass; what they leave undone, and what is due, starts here."""
        inner = self._inner
        outcome = inner.written.payload.outcome
        fails = outcome == Outcome.FAILED
        if self._config.remap_defects:
            fails |= outcome == Outcome.DEFECT
        join(m, self.write, inner.write)
        goes_on = (self._bare | fails) & (self.write.payload.kind == WriteKind.WRITE)
        with m.If(inner.written.valid & goes_on):
            m.d.comb += [inner.written.ready.eq(1), self.write.ready.eq(0)]
            m.d.sync += [self._status.eq(inner.written.payload), self._task.eq(_Task.WRITE)]
            m.next = "choose a spare"
            with m.If(self._bare):
                m.next = "write former spares"
        with m.Else():
            join(m, inner.written, self.written)
        with m.If(inner.idle & ~self.read.valid & ~self.write.valid & ~self._bare):
            with m.If(self._due):
                m.d.sync += [self._due.eq(0), self._task.eq(_Task.SCRUB)]
                m.next = "read a row"
            with m.Elif(self._marching):
                m.d.comb += self._walk.start.eq(1)
                m.d.sync += self._task.eq(_Task.MARCH)
                m.next = "march"

    def _schedule(self, m: Module) -> None:
        """A row falls due each ``scrub_interval`` cycles."""
        elapsed, self._due = Signal.like(self.upkeep.scrub_interval), Signal()
        m.d.sync += elapsed.eq(elapsed + 1)
        with m.If(elapsed + 1 >= self.upkeep.scrub_interval):
            m.d.sync += [elapsed.eq(0), self._due.eq(self.upkeep.scrub_interval != 0)]
            with m.If(self._due):
                self._count(m, "scrub_late")

    def _read(self, m: Module, row: Value, then: str) -> None:
        """Have the controller read one row."""
        read = self._inner.read
        m.d.comb += [read.payload.of_row(row), read.valid.eq(1)]
        with m.If(read.ready):
            m.next = then

    def _power_states(self, m: Module) -> None:
        """Nothing is passed on to banks without power, for what the map says of them is not known yet."""
        m.submodules.watchdog = watchdog = Watchdog(cycles=self._config.watchdog_cycles)
        with m.State("wait for power"):
            m.d.comb += watchdog.waiting.eq(self.read.valid | self.write.valid)
            with m.If(self._powered):
                m.next = "read a copy" if self._map is not None else "pass"
            with m.Elif(watchdog.expired):
                row = Mux(self.write.valid, self.write.payload.row, self.read.payload.base)
                self._report(m, ErrorKind.TIMEOUT, row)
                m.next = "give up"

        with m.State("give up"):
            m.d.comb += [
                self.read.ready.eq(1),
                self.written.payload.outcome.eq(Outcome.TIMEOUT),
                self.written.valid.eq(self.write.valid),
                self.write.ready.eq(self.written.ready),
            ]
            with m.If(~self.write.valid | self.written.ready):
                m.next = "wait for power"

    def _load_states(self, m: Module) -> None:
        """Of each page the newest whole copy is taken; the other one, unless it is the same, is written from it."""
        inner, spares = self._inner, self._map
        self._copy, self._sequence, self._page_sequence = Signal(), Signal(32), Signal(32)
        self._page, self._byte = Signal.like(spares.page), Signal(range(PAGE_BYTES + 1))
        self._number, self._filled, self._restoring = Signal.like(spares.spare), Signal(), Signal()
        m.submodules.crc = self._crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        page = Signal(PageLayout)
        found, uncorrectable = Signal(), Signal()
        # The copy has been there for as many cycles as it has bytes.
        m.d.sync += uncorrectable.eq(inner.rows.payload.uncorrectable)
        whole = inner.rows.valid & ~uncorrectable & crc.match_detected
        newer = whole & (~found | (page.sequence > self._page_sequence))
        m.d.comb += [
            page.as_value().eq(inner.rows.payload.data.as_value()),
            spares.page.eq(self._page),
            spares.loaded.eq(page.entries),
            crc.start.eq(crc.valid & (self._byte == 0)),
            crc.data.eq(page.as_value().word_select(self._byte[:-1], 8)),
        ]
        with m.State("read a copy"):
            self._read(m, self._map_row(), "take a copy")

        with m.State("take a copy"):
            with m.If(inner.rows.valid & (self._byte != PAGE_BYTES)):
                m.d.comb += crc.valid.eq(1)
                m.d.sync += self._byte.eq(self._byte + 1)
            # A read that the watchdog dropped is a copy that is not whole.
            with m.Elif(inner.rows.valid | inner.idle):
                m.d.comb += [inner.rows.ready.eq(1), spares.load.eq(newer)]
                m.d.sync += [self._byte.eq(0), self._copy.eq(1), found.eq(whole & ~self._copy)]
                m.next = "read a copy"
                with m.If(newer):
                    m.d.sync += self._page_sequence.eq(page.sequence)
                with m.If(newer & (page.sequence > self._sequence)):
                    m.d.sync += self._sequence.eq(page.sequence)
                with m.If(self._copy):
                    m.next = "next page"
                    with m.If(newer):
                        m.d.sync += self._copy.eq(0)
                        m.next = "digest a page"
                    with m.Elif(found & (~whole | (page.sequence != self._page_sequence))):
                        m.next = "digest a page"
                with m.If(~inner.rows.valid & ~self._powered):
                    # The copy may be whole: the map must not be taken for empty.
                    m.d.sync += [self._page.eq(0), self._copy.eq(0), found.eq(0)]
                    m.next = "wait for power"

        with m.State("next page"):
            m.d.sync += [self._page.eq(self._page + 1), self._copy.eq(0)]
            m.next = "read a copy"
            with m.If(self._page == self._config.map_pages - 1):
                # What was counted until now is not the users'.
                m.d.comb += inner.clear.eq(1)
                m.next = "pass"

    def _map_row(self) -> Value:
        """The row of the copy in hand."""
        return self._config.usable_rows + Cat(self._copy, self._page)

    def _store(self, m: Module, page: Value) -> None:
        """Store both copies of a page, with the next sequence number."""
        following = Signal.like(self._sequence)
        m.d.comb += following.eq(self._sequence + 1)
        m.d.sync += [
            self._page.eq(page),
            self._copy.eq(0),
            self._sequence.eq(following),
            self._page_sequence.eq(following),
        ]
        m.next = "digest a page"

    def _page_states(self, m: Module) -> None:
        """The page in hand is written from its copy in hand on; at the start, that copy alone."""
        spares = self._map
        page = Signal(PageLayout)
        m.d.comb += [
            page.entries.eq(spares.entries),
            page.sequence.eq(self._page_sequence),
            page.crc.eq(self._crc.crc),
        ]
        with m.State("digest a page"):
            m.d.comb += [
                self._crc.data.eq(page.as_value().word_select(self._byte[:-1], 8)),
                self._crc.valid.eq(self._byte != CRC_BYTES),
            ]
            m.d.sync += self._byte.eq(self._byte + 1)
            with m.If(self._byte == CRC_BYTES):
                m.d.sync += self._byte.eq(0)
                m.next = "write a copy"

        with m.State("write a copy"):
            with m.If(self._ask(m, WriteKind.WRITE, self._map_row(), page)):
                failed = ~self._took(Outcome.OK, Outcome.DEFECT)
                m.d.sync += self._copy.eq(1)
                with m.If(failed):
                    m.d.sync += self._map_failed.eq(1)
                    self._report(m, ErrorKind.MAP_FAILED, self._map_row())
                with m.If(self._task == _Task.LOAD):
                    m.next = "next page"
                with m.Elif(self._restoring & (failed | self._copy)):
                    m.d.sync += self._restoring.eq(0)
                    m.next = "answer"
                with m.Elif(failed & ~self._copy):
                    # No copy names the spare, so the map must not either.
                    m.d.comb += [spares.assign.eq(1), spares.entry.bad.eq(1)]
                    m.next = "answer"
                with m.Elif(self._copy):
                    m.next = "choose a spare"
                    with m.If(self._filled):
                        m.next = "compare"

    def _spare_states(self, m: Module) -> None:
        """The row in hand goes to a spare that takes its content, if there is one."""
        spares, config = self._map, self._config
        if spares is None:
            with m.State("write former spares"):
                m.next = "answer"
            with m.State("choose a spare"):
                self._report(m, ErrorKind.NO_SPARE, self._row)
                m.next = "answer"
            return
        bank_bits = exact_log2(config.banks)
        m.d.comb += [spares.number.eq(self._number), spares.entry.row.eq(self._row[bank_bits:])]
        former = Signal(range(config.spare_rows + 1))
        with m.State("write former spares"):
            with m.If(former == config.spare_rows):
                m.d.sync += former.eq(0)
                m.next = "answer"
            with m.Elif(~spares.former.bit_select(former, 1)):
                m.d.sync += former.eq(former + 1)
            with m.Else():
                row = config.first_spare_row + Cat(self._row[:bank_bits], former)
                with m.If(self._ask(m, WriteKind.WRITE, row, self._content)):
                    m.d.sync += former.eq(former + 1)

        with m.State("choose a spare"):
            m.d.sync += self._number.eq(spares.spare)
            m.next = "fill the spare"
            with m.If(~spares.available | self._map_failed):
                self._report(m, ErrorKind.NO_SPARE, self._row)
                m.next = "answer"

        with m.State("fill the spare"):
            with m.If(self._ask(m, WriteKind.WRITE, config.first_spare_row + self._number, self._content)):
                good = self._took(Outcome.OK) if config.remap_defects else self._took(Outcome.OK, Outcome.DEFECT)
                m.d.comb += [spares.assign.eq(1), spares.entry.used.eq(good), spares.entry.bad.eq(~good)]
                m.d.sync += self._filled.eq(good)
                self._store(m, self._number // PAGE_SPARES)
                with m.If(~good):
                    m.next = "clear the spare"

        with m.State("clear the spare"):
            # No request will come to it any more, so nothing else would ever overwrite the part that it took.
            with m.If(self._ask(m, WriteKind.WRITE, config.first_spare_row + self._number, 0)):
                m.next = "digest a page"

        with m.State("compare"):
            # It also takes the bank, so that a row read before the map was switched is read again.
            with m.If(self._ask(m, WriteKind.CHECK, self._row, self._content)):
                self._report(m, ErrorKind.REMAPPED, self._row)
                self._count(m, "rows_remapped")
                m.d.sync += self._status.eq(self._inner.written.payload)
                m.next = "answer"

    def _scrub_states(self, m: Module) -> None:
        """The next row is read, and rewritten if it has errors."""
        inner, config = self._inner, self._config
        with m.State("read a row"):
            self._read(m, self._scrub_row, "judge a row")

        with m.State("judge a row"):
            with m.If(inner.rows.valid):
                self._count(m, "rows_scrubbed")
                m.next = "answer"
                with m.If(inner.mended & ~inner.rows.payload.uncorrectable):
                    m.next = "repair"
            with m.Elif(inner.idle):
                m.next = "answer"

        with m.State("repair"):
            with m.If(self._ask(m, WriteKind.REPAIR, self._scrub_row, self._content)):
                content = self._scrub_row < config.usable_rows
                m.next = "answer"
                with m.If(self._took(Outcome.OK)):
                    self._count(m, "rows_repaired")
                with m.If(content & self._took(*([Outcome.DEFECT] if config.remap_defects else []), Outcome.UNSAFE)):
                    m.next = "choose a spare"
                if self._map is not None:
                    with m.If(~content & self._took(Outcome.UNSAFE)):
                        m.d.sync += self._restoring.eq(1)
                        self._store(m, (self._scrub_row - config.usable_rows)[1:])

    def _march_states(self, m: Module) -> None:
        """One step of the march test after the other; a row that shows a defect at both its steps has failed too."""
        walk, flawed = self._walk, Signal()
        with m.State("march"):
            kind = Mux(walk.check, WriteKind.CHECK, WriteKind.WRITE)
            with m.If(~walk.running):
                m.d.sync += self._marching.eq(0)
                m.next = "pass"
            with m.Else():
                with m.If(self._ask(m, kind, walk.row, walk.data)):
                    defect = self._took(Outcome.DEFECT)
                    twice = flawed & ~walk.check | int(self._config.remap_defects)
                    m.d.sync += flawed.eq(defect & walk.check)
                    m.next = "answer"
                    with m.If(self._took(Outcome.FAILED) | defect & twice):
                        m.next = "choose a spare"

    def _answer(self, m: Module) -> None:
        """The work in hand is done."""
        inner = self._inner
        m.next = "pass"
        with m.Switch(self._task):
            with m.Case(_Task.WRITE):
                m.d.comb += [
                    self.written.payload.eq(self._status),
                    self.written.valid.eq(1),
                    self.write.ready.eq(self.written.ready),
                ]
                with m.If(~self.written.ready):
                    m.next = "answer"
            with m.Case(_Task.SCRUB):
                m.d.comb += inner.rows.ready.eq(1)
                m.d.sync += self._scrub_row.eq(self._scrub_row + 1)
                with m.If(self._scrub_row == self._config.first_spare_row - 1):
                    m.d.sync += self._scrub_row.eq(0)
            with m.Case(_Task.MARCH):
                m.d.comb += self._walk.advance.eq(1)
                m.next = "march"
