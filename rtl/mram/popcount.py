# SPDX-License-Identifier: Apache-2.0
"""Counting ones with a balanced tree of adders."""

from collections.abc import Iterable

from amaranth.hdl import Value


def popcount(bits: Iterable[Value]) -> Value:
    """Return the number of ones among ``bits``."""
    terms = list(bits)
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]
