# SPDX-License-Identifier: Apache-2.0
"""The keeper, whatever the memory's rows hold: its procedures write the region tables and the region they are for.

With what is proven of the guard, no command changes what a locked region holds but ERASE. Three steps: in which order
words of rows come; what the keeper knows in each of its states then; and where its sweeps go, as long as it knows that.
"""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from catalogue import Break, Proof
from design import find
from engine import Harness
from parts import Part
from properties import before, hitherto, in_states

from respin.rtl.mram.keeper import Keeper, Overwritten
from respin.rtl.mram.keeper_ports import EVERYTHING, Procedure
from respin.rtl.mram.regions import FIRST_REGION_ROW, TABLE_ROWS, RegionKind
from respin.rtl.mram.sweep import FIELDS, Sweep

GOES_BY_A_SLOT = (
    "Read a header", "Check content", "Judge a slot", "Clear a header", "Copy the slot", "Write the header",
)  # fmt: skip
WRITES_A_SLOT = {
    "Clear a header": (Procedure.BEGIN, Procedure.ROLLBACK, Procedure.FORMAT),
    "Copy the slot": (Procedure.BEGIN,),
    "Write the header": (Procedure.COMMIT, Procedure.LOCK),
}
"""States, and the procedures that come to them."""
CHANGES_A_SLOT = (Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK, Procedure.LOCK)
ERASES = ("Overwrite", "Read back")


def passed_words(m: Module, sweep: Sweep) -> Signal:
    """Words that the sweep under way has passed."""
    passed = Signal(len(sweep.order.count) + 3)
    with m.If(sweep.done | ~sweep.go):
        m.d.sync += passed.eq(0)
    with m.Elif(sweep.passing):
        m.d.sync += passed.eq(passed + 1)
    return passed


def in_order(sweep: Sweep, passed: Value) -> Value:
    """A sweep passes the words of its rows in their order, and all of them unless it fails."""
    all_words = sweep.order.count * FIELDS
    return (~sweep.passing | sweep.go & ~sweep.done & (passed < all_words) & (sweep.number == passed[:6])) & (
        ~sweep.done | sweep.go & (sweep.failed | (passed == all_words))
    )


def words_in_order(m: Module, dut: Sweep):
    """Whatever comes, as long as an order stays until it is done; and what each state goes by."""
    order = dut.order.as_value()
    asked = before(m, dut.go & ~dut.done)
    kept, passed = hitherto(m, ~asked | dut.go & (order == before(m, order))), passed_words(m, dut)
    yield kept & ~in_order(dut, passed)
    at = (dut.row_read.payload.base - dut.order.source)[: len(dut.order.source)]
    rows, word = passed >> 3, passed[:3]
    under_way = in_states(dut, "Row", "Ask", "Take", "Pass", "Write", "Next")
    yield kept & (under_way | dut.done) & ~dut.go
    yield kept & under_way & ((dut.number != passed[:6]) | (at > dut.order.count))
    yield kept & in_states(dut, "Ask", "Take", "Pass", "Write", "Next") & (at == dut.order.count)
    yield kept & in_states(dut, "Row", "Ask", "Take") & ((rows != at) | (word != 0))
    yield kept & in_states(dut, "Pass") & (rows != at)
    yield kept & in_states(dut, "Write", "Next") & ((rows != at + 1) | (word != 0))
    yield kept & in_states(dut, "Wait") & (passed != 0)


def _does(dut: Keeper, *procedures: Procedure) -> Value:
    return Cat(dut._now == procedure for procedure in procedures).any()


def _end(dut: Keeper) -> Value:
    """The row after the last one of the region at hand."""
    return dut._entry["start"] + (dut._entry["slot_rows"] << dut._paired)


