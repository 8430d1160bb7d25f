# SPDX-License-Identifier: Apache-2.0
"""The write path, on any bank that keeps to the rules of its pins and with any requests.

Two steps: a comparison of rows says what is so; and the writer, on whatever comparisons say, ends each request with the
status that the comparison of the row as it was read after its last pulse gives.
"""

from unittest.mock import patch

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out
from catalogue import Break, Proof
from engine import Harness
from properties import before, held, hitherto, ports, withdrawn

from respin.rtl.config import ROW_COLUMNS, STRIPS, AcceleratorConfig, preset
from respin.rtl.interfaces import ROW, BankCommand
from respin.rtl.mram.compare import RowCompare
from respin.rtl.mram.popcount import popcount
from respin.rtl.mram.ports import CHECKS, Outcome, WriteKind
from respin.rtl.mram.pulses import PULSE_GROUPS
from respin.rtl.mram.row_codec import CODEWORDS, codewords
from respin.rtl.mram.secded import CHECK_BITS, DATA_BITS, row_mask
from respin.rtl.mram.writer import RowWriter


def compares(m: Module, dut: RowCompare, *, content: Signal, raw: Signal):
    """Of the first comparison, and of the second one: of other rows, or of the same."""
    m.d.comb += dut.data.as_value().eq(held(m, content))
    data = dut.data.as_value()
    run = hitherto(m, dut.run | ~dut.viewing)
    m.d.comb += dut.columns.eq(held(m, raw))
    differences = []
    for number, word in enumerate(codewords(dut.columns)):
        part = data.word_select(number, DATA_BITS)
        check = Cat((part & row_mask(row, DATA_BITS)).xor() for row in range(CHECK_BITS))
        differences.append(word ^ Cat(part, check))
        yield run & dut.done & (dut.checks[number] != check)
    strips = differences[0] | differences[1] | differences[2] | differences[3]
    yield dut.done & (dut.strips != strips)
    yield dut.done & ((dut.differing == 0) != ~strips.any())
    # No two bits of a word: clearing its lowest one leaves none.
    single = Cat((word & (word - 1)) == 0 for word in differences).all()
    yield dut.done & (dut.repairable != single)
    count = Signal(range(CODEWORDS + 1))
    m.d.comb += count.eq(popcount(Cat(word.any() for word in differences)))
    yield dut.done & single & (dut.differing != count)


class AnyComparison(Component):
    """Says anything at the end of a comparison, and stays with it until the next one.

    It takes as long as :class:`RowCompare`, and looks at the row in the same cycles.
    """

    run: In(1)
    data: In(ROW)
    columns: In(ROW_COLUMNS)
    viewing: Out(1)
    done: Out(1)
    checks: Out(CHECKS)
    strips: Out(STRIPS)
    differing: Out(range(ROW_COLUMNS + 1))
    repairable: Out(1)
    one_strip: Out(1)
    said: In(STRIPS + 9 + 2)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        step, kept = Signal(range(RowCompare.latency + 1)), Signal.like(self.said)
        m.d.comb += [
            self.viewing.eq(self.run & (step < CODEWORDS)),
            self.done.eq(self.run & (step == RowCompare.latency)),
            Cat(self.strips, self.differing, self.repairable, self.one_strip).eq(kept),
        ]
        with m.If(self.run):
            m.d.sync += step.eq(step + 1)
        with m.If(self.run & (step == 0)):
            m.d.sync += kept.eq(self.said)
        with m.If(self.done):
            m.d.sync += step.eq(0)
        return m


