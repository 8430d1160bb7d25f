# SPDX-License-Identifier: Apache-2.0
"""Which spare row stands for which row."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from respin.rtl.config import PAGE_SPARES, AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.mram.spare_map import MapEntry


class RowMap(wiring.Component):
    """Replaces rows by spares on their way to the banks.

    It sits at the banks' row pins: a spare lies in the bank of the row that it stands for, so that nothing before the
    pins knows of it. A bank compares its row with its own spares only. Spares of a bank are given away in ascending
    order, and where several stand for one row the last one holds: a spare that fails is followed by another, and never
    used again.

    Parameters
    ----------
    config : AcceleratorConfig
        ``banks``, ``mram_rows`` and ``spare_rows`` are used.

    Members
    -------
    rows : In(range(mram_rows)).array(B)
        The row that a bank is asked for.
    bare : In(1)
        Nothing is replaced.
    places : Out(range(mram_rows)).array(B)
        The row it is to take instead, in the same cycle.
    row : In(24)
        A global address: what follows is about it.
    available : Out(1), spare : Out(range(S))
        The next spare of its bank, out of S = banks * spare_rows.
    former : Out(spare_rows)
        Spares of its bank, in their order, that it lay or was to lie on and no longer does.
    assign : In(1), number : In(range(S)), entry : In(MapEntry)
        Entry ``number`` is to be ``entry`` from the next cycle on. Only the bits of ``row`` that a bank has are kept.
    page : In(range(max(2, map_pages))), entries : Out(ArrayLayout(MapEntry, 8))
        The entries of a page.
    load : In(1), loaded : In(ArrayLayout(MapEntry, 8))
        The entries of ``page`` are to be ``loaded``.
    left : Out(range(S + 1))
        Spares that are free.
    low : Out(1)
        Some bank has one free spare or none; of spares one to a bank, none.

    Raises
    ------
    ValueError
        If the configuration has no spare rows.
    """

    latency = 0

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not config.spare_rows:
            raise ValueError("spare_rows must be at least 1 for a row map, not 0")
        self._config = config
        self._spares = spares = config.banks * config.spare_rows
        local = range(config.mram_rows)
        page = data.ArrayLayout(MapEntry, PAGE_SPARES)
        super().__init__(
            {
                "rows": In(local).array(config.banks),
                "bare": In(1),
                "places": Out(local).array(config.banks),
                "row": In(ROW_ADDRESS_BITS),
                "available": Out(1),
                "spare": Out(range(spares)),
                "former": Out(config.spare_rows),
                "assign": In(1),
                "number": In(range(spares)),
                "entry": In(MapEntry),
                "page": In(range(max(2, config.map_pages))),
                "entries": Out(page),
                "load": In(1),
                "loaded": In(page),
                "left": Out(range(spares + 1)),
                "low": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        banks, each, rows = config.banks, config.spare_rows, config.mram_rows
        kept = data.StructLayout({"row": ceil_log2(rows), "used": 1, "bad": 1})
        entries = [Signal(kept, name=f"entry{number}") for number in range(self._spares)]
        taken = [entry.used | entry.bad for entry in entries]

        for b in range(banks):
            m.d.comb += self.places[b].eq(self.rows[b])
            for j in range(each):
                entry = entries[j * banks + b]
                with m.If(_lies(entry, self.rows[b]) & ~self.bare):
                    m.d.comb += self.places[b].eq(rows - each + j)

        bank = self.row[: exact_log2(banks)]
        free_of_bank = Signal(each)
        m.d.comb += [
            free_of_bank.eq(Array(Cat(~taken[j * banks + b] for j in range(each)) for b in range(banks))[bank]),
            self.available.eq(free_of_bank.any()),
            self.left.eq(sum(~each_taken for each_taken in taken)),
            self.low.eq(Cat(taken[max(each - 2, 0) * banks + b] for b in range(banks)).any()),
        ]
        for j in reversed(range(each)):
            with m.If(free_of_bank[j]):
                m.d.comb += self.spare.eq(j * banks + bank)

        of_banks = [entries[b::banks] for b in range(banks)]
        m.d.comb += self.former.eq(Array(map(self._former, of_banks))[bank])

        for number, entry in enumerate(entries):
            page, place = divmod(number, PAGE_SPARES)
            shown = self.loaded[place]
            with m.If(self.assign & (self.number == number)):
                m.d.sync += [
                    entry.row.eq(self.entry.row), entry.used.eq(self.entry.used), entry.bad.eq(self.entry.bad)
                ]  # fmt: skip
            with m.Elif(self.load & (self.page == page)):
                m.d.sync += [entry.row.eq(shown.row), entry.used.eq(shown.used), entry.bad.eq(shown.bad)]
        padding = Const(0, len(self.entry.row) - ceil_log2(rows))
        words = [Cat(entry.row, padding, entry.used, entry.bad) for entry in entries]
        words += [Const(0, MapEntry.as_shape().size)] * (config.map_pages * PAGE_SPARES - len(words))
        pages = [Cat(words[page * PAGE_SPARES : (page + 1) * PAGE_SPARES]) for page in range(config.map_pages)]
        m.d.comb += self.entries.as_value().eq(Array(pages)[self.page] if len(pages) > 1 else pages[0])
        return m

    def _former(self, entries: list[Value]) -> Value:
        """Which of a bank's spares the row in question has left."""
        local = self.row[exact_log2(self._config.banks) :]
        lies = [_lies(entry, local) for entry in entries]
        left = [entry.bad | entry.used & Cat(lies[j + 1 :]).any() for j, entry in enumerate(entries)]
        return Cat((entry.row == local) & gone for entry, gone in zip(entries, left, strict=True))


def _lies(entry: Value, row: Value) -> Value:
    """Whether a bank's row lies on the spare of an entry, unless a later one has it."""
    return entry.used & ~entry.bad & (entry.row == row)
