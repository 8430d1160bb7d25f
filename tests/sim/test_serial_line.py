# SPDX-License-Identifier: Apache-2.0
"""The host's own transport on a pseudo-terminal, behind it the link's Verilog: what is right, broken and missing."""

import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from linked_registers import BIT_CYCLES, SIZE, LinkedRegisters

from respin.firmware_model.identity import IdentityError, read_identity, require_identity
from respin.firmware_model.machine import Machine
from respin.firmware_model.serial_link import LinkError, SerialTransport
from respin.gen.emit import emit
from respin.rtl.config import preset
from respin.rtl.host.registers import register_map
from respin.sim.compiled import drive
from respin.sim.runner import seed
from respin.sim.serial_line import PseudoTerminal, SerialBoard, build_board, levels_of

READ_REGISTERS, WRITE_REGISTERS, READ_MEMORY, WRITE_MEMORY = range(4)
OKAY = 0
CONFIG = preset("tiny")
REGISTERS = register_map(CONFIG)
CONTROL, CURRENT, SEED = (REGISTERS.register(name).offset for name in ("CONTROL", "CURRENT", "SEED"))
START = b"\1\0\0\0"


@pytest.fixture(scope="module")
def library():
    return build_board({"board.v": emit(LinkedRegisters(), "board")}, "board")


@pytest.fixture
def board(library) -> Iterator[SerialBoard]:
    with SerialBoard(library, bit_cycles=BIT_CYCLES) as made:
        yield made


# Frames as the standard has them, apart from the host's own.


def frame(content: bytes) -> bytes:
    whole = content + zlib.crc32(content).to_bytes(4, "little")
    return b"\x7e" + whole.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def request(number: int, command: int, address: int, words: int, payload: bytes = b"") -> bytes:
    return frame(bytes([number, command]) + address.to_bytes(4, "little") + bytes([words - 1]) + payload)


def rest(bits: int) -> np.ndarray:
    return np.ones(bits, dtype=np.uint8)


def ask(board: SerialBoard, *request_of) -> bytes:
    return board.play(np.concatenate([levels_of(request(*request_of)), rest(5600)]))


def starts(board: SerialBoard, number: int) -> int:
    """How often ``start`` was written, asked with a request of this number."""
    content = ask(board, number, READ_REGISTERS, CURRENT, 1)[2:5].replace(b"\x7d\x5e", b"\x7e")
    return content[0]


def test_every_length(board):
    """Bursts of each length at each end of a page, with bytes that must be escaped; what lies beside them stays."""
    generator = random.Random(seed())
    memory = bytearray(1024)
    for number in range(1, 65):
        words = number
        start = 256 * generator.randrange(4) + 4 * generator.choice([0, 64 - words])
        payload = bytes(generator.choice([0x7E, 0x7D, 0x5E, 0x5D, generator.randrange(256)]) for _ in range(4 * words))
        assert ask(board, 2 * number, WRITE_MEMORY, start, words, payload) == frame(bytes([2 * number, OKAY]))
        memory[start : start + len(payload)] = payload
        page = start - start % 256
        found = ask(board, 2 * number + 1, READ_MEMORY, page, 64)
        assert found == frame(bytes([2 * number + 1]) + memory[page : page + 256] + bytes([OKAY]))


def test_a_request_acts_once(board):
    """The same request again gets the same answer and does nothing; with another number it acts."""

    def start(number: int) -> bytes:
        return ask(board, number, WRITE_REGISTERS, CONTROL, 1, START)

    for number in (0, 0, 1, 1, 1, 0):
        assert start(number) == frame(bytes([number, OKAY]))
    assert starts(board, 9) == 3
    for _ in range(2):
        assert ask(board, 10, WRITE_REGISTERS, 0, 1, START) == frame(b"\x0a\1"), "a refusal is kept as well"
    assert start(11) == frame(bytes([11, OKAY]))
    assert starts(board, 12) == 4


