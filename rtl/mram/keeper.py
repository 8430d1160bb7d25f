# SPDX-License-Identifier: Apache-2.0
"""Keeps regions and slots: start-up, format, begin, commit, roll back, lock, check, erase."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import ReadJob
from respin.rtl.mram.guard import region_row, regions_layout
from respin.rtl.mram.keeper_ports import EVERYTHING, KeeperError, Procedure
from respin.rtl.mram.ports import ReadRow, WriteStatus
from respin.rtl.mram.regions import (
    FIRST_REGION_ROW,
    FORMAT,
    MAX_REGIONS,
    SLOT_MAGIC,
    TABLE_MAGIC,
    TABLE_ROWS,
    TABLE_STARTS,
    RegionKind,
    SlotState,
)
from respin.rtl.mram.sweep import FIELD_BITS, Sweep
from respin.rtl.ports import HostRow

# Words of the structures in respin.rtl.mram.regions.
_TABLE_COUNT, _TABLE_SEQUENCE, _TABLE_ENTRIES = 1, 2, 3
_HEADER_VERSION, _HEADER_STATE, _HEADER_ROWS, _HEADER_CRC = 1, 2, 3, 4
_LOCKED, _FINISHED = 8, 9
"""Bits of an entry's first word."""


class Overwritten(enum.Enum, shape=2):
    """What ERASE overwrites, one after the other."""

    REPLACED = 0
    """The rows as they lie in the banks, also those for which spares stand now."""
    SPARES = 1
    """All spares, used or failed: where everything is erased."""
    CONTENT = 2
    """The rows as requests find them."""


