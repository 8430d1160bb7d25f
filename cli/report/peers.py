# SPDX-License-Identifier: Apache-2.0
"""Published silicon, and how its figures become energy of one 8-bit multiply-accumulate."""

from dataclasses import dataclass

OPERATIONS = 2
"""A multiply-accumulate is two operations, in all of these figures."""
BIT_PRODUCTS = 64
"""Products of single bits in an 8-bit by 8-bit multiplication."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """One published chip or macro: its efficiency in TOPS/W, and the bits of its two operands."""

    name: str
    node: str
    tops_per_watt: float
    bits: tuple[int, int]
    published: str
    conversion: str

    @property
    def picojoules(self) -> float:
        """Energy of an 8-bit by 8-bit multiply-accumulate: two operations, more for operands of fewer bits."""
        first, second = self.bits
        return OPERATIONS / self.tops_per_watt * BIT_PRODUCTS / (first * second)


PEERS = (
    Peer(
        name="SAS-MRAM FP8 inference macro", node="28 nm", tops_per_watt=15.31, bits=(8, 8),
        published="15.31 TOPS/W, 269 GOPS at 700 MHz: 192 multiply-accumulates a cycle",
        conversion="two operations; an FP8 multiplication taken as an INT8 one, though its mantissas are shorter",
    ),
    Peer(
        name="Siracusa, N-EUREKA fed by MRAM", node="16 nm", tops_per_watt=8.84, bits=(8, 8),
        published="8.84 TOp/J peak (IEEE JSSC 59, 2024); its abstract names no bits",
        conversion="two operations, taken as 8-bit ones",
    ),
    Peer(
        name="TSMC digital SRAM in-memory computing", node="22 nm", tops_per_watt=89.0, bits=(4, 4),
        published="89 TOPS/W at 4 bits",
        conversion="two operations, and four 4-bit products for an 8-bit one",
    ),
)  # fmt: skip
