# SPDX-License-Identifier: Apache-2.0
"""The partial sums of a tile, in two halves of one memory: one accumulates while the other one drains."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.imc.gather import place_layout
from respin.rtl.interfaces import result_layout


class Accumulator(Component):
    """Adds sums to entries of a memory, and streams a tile's entries out when its last step has been added.

    Arithmetic: int32, modulo 2^32. The first step of a tile overwrites what an entry held.

    Throughput: one update a cycle. Results use the read port when no update does: at most one entry in two cycles.
    Latency: ``sums`` are wanted two cycles after ``update``; a tile's first result is there three cycles after the sums
    of its last group.

    Parameters
    ----------
    config:
        ``slices``, ``pixels``, ``acc_depth``.
    sum_bits:
        Width of one sum.

    Members
    -------
    update : In(1)
        The sums of a group come in two cycles.
    place : In(place_layout)
        Of that group. An entry must not be updated again in the two cycles after.
    sums : In(array of P arrays of M signed(sum_bits))
    drained : Out(2)
        Pulses when a half has been read out.
    draining : Out(1)
        A half waits to be read out.
    results : Out(stream of result_layout)
        Entries 0, 1, ... of a tile, tiles in their order.
    empty : Out(1)
        No result is left.
    """

    def __init__(self, *, config: AcceleratorConfig, sum_bits: int) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        sums = data.ArrayLayout(data.ArrayLayout(signed(sum_bits), config.slices), config.pixels)
        super().__init__(
            {
                "update": In(1),
                "place": In(place_layout(config)),
                "sums": In(sums),
                "drained": Out(2),
                "draining": Out(1),
                "results": Out(stream.Signature(result_layout(config))),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = result_layout(config)
        m.submodules.memory = memory = Memory(shape=layout, depth=2 * config.acc_depth, init=[])
        read = memory.read_port()
        write = memory.write_port()

        due, due_place = self.update, self.place
        for stage in range(2):
            later, later_place = Signal(name=f"due_{stage}"), Signal.like(due_place, name=f"place_{stage}")
            m.d.sync += [later.eq(due), later_place.eq(due_place)]
            if stage == 0:
                old = Signal(layout)
                m.d.sync += old.eq(read.data)
                with m.If(later_place.first_step):
                    m.d.sync += old.eq(0)
            due, due_place = later, later_place
        m.d.comb += [write.en.eq(due), write.addr.eq(Cat(due_place.entry, due_place.half))]
        for total, before, sums in zip(write.data, old, self.sums, strict=True):
            m.d.comb += [t.eq(b + s) for t, b, s in zip(total, before, sums, strict=True)]

        tile_end = due & due_place.last_step & due_place.step_end
        self._drain(m, read, tile_end, due_place)
        return m

    def _drain(self, m: Module, read: object, tile_end: Signal, ended: data.View) -> None:
        """Read the entries of finished halves in turn whenever the read port and the result register are free."""
        full = Signal(2)
        last_entries = Array(Signal.like(ended.entry, name=f"last_entry_{half}") for half in range(2))
        entry, half = Signal.like(ended.entry), Signal()
        arriving, draw = Signal(), Signal()
        reading = self.update & ~self.place.first_step
        room = ~arriving & (~self.results.valid | self.results.ready)
        m.d.comb += [
            self.draining.eq(full.any()),
            draw.eq(full.bit_select(half, 1) & room & ~reading),
            read.en.eq(reading | draw),
            read.addr.eq(Mux(reading, Cat(self.place.entry, self.place.half), Cat(entry, half))),
            self.empty.eq(~self.draining & ~arriving & ~self.results.valid),
        ]
        with m.If(tile_end):
            m.d.sync += last_entries[ended.half].eq(ended.entry)
        with m.If(draw):
            m.d.sync += entry.eq(entry + 1)
            with m.If(entry == last_entries[half]):
                m.d.comb += self.drained.eq(1 << half)
                m.d.sync += [entry.eq(0), half.eq(~half)]
        m.d.sync += [
            full.eq((full | tile_end.replicate(2) & (1 << ended.half)) & ~self.drained),
            arriving.eq(draw),
        ]
        with m.If(self.results.ready):
            m.d.sync += self.results.valid.eq(0)
        with m.If(arriving):
            m.d.sync += [self.results.valid.eq(1), self.results.payload.eq(read.data)]
