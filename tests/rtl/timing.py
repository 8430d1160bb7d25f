# SPDX-License-Identifier: Apache-2.0
"""Records signals of a simulation, a sample a cycle, as a timing diagram in WaveJSON (wavedrom.com)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Value
from amaranth.sim import SimulatorContext


@dataclass
class Lane:
    """One line: its label, what is sampled, and how a value reads. Without ``text`` it is a wire of one bit.

    ``when`` says in which cycles a value counts; in the others there is none.
    """

    label: str
    value: Any
    text: Callable[[int], str] | None = None
    when: Any = 1
    samples: list[tuple[int, int]] = field(default_factory=list)

    def wave(self) -> dict[str, Any]:
        """The line in WaveJSON: a character a cycle, a dot where nothing changes."""
        drawn: list[str] = []
        data: list[str] = []
        last: object = None
        for value, counts in self.samples:
            shown = None if not counts else self.text(value) if self.text else value
            if drawn and shown == last:
                drawn.append(".")
                continue
            if self.text is None:
                drawn.append("x" if shown is None else str(shown))
            else:
                drawn.append("x" if shown is None else "=")
                data += [] if shown is None else [str(shown)]
            last = shown
        return {"name": self.label, "wave": "".join(drawn)} | ({"data": data} if data else {})


class Recorder:
    """Samples groups of lanes at ``cycles`` clock edges, from the first one on at which ``start`` is high."""

    def __init__(self, groups: Sequence[tuple[str, Sequence[Lane]]], *, cycles: int, start: Any = 1) -> None:
        self.groups = groups
        self.cycles = cycles
        self.start = Value.cast(start)

    async def process(self, ctx: SimulatorContext) -> None:
        lanes = [lane for _, part in self.groups for lane in part]
        wires = [Value.cast(wire) for lane in lanes for wire in (lane.value, lane.when)]
        left, started = self.cycles, False
        while left:
            _, _, start, *values = await ctx.tick().sample(self.start, *wires)
            started = started or bool(start)
            if not started:
                continue
            left -= 1
            for lane, value, counts in zip(lanes, values[::2], values[1::2], strict=True):
                lane.samples.append((int(value), int(counts)))

    def wavejson(self, title: str) -> dict[str, Any]:
        """The diagram."""
        count = len(self.groups[0][1][0].samples)
        signal: list[Any] = [{"name": "clk", "wave": "p" + "." * (count - 1)}]
        for name, lanes in self.groups:
            signal += [{}, [name, *(lane.wave() for lane in lanes)]]
        return {"head": {"text": title, "tick": 0}, "signal": signal, "config": {"skin": "narrow"}}
