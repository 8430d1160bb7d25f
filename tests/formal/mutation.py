# SPDX-License-Identifier: Apache-2.0
"""Broken copies of the design, in which a proof must find a counterexample."""

import importlib
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import Component, Out
from properties import ports


@contextmanager
def broken(module: str, before: str, after: str) -> Iterator[None]:
    """Have the classes of ``module`` (below ``respin.rtl``) behave as if its source had ``after`` for ``before``.

    Raises
    ------
    ValueError
        If ``before`` does not stand there exactly once.
    """
    original = importlib.import_module(f"respin.rtl.{module}")
    source = Path(inspect.getfile(original)).read_text(encoding="utf-8")
    if source.count(before) != 1:
        raise ValueError(f"{module}: {before!r} stands there {source.count(before)} times, not once")
    copy = types.ModuleType(original.__name__)
    copy.__file__ = original.__file__
    exec(compile(source.replace(before, after), inspect.getfile(original), "exec"), copy.__dict__)
    kept = []
    for name, kind in vars(original).items():
        if inspect.isclass(kind) and kind.__module__ == original.__name__ and issubclass(kind, Component):
            for method, function in vars(kind).copy().items():
                if inspect.isfunction(function) and method != "__init__":
                    kept.append((kind, method, function))
                    setattr(kind, method, vars(getattr(copy, name))[method])
    try:
        yield
    finally:
        for kind, method, function in kept:
            setattr(kind, method, function)


class Deaf(Component):
    """A copy that goes on as if all that it offers were taken at once."""

    def __init__(self, dut: Component) -> None:
        self._dut = dut
        super().__init__(dut.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self._dut
        answers = [port.ready for port in ports(self._dut) if port.flow == Out]
        signature = self.signature
        for (_, member, outer), (_, _, inner) in zip(
            signature.flatten(self), signature.flatten(self._dut), strict=True
        ):
            outer, inner = Value.cast(outer), Value.cast(inner)
            if member.flow == Out:
                m.d.comb += outer.eq(inner)
            elif any(inner is ready for ready in answers):
                m.d.comb += inner.eq(1)
            else:
                m.d.comb += inner.eq(outer)
        return m