class Keeper(Component):
    """Carries out the procedures on regions and slots, each a sequence of sweeps over rows (:class:`Sweep`).

    After a reset it waits until the memory takes requests, reads both copies of the region table, and looks at header
    and content of each slot; the newest whole one of the active task is the one that is used. Where the power goes
    meanwhile that begins again. Every procedure reads the table's entry of its region first; those that change the
    table end with start-up anew, so that what the chip knows is what the memory holds.

    What is written last makes the difference: the header of a slot, the last row of a copy of the table. So a power cut
    leaves the old state or the new one.

    Latency: by the rows that are moved, 12 cycles each and the bank controller's for a read and a write. Every wait is
    bounded, but those for power and for the end of a march test.

    Parameters
    ----------
    config : AcceleratorConfig
        ``regions``, at least 1, and ``usable_rows`` are used.

    Members
    -------
    power_good : In(1)
        All banks have power.
    memory_ready : In(1)
        The memory has its spare map, and no march test keeps it. Nothing begins before.
    start : In(1), procedure : In(Procedure), region : In(4)
        What to do; taken when the keeper is idle, and held until then.
    unlocked : In(1)
        ERASE is allowed.
    idle : Out(1)
    works : Out(1)
        It is neither idle nor waiting for the memory: a bounded time is left.
    started, ended : Out(1)
        Start-up after a reset ends in this cycle; a procedure that was asked for does.
    error : Out(KeeperError), error_row : Out(24)
        How the last one ended, and the row of a ROW.
    regions : Out(regions_layout(config))
        For the guard.
    committed : Out(1), version : Out(32)
        Whether the active task has a whole slot, and its version.
    whole : Out(15)
        Regions with a whole slot.
    row_read, row_data, row_write, row_written
        The memory, as of :class:`Sweep`.

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
            "power_good": In(1),
            "memory_ready": In(1),
            "start": In(1),
            "procedure": In(Procedure),
            "region": In(4),
            "unlocked": In(1),
            "idle": Out(1),
            "works": Out(1),
            "started": Out(1),
            "ended": Out(1),
            "error": Out(KeeperError),
            "error_row": Out(ROW_ADDRESS_BITS),
            "regions": Out(regions_layout(config)),
            "committed": Out(1),
            "version": Out(FIELD_BITS),
            "whole": Out(MAX_REGIONS),
            "row_read": Out(stream.Signature(ReadJob)),
            "row_data": In(stream.Signature(ReadRow)),
            "row_write": Out(stream.Signature(HostRow)),
            "row_written": In(stream.Signature(WriteStatus)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sweep = self._sweep = Sweep(config=self.config)
        connect(m, self._sweep.row_read, flipped(self.row_read))
        connect(m, flipped(self.row_data), self._sweep.row_data)
        connect(m, self._sweep.row_write, flipped(self.row_write))
        connect(m, flipped(self.row_written), self._sweep.row_written)
        self._registers()
        self._read_tables(m)
        self._choose_rows(m)
        with m.If(self.start):
            m.d.sync += self._asked.eq(1)
        m.d.comb += self.regions.maintenance.eq(~self.idle)
        with m.FSM() as self._states:
            m.d.comb += self.works.eq(~self.idle & ~self._states.ongoing("Wait for the memory"))
            self._idle_states(m)
            self._table_states(m)
            self._check_states(m)
            self._write_states(m)
            self._erase_states(m)
        with m.If(~self.power_good):
            m.d.sync += self._power_lost.eq(1)
        return m

    def _registers(self) -> None:
        row = region_row(self.config)
        self._now, self._asked, self._commanded = Signal(Procedure), Signal(), Signal()
        # The table: which copy is read, which one holds, and what the one that is read says.
        self._copy, self._newest, self._first_whole = Signal(), Signal(), Signal()
        self._sequence, self._first_sequence = Signal(FIELD_BITS), Signal(FIELD_BITS)
        self._acceptable, self._count, self._active_task = Signal(), Signal(8), Signal(16)
        self._in_table = Signal()
        self._reached = Signal(row, init=FIRST_REGION_ROW)  # where the entry that passes may begin
        # The entry that passes, and that of the region at hand.
        self._passing = {name: Signal(shape) for name, shape in self._entry_fields(row).items()}
        self._region, self._listed, self._paired = Signal(4), Signal(), Signal()
        self._entry = {name: Signal(shape, name=f"entry_{name}") for name, shape in self._entry_fields(row).items()}
        # The slot at hand, and the best one so far.
        self._side, self._headed, self._intact = Signal(), Signal(), Signal()
        self._header_version, self._content_crc = Signal(FIELD_BITS), Signal(FIELD_BITS)
        self._found, self._best_side, self._best_version = Signal(), Signal(), Signal(FIELD_BITS)
        self._tables_too, self._power_lost = Signal(), Signal()

    @staticmethod
    def _entry_fields(row: object) -> dict[str, object]:
        return {"kind": RegionKind, "locked": 1, "task": 16, "start": row, "slot_rows": row}

    # What every state does.

    def _order(
        self, m: Module, *, source: Value | int = 0, target: Value | int = 0, count: Value | int,
        reads: bool = False, writes: bool = False, sealed: bool = False, leaving: Value | int = 0,
    ) -> Value:
        """Sweep over rows in this state; returns whether the sweep ends in this cycle."""
        order = self._sweep.order
        m.d.comb += [
            order.source.eq(source), order.target.eq(target), order.count.eq(count),
            order.reads.eq(reads), order.writes.eq(writes), order.sealed.eq(sealed), order.leaving.eq(leaving),
            self._sweep.go.eq(1),
        ]  # fmt: skip
        return self._sweep.done

    def _replace(self, m: Module, replacement: Value | int, when: Value | int = 1) -> None:
        with m.If(when):
            m.d.comb += [self._sweep.replace.eq(1), self._sweep.replacement.eq(replacement)]

    def _fail(self, m: Module, error: KeeperError) -> None:
        m.d.sync += [self.error.eq(error), self.error_row.eq(self._sweep.row)]
        m.next = "Tell"

    def _restart(self, m: Module) -> None:
        """Find out anew what the memory holds."""
        m.d.sync += [
            self._now.eq(Procedure.START), self._copy.eq(0), self.regions.training.eq(0), self.regions.slot.eq(0),
            self.committed.eq(0), self.version.eq(0), self.whole.eq(0), self._power_lost.eq(0),
        ]  # fmt: skip
        m.next = "Read a copy of the table"

    def _slot_start(self, side: Value) -> Value:
        return self._entry["start"] + Mux(side, self._entry["slot_rows"], 0)

    def _is(self, *procedures: Procedure) -> Value:
        return Cat(self._now == procedure for procedure in procedures).any()

    # Waiting for something to do.

    def _idle_states(self, m: Module) -> None:
        regions, now = self.regions, self._now
        with m.State("Wait for the memory"), m.If(self.power_good & self.memory_ready):
            self._restart(m)
        with m.State("Idle"):
            m.d.comb += self.idle.eq(~self._asked & ~self.start)
            m.d.sync += self._power_lost.eq(0)
            with m.If(self._asked & self.memory_ready):
                m.d.sync += [
                    now.eq(self.procedure), self._region.eq(self.region), self._asked.eq(0), self._commanded.eq(1),
                    self.error.eq(KeeperError.NONE), self._tables_too.eq(0),
                ]  # fmt: skip
                m.next = "Judge"
        with m.State("Judge"):
            on_active = self._is(Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK)
            on_table = self._is(Procedure.LOCK, Procedure.ACTIVATE, Procedure.ERASE)
            everything = (now == Procedure.ERASE) & (self._region == EVERYTHING)
            m.next = "Load a region"
            with m.If(on_active):
                m.d.sync += self._region.eq(regions.active.region)
            with m.If((now == Procedure.START) | (now.as_value() > Procedure.ERASE.value)):
                self._fail(m, KeeperError.ORDER)
            with m.Elif(now == Procedure.FORMAT):
                m.d.sync += [self._newest.eq(0), self._region.eq(0)]
                with m.If(regions.formatted):
                    self._fail(m, KeeperError.ORDER)
            with m.Elif(~regions.formatted & ~everything):
                self._fail(m, KeeperError.UNFORMATTED)
            with m.Elif(on_active & ~regions.active.valid | on_table & regions.training):
                self._fail(m, KeeperError.ORDER)
            with m.Elif(
                (now == Procedure.BEGIN) & regions.training | (now == Procedure.COMMIT) & ~regions.training
            ):
                self._fail(m, KeeperError.ORDER)
            with m.Elif((now == Procedure.ERASE) & ~self.unlocked):
                self._fail(m, KeeperError.LOCKED)
            with m.Elif((now == Procedure.ROLLBACK) & regions.training):
                m.d.sync += [regions.training.eq(0), regions.slot.eq(regions.slot ^ self.committed)]
                m.next = "Tell"
            with m.Elif(everything):
                m.next = "Overwrite"
        with m.State("Tell"):
            with m.If((now == Procedure.START) & self._power_lost):
                # What could not be read may be whole: neither table nor slots must be taken for missing.
                m.next = "Wait for the memory"
            with m.Else():
                m.d.comb += [self.ended.eq(self._commanded), self.started.eq(~self._commanded)]
                m.d.sync += self._commanded.eq(0)
                m.next = "Idle"

    # The region table.

    def _read_tables(self, m: Module) -> None:
        """Take over what a copy of the table says, as its words pass."""
        sweep, regions, passing = self._sweep, self.regions, self._passing
        word, number, limit = sweep.word, sweep.number, self.config.usable_rows
        bits = len(passing["start"])
        place = Signal(7)
        end = Signal(bits + 2)
        listed, spares, paired = Signal(), passing["kind"] == RegionKind.SPARES, word[:8] == 2
        entry, task = place[2:6] - 1, passing["kind"] == RegionKind.TASK
        sound = (
            (passing["start"] >= self._reached) & (end <= limit) & (paired & task | (word[:8] == 1))
            & (passing["slot_rows"] >= Mux(spares, 1, 2))
        )  # fmt: skip
        m.d.comb += [
            place.eq(number + 1),  # so that an entry's words are 0 to 3 of the place's low bits
            listed.eq(entry < self._count),
            end.eq(passing["start"] + (passing["slot_rows"] << paired)),
        ]
        with m.If(self._in_table & sweep.passing):
            with m.If(number == 0):
                m.d.sync += [self._acceptable.eq(word == TABLE_MAGIC), self._listed.eq(0), regions.active.valid.eq(0)]
                m.d.sync += self._reached.eq(FIRST_REGION_ROW)
            with m.Elif(number == _TABLE_COUNT):
                m.d.sync += [self._count.eq(word[8:16]), self._active_task.eq(word[16:])]
                with m.If((word[:8] != FORMAT) | (word[8:16] > self.config.regions)):
                    m.d.sync += self._acceptable.eq(0)
            with m.Elif(number == _TABLE_SEQUENCE):
                m.d.sync += self._sequence.eq(word)
            with m.Elif(place[:2] == 0):
                m.d.sync += [
                    passing["kind"].eq(word[:8]), passing["locked"].eq(word[_LOCKED] | word[_FINISHED]),
                    passing["task"].eq(word[16:]),
                ]  # fmt: skip
            with m.Elif(place[:2] == 1):
                m.d.sync += passing["start"].eq(word)
                with m.If(listed & word[bits:].any()):
                    m.d.sync += self._acceptable.eq(0)
            with m.Elif(place[:2] == 2):
                m.d.sync += passing["slot_rows"].eq(word)
                with m.If(listed & word[bits:].any()):
                    m.d.sync += self._acceptable.eq(0)
            with m.Else():
                with m.If(listed):
                    m.d.sync += self._reached.eq(end)
                    with m.If(~sound):
                        m.d.sync += self._acceptable.eq(0)
                for place_on_chip, region in enumerate(regions.regions):
                    with m.If(entry == place_on_chip):
                        m.d.sync += [
                            region.start.eq(passing["start"]), region.end.eq(Mux(listed, end, passing["start"])),
                            region.locked.eq(passing["locked"] | spares), region.paired.eq(paired),
                        ]  # fmt: skip
                with m.If(listed & task & (passing["task"] == self._active_task)):
                    m.d.sync += [
                        regions.active.valid.eq(1), regions.active.region.eq(entry),
                        regions.active.start.eq(passing["start"]), regions.active.slot_rows.eq(passing["slot_rows"]),
                    ]  # fmt: skip
                with m.If(listed & (entry == self._region)):
                    m.d.sync += [self._listed.eq(1), self._paired.eq(paired)]
                    m.d.sync += [self._entry[name].eq(value) for name, value in passing.items()]

    def _table_states(self, m: Module) -> None:
        sweep = self._sweep
        starts = [Mux(which, TABLE_STARTS[1], TABLE_STARTS[0]) for which in (self._newest, ~self._newest)]
        with m.State("Read a copy of the table"):
            whole = ~sweep.failed & sweep.matches & self._acceptable
            m.d.comb += self._in_table.eq(1)
            source = Mux(self._copy, TABLE_STARTS[1], TABLE_STARTS[0])
            with m.If(self._order(m, source=source, count=TABLE_ROWS, reads=True, sealed=True)):
                m.d.sync += self._copy.eq(1)
                with m.If(~self._copy):
                    m.d.sync += [self._first_whole.eq(whole), self._first_sequence.eq(self._sequence)]
                with m.Else():
                    newer = whole & (~self._first_whole | (self._sequence > self._first_sequence))
                    m.d.sync += [self._newest.eq(newer), self.regions.formatted.eq(whole | self._first_whole)]
                    m.d.sync += self._region.eq(0)
                    m.next = "Load a region"
                    with m.If(~whole & ~self._first_whole):
                        m.d.sync += self.regions.active.valid.eq(0)
                        m.next = "Tell"
        with m.State("Load a region"):
            m.d.comb += self._in_table.eq(1)
            with m.If(self._order(m, source=starts[0], count=TABLE_ROWS, reads=True, sealed=True)):
                m.d.sync += [self._side.eq(0), self._found.eq(0)]
                unsealed = self._now == Procedure.FORMAT
                with m.If(sweep.failed | ~self._acceptable | ~(sweep.matches | unsealed)):
                    self._fail(m, KeeperError.TABLE)
                    with m.If(~unsealed):
                        # What the guard goes by has passed with it.
                        self._restart(m)
                with m.Else():
                    self._set_out(m)
        with m.State("Update the table"):
            word, at_entry = sweep.word, sweep.number == (_TABLE_ENTRIES + (self._region << 2))
            is_task = self._entry["kind"] == RegionKind.TASK
            flags = Mux(self._now == Procedure.LOCK, Cat(Const(1, 1), is_task), 0)
            self._replace(m, word + 1, sweep.number == _TABLE_SEQUENCE)
            self._replace(m, Cat(word[:_LOCKED], flags[:2], word[_FINISHED + 1 :]),
                          at_entry & self._is(Procedure.LOCK, Procedure.ERASE))  # fmt: skip
            self._replace(m, Cat(word[:16], self._entry["task"]),
                          (sweep.number == _TABLE_COUNT) & (self._now == Procedure.ACTIVATE))  # fmt: skip
            ended = self._order(
                m, source=starts[0], target=starts[1], count=TABLE_ROWS, reads=True, writes=True, sealed=True
            )
            with m.If(ended):
                m.next = "Copy the table"
                with m.If(sweep.failed):
                    self._fail(m, KeeperError.ROW)
        with m.State("Copy the table"):
            ended = self._order(
                m, source=starts[1], target=starts[0], count=TABLE_ROWS, reads=True, writes=True, sealed=True
            )
            with m.If(ended):
                with m.If(sweep.failed):
                    self._fail(m, KeeperError.ROW)
                self._restart(m)

    def _set_out(self, m: Module) -> None:
        """The region's entry is there: go on by what is to be done."""
        spares, locked = self._entry["kind"] == RegionKind.SPARES, self._entry["locked"]
        with m.Switch(self._now):
            with m.Case(Procedure.START, Procedure.FORMAT):
                with m.If(~self._listed):
                    m.next = "Tell"
                    with m.If(self._now == Procedure.FORMAT):
                        m.next = "Update the table"
                with m.Elif(spares):
                    m.d.sync += self._region.eq(self._region + 1)
                with m.Elif(self._now == Procedure.FORMAT):
                    m.next = "Clear a header"
                with m.Else():
                    m.next = "Read a header"
            with m.Case(Procedure.BEGIN):
                m.d.sync += self._side.eq(self.regions.slot & self.committed)
                m.next = "Clear a header"
                with m.If(self.committed):
                    m.next = "Read a header"
            with m.Case(Procedure.COMMIT):
                m.d.sync += self._side.eq(self.regions.slot)
                m.next = "Check content"
            with m.Case(Procedure.ROLLBACK):
                m.d.sync += self._side.eq(~self.regions.slot)
                m.next = "Read a header"
            with m.Case(Procedure.LOCK):
                m.next = "Check content"
                with m.If(self._paired):
                    m.next = "Read a header"
            with m.Case(Procedure.ACTIVATE):
                m.next = "Update the table"
            with m.Case(Procedure.CHECK):
                m.next = "Read a header"
            with m.Case(Procedure.ERASE):
                m.next = "Overwrite"
        trains = self._is(Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK)
        listing = self._is(Procedure.START, Procedure.FORMAT)
        with m.If(~listing):
            with m.If(~self._listed | spares & ~self._is(Procedure.ERASE) | trains & ~self._paired):
                self._fail(m, KeeperError.REGION)
            with m.Elif((self._now == Procedure.ACTIVATE) & (self._entry["kind"] != RegionKind.TASK)):
                self._fail(m, KeeperError.REGION)
            with m.Elif((trains | (self._now == Procedure.LOCK)) & locked):
                self._fail(m, KeeperError.LOCKED)

    # Slots.

    def _header_words(self, version: Value) -> dict[int, Value | int]:
        """The words of a committed slot's header, by number; the others are 0, and the last one seals it."""
        entry = self._entry
        return {
            0: SLOT_MAGIC,
            _HEADER_VERSION: version,
            _HEADER_STATE: Cat(entry["task"], Const(SlotState.COMMITTED.value, 8), Const(FORMAT, 8)),
            _HEADER_ROWS: entry["slot_rows"] - 1,
            _HEADER_CRC: self._content_crc,
        }

    def _check_states(self, m: Module) -> None:
        """Header and content of the slot at hand, then what is to be made of them."""
        sweep, regions = self._sweep, self.regions
        word, number = sweep.word, sweep.number
        content_rows = self._entry["slot_rows"] - 1
        wanted = self._header_words(self._header_version)
        with m.State("Read a header"):
            with m.If(sweep.passing):
                with m.If(number == 0):
                    m.d.sync += self._headed.eq(word == wanted[0])
                with m.Elif(number == _HEADER_VERSION):
                    m.d.sync += self._header_version.eq(word)
                with m.Elif(number == _HEADER_CRC):
                    m.d.sync += self._content_crc.eq(word)
                for place in (_HEADER_STATE, _HEADER_ROWS):
                    with m.Elif((number == place) & (word != wanted[place])):
                        m.d.sync += self._headed.eq(0)
            with m.If(self._order(m, source=self._slot_start(self._side), count=1, reads=True, sealed=True)):
                m.d.sync += self._intact.eq(0)
                m.next = "Judge a slot"
                with m.If(~sweep.failed & sweep.matches & self._headed):
                    m.next = "Check content"
                    with m.If(self._now == Procedure.BEGIN):
                        m.d.sync += self._side.eq(~self._side)
                        m.next = "Clear a header"
        with m.State("Check content"):
            with m.If(self._order(m, source=self._slot_start(self._side) + 1, count=content_rows, reads=True)):
                m.d.sync += self._intact.eq(~sweep.failed & (sweep.crc == self._content_crc))
                m.next = "Judge a slot"
                with m.If((self._now == Procedure.COMMIT) | (self._now == Procedure.LOCK) & ~self._paired):
                    m.d.sync += self._content_crc.eq(sweep.crc)
                    m.next = "Write the header"
                    with m.If(sweep.failed):
                        self._fail(m, KeeperError.ROW)
        with m.State("Judge a slot"):
            with m.If(self._intact & (~self._found | (self._header_version > self._best_version))):
                m.d.sync += [
                    self._found.eq(1), self._best_side.eq(self._side), self._best_version.eq(self._header_version)
                ]  # fmt: skip
            m.next = "Judge a region"
            with m.If(self._is(Procedure.BEGIN, Procedure.ROLLBACK)):
                m.d.sync += self._side.eq(regions.slot)
                m.next = "Clear a header"
                with m.If(~self._intact):
                    self._fail(m, KeeperError.CONTENT)
            with m.Elif(self._paired & ~self._side):
                m.d.sync += self._side.eq(1)
                m.next = "Read a header"
        with m.State("Judge a region"):
            is_active = regions.active.valid & (regions.active.region == self._region)
            m.next = "Tell"
            with m.If(self._is(Procedure.START, Procedure.CHECK)):
                m.d.sync += self.whole.bit_select(self._region, 1).eq(self._found)
            with m.If(self._now == Procedure.START):
                m.d.sync += self._region.eq(self._region + 1)
                m.next = "Load a region"
                with m.If(is_active & self._found):
                    m.d.sync += [
                        self.committed.eq(1), regions.slot.eq(self._best_side), self.version.eq(self._best_version)
                    ]  # fmt: skip
            with m.Elif(~self._found | is_active & (self._best_version != self.version)):
                self._fail(m, KeeperError.CONTENT)
            with m.Elif(self._now == Procedure.LOCK):
                m.next = "Update the table"

    def _write_states(self, m: Module) -> None:
        """The slot at hand: its header cleared, its content copied, its header written."""
        sweep, regions = self._sweep, self.regions
        content_rows = self._entry["slot_rows"] - 1
        with m.State("Clear a header"):
            self._replace(m, 0)
            with m.If(self._order(m, target=self._slot_start(self._side), count=1, writes=True)):
                m.next = "Tell"
                with m.If(sweep.failed):
                    self._fail(m, KeeperError.ROW)
                with m.Elif(self._now == Procedure.FORMAT):
                    m.d.sync += self._side.eq(1)
                    m.next = "Clear a header"
                    with m.If(self._side | ~self._paired):
                        m.d.sync += self._region.eq(self._region + 1)
                        m.next = "Load a region"
                with m.Elif(self._now == Procedure.ROLLBACK):
                    m.d.sync += [regions.slot.eq(~regions.slot), self.version.eq(self._best_version)]
                with m.Elif(self.committed):
                    m.next = "Copy the slot"
                with m.Else():
                    m.d.sync += [regions.training.eq(1), regions.slot.eq(self._side)]
        with m.State("Copy the slot"):
            ended = self._order(
                m, source=self._slot_start(regions.slot) + 1, target=self._slot_start(self._side) + 1,
                count=content_rows, reads=True, writes=True,
            )  # fmt: skip
            with m.If(ended):
                m.next = "Tell"
                with m.If(sweep.failed):
                    self._fail(m, KeeperError.ROW)
                with m.Elif(sweep.crc != self._content_crc):
                    self._fail(m, KeeperError.CONTENT)
                with m.Else():
                    m.d.sync += [regions.training.eq(1), regions.slot.eq(self._side)]
        with m.State("Write the header"):
            next_version = Mux(self._now == Procedure.COMMIT, self.version, 0) + 1
            self._replace(m, 0)
            for place, content in self._header_words(next_version).items():
                self._replace(m, content, sweep.number == place)
            with m.If(self._order(m, target=self._slot_start(self._side), count=1, writes=True, sealed=True)):
                m.next = "Update the table"
                with m.If(sweep.failed):
                    self._fail(m, KeeperError.ROW)
                with m.Elif(self._now == Procedure.COMMIT):
                    m.d.sync += [
                        regions.training.eq(0), self.committed.eq(1), self.version.eq(next_version),
                        self.whole.bit_select(self._region, 1).eq(1),
                    ]  # fmt: skip
                    m.next = "Tell"

    # Secure erase.

    def _choose_rows(self, m: Module) -> None:
        """What is to be erased."""
        self._first, self._rows = Signal(ROW_ADDRESS_BITS), Signal(ROW_ADDRESS_BITS)
        self._overwritten = Signal(Overwritten)
        with m.If(self._overwritten == Overwritten.SPARES):
            spares = self.config.first_spare_row
            m.d.comb += [self._first.eq(spares), self._rows.eq(self.config.total_rows - spares)]
        with m.Elif(self._region != EVERYTHING):
            m.d.comb += [
                self._first.eq(self._entry["start"]), self._rows.eq(self._entry["slot_rows"] << self._paired)
            ]  # fmt: skip
        with m.Elif(~self._tables_too):
            # The table goes last: as long as it is there, what is left of a region counts as damaged.
            m.d.comb += [self._first.eq(FIRST_REGION_ROW), self._rows.eq(self.config.usable_rows - FIRST_REGION_ROW)]
        with m.Else():
            m.d.comb += self._rows.eq(2 * TABLE_ROWS)

    def _erase_states(self, m: Module) -> None:
        sweep, everything = self._sweep, self._region == EVERYTHING
        first, count = self._first, self._rows
        part = self._overwritten
        with m.State("Overwrite"):
            bare = part != Overwritten.CONTENT
            self._replace(m, 0)
            m.d.comb += self.regions.bare.eq(bare)
            with m.If(self._order(m, target=first, count=count, writes=True, leaving=bare)):
                with m.Switch(part):
                    with m.Case(Overwritten.REPLACED):
                        m.d.sync += part.eq(Overwritten.CONTENT)
                        # Spares are void when only the tables are left; what is left then counts as damaged.
                        with m.If(everything & self._tables_too):
                            m.d.sync += part.eq(Overwritten.SPARES)
                    with m.Case(Overwritten.SPARES):
                        m.d.sync += part.eq(Overwritten.CONTENT)
                    with m.Default():
                        m.d.sync += part.eq(Overwritten.REPLACED)
                        m.next = "Read back"
                with m.If(sweep.failed):
                    m.d.sync += part.eq(Overwritten.REPLACED)
                    self._fail(m, KeeperError.ROW)
                    self._restart(m)
        with m.State("Read back"), m.If(self._order(m, source=first, count=count, reads=True)):
            m.next = "Update the table"
            with m.If(sweep.failed | ~sweep.blank):
                self._fail(m, KeeperError.ROW)
                self._restart(m)
            with m.Elif(everything & self._tables_too):
                self._restart(m)
            with m.Elif(everything):
                m.d.sync += self._tables_too.eq(1)
                m.next = "Overwrite"
