# SPDX-License-Identifier: Apache-2.0
"""The spare map as it lies in memory: pages of one row, each kept twice.

Page ``p`` holds the entries of spares ``8p .. 8p + 7``. Its copies are rows ``usable_rows + 2p`` and the next one;
spare ``n`` is row ``first_spare_row + n``. Of two whole copies the one with the higher sequence number holds; where no
copy is whole, none of the page's spares is used."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from respin.rtl.config import PAGE_SPARES

PAGE_BYTES = 32
CRC_BYTES = 28
"""Bytes of a page that its CRC protects: all that come before it."""


class MapEntry(data.Struct):
    """One spare: ``used`` for row ``row`` of its bank, ``bad``, or free where neither is set."""

    row: unsigned(22)
    used: unsigned(1)
    bad: unsigned(1)


class PageLayout(data.Struct):
    """A row of the spare map; ``crc`` is the CRC-32 (as of zlib) of the 28 bytes before it."""

    entries: data.ArrayLayout(MapEntry, PAGE_SPARES)
    sequence: unsigned(32)
    crc: unsigned(32)
