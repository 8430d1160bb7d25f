# SPDX-License-Identifier: Apache-2.0
"""The serial link's bridge by itself: every command, with waits, and ports that do not answer. The rest is in
``tests/sim/test_serial.py``, over the pins."""

import pytest
from link_bench import SIZE, Host, LinkedRegisters, request

from respin.rtl.link.bridge import LinkBridge

READ_REGISTERS, WRITE_REGISTERS, READ_MEMORY, WRITE_MEMORY = range(4)
OKAY, _, TIMEOUT = range(3)


def test_memory_and_registers():
    """With bytes that must be escaped."""
    dut = LinkedRegisters()
    host = Host(dut, "bridge", stall=0.5)

    async def work(ctx):
        number = 1
        for words in (1, 5):
            number += 2
            address = 256 * host.random.randrange(SIZE // 256) + 4 * host.random.randint(0, 64 - words)
            payload = bytes(host.random.choice([0x7E, 0x7D, 0x5E, 0x31]) for _ in range(4 * words))
            assert await host.ask(ctx, number, WRITE_MEMORY, address, words, payload) == [bytes([number, OKAY])]
            heard = await host.ask(ctx, number + 1, READ_MEMORY, address, words)
            assert heard == [bytes([number + 1]) + payload + bytes([OKAY])]
        seed = dut.map.register("SEED").offset
        assert await host.ask(ctx, 0, WRITE_REGISTERS, seed, 1, b"\x7e\x7d\x20\xff") == [b"\0\0"]
        heard = await host.ask(ctx, 255, READ_REGISTERS, seed, 2)
        assert heard == [b"\xff\x7e\x7d\x20\xff\0\0\0\0\0"]
        heard = await host.ask(ctx, 7, READ_REGISTERS, 0, 1)
        assert heard == [b"\x07RSPN\0"]

    host.run(work)


@pytest.mark.parametrize("command", [READ_REGISTERS, WRITE_MEMORY])
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
        await host.send(ctx, request(2, command, 0x24, 1, payload))
        assert await host.hear(ctx, cycles=100) == []
        for name in ("awready", "wready") if writes else ("arready",):
            ctx.set(getattr(port, name), 1)
        await ctx.tick()
        ctx.set(port.bvalid if writes else port.rvalid, 1)
        await ctx.tick()
        ctx.set(port.bvalid if writes else port.rvalid, 0)
        await ctx.tick()
        assert await host.ask(ctx, 3, command, 0x24, 1, payload) == [bytes([3, TIMEOUT])]

    host.run(work)


@pytest.mark.parametrize("timeout", [15, (1 << 20) + 1])
def test_timeouts_that_are_refused(timeout):
    with pytest.raises(ValueError, match=f"timeout must be in 16..1048576, not {timeout}"):
        LinkBridge(timeout=timeout)
