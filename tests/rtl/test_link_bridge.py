# SPDX-License-Identifier: Apache-2.0
"""The serial link's bridge: every command, everything broken, and requests that come twice."""

import pytest
from link_bench import SIZE, Host, LinkedRegisters, frame, request

from respin.rtl.link.bridge import LinkBridge

READ_REGISTERS, WRITE_REGISTERS, READ_MEMORY, WRITE_MEMORY = range(4)
OKAY, REFUSED, TIMEOUT = range(3)


def test_memory_and_registers():
    """Bursts of every length class, with bytes that must be escaped; what lies beside them stays."""
    dut = LinkedRegisters()
    host = Host(dut, "bridge", stall=0.5)
    memory = bytearray(SIZE)

    async def work(ctx):
        number = 1
        for words in (1, 2, 64, host.random.randint(3, 63)):
            number += 2
            address = 256 * host.random.randrange(SIZE // 256) + 4 * host.random.randint(0, 64 - words)
            payload = bytes(host.random.choice([0x7E, 0x7D, 0x5E, host.random.randrange(256)]) for _ in range(4 * words))
            assert await host.ask(ctx, number, WRITE_MEMORY, address, words, payload) == [bytes([number, OKAY])]
            memory[address : address + len(payload)] = payload
            page = address - address % 256
            heard = await host.ask(ctx, number + 1, READ_MEMORY, page, 64)
            assert heard == [bytes([number + 1]) + memory[page : page + 256] + bytes([OKAY])]
        seed = dut.map.register("SEED").offset
        assert await host.ask(ctx, 0, WRITE_REGISTERS, seed, 1, b"\x7e\x7d\x20\xff") == [b"\0\0"]
        heard = await host.ask(ctx, 255, READ_REGISTERS, seed, 2)
        assert heard == [b"\xff\x7e\x7d\x20\xff\0\0\0\0\0"]
        heard = await host.ask(ctx, 7, READ_REGISTERS, 0, 1)
        assert heard == [b"\x07RSPN\0"]

    host.run(work)


def test_refusals():
    """What the machine refuses is said, and ends the request; so is an address that is not there."""
    dut = LinkedRegisters()
    host = Host(dut, "refusals")

    async def work(ctx):
        assert await host.ask(ctx, 1, WRITE_REGISTERS, 0, 1, b"\1\2\3\4") == [bytes([1, REFUSED])]
        last = dut.map.register("CONFIG3")
        value = sum(field.reset << field.low for field in last.fields)
        heard = await host.ask(ctx, 2, READ_REGISTERS, last.offset, 2)
        assert heard == [bytes([2]) + value.to_bytes(4, "little") + bytes([REFUSED])]
        assert await host.ask(ctx, 3, WRITE_MEMORY, SIZE, 2, bytes(8)) == [bytes([3, REFUSED])]
        assert await host.ask(ctx, 4, READ_MEMORY, 1 << 31, 1) == [bytes([4, REFUSED])]
        assert await host.ask(ctx, 5, READ_MEMORY, SIZE - 4, 1) == [bytes([5, 0, 0, 0, 0, OKAY])]

    host.run(work)


def test_a_request_acts_once():
    """The same request again gets the same answer and does nothing; with another number it acts."""
    dut = LinkedRegisters()
    host = Host(dut, "once")
    control = dut.map.register("CONTROL").offset
    start = b"\1\0\0\0"

    async def work(ctx):
        assert await host.ask(ctx, 0, WRITE_REGISTERS, control, 1, start) == [b"\0\0"]
        assert ctx.get(dut.started) == 1, "the first request after a reset, whatever its number"
        for number, total in ((0, 1), (1, 2), (1, 2), (1, 2), (2, 3)):
            assert await host.ask(ctx, number, WRITE_REGISTERS, control, 1, start) == [bytes([number, OKAY])]
            assert ctx.get(dut.started) == total
        for _ in range(2):
            assert await host.ask(ctx, 9, WRITE_REGISTERS, 0, 1, start) == [bytes([9, REFUSED])]
        assert await host.ask(ctx, 10, READ_REGISTERS, 0, 1) == [b"\x0aRSPN\0"]
        assert await host.ask(ctx, 9, WRITE_REGISTERS, control, 1, start) == [bytes([9, OKAY])]
        assert ctx.get(dut.started) == 4

    host.run(work)


def test_broken_requests_have_no_effect():
    """Each bit turned over, each byte dropped, doubled or without stop bit, every cut: silence, and the next one acts."""
    dut = LinkedRegisters()
    host = Host(dut, "broken")
    control = dut.map.register("CONTROL").offset
    good = request(5, WRITE_REGISTERS, control, 1, b"\1\0\0\0")
    broken = []
    for place in range(1, len(good) - 1):
        bit = host.random.randrange(8)
        broken += [
            good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :],
            good[:place] + good[place + 1 :],
            good[:place] + good[place : place + 1] + good[place:],
            good[:place] + b"\x7e",
            good[:place] + b"\x7e" + good[place:],
            good[:place] + bytes([host.random.randrange(256)]) + good[place:],
        ]
    broken = [line for line in broken if good not in line]

    async def work(ctx):
        for line in broken:
            await host.send(ctx, line)
        for place in range(1, len(good) - 1):
            await host.send(ctx, good, errors=(place,))
        await host.send(ctx, bytes(byte for byte in host.random.randbytes(1500) if byte != 0x7E))
        assert await host.hear(ctx) == []
        assert ctx.get(dut.started) == 0
        assert await host.ask(ctx, 5, WRITE_REGISTERS, control, 1, b"\1\0\0\0") == [b"\5\0"]
        assert ctx.get(dut.started) == 1

    host.run(work)
    assert len(broken) > 80


