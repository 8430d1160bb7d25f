# SPDX-License-Identifier: Apache-2.0
"""cocotb drivers, monitors and a scoreboard for Amaranth streams.

A stream port ``x`` comes out in Verilog as ``x__payload``, ``x__valid`` and ``x__ready``. Everything here samples at
the rising edge, where a bench sees the values from before the edge, and changes its outputs right after it, so a bench
behaves like one more synchronous block:

>>> start_clock(dut)
>>> source = StreamDriver(dut, "i", ROW, idle=0.3)
>>> sink = StreamMonitor(dut, "o", signed(32), stall=0.3)
>>> await reset(dut)
>>> await source.send(row)
>>> assert await sink.get() == expected
"""

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import cocotb
from amaranth.hdl import ShapeLike, unsigned
from cocotb.clock import Clock
from cocotb.triggers import Event, RisingEdge, with_timeout

from respin.sim.payload import pack, unpack
from respin.sim.runner import seed

PERIOD_NS = 10


def start_clock(dut: Any, clock: str = "clk") -> None:
    """Start the clock, in the simulator's own code for speed."""
    Clock(getattr(dut, clock), PERIOD_NS, unit="ns", impl="gpi").start()


async def reset(dut: Any, cycles: int = 2, clock: str = "clk", signal: str = "rst") -> None:
    """Hold the synchronous reset for ``cycles`` cycles."""
    getattr(dut, signal).value = 1
    await cycles_of(dut, cycles, clock)
    getattr(dut, signal).value = 0


async def cycles_of(dut: Any, cycles: int, clock: str = "clk") -> None:
    """Wait for ``cycles`` rising edges."""
    edge = RisingEdge(getattr(dut, clock))
    for _ in range(cycles):
        await edge


def _chance(probability: float, name: str) -> float:
    if not 0 <= probability < 1:
        raise ValueError(f"{name} must be in 0..1, 1 excluded, not {probability!r}")
    return probability


class _Port:
    """The three wires of a stream port. One that was constant has no wire, and is read as 1."""

    def __init__(self, dut: Any, name: str, clock: str) -> None:
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid", None)
        self.ready = getattr(dut, f"{name}__ready", None)
        self.edge = RisingEdge(getattr(dut, clock))
        self.path = f"{dut._name}.{name}"
        self._reset = getattr(dut, "rst", None)

    def in_reset(self) -> bool:
        return self._reset is not None and self._reset.value != 0


def _high(wire: Any) -> bool:
    return wire is None or bool(wire.value)  # an unknown value raises: a handshake must never be X


class StreamDriver:
    """Put values into a stream, in order.

    Parameters
    ----------
    dut, port:
        The module's handle and the stream's name.
    shape:
        Shape of the payload (default: bits as they are); values are packed by it.
    idle:
        Probability with which it pauses for a cycle before offering a value.
    seed_offset:
        Added to ``RESPIN_SEED``, so that the ports of a bench pause independently.
    """

    def __init__(
        self,
        dut: Any,
        port: str,
        shape: ShapeLike | None = None,
        *,
        idle: float = 0.0,
        seed_offset: int = 0,
        clock: str = "clk",
    ) -> None:
        self._port = _Port(dut, port, clock)
        self._shape = unsigned(len(self._port.payload)) if shape is None else shape
        self.idle = _chance(idle, "idle")
        self._random = random.Random(f"{seed() + seed_offset} {self._port.path}")
        self._queue: deque[int] = deque()
        self._offered = Event()
        self._drained = Event()
        self._drained.set()
        self.accepted = 0
        """How many values the design has taken."""
        self._valid = 1
        self._set_valid(0)
        self._port.payload.value = 0
        cocotb.start_soon(self._drive())

    def put(self, *values: Any) -> None:
        """Line values up without waiting."""
        if values:
            self._queue.extend(pack(self._shape, value) for value in values)
            self._drained.clear()
            self._offered.set()

    async def send(self, *values: Any) -> None:
        """Line values up and wait until the design has taken everything lined up."""
        self.put(*values)
        await self.drain()

    async def drain(self) -> None:
        """Wait until the design has taken everything lined up."""
        await self._drained.wait()

    def _set_valid(self, value: int) -> None:
        if self._port.valid is not None and self._valid != value:  # a write costs more than all else here
            self._valid = self._port.valid.value = value

    async def _drive(self) -> None:
        port = self._port
        while True:
            if not self._queue:
                self._set_valid(0)
                self._drained.set()
                self._offered.clear()
                await self._offered.wait()
                await port.edge
            while port.in_reset() or self._random.random() < self.idle:
                self._set_valid(0)
                await port.edge
            port.payload.value = self._queue[0]
            self._set_valid(1)
            await port.edge
            while not _high(port.ready):
                await port.edge
            self._queue.popleft()
            self.accepted += 1