class Writer(RowWriter):
    """The writer with any comparison in it."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(config=config)
        self.retries = config.write_retries
        self.comparison = AnyComparison()

    def elaborate(self, platform: object) -> Module:
        with patch("respin.rtl.mram.writer.RowCompare", lambda: self.comparison):
            return super().elaborate(platform)


def _environment(m: Module, dut: Writer, said: Signal) -> Value:
    """The rules: requests stay, a bank is granted to who claims it, and ends a READ only when one is under way. What a
    comparison says hangs together: something differs in a row where it does in some strip."""
    comparison = dut.comparison
    m.d.comb += comparison.said.eq(said)
    strips, differing, repairable = said[:STRIPS], said[STRIPS:-2], said[-2]
    reading = Signal()
    with m.If(dut.cmd == BankCommand.READ):
        m.d.sync += reading.eq(1)
    with m.Elif(dut.rvalid):
        m.d.sync += reading.eq(0)
    request = next(port for port in ports(dut) if port.name == "requests")
    one_per_codeword = ~repairable | (differing <= CODEWORDS)
    return hitherto(
        m,
        ~withdrawn(m, request)
        & (~dut.granted | dut.claim)
        & (~dut.rvalid | reading)
        & (strips.any() == differing.any())
        & (repairable | differing.any())
        & one_per_codeword
        & ~(before(m, dut.requests.valid & ~dut.requests.ready) & (dut.in_range != before(m, dut.in_range))),
    )


def _pulses(dut: Writer) -> Value:
    return (dut.cmd != BankCommand.IDLE) & (dut.cmd != BankCommand.READ)


def acknowledges_what_it_verified(m: Module, dut: Writer, *, said: Signal):
    kept = _environment(m, dut, said)
    comparison, status = dut.comparison, dut.status
    # How far the row has been looked at since the last pulse: read, in the latch, compared.
    read, latched, compared = Signal(), Signal(), Signal()
    with m.If(_pulses(dut) | (dut.requests.valid & dut.requests.ready)):
        m.d.sync += [read.eq(0), latched.eq(0), compared.eq(0)]
    with m.Elif(dut.cmd == BankCommand.READ):
        m.d.sync += [read.eq(1), latched.eq(0), compared.eq(0)]
    with m.Elif(dut.rvalid):
        m.d.sync += latched.eq(read)
    with m.Elif(comparison.done):
        m.d.sync += compared.eq(latched)
    write = status.valid & (dut.requests.payload.kind == WriteKind.WRITE)
    outcome, differs = status.payload.outcome, comparison.differing.any()
    yield kept & comparison.viewing & ~latched
    for kind, right in {
        Outcome.OK: ~differs,
        Outcome.DEFECT: differs & comparison.repairable & (status.payload.defects == comparison.differing),
        Outcome.FAILED: differs & ~comparison.repairable,
    }.items():
        yield kept & write & (outcome == kind) & ~(compared & right)


def pulses_what_differs(m: Module, dut: Writer, *, said: Signal):
    kept = _environment(m, dut, said)
    request, comparison = dut.requests.payload, dut.comparison
    pulses = kept & _pulses(dut)
    raw = request.kind == WriteKind.RAW_WRITE
    yield pulses & (request.kind == WriteKind.RAW_READ)
    yield pulses & raw & (dut.strip_mask & ~request.mask).any()
    yield pulses & (request.kind == WriteKind.WRITE) & (dut.strip_mask & ~comparison.strips).any()
    yield pulses & (request.kind == WriteKind.WRITE) & (dut.pulse > dut.retries)
    groups = Cat(Cat(dut.strip_mask[strip] for strip in group).any() for group in PULSE_GROUPS)
    yield pulses & (~groups.any() | (groups & (groups - 1)).any())


def keeps_to_its_bank(m: Module, dut: Writer, *, said: Signal):
    kept = _environment(m, dut, said)
    acts = dut.cmd != BankCommand.IDLE
    yield kept & acts & ~(dut.owned & dut.ready)
    yield kept & (acts | dut.owned) & ~dut.in_range
    yield kept & dut.owned & ~dut.requests.valid
    yield kept & dut.claim & ~dut.requests.valid


def loses_none(m: Module, dut: Writer, *, said: Signal):
    """A request is taken in the very cycle in which its status is, and there is no status without a request."""
    kept = _environment(m, dut, said)
    yield kept & ((dut.requests.valid & dut.requests.ready) != (dut.status.valid & dut.status.ready))
    yield kept & dut.status.valid & ~dut.requests.valid
    yield kept & dut.status.valid & ((dut.status.payload.outcome == Outcome.REFUSED) != ~dut.in_range)


class Patience(Component):
    """In the place of the watchdog: sees waits, and ends none."""

    waiting: In(1)
    expired: Out(1)

    def elaborate(self, platform: object) -> Module:
        return Module()


class Unhurried(Writer):
    """The writer whose waits do not matter."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(config)
        self.patience = Patience()

    def elaborate(self, platform: object) -> Module:
        with patch("respin.rtl.mram.writer.Watchdog", lambda cycles: self.patience):
            return super().elaborate(platform)


