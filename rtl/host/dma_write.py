# SPDX-License-Identifier: Apache-2.0
"""Writes a stream to memory."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import MAX_BEATS, MODIFIABLE_BUFFERABLE, Axi4Write, Burst, require_int
from respin.rtl.host.bursts import BurstSplitter
from respin.rtl.host.dma_ports import (
    ADDRESS_BITS,
    MAXIMUM_WATCHDOG,
    MINIMUM_WATCHDOG,
    DmaCommand,
    DmaError,
    DmaStatus,
)
from respin.rtl.mram.watchdog import Watchdog
from respin.rtl.vector.skid import SkidBuffer


class DmaWrite(Component):
    """Takes the beats that a command names out of a stream and writes them.

    The status comes when every burst was answered; it names the first error. Answers with an error do not change how
    many beats are taken. Beats are taken only while their command is under way; a command that is refused takes none.

    Where nothing moves for ``watchdog`` cycles, neither on the bus nor in the stream, the command ends with TIMEOUT and
    takes no further data. The bus is owed the rest of the bursts whose address it was offered: it gets beats that write
    nothing. Until these are answered ``busy`` is high and commands end with TIMEOUT at once.

    Latency: 3 cycles from a command to its first address, 1 from a beat in the stream to the bus. Throughput: a beat a
    cycle, without a pause between bursts of two beats and more.

    Parameters
    ----------
    data_bits : int
        Bits of a beat: 32, 64, 128 or 256.
    watchdog : int
        Longest wait, in cycles: 8 and more.
    id_bits : int
        Bits of the identifier, which is always 0.
    max_beats : int
        Most beats of a burst: a power of two up to 256; bursts stay within 4 KB as well.
    outstanding : int
        Most bursts under way: 1..15.
    unit_bytes : int
        Lengths must be multiples of this: a power of two; a beat unless given.

    Members
    -------
    command : In(stream(DmaCommand))
    data : In(stream(data_bits))
    status : Out(stream(DmaStatus))
    axi : Out(Axi4Write(data_bits, 32, id_bits))
    busy : Out(1)
        A command is under way, or something of an earlier one.
    timed_out : Out(1)
        Something of a command that has timed out is still under way.
    moved : Out(1)
        A beat is taken on the bus.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 3

    def __init__(
        self,
        *,
        data_bits: int,
        watchdog: int,
        id_bits: int = 1,
        max_beats: int = MAX_BEATS,
        outstanding: int = 4,
        unit_bytes: int | None = None,
    ) -> None:
        require_int("watchdog", watchdog, MINIMUM_WATCHDOG, MAXIMUM_WATCHDOG)
        require_int("outstanding", outstanding, 1, 15)
        self.data_bits, self._outstanding = data_bits, outstanding
        self._splitter = BurstSplitter(data_bits=data_bits, max_beats=max_beats, unit_bytes=unit_bytes)
        self._watchdog = Watchdog(cycles=watchdog)
        super().__init__(
            {
                "command": In(stream.Signature(DmaCommand)),
                "data": In(stream.Signature(unsigned(data_bits))),
                "status": Out(stream.Signature(DmaStatus)),
                "axi": Out(Axi4Write(data_bits, ADDRESS_BITS, id_bits)),
                "busy": Out(1),
                "timed_out": Out(1),
                "moved": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.splitter = splitter = self._splitter
        m.submodules.watchdog = watchdog = self._watchdog
        axi, command, status = self.axi, self.command, self.status
        moving, stuck = Signal(), Signal()
        outstanding = Signal(range(self._outstanding + 1))
        address_taken, sent, answered = Signal(), Signal(), Signal()
        m.d.comb += [
            splitter.command.eq(command.payload),
            axi.bready.eq(outstanding != 0),
            address_taken.eq(axi.awvalid & axi.awready),
            sent.eq(axi.wvalid & axi.wready),
            answered.eq(axi.bvalid & axi.bready),
            self.moved.eq(sent),
            watchdog.waiting.eq(moving & ~address_taken & ~sent & ~answered & ~(self.data.valid & self.data.ready)),
            self.busy.eq(moving | stuck),
            self.timed_out.eq(stuck),
        ]
        begun = self._address(m, stuck, outstanding)
        m.d.sync += outstanding.eq(outstanding + begun - answered)
        working = self._beats(m, stuck, begun)
        quiet = splitter.idle & ~axi.awvalid & ~working & ~axi.wvalid & (outstanding == 0)

        error = status.payload.error
        with m.If(moving & answered & axi.bresp.as_value()[1] & (error == DmaError.NONE)):
            m.d.sync += error.eq(Mux(axi.bresp.as_value()[0], DmaError.DECERR, DmaError.SLVERR))
        with m.If(stuck & quiet):
            m.d.sync += stuck.eq(0)
        with m.FSM():
            with m.State("Wait for a command"):
                m.d.comb += command.ready.eq(1)
                m.d.comb += splitter.start.eq(command.valid & ~stuck & ~splitter.refused)
                with m.If(command.valid):
                    m.d.sync += error.eq(Mux(stuck, DmaError.TIMEOUT, DmaError.REFUSED))
                    m.next = "Report"
                with m.If(splitter.start):
                    m.d.sync += error.eq(DmaError.NONE)
                    m.next = "Move"
            with m.State("Move"):
                m.d.comb += [moving.eq(1), splitter.stop.eq(watchdog.expired)]
                with m.If(quiet):
                    m.next = "Report"
                with m.If(watchdog.expired):
                    m.d.sync += [stuck.eq(1), error.eq(DmaError.TIMEOUT)]
                    m.next = "Report"
            with m.State("Report"):
                m.d.comb += status.valid.eq(1)
                with m.If(status.ready):
                    m.next = "Wait for a command"
        return m

    def _address(self, m: Module, stuck: Signal, outstanding: Signal) -> Signal:
        """Offer the bursts' addresses; returns "one begins", when its beats are queued as well."""
        axi, bursts = self.axi, self._splitter.bursts
        begun = Signal()
        self._queued, self._queued_length = Signal(), Signal.like(bursts.payload.length)
        free = (~axi.awvalid | axi.awready) & ~self._queued & (outstanding < self._outstanding)
        m.d.comb += [
            begun.eq(bursts.valid & free & ~stuck),
            bursts.ready.eq(begun | stuck),
            axi.awsize.eq(self._splitter.byte_bits),
            axi.awburst.eq(Burst.INCR),
            axi.awcache.eq(MODIFIABLE_BUFFERABLE),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(begun):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(bursts.payload.address),
                axi.awlen.eq(bursts.payload.length),
            ]
        return begun

    def _beats(self, m: Module, stuck: Signal, begun: Signal) -> Signal:
        """Send the beats of the bursts that began; returns "some are left"."""
        axi = self.axi
        layout = data.StructLayout({"data": self.data_bits, "strobe": self.data_bits // 8, "last": 1})
        m.submodules.skid = skid = SkidBuffer(layout)
        active, length = Signal(), Signal.like(self._queued_length)
        entered, following = Signal(), Signal()
        m.d.comb += [
            # A burst that began is finished at once when its command has timed out.
            skid.i.valid.eq(active & (self.data.valid | stuck)),
            self.data.ready.eq(active & ~stuck & skid.i.ready),
            skid.i.payload.data.eq(self.data.payload),
            skid.i.payload.strobe.eq((~stuck).replicate(self.data_bits // 8)),
            skid.i.payload.last.eq(length == 0),
            entered.eq(skid.i.valid & skid.i.ready),
            axi.wvalid.eq(skid.o.valid),
            axi.wdata.eq(skid.o.payload.data),
            axi.wstrb.eq(skid.o.payload.strobe),
            axi.wlast.eq(skid.o.payload.last),
            skid.o.ready.eq(axi.wready),
            following.eq(~active | (entered & (length == 0))),
        ]
        with m.If(following):
            m.d.sync += [active.eq(self._queued), length.eq(self._queued_length), self._queued.eq(0)]
        with m.Elif(entered):
            m.d.sync += length.eq(length - 1)
        with m.If(begun):
            m.d.sync += [self._queued.eq(1), self._queued_length.eq(self._splitter.bursts.payload.length)]
        working = Signal()
        m.d.comb += working.eq(active | self._queued)
        return working