def test_broken_requests_have_no_effect(board):
    """Bits turned over, bytes dropped, doubled, put in, cut, joined, without stop bit: silence, the next one acts."""
    generator = random.Random(seed())
    good = request(5, WRITE_REGISTERS, CONTROL, 1, START)
    for place in range(1, len(good) - 1):
        for line in (
            *(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :] for bit in range(8)),
            good[:place] + good[place + 1 :],
            good[:place] + good[place : place + 1] + good[place:],
            good[:place] + bytes([generator.randrange(256)]) + good[place:],
            good[:place],
            good[:place] + b"\x7e" + good[place:],
            good[:place] + good[1:],
            good[:-1] + good[place:],
        ):
            if good not in line + b"\x7e":
                assert board.play(np.concatenate([levels_of(line + b"\x7e"), rest(10)])) == b"", line.hex()
        levels = levels_of(good)
        levels[10 * place + 9] = 0
        assert board.play(np.concatenate([levels, rest(10)])) == b"", f"no stop bit at {place}"
    noise = generator.randbytes(20_000)
    board.play(np.concatenate([levels_of(noise), (np.frombuffer(noise, np.uint8) & 1), rest(20)]))
    assert starts(board, 3) == 0
    assert ask(board, 5, WRITE_REGISTERS, CONTROL, 1, START) == frame(b"\5\0")
    assert starts(board, 6) == 1


def test_requests_that_are_none(board):
    """A right CRC around a length or a command that is none: silence and no effect."""
    control = CONTROL.to_bytes(4, "little")
    for content in (
        b"\1\1" + control + b"\0",
        b"\1\1" + control + b"\0" + bytes(3),
        b"\1\1" + control + b"\0" + bytes(8),
        b"\1\1" + control + b"\1" + START,
        b"\1\0" + control + b"\0" + START,
        b"\1\1" + control + b"\xff" + b"\1" * 1024,
        b"\1\3" + control + b"\x40" + b"\1" * 260,
        b"\1" * 1024 + b"\1\1" + control + b"\0" + START,  # what counts bytes must not begin anew
        b"\1\0" + control + b"\x40",
        b"\1\5" + control + b"\0" + START,
        b"\1\x81" + control + b"\0" + START,
        b"\1\1" + control[:3],
        b"",
    ):
        assert board.play(np.concatenate([levels_of(frame(content)), rest(500)])) == b"", content
    assert starts(board, 2) == 0


# The host.


@contextmanager
def connected(board: SerialBoard, **noise) -> Iterator[SerialTransport]:
    with PseudoTerminal(board, **noise) as line:
        transport = SerialTransport(line.path, answer_seconds=0.5)
        yield transport
        transport.close()


def test_the_host_and_the_board(board):
    """Ranges across pages, the identity, refusals, and a session after one that was cut off."""
    generator = random.Random(seed())
    content = generator.randbytes(1500 * 4)
    with connected(board) as transport:
        machine = Machine(CONFIG, transport)
        found = drive(read_identity(machine))
        require_identity(found, CONFIG)
        with pytest.raises(IdentityError, match="the machine there has vector_width 2, the program is for one with 1"):
            require_identity(found, preset("nano"))
        with pytest.raises(IdentityError, match="was made by Respin 9.1.0, this is 0.1.0: make it anew"):
            require_identity(found | {"major": 9}, CONFIG)
        moved: list[int] = []
        transport.on_moved = moved.append
        drive(transport.write_memory(36, content))
        assert drive(transport.read_memory(36, len(content))) == content
        assert sum(moved) == 2 * len(content)
        drive(machine.write("SEED", 0x7E7D7E7D))
        assert drive(machine.read("SEED")) == 0x7E7D7E7D
        with pytest.raises(LinkError, match="the board refused to write registers at 0x0$"):
            drive(transport.write_register(0, 1))
        with pytest.raises(LinkError, match=f"the board refused to read memory at {SIZE:#x}$"):
            drive(transport.read_memory(SIZE, 32))
        outside = ((2, 4, "address must be"), (0, 6, "count must be"), (1 << 32, 4, "memory ends"))
        for address, count, message in outside:
            with pytest.raises(ValueError, match=message):
                drive(transport.read_memory(address, count))
        assert transport.sent_again == 0
        # The next session finds the beginning of a frame in the board.
        os.write(transport._line.fileno(), request(1, WRITE_REGISTERS, CONTROL, 1, START)[:9])
        transport.close()
        again = SerialTransport(transport.port, answer_seconds=0.5)
        for expected in (1, 2, 3):
            drive(again.write_register(CONTROL, 1))
            assert drive(again.read_register(CURRENT)) == expected
        again.close()


