# SPDX-License-Identifier: Apache-2.0
"""Spare rows: no two rows ever share one, and what a row has moved to is overwritten by nothing but that row.

What the map says of two rows at one time; then how entries of the map come about and change, with a bank
controller that answers whatever it likes.
"""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.utils import exact_log2
from catalogue import Break, Proof
from design import CONFIGURATIONS, find
from engine import Harness
from properties import before, hitherto, in_states
from stream_rules import together

from respin.rtl.mram.memory import MaintainedMemory, _Task
from respin.rtl.mram.ports import Outcome, WriteKind
from respin.rtl.mram.row_map import RowMap

CONFIG = CONFIGURATIONS["small"]
"""Two banks with four spares each, all in one page of the map."""
BANK_BITS = exact_log2(CONFIG.banks)
STARTS = ("wait for power", "give up", "read a copy", "take a copy", "next page")
COPIES = (*STARTS, "digest a page", "write a copy")
REMAPS = ("choose a spare", "fill the spare", "clear the spare", "compare", "digest a page", "write a copy")


def rows_lie_apart(m: Module, dut: RowMap):
    """A row is asked for in one cycle and another one in the next, while the map stays as it is."""
    first_spare = CONFIG.mram_rows - CONFIG.spare_rows
    stays = ~before(m, dut.assign | dut.load | dut.bare) & ~dut.bare
    for row, place in zip(dut.rows, dut.places, strict=True):
        last, asked = before(m, row), (row < first_spare) & before(m, row < first_spare)
        yield stays & asked & (row != last) & (place == before(m, place))


def left_spares_are_not_in_use(m: Module, dut: RowMap):
    """A row is asked for, and the spares that it has left are looked up."""
    first_spare = CONFIG.mram_rows - CONFIG.spare_rows
    bank, local = dut.row[:BANK_BITS], dut.row[BANK_BITS:]
    for number, (row, place) in enumerate(zip(dut.rows, dut.places, strict=True)):
        asked = ~dut.bare & (bank == number) & (row == local) & (row < first_spare)
        for spare, former in enumerate(dut.former):
            yield asked & (place == first_spare + spare) & former


def in_force(entry: Value) -> Value:
    """Whether an entry of the map has a row lie on its spare."""
    return entry.used & ~entry.bad


def has_a_row(dut: MaintainedMemory, number: int) -> Value:
    """Whether a row lies on spare ``number``: its entry is in force, and no later one has the row lie elsewhere."""
    entry, later = entries(dut)[number], entries(dut)[number + CONFIG.banks :: CONFIG.banks]
    return in_force(entry) & ~Cat(in_force(other) & (other.row == entry.row) for other in later).any()


def entries(dut: MaintainedMemory) -> list[Value]:
    """The map's, by number of the spare."""
    return [dut._map.entries[number] for number in range(CONFIG.banks * CONFIG.spare_rows)]


def as_it_is_used(m: Module, dut: MaintainedMemory) -> Value:
    """Users ask for rows of content, but for bare rows; the controller answers as is proven of it."""
    content = ~dut.write.valid | dut._bare | (dut.write.payload.row < CONFIG.usable_rows)
    return hitherto(m, content & together(dut._inner.write, dut._inner.written))


def _does(dut: MaintainedMemory, task: str) -> Value:
    return Value.cast(dut._task) == _Task[task].value


def unknowing(dut: MaintainedMemory):
    """What must never be, state by state: whether a spare is free, which row is at hand and which copy of the map."""
    chosen, walk = dut._map.entries[dut._number], dut._walk
    remaps = in_states(dut, *REMAPS) & ~dut._restoring
    fills, copies = in_states(dut, "fill the spare"), in_states(dut, *COPIES)
    yield fills & (chosen.used | chosen.bad)
    yield fills & (dut._number[:BANK_BITS] != dut._row[:BANK_BITS])
    yield in_states(dut, "clear the spare") & ~chosen.bad
    yield in_states(dut, "write former spares") & ~(_does(dut, "WRITE") & dut.write.valid & dut._bare)
    yield in_states(dut, "choose a spare", "fill the spare", "clear the spare", "compare") & _does(dut, "LOAD")
    yield remaps & _does(dut, "WRITE") & (~dut.write.valid | dut._bare)
    yield remaps & _does(dut, "SCRUB") & (dut._row >= CONFIG.usable_rows)
    yield remaps & _does(dut, "MARCH") & ~walk.running
    yield dut._restoring & ~(_does(dut, "SCRUB") & in_states(dut, "digest a page", "write a copy"))
    yield copies & (dut._page != 0)
    yield dut._scrub_row >= CONFIG.first_spare_row
    yield walk.running & (walk.row >= CONFIG.usable_rows)
    yield in_states(dut, "march") & ~_does(dut, "MARCH")
    yield in_states(dut, "read a row", "judge a row", "repair") & ~_does(dut, "SCRUB")
    yield in_states(dut, *STARTS) & ~_does(dut, "LOAD")


def knows(m: Module, dut: MaintainedMemory, *, parts: list):
    """It never comes to a state without what that goes by."""
    kept = as_it_is_used(m, dut)
    for case in unknowing(dut):
        yield kept & case