class StreamMonitor:
    """Take values out of a stream, in order.

    Parameters
    ----------
    dut, port, shape, seed_offset:
        As for :class:`StreamDriver`.
    stall:
        Probability with which it is not ready in a cycle.
    passive:
        Watch a stream that others drive, without touching ``ready``.

    It also checks the stream rule that an offered value stays offered, unchanged, until it is taken.
    """

    def __init__(
        self,
        dut: Any,
        port: str,
        shape: ShapeLike | None = None,
        *,
        stall: float = 0.0,
        passive: bool = False,
        seed_offset: int = 0,
        clock: str = "clk",
    ) -> None:
        self._port = _Port(dut, port, clock)
        self._shape = unsigned(len(self._port.payload)) if shape is None else shape
        self.stall = _chance(stall, "stall")
        self._passive = passive or self._port.ready is None
        self._random = random.Random(f"{seed() + seed_offset} {self._port.path}")
        self._dut, self._clock = dut, clock
        self._arrived = Event()
        self._taken = 0
        self.values: list[Any] = []
        """Everything that came, oldest first."""
        if not self._passive:
            self._port.ready.value = 0
        cocotb.start_soon(self._watch())

    async def get(self, cycles: int = 100_000) -> Any:
        """Return the next value not yet returned; raises SimTimeoutError if none comes within ``cycles`` cycles."""
        if self._taken == len(self.values):
            await with_timeout(self._wait(self._taken + 1), cycles * PERIOD_NS, "ns")
        self._taken += 1
        return self.values[self._taken - 1]

    async def collect(self, count: int, cycles: int = 100_000) -> list[Any]:
        """Return the next ``count`` values; raises SimTimeoutError if they have not come within ``cycles`` cycles."""
        if self._taken + count > len(self.values):
            await with_timeout(self._wait(self._taken + count), cycles * PERIOD_NS, "ns")
        self._taken += count
        return self.values[self._taken - count : self._taken]

    async def _wait(self, count: int) -> None:
        while len(self.values) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def _watch(self) -> None:
        port = self._port
        held: Any = None
        ready = 0
        while True:
            await port.edge
            held = None if port.in_reset() else self._sample(held)
            if not self._passive and ready != (self._random.random() >= self.stall):
                ready = port.ready.value = 1 - ready

    def _sample(self, held: Any) -> Any:
        """Look at one cycle; returns the payload bits if a value was offered and not taken."""
        port = self._port
        if not _high(port.valid):
            assert held is None, f"{port.path}: valid fell before the value was taken"
            return None
        bits = port.payload.value
        assert held is None or bits == held, f"{port.path}: the payload changed from {held} to {bits} while it waited"
        if not _high(port.ready):
            return bits
        self.values.append(unpack(self._shape, int(bits)))
        self._arrived.set()
        return None


class Scoreboard:
    """Compare what came with what was expected, value by value, and count the comparisons.

    >>> board = Scoreboard("sums")
    >>> board.check(expected, await sink.collect(len(expected)))
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.compared = 0

    def check(self, expected: Sequence[Any], got: Sequence[Any]) -> None:
        """Raise AssertionError at the first difference, naming its index and both values."""
        for index, (want, have) in enumerate(zip(expected, got, strict=False), start=self.compared):
            assert want == have, f"{self.name}[{index}]: expected {want}, got {have}{_place(want, have)}"
        assert len(expected) == len(got), f"{self.name}: expected {len(expected)} values, got {len(got)}"
        self.compared += len(expected)


def _place(want: Any, have: Any) -> str:
    """Say where inside a compound value the first difference lies."""
    if isinstance(want, dict) and isinstance(have, dict):
        keys = [key for key in want if want[key] != have.get(key)]
        return f" (first difference at {keys[0]!r})" if keys else ""
    if isinstance(want, Sequence) and isinstance(have, Sequence) and not isinstance(want, str):
        places = [i for i, (a, b) in enumerate(zip(want, have, strict=False)) if a != b]
        return f" (first difference at [{places[0]}])" if places else f" (lengths {len(want)} and {len(have)})"
    return ""
