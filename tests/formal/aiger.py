# SPDX-License-Identifier: Apache-2.0
"""Circuits as ABC reads them (AIGER, binary): inputs, registers, AND gates, one output."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Circuit:
    """Literals are ``2 * variable + inverted``; variables: 0 is the constant, then inputs, registers, gates."""

    inputs: int
    following: list[int]
    """Of each register: what it is in the next cycle. All are 0 at first."""
    output: int
    gates: list[tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> "Circuit":
        """Read a circuit with one output."""
        content = path.read_bytes()
        header, content = content.split(b"\n", 1)
        _, inputs, registers, outputs, gates = map(int, header.split()[1:6])
        if outputs != 1:
            raise ValueError(f"{path} has {outputs} outputs, not one")
        *lines, content = content.split(b"\n", registers + 1)
        literals = [int(line.split()[0]) for line in lines]
        first, place, found = 1 + inputs + registers, 0, []

        def difference() -> int:
            nonlocal place
            value = shift = 0
            while True:
                byte = content[place]
                place += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value

        for gate in range(gates):
            high = 2 * (first + gate) - difference()
            found.append((high, high - difference()))
        return cls(inputs, literals[:-1], literals[-1], found)

    def write(self, path: Path) -> None:
        """Write it."""
        first = 1 + self.inputs + len(self.following)
        most = first + len(self.gates) - 1
        lines = [f"aig {most} {self.inputs} {len(self.following)} 1 {len(self.gates)}", *map(str, self.following)]
        binary = bytearray()
        for number, pair in enumerate(self.gates):
            high, low = max(pair), min(pair)
            for value in (2 * (first + number) - high, high - low):
                while value >= 0x80:
                    binary.append(value & 0x7F | 0x80)
                    value >>= 7
                binary.append(value)
        path.write_bytes("\n".join([*lines, str(self.output), ""]).encode() + bytes(binary))

    def disjuncts(self) -> "list[Circuit]":
        """Circuits of which one has its output high where this one's is: the terms of the ``or`` that it is."""
        first = 1 + self.inputs + len(self.following)
        terms, pending = set(), [self.output]
        while pending:
            literal = pending.pop()
            number = (literal >> 1) - first
            if literal & 1 and number >= 0:  # an `or` is an `and` of inverted terms, inverted
                pending += [term ^ 1 for term in self.gates[number]]
            else:
                terms.add(literal)
        return [Circuit(self.inputs, self.following, term, self.gates) for term in sorted(terms)]

    def looking_ahead(self) -> "Circuit":
        """The circuit whose output is what this one's is a cycle later; inputs of that cycle come after its own.

        A property that compares two cycles then needs no register that remembers, so a proof is about the design's own.
        """
        first = 1 + self.inputs
        first_gate = first + len(self.following)

        def moved(literal: int) -> int:
            return literal + 2 * self.inputs * (literal >= 2 * first)

        gates = [(moved(a), moved(b)) for a, b in self.gates]
        wanted = {self.output >> 1}
        for number in reversed(range(len(self.gates))):
            if first_gate + number in wanted:
                wanted.update(literal >> 1 for literal in self.gates[number])
        later = {0: 0}
        later |= {variable: 2 * (variable + self.inputs) for variable in range(1, first)}
        later |= {first + number: moved(literal) for number, literal in enumerate(self.following)}

        def next_cycle(literal: int) -> int:
            return later[literal >> 1] ^ (literal & 1)

        for number, pair in enumerate(self.gates):
            if first_gate + number in wanted:
                gates.append(tuple(map(next_cycle, pair)))
                later[first_gate + number] = 2 * (first_gate + self.inputs + len(gates) - 1)
        return Circuit(2 * self.inputs, [moved(f) for f in self.following], next_cycle(self.output), gates)
