# SPDX-License-Identifier: Apache-2.0
"""Frames of the serial link as the host makes and reads them (docs/link.md)."""

import zlib
from collections.abc import Iterator

from respin.rtl.link.protocol import CRC_BYTES, ESCAPE, FLAG, FLIPPED, WORD_BYTES, Command

_ESCAPED = (ESCAPE, FLAG)
"""In the order in which they are escaped: an escape that stands for a flag must not be escaped again."""


def frame(content: bytes) -> bytes:
    """Return what goes over the line for a frame's content: its CRC behind it, stuffed, between flags."""
    stuffed = content + zlib.crc32(content).to_bytes(CRC_BYTES, "little")
    for byte in _ESCAPED:
        stuffed = stuffed.replace(bytes([byte]), bytes([ESCAPE, byte ^ FLIPPED]))
    return bytes([FLAG]) + stuffed + bytes([FLAG])


def request(number: int, command: Command, address: int, words: int, payload: bytes = b"") -> bytes:
    """Return a request as it goes over the line; ``payload`` are the words of one that writes."""
    header = bytes([number, command]) + address.to_bytes(4, "little") + bytes([words - 1])
    return frame(header + payload)


def answer_bytes(words: int) -> int:
    """Return how many bytes an answer with ``words`` words takes at most: every byte stuffed."""
    return 2 + 2 * (2 + WORD_BYTES * words + CRC_BYTES)


class Answers:
    """Finds answers among the bytes of a line, whatever else there is."""

    def __init__(self) -> None:
        self._part = bytearray()

    def forget(self) -> None:
        """Drop the beginning of a frame that has not ended."""
        self._part.clear()

    def feed(self, line: bytes) -> Iterator[bytes | None]:
        """Yield the content of each frame that ends in ``line``, without its CRC; None for a broken one."""
        for byte in line:
            if byte != FLAG:
                self._part.append(byte)
            elif self._part:
                whole = bytes(self._part)
                self._part.clear()
                for escaped in reversed(_ESCAPED):
                    whole = whole.replace(bytes([ESCAPE, escaped ^ FLIPPED]), bytes([escaped]))
                content, crc = whole[:-CRC_BYTES], whole[-CRC_BYTES:]
                yield content if zlib.crc32(content) == int.from_bytes(crc, "little") and content else None
