# SPDX-License-Identifier: Apache-2.0
"""The components of a machine, as they stand in it."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from amaranth.hdl import Module, UnusedElaboratable
from amaranth.lib.wiring import Component

from respin.rtl.config import preset
from respin.rtl.machine import Machine

CONFIGURATIONS = {
    "nano": preset("nano"),
    "tiny": preset("tiny"),
    "two slots": replace(preset("tiny"), name="two_slots", job_slots=2),
    "small": preset("small"),
    "default": preset("default"),
}
"""The machines that components are taken out of."""


def components(configuration: str) -> Iterator[Component]:
    """Every component of the whole machine of a configuration, parents first, before it is elaborated."""
    for component, _ in _below(Machine(config=CONFIGURATIONS[configuration]), ()):
        yield component


def find(kind: str, configuration: str = "nano") -> Component:
    """Return a component of the class called ``kind`` as the machine has it, made anew; raises LookupError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # the rest of the machine
        if kind not in _places(configuration):
            raise LookupError(f"{configuration} has no {kind}")
        part = Machine(config=CONFIGURATIONS[configuration])
        for number in _places(configuration)[kind]:
            part = _children(_elaborated(part))[number]
        return _bare(part)


@cache
def _places(configuration: str) -> dict[str, tuple[int, ...]]:
    """Where the first component of each class is: the numbers of the parts, from the machine on."""
    places: dict[str, tuple[int, ...]] = {}
    for component, place in _below(Machine(config=CONFIGURATIONS[configuration]), ()):
        places.setdefault(type(component).__name__, place)
    return places


def _below(part: object, place: tuple[int, ...]) -> Iterator[tuple[Component, tuple[int, ...]]]:
    part = _bare(part)
    if isinstance(part, Component):
        yield part, place
    for number, child in enumerate(_children(_elaborated(part))):
        yield from _below(child, (*place, number))


def _bare(part: object) -> object:
    while hasattr(part, "_elaboratable_"):  # behind a ResetInserter
        part = part._elaboratable_
    return part


def _elaborated(part: object) -> object:
    part = _bare(part)
    return part.elaborate(None) if not isinstance(part, Module) and hasattr(part, "elaborate") else part


def _children(part: object) -> list[object]:
    if not isinstance(part, Module):
        return []
    return [child for child, _ in [*part._named_submodules.values(), *part._anon_submodules]]
