# SPDX-License-Identifier: Apache-2.0
"""Frames of the serial link: the one source of the hardware and of the host's program. Standard library only.

Bytes are stuffed and guarded as in RFC 1662: ``FLAG`` before and after each frame, ``ESCAPE`` before a byte that looks
like either, which is sent with bit 5 turned over, and at the end the CRC-32 of ``zlib.crc32``, lowest byte first.
"""

from enum import IntEnum

FLAG = 0x7E
ESCAPE = 0x7D
FLIPPED = 0x20
"""What an escaped byte is sent XORed with."""

HEADER_BYTES = 7
"""A request begins with its number, its command, the address (four bytes, lowest first) and its words minus one."""
CRC_BYTES = 4
WORD_BYTES = 4
MAX_WORDS = 64
"""Most words of a frame; none leaves the 256 bytes in which it begins."""
PAGE_BYTES = MAX_WORDS * WORD_BYTES


class Command(IntEnum):
    """What a request asks for: bit 0 is "write", bit 1 is "memory"; the others are 0."""

    READ_REGISTERS = 0
    WRITE_REGISTERS = 1
    READ_MEMORY = 2
    WRITE_MEMORY = 3


class Status(IntEnum):
    """How a request ended."""

    OKAY = 0
    REFUSED = 1
    TIMEOUT = 2