class Noise:
    """Turns bits over, drops and doubles bits, and puts in garbage, on its way of one piece of a line."""

    def __init__(self, name: str, share: float) -> None:
        self._random = np.random.default_rng([seed(), *name.encode()])
        self._share = share
        self.harmed = 0

    def __call__(self, levels: np.ndarray) -> np.ndarray:
        hit = self._random.random(len(levels)) < self._share
        self.harmed += int(hit.sum())
        if not hit.any():
            return levels
        kind = self._random.integers(4)
        if kind == 0:
            return levels ^ hit
        if kind == 1:
            return levels[~hit]
        if kind == 2:
            return np.repeat(levels, 1 + hit)
        place = 10 * int(self._random.integers(len(levels) // 10 + 1))
        return np.concatenate([levels[:place], levels_of(self._random.bytes(5)), levels[place:]])


def test_noise_costs_time_and_nothing_else(board):
    """Bits turned over, lost and doubled, garbage put in, both ways: each start counts once, all content arrives."""
    generator = random.Random(seed())
    there, back = Noise("there", 2e-4), Noise("back", 2e-4)
    memory = bytearray(generator.randbytes(2048))
    with connected(board, to_board=there, from_board=back) as transport:
        drive(transport.write_memory(0, bytes(memory)))
        for count in range(1, 31):
            drive(transport.write_register(CONTROL, 1))
            assert drive(transport.read_register(CURRENT)) == count
            at = 4 * generator.randrange(480)
            piece = generator.randbytes(4 * generator.randint(1, 32))
            memory[at : at + len(piece)] = piece
            drive(transport.write_memory(at, piece))
        assert drive(transport.read_memory(0, len(memory))) == memory
    print(f"{there.harmed} + {back.harmed} bits, {transport.sent_again} requests sent again")
    assert there.harmed > 3
    assert back.harmed > 3
    assert transport.sent_again > 3


def test_no_board(board):
    """One line for each way in which there is none."""
    with pytest.raises(LinkError, match="^/dev/nothing: cannot be opened: No such file or directory; serial ports"):
        SerialTransport("/dev/nothing")
    with pytest.raises(LinkError, match="^/dev/null: cannot be opened: Inappropriate ioctl for device; serial ports"):
        SerialTransport("/dev/null")
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    with pytest.raises(LinkError, match=f"^{path}: no board answers at 9600 baud: a request was sent 2 times"):
        SerialTransport(path, baud=9600, answer_seconds=0.02, attempts=2)
    os.close(theirs)
    os.close(ours)
    with pytest.raises(ValueError, match="baud must be at least 1, not 0"):
        SerialTransport(path, baud=0)
    with PseudoTerminal(board) as line:
        transport = SerialTransport(line.path, answer_seconds=0.5, limit_seconds=0.1)
        with pytest.raises(LinkError, match="no interrupt within 0.1 s"):
            drive(transport.wait_interrupt())
        with pytest.raises(LinkError, match=f"^{line.path}: cannot be opened: "):
            SerialTransport(line.path)
        transport.close()
