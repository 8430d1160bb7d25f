# SPDX-License-Identifier: Apache-2.0
"""Reads memory into a stream."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import MAX_BEATS, MODIFIABLE_BUFFERABLE, Axi4Read, Burst, require_int
from respin.rtl.host.bursts import BurstSplitter
from respin.rtl.host.dma_ports import (
    ADDRESS_BITS,
    MAXIMUM_WATCHDOG,
    MINIMUM_WATCHDOG,
    DmaCommand,
    DmaError,
    DmaStatus,
    beat_layout,
)
from respin.rtl.mram.watchdog import Watchdog
from respin.rtl.vector.skid import SkidBuffer


class DmaRead(Component):
    """Reads what a command names and gives it out beat by beat.

    A command gives as many beats as it names, the last one marked, and then a status, once that beat was taken. Answers
    with an error do not change that: the data is what came with them, and the status names the first error. A command
    that is refused gives a status and no data.

    Where nothing moves for ``watchdog`` cycles, neither on the bus nor in the stream, the command ends with TIMEOUT and
    gives no further data than what is offered then, which stays offered. The bus is owed more: an address that was
    offered stays offered, and data that still comes is taken and dropped. Until all has come, and what is offered is
    taken, ``busy`` is high and commands end with TIMEOUT at once.

    Latency: 3 cycles from a command to its first address, 1 from a beat on the bus to the stream. Throughput: a beat a
    cycle, without a pause between bursts if ``outstanding`` bursts last as long as the memory takes to answer.

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

    Members
    -------
    command : In(stream(DmaCommand))
    data : Out(stream(beat_layout(data_bits)))
    status : Out(stream(DmaStatus))
    axi : Out(Axi4Read(data_bits, 32, id_bits))
    busy : Out(1)
        A command is under way, or something of an earlier one.
    timed_out : Out(1)
        Something of a command that has timed out is still under way.
    moved : Out(1)
        A beat comes in on the bus.

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    latency = 3

    def __init__(
        self, *, data_bits: int, watchdog: int, id_bits: int = 1, max_beats: int = MAX_BEATS, outstanding: int = 2
    ) -> None:
        require_int("watchdog", watchdog, MINIMUM_WATCHDOG, MAXIMUM_WATCHDOG)
        require_int("outstanding", outstanding, 1, 15)
        self.data_bits, self._outstanding = data_bits, outstanding
        self._splitter = BurstSplitter(data_bits=data_bits, max_beats=max_beats)
        self._watchdog = Watchdog(cycles=watchdog)
        super().__init__(
            {
                "command": In(stream.Signature(DmaCommand)),
                "data": Out(stream.Signature(beat_layout(data_bits))),
                "status": Out(stream.Signature(DmaStatus)),
                "axi": Out(Axi4Read(data_bits, ADDRESS_BITS, id_bits)),
                "busy": Out(1),
                "timed_out": Out(1),
                "moved": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.splitter = splitter = self._splitter
        m.submodules.watchdog = watchdog = self._watchdog
        m.submodules.skid = skid = SkidBuffer(self.data.payload.shape())
        axi, command, status, bursts = self.axi, self.command, self.status, splitter.bursts

        outstanding, left = Signal(range(self._outstanding + 1)), Signal.like(splitter.beats)
        moving, stuck = Signal(), Signal()
        address_taken, arrived = Signal(), Signal()
        m.d.comb += [
            splitter.command.eq(command.payload),
            axi.araddr.eq(bursts.payload.address),
            axi.arlen.eq(bursts.payload.length),
            axi.arsize.eq(splitter.byte_bits),
            axi.arburst.eq(Burst.INCR),
            axi.arcache.eq(MODIFIABLE_BUFFERABLE),
            # Once high it stays: what is outstanding only grows when this address is taken.
            axi.arvalid.eq(bursts.valid & (outstanding < self._outstanding)),
            address_taken.eq(axi.arvalid & axi.arready),
            bursts.ready.eq(address_taken),
            axi.rready.eq(stuck | (moving & (left != 0) & skid.i.ready)),
            arrived.eq(axi.rvalid & axi.rready),
            self.moved.eq(arrived),
            skid.i.valid.eq(arrived & ~stuck),
            skid.i.payload.data.eq(axi.rdata),
            skid.i.payload.last.eq(left == 1),
            self.data.valid.eq(skid.o.valid),
            self.data.payload.eq(skid.o.payload),
            skid.o.ready.eq(self.data.ready),
            watchdog.waiting.eq(moving & ~address_taken & ~arrived & ~(self.data.valid & self.data.ready)),
            self.busy.eq(moving | stuck),
            self.timed_out.eq(stuck),
        ]
        came_home = arrived & axi.rlast & (outstanding != 0)
        m.d.sync += outstanding.eq(outstanding + address_taken - came_home)
        with m.If(skid.i.valid):
            m.d.sync += left.eq(left - 1)
        error = status.payload.error
        with m.If(skid.i.valid & axi.rresp.as_value()[1] & (error == DmaError.NONE)):
            m.d.sync += error.eq(Mux(axi.rresp.as_value()[0], DmaError.DECERR, DmaError.SLVERR))
        with m.If(stuck & splitter.idle & (outstanding == 0) & ~self.data.valid):
            m.d.sync += stuck.eq(0)

        with m.FSM():
            with m.State("Wait for a command"):
                m.d.comb += command.ready.eq(1)
                m.d.comb += splitter.start.eq(command.valid & ~stuck & ~splitter.refused)
                m.d.sync += left.eq(splitter.beats)
                with m.If(command.valid):
                    m.d.sync += error.eq(Mux(stuck, DmaError.TIMEOUT, DmaError.REFUSED))
                    m.next = "Report"
                with m.If(splitter.start):
                    m.d.sync += error.eq(DmaError.NONE)
                    m.next = "Move"
            with m.State("Move"):
                m.d.comb += [moving.eq(1), splitter.stop.eq(watchdog.expired)]
                with m.If((left == 0) & ~self.data.valid):
                    m.next = "Report"
                with m.If(watchdog.expired):
                    m.d.sync += [stuck.eq(1), error.eq(DmaError.TIMEOUT)]
                    m.next = "Report"
            with m.State("Report"):
                m.d.comb += status.valid.eq(1)
                with m.If(status.ready):
                    m.next = "Wait for a command"
        return m
