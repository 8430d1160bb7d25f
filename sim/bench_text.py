# SPDX-License-Identifier: Apache-2.0
"""Benches written as Verilog text: a module around a module, each by one of this package's files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A port of a bench."""

    name: str
    direction: str
    width: int

    def net(self, kind: str, prefix: str = "") -> str:
        """Declare a net or variable of its width, called like it."""
        return f"{kind} {vector(self.width)}{prefix}{self.name}"


def vector(width: int) -> str:
    """Return the range of a vector, before its name; nothing for a single bit."""
    return f"[{width - 1}:0] " if width > 1 else ""


def bench_ports(texts: Mapping[str, str], module: str) -> list[Port]:
    """Ports of a module that :func:`bench_text` wrote; raises ValueError if ``module`` is none of ``texts``."""
    text = texts.get(f"{module}.v", "")
    head = re.search(rf"^module {re.escape(module)} \((.*?)^\);", text, re.DOTALL | re.MULTILINE)
    if head is None:
        raise ValueError(f"module must be one of the texts, not {module!r}")
    found = re.findall(r"(input|output) wire (?:\[(\d+):0\] )?(\w+)", head[1])
    return [Port(name=name, direction=direction, width=int(top or 0) + 1) for direction, top, name in found]


def bench_text(name: str, ports: Sequence[Port], body: Iterable[str], *, says: str) -> str:
    """Return a module with ``body``; ``says`` is the comment before it: who made it, and what it is."""
    lines = [
        f"// {says}",
        "`timescale 1ns / 1ps",
        f"module {name} (",
        ",\n".join(f"    {port.net(f'{port.direction} wire')}" for port in ports),
        ");",
        *body,
        "endmodule",
    ]
    return "\n".join(lines) + "\n"


def instance(module: str, name: str, pins: Iterable[tuple[str, str]]) -> str:
    """Return an instance with its pins: name and what is connected."""
    return f"    {module} {name} (\n" + ",\n".join(f"        .{pin}({net})" for pin, net in pins) + "\n    );"
