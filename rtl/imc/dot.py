# SPDX-License-Identifier: Apache-2.0
"""The dot slices: lanes gated by one bit-plane, adder trees and shift-accumulators."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import PLANES

OFFSET = 128
"""What a weight is stored with on top: sums of unsigned numbers need no sign extension in the adder tree."""

TREE_LEVELS_PER_STAGE = 2
"""Adder levels between two registers: two carry chains and their routing take about 6 ns on an ECP5 of speed 6."""


def adder_tree(m: Module, operands: list[Value], *, name: str) -> Value:
    """Sum ``operands``, a power of two of bytes in offset binary, pairwise; registers start as for operands of 0."""
    level = 0
    while len(operands) > 1:
        level += 1
        registered = len(operands) == 2 or level % TREE_LEVELS_PER_STAGE == 0
        sums = []
        for index, (left, right) in enumerate(zip(operands[::2], operands[1::2], strict=True)):
            total = Signal((left + right).shape(), name=f"{name}_{level}_{index}", init=OFFSET << level)
            m.d["sync" if registered else "comb"] += total.eq(left + right)
            sums.append(total)
        operands = sums
    return operands[0]


class DotArray(Component):
    """``slices x pixels`` dot products of ``lanes`` weights with bit-serial operands.

    Slice ``m`` of stream ``p`` sums ``weights[m][lane] * x[p][lane]`` over the lanes and over the ``beats`` in which a
    row of weights is taken, where ``x`` arrives as bit-planes, top one first: each plane adds ``2*sum + plane``. A
    plane with ``negate`` counts negative (the sign plane of a signed operand).

    Arithmetic: weights in offset binary (``w + 128``). A lane whose bit is 0 contributes the offset alone, so the tree
    adds unsigned numbers, and the offsets of all lanes together amount to the inverted top bit of its sum
    (docs/decisions/0001-dot-slice.md). Sums are exact in 21 bits.

    Throughput: one plane of ``lanes`` a cycle, without gaps. Latency: ``sums`` hold the sums of a group ``latency``
    cycles after its last plane (with ``last``) was at the inputs, for one cycle. In a cycle without a plane ``bits``
    and the flags must be 0, which adds nothing.

    Parameters
    ----------
    slices, pixels, lanes:
        M, P and K of the configuration.
    beats:
        Cycles in which one plane meets one row: planes come in ``beats`` parts, the last one with ``plane_end``.

    Members
    -------
    weights : In(array of M arrays of K unsigned(8))
        Latched weights + 128, valid together with ``bits``.
    bits : In(array of P unsigned(K))
    negate, plane_end, last : In(1)
        Sign plane; last beat of its plane; last plane of its group.
    sums : Out(array of P arrays of M signed(21))
    """

    def __init__(self, *, slices: int, pixels: int, lanes: int, beats: int) -> None:
        self.slices, self.pixels, self.lanes, self.beats = slices, pixels, lanes, beats
        levels = (lanes - 1).bit_length()
        self.latency = -(-levels // TREE_LEVELS_PER_STAGE) + (beats > 1) + 1
        sum_bits = (lanes * beats - 1).bit_length() + 2 * PLANES
        super().__init__({
            "weights": In(data.ArrayLayout(data.ArrayLayout(unsigned(8), lanes), slices)),
            "bits": In(data.ArrayLayout(unsigned(lanes), pixels)),
            "negate": In(1),
            "plane_end": In(1),
            "last": In(1),
            "sums": Out(data.ArrayLayout(data.ArrayLayout(signed(sum_bits), slices), pixels)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        flags = Cat(self.negate, self.plane_end, self.last)
        for stage in range(self.latency - 1 - (self.beats > 1)):
            delayed = Signal(3, name=f"flags_{stage}")
            m.d.sync += delayed.eq(flags)
            flags = delayed
        for p in range(self.pixels):
            for s in range(self.slices):
                self._slice(m, p, s, flags)
        return m

    def _slice(self, m: Module, p: int, s: int, flags: Value) -> None:
        gated = [Mux(self.bits[p][lane], self.weights[s][lane], OFFSET) for lane in range(self.lanes)]
        total = adder_tree(m, gated, name=f"tree_{p}_{s}")
        plane = Cat(total[:-1], ~total[-1]).as_signed()
        if self.beats > 1:
            plane, flags = self._join_beats(m, plane, flags, f"{p}_{s}")
        # -plane is ~plane + 1; the 1 goes where the doubled sum has its zero.
        negate, plane_end, last = flags
        shape = self.sums[p][s].shape()
        partial = Signal(shape, name=f"partial_{p}_{s}")
        following = Signal(shape, name=f"following_{p}_{s}")
        m.d.comb += following.eq(Cat(negate, partial).as_signed() + (plane ^ negate.replicate(len(plane)).as_signed()))
        m.d.sync += self.sums[p][s].eq(following)
        with m.If(last):
            m.d.sync += partial.eq(0)
        with m.Elif(plane_end):
            m.d.sync += partial.eq(following)

    def _join_beats(self, m: Module, part: Value, flags: Value, name: str) -> tuple[Value, Value]:
        """Add up the beats of a plane before it is shifted in."""
        negate, plane_end, last = flags
        shape = signed(len(part) + (self.beats - 1).bit_length())
        open_sum = Signal(shape, name=f"beats_{name}")
        plane = Signal(shape, name=f"plane_{name}")
        m.d.sync += [plane.eq(open_sum + part), open_sum.eq(Mux(plane_end, 0, open_sum + part))]
        joined = Signal(3, name=f"flags_{name}")
        m.d.sync += joined.eq(Cat(negate & plane_end, plane_end, last))
        return plane, joined
