# SPDX-License-Identifier: Apache-2.0
"""Gray code in hardware: every byte."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.sim import Simulator

from respin.rtl.mram.gray import from_gray, to_gray


def test_every_byte_beside_another() -> None:
    m = Module()
    row, codes, back = Signal(16), Signal(16), Signal(16)
    m.d.comb += [codes.eq(to_gray(row)), back.eq(from_gray(codes))]

    async def bench(ctx) -> None:
        seen = []
        for byte in range(256):
            ctx.set(row, Cat(Const(byte, 8), Const(0xA5, 8)))
            assert ctx.get(back) == 0xA500 | byte
            assert ctx.get(codes) >> 8 == 0b11110111  # 10100101, each bit with the next higher one
            seen.append(ctx.get(codes) & 0xFF)
        assert len(set(seen)) == 256
        assert all((a ^ b).bit_count() == 1 for a, b in zip(seen, seen[1:] + seen[:1], strict=True))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