def unknowing(m: Module, dut: Keeper):
    """What must never be, state by state."""
    entry, everything = dut._entry, dut._region == EVERYTHING
    spares, at_slot = entry["kind"] == RegionKind.SPARES, in_states(dut, *GOES_BY_A_SLOT)
    accepted, key = dut._listed & dut._acceptable, Signal()
    with m.If(in_states(dut, "Judge")):
        m.d.sync += key.eq(dut.unlocked)
    yield accepted & (
        (entry["start"] < FIRST_REGION_ROW) | (_end(dut) > dut.config.usable_rows)
        | (entry["slot_rows"] < Mux(spares, 1, 2))
    )  # fmt: skip
    yield dut._acceptable & ((dut._reached < FIRST_REGION_ROW) | (dut._reached > dut.config.usable_rows))
    yield at_slot & (~accepted | spares | dut._side & ~dut._paired)
    yield at_slot & _does(dut, *CHANGES_A_SLOT) & entry["locked"]
    yield at_slot & _does(dut, Procedure.BEGIN, Procedure.COMMIT, Procedure.ROLLBACK) & ~dut._paired
    yield in_states(dut, "Read a copy of the table") & ~_does(dut, Procedure.START)
    for state, procedures in WRITES_A_SLOT.items():
        yield in_states(dut, state) & ~_does(dut, *procedures)
    yield in_states(dut, *ERASES) & (~_does(dut, Procedure.ERASE) | ~everything & ~accepted)
    erases = in_states(dut, "Load a region", "Update the table", "Copy the table", *ERASES)
    yield erases & _does(dut, Procedure.ERASE) & ~key
    part = dut._overwritten.as_value()  # of a broken copy's class
    yield ~in_states(dut, "Overwrite") & (part != Overwritten.REPLACED.value)
    yield (part == Overwritten.SPARES.value) & ~(everything & dut._tables_too)


def knows(m: Module, dut: Keeper, *, parts: list[Part]):
    """It never comes to a state without knowing what that goes by."""
    sweep = parts[0].component
    kept = hitherto(m, in_order(sweep, passed_words(m, sweep)))
    for case in unknowing(m, dut):
        yield kept & case


def writes_its_region(m: Module, dut: Keeper, *, parts: list[Part]):
    """Sweeps that write go to the tables or into the region at hand, a locked one only to erase it."""
    sweep = parts[0].component
    kept = hitherto(m, in_order(sweep, passed_words(m, sweep))) & ~Cat(unknowing(m, dut)).any()
    order, entry, erasing = sweep.order, dut._entry, _does(dut, Procedure.ERASE)
    end = Signal(len(order.target) + 1)
    m.d.comb += end.eq(order.target + order.count)
    tables = end <= 2 * TABLE_ROWS
    elsewhere = kept & sweep.go & order.writes & ~tables & ~(erasing & (dut._region == EVERYTHING))
    yield elsewhere & ((order.target < entry["start"]) | (end > _end(dut)))
    yield elsewhere & entry["locked"] & ~erasing & ~_does(dut, Procedure.FORMAT)


def kept_by(properties) -> Harness:
    return Harness(find("Keeper", "tiny"), properties, free=("Sweep",))


KEEPER = "mram.keeper"
PROOFS = (
    Proof(
        name="Sweep: words in order",
        claim="While an order stays until it is done, the words of its rows pass in their order, each with its number,"
        " and all of them unless it fails. Free: Processor, Watchdog.",
        build=lambda: Harness(
            find("Sweep", "tiny"), lambda m, dut, parts: words_in_order(m, dut), free=("Processor", "Watchdog")
        ),
        by_itself=True,
        seconds=120,
        quick=True,
        breaks=(
            Break(module="mram.sweep", before="at.eq(0), self.number.eq(0)", after="at.eq(0)"),
            Break(
                module="mram.sweep",
                before="with m.If(at == order.count):",
                after="with m.If(at + 1 == order.count):",
            ),
        ),
    ),
    Proof(
        name="Keeper: knows what it goes by",
        claim="Where it goes by a region's entry, that has passed all checks of the table; where it changes a slot,"
        " the region is not locked; where it erases, the key was there. Free: Sweep.",
        build=partial(kept_by, knows),
        by_itself=True,
        seconds=120,
        quick=True,
        breaks=(
            Break(
                module=KEEPER,
                before="(now == Procedure.ERASE) & ~self.unlocked",
                after="(now == Procedure.ERASE) & ~self.unlocked & regions.formatted",
            ),
            Break(
                module=KEEPER, before="self._now.eq(Procedure.START), self._copy.eq(0)", after="self._copy.eq(0)"
            ),
        ),
    ),
    Proof(
        name="Keeper: writes its region",
        claim="While it knows what it goes by, a sweep that writes stays in the region tables or in the region at hand;"
        " in a locked one only to erase it, or where a virgin memory is formatted. Free: Sweep.",
        build=partial(kept_by, writes_its_region),
        seconds=120,
        quick=True,
        breaks=(
            Break(
                module=KEEPER,
                before="target=self._slot_start(self._side), count=1, writes=True)",
                after="target=self._slot_start(1), count=1, writes=True)",
            ),
            Break(
                module=KEEPER,
                before="self._rows.eq(self._entry[\"slot_rows\"] << self._paired)",
                after="self._rows.eq(self._entry[\"slot_rows\"] << 1)",
            ),
        ),
    ),
)
