# SPDX-License-Identifier: Apache-2.0
"""The code: every error of up to two bits in every codeword, and every failure of a strip in every row."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out
from catalogue import Break, Proof
from design import find
from engine import Harness
from properties import held

from respin.rtl.config import STRIPS
from respin.rtl.mram.row_codec import CODEWORDS, interleave
from respin.rtl.mram.secded import CODEWORD_BITS, DATA_BITS, SecdedDecoder, SecdedEncoder, SecdedSyndrome


class Channel(Component):
    """A codeword is encoded, some of its bits are flipped, and it is decoded."""

    data: In(DATA_BITS)
    error: In(CODEWORD_BITS)
    decoded: Out(DATA_BITS)
    corrected: Out(1)
    uncorrectable: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.encoder = encoder = SecdedEncoder()
        m.submodules.syndrome = syndrome = SecdedSyndrome()
        m.submodules.decoder = decoder = SecdedDecoder()
        m.d.comb += [
            encoder.data.eq(self.data),
            syndrome.word.eq(Cat(self.data, encoder.check) ^ self.error),
            decoder.read.eq(syndrome.word[:DATA_BITS]),
            decoder.syndrome.eq(syndrome.syndrome),
            self.decoded.eq(decoder.data),
            self.corrected.eq(decoder.corrected),
            self.uncorrectable.eq(decoder.uncorrectable),
        ]
        return m


def corrects(m: Module, dut: Channel):
    one, two = _at_least(dut.error, 2)
    right = dut.decoded == dut.data
    yield ~one & ~(right & ~dut.corrected & ~dut.uncorrectable)
    yield one & ~two & ~(right & dut.corrected & ~dut.uncorrectable)


def detects(m: Module, dut: Channel, *, places: Signal):
    """Two bits are named by their places: far fewer cases to look at than errors."""
    places = [places.word_select(number, len(places) // 2) for number in range(2)]
    m.d.comb += dut.error.eq((1 << places[0]) | (1 << places[1]))
    there = Cat(place < CODEWORD_BITS for place in places).all() & (places[0] != places[1])
    yield there & ~(~dut.corrected & dut.uncorrectable)


def _at_least(bits: Value, most: int) -> list[Value]:
    """Whether at least one, two, up to ``most`` bits are set."""
    reached = [Const(0, 1)] * most
    for bit in bits:
        reached = [count | (bit & fewer) for count, fewer in zip(reached, [Const(1, 1), *reached], strict=False)]
    return reached


class Row(Component):
    """A row is encoded and laid out over the strips; one of them reads as anything; the row is decoded."""

    def __init__(self, configuration: str) -> None:
        self._decoder = find("RowDecoder", configuration)
        members = self._decoder.signature.members
        super().__init__(
            {
                "data": In(CODEWORDS * DATA_BITS),
                "strip": In(range(STRIPS)),
                "flips": In(CODEWORDS),
                **{name: members[name] for name in ("valid", "rows", "done")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = self._decoder
        words = []
        for number in range(CODEWORDS):
            m.submodules[f"encoder{number}"] = encoder = SecdedEncoder()
            m.d.comb += encoder.data.eq(self.data.word_select(number, DATA_BITS))
            words.append(Cat(encoder.data, encoder.check))
        failures = Cat(Mux(self.strip == strip, self.flips, 0) for strip in range(STRIPS))
        m.d.comb += [
            decoder.columns.eq(interleave(words) ^ failures),
            decoder.valid.eq(self.valid),
            decoder.rows.ready.eq(self.rows.ready),
            self.rows.valid.eq(decoder.rows.valid),
            self.rows.payload.eq(decoder.rows.payload),
            self.done.eq(decoder.done),
        ]
        return m


def survives_a_strip(m: Module, dut: Row, *, data: Signal, strip: Signal, flips: Signal):
    """The row stays as it is from the first cycle on; the first row that comes out is looked at."""
    m.d.comb += [dut.data.eq(held(m, data)), dut.strip.eq(held(m, strip)), dut.flips.eq(held(m, flips))]
    yield dut.rows.valid & (dut.rows.payload.uncorrectable | (dut.rows.payload.data.as_value() != dut.data))


def row(configuration: str) -> Harness:
    return Harness(
        Row(configuration), survives_a_strip, bound=("data", "strip", "flips"),
        data=CODEWORDS * DATA_BITS, strip=(STRIPS - 1).bit_length(), flips=CODEWORDS,
    )  # fmt: skip


SECDED = "mram.secded"
COMPLETE = "complete, no state"
ROW_CODEC = "mram.row_codec"

PROOFS = (
    Proof(
        name="SECDED: corrects one error",
        claim="For all data: no error leaves it as it is, every single one is corrected.",
        build=lambda: Harness(Channel(), corrects),
        cycles=1,
        complete=COMPLETE,
        quick=True,
        breaks=(
            Break(module=SECDED, before="self.read ^ wrong[:DATA_BITS]", after="self.read"),
        ),
    ),
    Proof(
        name="SECDED: detects two errors",
        claim="For all data: every double error is reported, and nothing corrected.",
        build=lambda: Harness(Channel(), detects, bound=("error",), places=2 * (CODEWORD_BITS - 1).bit_length()),
        cycles=1,
        complete=COMPLETE,
        seconds=120,
        breaks=(
            Break(module=SECDED, before="self.syndrome.any() & ~self.corrected", after="self.syndrome.all()"),
            Break(module=SECDED, before="(0x1F << n | 0x1F", after="(0x0F << n | 0x0F"),
        ),
    ),
    *(
        Proof(
            name=f"row: a strip fails, {decoders} decoder{'s' * (decoders > 1)}",
            claim="Whatever one strip of a row reads as, the decoded row is the one that was encoded.",
            build=lambda configuration=configuration: row(configuration),
            cycles=cycles,
            seconds=120,
            breaks=(
                Break(
                    module=ROW_CODEC,
                    before="[columns[c::CODEWORDS] for c in range(CODEWORDS)]",
                    after="[columns.word_select(c, CODEWORD_BITS) for c in range(CODEWORDS)]",
                ),
                Break(
                    module=ROW_CODEC,
                    before="Cat(decoder.data for decoder in decoders)",
                    after="Cat(decoder.read for decoder in decoders)",
                ),
            ),
        )
        for configuration, decoders, cycles in (("default", 4, 4),)
    ),
)
