# SPDX-License-Identifier: Apache-2.0
"""The row code: every single and double error of a codeword, and all syndromes that are no column."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator, SimulatorContext
from mram_bench import H_COLUMNS, SEED, encode, pairs

from respin.rtl.mram import secded


def simulate(dut: Any, bench: Callable[[SimulatorContext], Awaitable[None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


def words() -> list[int]:
    rng = random.Random(SEED)
    return [0, 2**64 - 1, *(1 << bit for bit in range(64)), *(rng.getrandbits(64) for _ in range(8))]


def test_the_matrix_is_hsiaos() -> None:
    assert list(secded.COLUMNS) == H_COLUMNS
    assert len(set(secded.COLUMNS)) == 72
    assert all(column.bit_count() % 2 for column in secded.COLUMNS)
    assert [secded.row_mask(r).bit_count() for r in range(8)] == [27] * 8


class Decoder(wiring.Component):
    """Both parts of the decoder."""

    word: In(72)
    data: Out(64)
    corrected: Out(1)
    uncorrectable: Out(1)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.syndrome = syndrome = secded.SecdedSyndrome()
        m.submodules.decoder = decoder = secded.SecdedDecoder()
        m.d.comb += [
            syndrome.word.eq(self.word),
            decoder.read.eq(self.word[:64]),
            decoder.syndrome.eq(syndrome.syndrome),
            *(getattr(self, name).eq(getattr(decoder, name)) for name in ("data", "corrected", "uncorrectable")),
        ]
        return m


def test_encoder_completes_every_row_of_the_matrix() -> None:
    dut = secded.SecdedEncoder()

    async def bench(ctx: SimulatorContext) -> None:
        for word in words():
            ctx.set(dut.data, word)
            assert ctx.get(dut.check) == encode(word) >> 64

    simulate(dut, bench)


def test_decoder_corrects_every_single_and_detects_every_double_error() -> None:
    dut = Decoder()

    async def bench(ctx: SimulatorContext) -> None:
        for word in words()[-3:]:
            code = encode(word)
            for errors in [(), *((bit,) for bit in range(72)), *pairs(72)]:
                received = code ^ sum(1 << bit for bit in errors)
                ctx.set(dut.word, received)
                found = (ctx.get(dut.data), ctx.get(dut.corrected), ctx.get(dut.uncorrectable))
                as_read = received & 2**64 - 1
                assert found == (as_read if len(errors) == 2 else word, len(errors) == 1, len(errors) == 2), errors

    simulate(dut, bench)


def test_decoder_takes_the_other_odd_syndromes_as_uncorrectable() -> None:
    dut = Decoder()

    async def bench(ctx: SimulatorContext) -> None:
        for syndrome in range(1, 256):
            ctx.set(dut.word, syndrome << 64)
            known = syndrome in H_COLUMNS
            assert (ctx.get(dut.corrected), ctx.get(dut.uncorrectable)) == (known, not known)

    simulate(dut, bench)
