# SPDX-License-Identifier: Apache-2.0
"""A board on a serial line: the transport of :class:`respin.firmware_model.machine.Machine` over pyserial."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import serial
from serial.tools.list_ports import comports

from respin.firmware_model.frames import Answers, answer_bytes, request
from respin.rtl.host.registers import MAGIC
from respin.rtl.link.protocol import MAX_WORDS, PAGE_BYTES, WORD_BYTES, Command, Status

BAUD = 115200
"""What boards talk unless they are made otherwise."""
_ID, _IRQ_STATUS = 0x000, 0x028
_BITS_A_BYTE = 10
_QUIET_SECONDS = 0.02
"""After a broken answer the line must be at rest for so long before the request is sent again."""
_POLL_SECONDS = 0.005
"""Between two looks at whether a program has ended."""


class LinkError(Exception):
    """A board does not answer, or refuses; the message is one line and begins with the port."""


class SerialTransport:
    """Reaches the registers and the external memory of a machine on a board; its methods wait for nothing but the line.

    A request that is not answered is sent again. The board knows it by its number and does not carry it out twice.

    Parameters
    ----------
    port:
        Path of the serial device.
    baud:
        Bits a second, as the board was made for.
    answer_seconds:
        Longest wait for an answer, beside the time that its bytes take.
    attempts:
        How often a request is sent before the board is given up.
    limit_seconds:
        Longest wait for an interrupt.

    Attributes
    ----------
    on_moved:
        Called with a number of bytes whenever so many of memory have been written or read.
    on_wait:
        Called now and then while a program runs.
    sent_again:
        Requests that were sent more than once, so far.

    Raises
    ------
    LinkError
        If the port cannot be opened, or nothing there answers as a machine does.
    ValueError
        If ``baud`` or ``attempts`` is below 1.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int = BAUD,
        answer_seconds: float = 0.3,
        attempts: int = 8,
        limit_seconds: float = 600,
    ) -> None:
        for name, value in (("baud", baud), ("attempts", attempts)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.port, self.baud = port, baud
        self.on_moved: Callable[[int], None] | None = None
        self.on_wait: Callable[[], None] | None = None
        self.sent_again = 0
        self._answer_seconds, self._attempts, self._limit = answer_seconds, attempts, limit_seconds
        self._answers = Answers()
        # A program that ended early may have left the same number behind as the last one that the board knows.
        self._number = os.urandom(1)[0]
        self._line = self._open()
        try:
            # Reading comes first: only what writes is taken for sent again if it has the number of the request before.
            (found,) = self._read(Command.READ_REGISTERS, _ID, 1)
            if found != MAGIC:
                raise LinkError(f"{port}: what answers there is no Respin machine: its ID is {found:#010x}")
        except LinkError:
            self.close()
            raise

    def _open(self) -> serial.Serial:
        try:
            line = serial.Serial(self.port, self.baud, timeout=0, write_timeout=10, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            # Of what is no terminal pyserial gives the system's error as text only.
            number = getattr(error, "errno", None) or next(iter(getattr(error.__context__, "args", ())), None)
            reason = os.strerror(number) if isinstance(number, int) else str(error)
            there = ", ".join(sorted(found.device for found in comports())) or "none"
            raise LinkError(f"{self.port}: cannot be opened: {reason}; serial ports here: {there}") from error
        # Some USB adapters keep short answers for 16 ms unless they are told not to; others cannot be told.
        with suppress(ValueError, NotImplementedError):
            line.set_low_latency_mode(True)
        line.reset_input_buffer()
        return line

    def close(self) -> None:
        """Close the port."""
        self._line.close()

    # Memory.

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write external memory; ``address`` and the length are multiples of 4."""
        for at, count in self._pieces(address, len(content)):
            piece = content[at - address :][:count]
            self._ask(Command.WRITE_MEMORY, at, count // WORD_BYTES, piece)
            self._moved(count)

    async def read_memory(self, address: int, count: int) -> bytes:
        """Read external memory; ``address`` and ``count`` are multiples of 4."""
        content = b""
        for at, size in self._pieces(address, count):
            content += self._ask(Command.READ_MEMORY, at, size // WORD_BYTES)
            self._moved(size)
        return content

    def _pieces(self, address: int, count: int) -> Iterator[tuple[int, int]]:
        """Address and bytes of the requests that a range takes: none leaves its page."""
        for name, value in (("address", address), ("count", count)):
            if value % WORD_BYTES:
                raise ValueError(f"{name} must be a multiple of {WORD_BYTES}, not {value!r}")
        if not 0 <= address <= address + count <= 1 << 32:
            raise ValueError(f"memory ends at {1 << 32:#x}, before {address:#x} + {count:#x}")
        end = address + count
        while address < end:
            size = min(end - address, PAGE_BYTES - address % PAGE_BYTES)
            yield address, size
            address += size

    def _moved(self, count: int) -> None:
        if self.on_moved is not None:
            self.on_moved(count)

    # Registers.

    async def write_register(self, offset: int, value: int) -> None:
        """Write a register; LinkError if the machine refuses."""
        self._ask(Command.WRITE_REGISTERS, offset, 1, value.to_bytes(WORD_BYTES, "little"))

    async def read_register(self, offset: int) -> int:
        """Read a register; LinkError if the machine refuses."""
        (value,) = self._read(Command.READ_REGISTERS, offset, 1)
        return value

    async def read_registers(self, offset: int, count: int) -> list[int]:
        """Read ``count`` registers that lie side by side; LinkError if the machine refuses."""
        values: list[int] = []
        for at, size in self._pieces(offset, WORD_BYTES * count):
            values += self._read(Command.READ_REGISTERS, at, size // WORD_BYTES)
        return values

    async def wait_interrupt(self) -> None:
        """Return once an enabled interrupt is there; LinkError if that takes too long."""
        end = time.monotonic() + self._limit
        while time.monotonic() < end:
            status, enabled = self._read(Command.READ_REGISTERS, _IRQ_STATUS, 2)
            if status & enabled:
                return
            if self.on_wait is not None:
                self.on_wait()
            time.sleep(_POLL_SECONDS)
        raise LinkError(f"{self.port}: no interrupt within {self._limit:g} s")

    # Requests.

    def _read(self, command: Command, address: int, words: int) -> list[int]:
        content = self._ask(command, address, words)
        return [int.from_bytes(content[at : at + WORD_BYTES], "little") for at in range(0, len(content), WORD_BYTES)]

    def _ask(self, command: Command, address: int, words: int, payload: bytes = b"") -> bytes:
        """Send a request until it is answered; returns the words of the answer."""
        assert 1 <= words <= MAX_WORDS
        self._number = (self._number + 1) % 256
        line = request(self._number, command, address, words, payload)
        wanted = 0 if payload else WORD_BYTES * words
        seconds = self._answer_seconds + (len(line) + answer_bytes(wanted // WORD_BYTES)) * _BITS_A_BYTE / self.baud
        try:
            for attempt in range(self._attempts):
                self.sent_again += attempt == 1
                self._answers.forget()
                self._line.write(line)
                answer = self._listen(seconds, wanted)
                if answer is not None:
                    return self._words_of(answer, command, address)
        except (serial.SerialException, OSError) as error:
            raise LinkError(f"{self.port}: the line is gone: {error}") from error
        raise LinkError(
            f"{self.port}: no board answers at {self.baud} baud: a request was sent {self._attempts} times, with"
            f" {seconds:.2g} s for an answer each"
        )

    def _listen(self, seconds: float, wanted: int) -> bytes | None:
        """The answer to the last request; None if it does not come, or comes broken."""
        end = time.monotonic() + seconds
        broken = False
        while (left := end - time.monotonic()) > 0:
            # What is left of a broken answer is not to be taken for the beginning of the next one.
            self._line.timeout = min(left, _QUIET_SECONDS) if broken else left
            received = self._line.read(1)
            if broken and not received:
                return None
            received += self._line.read(self._line.in_waiting)
            for content in self._answers.feed(received):
                if content is None:
                    broken = True
                elif content[0] == self._number and self._is_whole(content, wanted):
                    return content
        return None

    @staticmethod
    def _is_whole(content: bytes, wanted: int) -> bool:
        """Whether the answer has its status, and all words unless that says that they are not there."""
        return len(content) == 2 + wanted or (len(content) >= 2 and content[-1] != Status.OKAY)

    def _words_of(self, answer: bytes, command: Command, address: int) -> bytes:
        what = command.name.lower().replace("_", " ")
        if answer[-1] == Status.REFUSED:
            raise LinkError(f"{self.port}: the board refused to {what} at {address:#x}")
        if answer[-1] != Status.OKAY:
            raise LinkError(f"{self.port}: on the board nothing answered to {what} at {address:#x}: reset it")
        return answer[1:-1]
