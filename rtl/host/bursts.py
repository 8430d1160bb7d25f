# SPDX-License-Identifier: Apache-2.0
"""A range of memory as AXI4 bursts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from respin.rtl.host.axi import MAX_BEATS, PAGE_BYTES, require_data_bits, require_int
from respin.rtl.host.dma_ports import ADDRESS_BITS, BYTES_BITS, DmaCommand


class BurstAddress(data.Struct):
    """One burst: ``length`` is its beats less one, as on the bus."""

    address: unsigned(ADDRESS_BITS)
    length: unsigned(8)


class BurstSplitter(Component):
    """Cuts a command into bursts of type INCR.

    A burst ends at each multiple of ``max_beats`` beats, or of 4 KB where that is less: the first one is shorter, the
    others whole, and no burst crosses a multiple of 4 KB.

    Latency: 2 cycles from ``start`` to the first burst. Throughput: a burst a cycle.

    Parameters
    ----------
    data_bits : int
        Bits of a beat.
    max_beats : int
        Most beats of a burst: a power of two up to 256.
    unit_bytes : int
        The length must be a multiple of this: a power of two; a beat unless given.

    Members
    -------
    command : In(DmaCommand)
    refused : Out(1)
        ``command`` cannot be carried out; see :class:`DmaError`.
    start : In(1)
        Take ``command``; only when ``idle``.
    stop : In(1)
        Drop what is left but for the burst that is offered.
    beats : Out
        Beats of ``command``.
    idle : Out(1)
        Nothing is left, nothing is offered.
    bursts : Out(stream(BurstAddress))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 2

    def __init__(self, *, data_bits: int, max_beats: int = MAX_BEATS, unit_bytes: int | None = None) -> None:
        require_data_bits(data_bits)
        require_int("max_beats", max_beats, 1, MAX_BEATS)
        if max_beats & (max_beats - 1):
            raise ValueError(f"max_beats must be a power of two, not {max_beats!r}")
        self.byte_bits = exact_log2(data_bits // 8)
        unit_bytes = data_bits // 8 if unit_bytes is None else unit_bytes
        require_int("unit_bytes", unit_bytes, data_bits // 8, PAGE_BYTES)
        if unit_bytes & (unit_bytes - 1):
            raise ValueError(f"unit_bytes must be a power of two, not {unit_bytes!r}")
        self.unit_bits = exact_log2(unit_bytes)
        self.burst_bits = exact_log2(min(max_beats, PAGE_BYTES // (data_bits // 8)))
        super().__init__(
            {
                "command": In(DmaCommand),
                "refused": Out(1),
                "start": In(1),
                "stop": In(1),
                "beats": Out(BYTES_BITS - self.byte_bits),
                "idle": Out(1),
                "bursts": Out(stream.Signature(BurstAddress)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, first = self.command, self.byte_bits
        end = Signal(ADDRESS_BITS + 1)
        m.d.comb += [
            self.beats.eq(command.bytes[first:]),
            end.eq(command.address + command.bytes),
            self.refused.eq(
                command.address[:first].any()
                | command.bytes[: self.unit_bits].any()
                | (command.bytes == 0)
                | (end > 1 << ADDRESS_BITS)
            ),
        ]

        address, left = Signal(ADDRESS_BITS - first), Signal.like(self.beats)
        to_end, beats = Signal(self.burst_bits + 1), Signal(self.burst_bits + 1)
        m.d.comb += [
            to_end.eq((1 << self.burst_bits) - address[: self.burst_bits]),
            beats.eq(Mux(left < to_end, left, to_end)),
            self.idle.eq((left == 0) & ~self.bursts.valid),
        ]
        with m.If(~self.bursts.valid | self.bursts.ready):
            m.d.sync += [
                self.bursts.valid.eq((left != 0) & ~self.stop),
                self.bursts.payload.address.eq(Cat(Const(0, first), address)),
                self.bursts.payload.length.eq(beats - 1),
                address.eq(address + beats),
                left.eq(left - beats),
            ]
        with m.If(self.stop):
            m.d.sync += left.eq(0)
        with m.If(self.start):
            m.d.sync += [address.eq(command.address[first:]), left.eq(self.beats)]
        return m
