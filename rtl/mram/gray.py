# SPDX-License-Identifier: Apache-2.0
"""Gray code, byte by byte: a number that changes by one changes one bit."""

from amaranth.hdl import Cat, Value

BYTE = 8


def to_gray(row: Value) -> Value:
    """Return the reflected binary code of each byte: a bit is its own and the next higher one's sum modulo 2."""
    return Cat(byte ^ (byte >> 1) for byte in _bytes(row))


def from_gray(row: Value) -> Value:
    """Return the bytes whose codes these are: a bit is the sum modulo 2 of its code's bits from its own upwards."""
    return Cat(Cat(byte[bit:].xor() for bit in range(BYTE)) for byte in _bytes(row))


def _bytes(row: Value) -> list[Value]:
    return [row[start : start + BYTE] for start in range(0, len(row), BYTE)]
