# SPDX-License-Identifier: Apache-2.0
"""Streams that are connected only now and then, where ``amaranth.lib.wiring.connect`` connects for good."""

from amaranth.hdl import Module, Value


def join(m: Module, source: Value, sink: Value) -> None:
    """Connect a stream to another one, under the conditions that stand around it; at other times neither moves."""
    m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