def test_requests_that_say_what_they_are_not():
    """A right CRC around a length or a command that is none."""
    dut = LinkedRegisters()
    host = Host(dut, "lengths")
    control = dut.map.register("CONTROL").offset.to_bytes(4, "little")

    async def work(ctx):
        for content in (
            b"\1\1" + control + b"\0",
            b"\1\1" + control + b"\0" + bytes(3),
            b"\1\1" + control + b"\0" + bytes(8),
            b"\1\1" + control + b"\1\1\0\0\0",
            b"\1\0" + control + b"\0\1\0\0\0",
            b"\1\1" + control + b"\xff" + b"\1" * 1024,
            b"\1\3" + control + b"\x40" + b"\1" * 260,
            b"\1\0" + control + b"\x40",
            b"\1\5" + control + b"\0\1\0\0\0",
            b"\1\x81" + control + b"\0\1\0\0\0",
            b"\1\1" + control[:3],
            b"",
        ):
            await host.send(ctx, frame(content))
            assert await host.hear(ctx, cycles=100) == [], content
        assert ctx.get(dut.started) == 0

    host.run(work)


@pytest.mark.parametrize("command", [READ_REGISTERS, WRITE_REGISTERS, READ_MEMORY, WRITE_MEMORY])
def test_a_port_that_does_not_answer(command):
    """TIMEOUT; what was offered stays offered while the bridge hears nothing, until the port has settled."""
    dut = LinkBridge(timeout=50)
    host = Host(dut, "silent port")
    port = dut.memory if command & 2 else dut.registers
    host.watch(dut.memory, "aw", "w", "ar")
    host.watch(dut.registers, "aw", "w", "ar")
    writes = command & 1
    payload = b"\1\2\3\4" if writes else b""

    async def work(ctx):
        assert await host.ask(ctx, 1, command, 0x20, 1, payload) == [bytes([1, TIMEOUT])]
        assert await host.ask(ctx, 2, command, 0x24, 1, payload) == []
        for name in ("awready", "wready") if writes else ("arready",):
            ctx.set(getattr(port, name), 1)
        await ctx.tick()
        ctx.set(port.bvalid if writes else port.rvalid, 1)
        await ctx.tick()
        ctx.set(port.bvalid if writes else port.rvalid, 0)
        assert await host.ask(ctx, 3, command, 0x24, 1, payload) == [bytes([3, TIMEOUT])]

    host.run(work)


@pytest.mark.parametrize("timeout", [15, (1 << 20) + 1])
def test_timeouts_that_are_refused(timeout):
    with pytest.raises(ValueError, match=f"timeout must be in 16..1048576, not {timeout}"):
        LinkBridge(timeout=timeout)