def longest(config: AcceleratorConfig) -> int:
    """Cycles in which a request does not wait, at most: to its status, from the cycle in which it is there."""
    commands = 2 if config.write_scheme == "erase_program" else 1
    reading = 1 + 1 + RowCompare.latency + 1
    return 1 + reading + (config.write_retries + 1) * (len(PULSE_GROUPS) * commands + 1 + reading)


def ends(m: Module, dut: Unhurried, *, said: Signal):
    """Where nothing waits: a wait changes nothing but the watchdog, which ends it."""
    kept = hitherto(m, _environment(m, dut, said) & ~dut.patience.waiting)
    spent = Signal(range(longest(CONFIG) + 2))
    with m.If(dut.status.valid | ~dut.requests.valid):
        m.d.sync += spent.eq(0)
    with m.Elif(spent <= longest(CONFIG)):
        m.d.sync += spent.eq(spent + 1)
    yield kept & (spent > longest(CONFIG))


SAID = STRIPS + 9 + 2
WRITER = "mram.writer"
CONFIG = preset("nano")


def writer(properties, kind=Writer, config: AcceleratorConfig = CONFIG, **choices: int) -> Harness:
    return Harness(kind(config), properties, said=SAID, **choices)


PROOFS = (
    Proof(
        name="RowCompare: what it says is so",
        claim="For all rows: it names the strips, says whether SECDED repairs it, and how many then.",
        build=lambda: Harness(
            RowCompare(), compares, bound=("data", "columns"), content=256, raw=ROW_COLUMNS
        ),
        cycles=7,
        seconds=120,
        breaks=(
            Break(module="mram.compare", before="self.repairable & (ones <= 1)", after="self.repairable & (ones <= 2)"),
            Break(module="mram.compare", before="self.strips | difference", after="difference"),
        ),
    ),
    Proof(
        name="RowWriter: acknowledges only what it verified",
        claim="OK, DEFECT and FAILED are what a comparison found in the row as it was read after the last pulse.",
        build=lambda: writer(acknowledges_what_it_verified),
        seconds=120,
        quick=True,
        breaks=(
            Break(
                module=WRITER,
                before="with m.If(self.requests.payload.kind == WriteKind.RAW_WRITE):",
                after="with m.If(self.requests.payload.kind != WriteKind.RAW_READ):",
            ),
            Break(
                module=WRITER,
                before="Mux(compare.repairable, Outcome.DEFECT, Outcome.FAILED)",
                after="Outcome.DEFECT",
            ),
            Break(module=WRITER, before="with m.If(~self.rvalid):", after="with m.If(~self.ready):"),
        ),
    ),
    Proof(
        name="RowWriter: pulses only what differs",
        claim="A pulse goes to strips of one group that differ, or that a raw write names, with an allowed entry.",
        build=lambda: writer(pulses_what_differs),
        seconds=120,
        breaks=(
            Break(module=WRITER, before="Mux(raw_write, request.mask, compare.strips)", after="request.mask"),
            Break(
                module=WRITER,
                before="(self.pulse == self._config.write_retries)",
                after="(self.pulse > self._config.write_retries)",
            ),
        ),
    ),
    Proof(
        name="RowWriter: keeps to its bank",
        claim="It gives commands only to a bank that was granted and takes them, for a request in range.",
        build=lambda: writer(keeps_to_its_bank),
        quick=True,
        breaks=(
            Break(
                module=WRITER,
                before="with m.If(self.requests.valid & ~self.in_range):",
                after="with m.If(self.requests.valid & ~self.in_range & ~self.granted):",
            ),
            Break(
                module=WRITER,
                before="                with m.If(self.ready):\n",
                after="                with m.If(1):\n",
            ),
        ),
    ),
    Proof(
        name="RowWriter: loses no request",
        claim="Each request is taken together with its one status; REFUSED goes to those out of range alone.",
        build=lambda: writer(loses_none),
        quick=True,
        breaks=(
            Break(module=WRITER, before="self.requests.ready.eq(self.status.ready)", after="self.requests.ready.eq(1)"),
        ),
    ),
    Proof(
        name="RowWriter: ends",
        claim=f"A request has its status after at most {longest(CONFIG)} cycles besides waits (watchdog).",
        build=lambda: writer(ends, Unhurried),
        cycles=longest(CONFIG) + 4,
        seconds=120,
        breaks=(
            Break(
                module=WRITER,
                before="(self.pulse == self._config.write_retries)",
                after="(self.pulse > self._config.write_retries)",
            ),
        ),
    ),
)
