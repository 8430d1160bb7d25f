# SPDX-License-Identifier: Apache-2.0
"""The components of a machine, as they stand in it."""

import warnings
from collections.abc import Iterator

from amaranth.hdl import Module, UnusedElaboratable
from amaranth.lib.wiring import Component

from respin.rtl.config import preset
from respin.rtl.machine import Machine


def components(configuration: str) -> Iterator[Component]:
    """Every component of the whole machine of a preset, parents first, before it is elaborated."""
    yield from _below(Machine(config=preset(configuration)))


def find(kind: str, configuration: str = "nano") -> Component:
    """Return a component of the class called ``kind`` as a preset's machine has it, made anew; raises LookupError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # the rest of the machine
        for component in components(configuration):
            if type(component).__name__ == kind:
                return component
    raise LookupError(f"{configuration} has no {kind}")


def _below(part: object) -> Iterator[Component]:
    while hasattr(part, "_elaboratable_"):  # behind a ResetInserter
        part = part._elaboratable_
    if isinstance(part, Component):
        yield part
    if not isinstance(part, Module) and hasattr(part, "elaborate"):
        part = part.elaborate(None)
    if isinstance(part, Module):
        for child, _ in [*part._named_submodules.values(), *part._anon_submodules]:
            yield from _below(child)