def spares_are_kept(m: Module, dut: MaintainedMemory, *, parts: list):
    """A spare stands for its row until it is given up as bad, and the memory sends nothing else to it."""
    kept = as_it_is_used(m, dut) & ~Cat(unknowing(dut)).any()
    inner, loaded = dut._inner, before(m, dut._map.load)
    request = inner.write.payload
    own = inner.write.valid & inner.maintenance[1] & ~dut._map.bare
    for number, entry in enumerate(entries(dut)):
        stood = before(m, kept & in_force(entry))
        yield kept & ~loaded & stood & ~entry.bad & (~entry.used | (entry.row != before(m, entry.row)))
        yield kept & own & (request.row == CONFIG.first_spare_row + number) & has_a_row(dut, number)


def spares_are_filled(m: Module, dut: MaintainedMemory, *, parts: list):
    """An entry comes into force for the row at hand, when a spare of that row's bank has taken the row's content."""
    kept = as_it_is_used(m, dut) & ~Cat(unknowing(dut)).any()
    inner, loaded = dut._inner, before(m, dut._map.load)
    sent, said = inner.write.payload, inner.written.payload
    takes = inner.write.valid & (sent.kind == WriteKind.WRITE) & inner.written.valid
    takes &= (said.outcome == Outcome.OK) | (said.outcome == Outcome.DEFECT)
    users = dut.write.valid & (sent.data.as_value() == dut.write.payload.data.as_value())
    takes &= users | ~_does(dut, "WRITE")
    row = Mux(_does(dut, "WRITE"), dut.write.payload.row, dut._row)
    for number, entry in enumerate(entries(dut)):
        begins = kept & before(m, kept) & ~loaded & in_force(entry) & ~before(m, in_force(entry))
        filled = takes & (sent.row == CONFIG.first_spare_row + number)
        yield begins & ~before(m, filled & (row[:BANK_BITS] == number % CONFIG.banks))
        yield begins & (entry.row != before(m, row >> BANK_BITS)[: len(entry.row)])


def maintained(properties) -> Harness:
    memory, free = find("MaintainedMemory", "small"), ("MramController", "ErrorLog")
    return Harness(memory, properties, free=free, orderly=True)


MEMORY = "mram.memory"
PROOFS = (
    Proof(
        name="RowMap: rows lie apart",
        claim="As long as the map stays as it is, no two rows of content or of the map are sent to one place.",
        build=lambda: Harness(find("RowMap", "small"), rows_lie_apart),
        quick=True,
        breaks=(
            Break(
                module="mram.row_map",
                before="entry.used & ~entry.bad & (entry.row == row)",
                after="entry.used & ~entry.bad & (entry.row[1:] == row[1:])",
            ),
        ),
    ),
    Proof(
        name="RowMap: spares that a row has left",
        claim="The spare that a row is sent to is none of those that it is said to have left.",
        build=lambda: Harness(find("RowMap", "small"), left_spares_are_not_in_use),
        quick=True,
        breaks=(
            Break(
                module="mram.row_map",
                before="Cat(lies[j + 1 :]).any()",
                after="Cat(lies[j:]).any()",
            ),
        ),
    ),
    Proof(
        name="MaintainedMemory: knows what it goes by",
        claim="A spare that is filled is free, and of the bank of the row at hand; one that is cleared is bad; rows at"
        " hand and copies of the map are where such rows are, while users ask for rows of content. Free:"
        " MramController, ErrorLog.",
        build=partial(maintained, knows),
        by_itself=True,
        seconds=120,
        breaks=(
            Break(
                module=MEMORY,
                before="m.d.sync += self._number.eq(spares.spare)",
                after="m.d.sync += self._number.eq(spares.spare + 1)",
            ),
            Break(
                module="mram.row_map",
                before="for b in range(banks))[bank])",
                after="for b in range(banks))[bank ^ self.row[1]])",
            ),
        ),
    ),
    Proof(
        name="MaintainedMemory: spares stay with their rows",
        claim="While it knows that, a spare that a row lies on is that row's until it is given up as bad or the map is"
        " read anew, and the memory itself sends no request to one that a row lies on. Free: MramController, ErrorLog.",
        build=partial(maintained, spares_are_kept),
        seconds=120,
        breaks=(
            Break(
                module=MEMORY,
                before="[spares.assign.eq(1), spares.entry.bad.eq(1)]",
                after="[spares.assign.eq(1), spares.entry.bad.eq(0)]",
            ),
            Break(
                module=MEMORY,
                before="WriteKind.CHECK, self._row, self._content",
                after="WriteKind.CHECK, config.first_spare_row + self._number, self._content",
            ),
        ),
    ),
    Proof(
        name="MaintainedMemory: spares are filled first",
        claim="While it knows that, a row comes to lie on a spare of its own bank only, and when that has taken a write"
        " of the row's content, or the map is read. Free: MramController, ErrorLog.",
        build=partial(maintained, spares_are_filled),
        seconds=300,
        breaks=(
            Break(
                module=MEMORY,
                before="else self._took(Outcome.OK, Outcome.DEFECT)",
                after="else self._took(Outcome.OK, Outcome.DEFECT, Outcome.FAILED)",
            ),
            Break(
                module=MEMORY,
                before="spares.entry.row.eq(self._row[bank_bits:])",
                after="spares.entry.row.eq(self._row)",
            ),
        ),
    ),
)
