# SPDX-License-Identifier: Apache-2.0
"""The cocotb transport of the whole machine: registers over AXI4-Lite, external memory through its backdoor.

Between transfers nothing in Python runs with the clock: a program of a million cycles costs a few callbacks.
"""

from typing import Any

from cocotb.triggers import First, RisingEdge, Timer

from respin.sim.transport import PERIOD_NS, TransportError

WORD_BYTES = 32
_ANSWER_CYCLES = 1000
"""Longest wait for an answer of the register port."""


class MachineBench:
    """Reaches a machine in a bench of :func:`respin.sim.memory.with_memory`.

    Parameters
    ----------
    dut:
        The bench's handle.
    limit_cycles:
        Longest wait for an interrupt.
    """

    def __init__(self, dut: Any, *, limit_cycles: int = 50_000_000) -> None:
        self._dut = dut
        self._edge = RisingEdge(dut.clk)
        self._limit_ns = limit_cycles * PERIOD_NS
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awprot", "arprot", "wstrb"):
            getattr(dut, f"s_axi_{name}").value = 0
        for name in ("memory_write", "memory_word", "memory_wdata", "stall", "gone"):
            getattr(dut, name).value = 0

    async def write_memory(self, address: int, content: bytes) -> None:
        """Write external memory; ``address`` and the length are multiples of 32."""
        self._check(address, len(content))
        dut = self._dut
        dut.memory_write.value = 1
        for at in range(0, len(content), WORD_BYTES):
            dut.memory_word.value = (address + at) // WORD_BYTES
            dut.memory_wdata.value = int.from_bytes(content[at : at + WORD_BYTES], "little")
            await self._edge
        dut.memory_write.value = 0
        await self._edge

    async def read_memory(self, address: int, count: int) -> bytes:
        """Read external memory; ``address`` and ``count`` are multiples of 32."""
        self._check(address, count)
        content = b""
        for at in range(0, count, WORD_BYTES):
            self._dut.memory_word.value = (address + at) // WORD_BYTES
            await self._edge
            await self._edge  # the value follows the word within a cycle
            content += int(self._dut.memory_rdata.value).to_bytes(WORD_BYTES, "little")
        return content

    @staticmethod
    def _check(address: int, count: int) -> None:
        for name, value in (("address", address), ("count", count)):
            if value % WORD_BYTES:
                raise ValueError(f"{name} must be a multiple of {WORD_BYTES}, not {value!r}")

    async def _until(self, wire: Any) -> None:
        """Wait for the edge at which ``wire`` is high."""
        for _ in range(_ANSWER_CYCLES):
            await self._edge
            if wire.value:
                return
        raise TransportError(f"{wire._name} did not come within {_ANSWER_CYCLES} cycles")

    async def write_register(self, offset: int, value: int) -> None:
        """Write a register; TransportError if the machine refuses."""
        dut = self._dut
        dut.s_axi_awaddr.value, dut.s_axi_wdata.value, dut.s_axi_wstrb.value = offset, value, 0xF
        dut.s_axi_awvalid.value = dut.s_axi_wvalid.value = 1
        taken = {"aw": False, "w": False}
        for _ in range(_ANSWER_CYCLES):
            await self._edge
            for channel in taken:
                if not taken[channel] and getattr(dut, f"s_axi_{channel}ready").value:
                    taken[channel] = True
                    getattr(dut, f"s_axi_{channel}valid").value = 0
            if all(taken.values()):
                break
        else:
            raise TransportError(f"a write to register {offset:#x} was not taken within {_ANSWER_CYCLES} cycles")
        dut.s_axi_bready.value = 1
        await self._until(dut.s_axi_bvalid)
        response = int(dut.s_axi_bresp.value)
        dut.s_axi_bready.value = 0
        if response:
            raise TransportError(f"a write to register {offset:#x} was refused with response {response}")

    async def read_register(self, offset: int) -> int:
        """Read a register; TransportError if the machine refuses."""
        dut = self._dut
        dut.s_axi_araddr.value, dut.s_axi_arvalid.value = offset, 1
        await self._until(dut.s_axi_arready)
        dut.s_axi_arvalid.value, dut.s_axi_rready.value = 0, 1
        await self._until(dut.s_axi_rvalid)
        response, value = int(dut.s_axi_rresp.value), int(dut.s_axi_rdata.value)
        dut.s_axi_rready.value = 0
        if response:
            raise TransportError(f"a read of register {offset:#x} was refused with response {response}")
        return value

    async def wait_interrupt(self) -> None:
        """Return once the interrupt line is high; TransportError if that takes too long."""
        dut = self._dut
        if not dut.irq.value:
            rising = RisingEdge(dut.irq)
            if await First(rising, Timer(self._limit_ns, "ns")) is not rising:
                raise TransportError(f"no interrupt within {self._limit_ns // PERIOD_NS} cycles")
        await self._edge
