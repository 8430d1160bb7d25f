# SPDX-License-Identifier: Apache-2.0
"""A bridge with registers and a RAM behind it, byte by byte, and a host that knows the frames by itself."""

import zlib

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped
from host_bench import Bench

from respin.rtl.config import preset
from respin.rtl.host.axi import Axi4
from respin.rtl.host.register_file import RegisterFile
from respin.rtl.host.registers import register_map
from respin.rtl.link.bridge import LinkBridge
from respin.rtl.link.memory import Ram, SharedMemory

SIZE = 4096


class LinkedRegisters(Component):
    """A bridge between bytes and what it reaches; ``dma`` goes into the same RAM."""

    def __init__(self, bits: int = 32, *, timeout: int = 200) -> None:
        self.bridge = LinkBridge(timeout=timeout)
        self.map = register_map(preset("tiny"))
        self.registers = RegisterFile(registers=self.map)
        self.shared = SharedMemory(data_bits=bits, size=SIZE)
        self.ram = Ram(data_bits=bits, size=SIZE)
        ports = self.bridge.signature.members
        super().__init__({"i": ports["i"], "o": ports["o"], "dma": In(Axi4(bits, 32, 1)), "started": Out(8)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.bridge, m.submodules.registers = self.bridge, self.registers
        m.submodules.shared, m.submodules.ram = self.shared, self.ram
        connect(m, flipped(self.i), self.bridge.i)
        connect(m, self.bridge.o, flipped(self.o))
        connect(m, flipped(self.dma), self.shared.dma)
        connect(m, self.bridge.registers, self.registers.axi)
        connect(m, self.bridge.memory, self.shared.link)
        connect(m, self.shared.ram, self.ram.port)
        m.d.sync += self.started.eq(self.started + self.registers.regs.start)
        return m


def frame(content: bytes) -> bytes:
    """Content with its CRC between flags."""
    whole = content + zlib.crc32(content).to_bytes(4, "little")
    return b"\x7e" + whole.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e") + b"\x7e"


def request(number: int, command: int, address: int, words: int, payload: bytes = b"") -> bytes:
    return frame(bytes([number, command]) + address.to_bytes(4, "little") + bytes([words - 1]) + payload)


def contents(line: bytes) -> list[bytes]:
    """What lies between flags, where the CRC is right, without it."""
    found = []
    for part in line.split(b"\x7e"):
        whole = part.replace(b"\x7d\x5e", b"\x7e").replace(b"\x7d\x5d", b"\x7d")
        if len(whole) > 4 and zlib.crc32(whole[:-4]) == int.from_bytes(whole[-4:], "little"):
            found.append(whole[:-4])
    return found


class Host(Bench):
    """Sends bytes, sees what comes back."""

    def __init__(self, dut, name: str, *, stall: float = 0.0) -> None:
        self.dut = dut
        super().__init__(dut, name)
        self.line = bytearray()
        self._stall = stall
        self.background(self._listen)

    async def _listen(self, ctx) -> None:
        while True:
            ctx.set(self.dut.o.ready, not self.waits(self._stall))
            _, _, valid, ready, byte = await ctx.tick().sample(self.dut.o.valid, self.dut.o.ready, self.dut.o.payload)
            if valid and ready:
                self.line.append(byte)

    async def send(self, ctx, line: bytes, *, errors: tuple[int, ...] = ()) -> None:
        for place, byte in enumerate(line):
            ctx.set(self.dut.i.payload.data, byte)
            ctx.set(self.dut.i.payload.error, place in errors)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.i.valid, 0)
            await ctx.tick().repeat(self.random.randrange(9, 12))

    async def hear(self, ctx, *, cycles: int = 1500) -> list[bytes]:
        """The contents of an answer, or nothing if none begins within ``cycles``."""
        for _ in range(cycles):
            if self.line:
                break
            await ctx.tick()
        while self.line and (len(self.line) < 2 or self.line[-1] != 0x7E):
            await ctx.tick()
        await ctx.tick().repeat(20)
        heard = contents(bytes(self.line))
        self.line.clear()
        return heard

    async def ask(self, ctx, *request_of, **options) -> list[bytes]:
        await self.send(ctx, request(*request_of), **options)
        return await self.hear(ctx)
