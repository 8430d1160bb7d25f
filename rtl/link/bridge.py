# SPDX-License-Identifier: Apache-2.0
"""Requests of a serial line, carried out on two AXI4-Lite ports."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, signed, unsigned
from amaranth.lib import crc, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.host.axi import AxiLite, require_int
from respin.rtl.host.dma_ports import ADDRESS_BITS
from respin.rtl.host.registers import WINDOW_BITS
from respin.rtl.link.protocol import CRC_BYTES, HEADER_BYTES, MAX_WORDS, WORD_BYTES, Status
from respin.rtl.link.stuffing import Stuffing, Unstuffing
from respin.rtl.link.uart import RECEIVED
from respin.rtl.mram.watchdog import Watchdog

_BUFFER_BYTES = 512
"""Payload and CRC of the longest request fit, and so does block RAM of an iCE40."""
_POSITION_BITS = 10
_LAST_POSITION = (1 << _POSITION_BITS - 1) - 1
_START = -HEADER_BYTES - 2 * CRC_BYTES
_PAYLOAD = _START + HEADER_BYTES
_AFTER_READ = _PAYLOAD + CRC_BYTES
"""A request's bytes are counted from ``_START``, so that after the CRC of one that writes the count is four times the
header's number of words, which is one less than they are."""


class LinkBridge(Component):
    """Reads and writes words for a host that sends requests and waits for their answers.

    A request has an effect after its last byte, if its CRC is right; a broken one is dropped without an answer, and the
    host sends it again. A request that writes and has the number of the request before is not carried out again: it
    gets the same answer once more. Bytes that come while a request is carried out or answered are lost.

    A port that does not answer within ``timeout`` cycles ends the request with TIMEOUT. The bridge then hears nothing
    until the port has settled what it owes.

    Latency: what the lines take, and some ten cycles a word beside it. Throughput: a byte in 9 cycles.

    Parameters
    ----------
    timeout : int
        Longest wait for a port, in cycles.

    Members
    -------
    i : In(stream(RECEIVED, always_ready))
        Bytes from the host.
    o : Out(stream(8))
        Bytes to the host.
    registers : Out(AxiLite(12, 32))
    memory : Out(AxiLite(32, 32))

    Raises
    ------
    TypeError, ValueError
        If ``timeout`` is not in 16..2**20.
    """

    def __init__(self, *, timeout: int = 4096) -> None:
        require_int("timeout", timeout, 16, 1 << 20)
        self._watchdog = Watchdog(cycles=timeout)
        super().__init__(
            {
                "i": In(stream.Signature(RECEIVED, always_ready=True)),
                "o": Out(stream.Signature(unsigned(8))),
                "registers": Out(AxiLite(WINDOW_BITS, 8 * WORD_BYTES)),
                "memory": Out(AxiLite(ADDRESS_BITS, 8 * WORD_BYTES)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._header(m)
        self._checksum(m)
        self._ports(m)
        m.submodules.stuffing = stuffing = Stuffing()
        m.submodules.unstuffing = unstuffing = Unstuffing()
        m.submodules.buffer = buffer = Memory(shape=unsigned(8), depth=_BUFFER_BYTES, init=[])
        self._put, self._get = buffer.write_port(), buffer.read_port()
        self._sent, self._taken = stuffing.i, Signal()
        m.d.comb += [
            unstuffing.i.valid.eq(self.i.valid),
            unstuffing.i.payload.eq(self.i.payload.data),
            self.o.valid.eq(stuffing.o.valid),
            self.o.payload.eq(stuffing.o.payload),
            stuffing.o.ready.eq(self.o.ready),
            self._taken.eq(stuffing.i.valid & stuffing.i.ready),
            self._put.addr.eq(self._position),
            self._put.data.eq(unstuffing.o.payload.data),
            self._get.addr.eq(self._position),
        ]
        with m.FSM():
            self._receive(m, unstuffing.o)
            self._carry_out_writes(m)
            self._answer(m)
        return m

    def _header(self, m: Module) -> None:
        """What a request says, byte after byte, and which one was carried out last."""
        header = self._header_bits = Signal(8 * HEADER_BYTES, reset_less=True)
        self._number, self._command = header[:8], header[8:16]
        self._address, self._words_left = header[16:48], header[48:]
        self._writes, self._to_memory = self._command[0], self._command[1]
        self._position = Signal(signed(_POSITION_BITS), reset_less=True)
        self._word = Signal(8 * WORD_BYTES, reset_less=True)
        self._status = Signal(Status, reset_less=True)
        # One bit more than a number has: nothing was carried out since the reset.
        self._last = Signal(9, init=1 << 8)
        self._in_header = self._position < _PAYLOAD

    def _checksum(self, m: Module) -> None:
        """The CRC of what is received or sent, a bit a cycle."""
        self._crc = checksum = crc.catalog.CRC32_ISO_HDLC(data_width=1).create()
        # A reset costs less than ``start``.
        self._crc_start = Signal()
        m.submodules.crc = ResetInserter(self._crc_start)(checksum)
        byte, left, out = Signal(8, reset_less=True), Signal(4), Signal(reset_less=True)
        self._crc_byte, self._crc_take, self._crc_out = Signal(8), Signal(), Signal()
        # Given the bit that it is about to hand back, the register turns nothing over: it moves out.
        m.d.comb += [checksum.valid.eq(left != 0), checksum.data.eq(Mux(out, ~checksum.crc[0], byte[0]))]
        with m.If(checksum.valid):
            m.d.sync += [left.eq(left - 1), byte.eq(byte[1:])]
        with m.If(self._crc_take):
            m.d.sync += [left.eq(8), byte.eq(self._crc_byte), out.eq(self._crc_out)]

    def _ports(self, m: Module) -> None:
        """One access at a time; ``owed`` until it was answered."""
        ask_address, ask_data, ask_read, self._owed = Signal(), Signal(), Signal(), Signal()
        self._write_word, self._read_word = Signal(), Signal()
        self._answered, self._failed, self._read_data = Signal(), Signal(), Signal(8 * WORD_BYTES)
        m.submodules.watchdog = watchdog = self._watchdog
        m.d.comb += watchdog.waiting.eq(self._owed)
        for to_memory, axi in enumerate((self.registers, self.memory)):
            chosen = self._to_memory == to_memory
            word_address = Cat(Const(0, 2), self._address[2:])
            m.d.comb += [
                axi.awaddr.eq(word_address),
                axi.araddr.eq(word_address),
                axi.wdata.eq(self._word),
                axi.wstrb.eq(~0),
                axi.awvalid.eq(ask_address & chosen),
                axi.wvalid.eq(ask_data & chosen),
                axi.arvalid.eq(ask_read & chosen),
                axi.bready.eq(1),
                axi.rready.eq(1),
            ]
            with m.If(chosen):
                m.d.comb += [
                    self._answered.eq(axi.bvalid | axi.rvalid),
                    self._failed.eq(Mux(axi.bvalid, axi.bresp.as_value()[1], axi.rresp.as_value()[1])),
                    self._read_data.eq(axi.rdata),
                ]
                with m.If(axi.awready):
                    m.d.sync += ask_address.eq(0)
                with m.If(axi.wready):
                    m.d.sync += ask_data.eq(0)
                with m.If(axi.arready):
                    m.d.sync += ask_read.eq(0)
        with m.If(self._answered):
            m.d.sync += self._owed.eq(0)
        with m.If(self._write_word):
            m.d.sync += [ask_address.eq(1), ask_data.eq(1), self._owed.eq(1)]
        with m.If(self._read_word):
            m.d.sync += [ask_read.eq(1), self._owed.eq(1)]

    def _next_word(self, m: Module) -> None:
        m.d.sync += [self._address[2:8].eq(self._address[2:8] + 1), self._words_left.eq(self._words_left - 1)]

    def _receive(self, m: Module, received: object) -> None:
        position, symbol = self._position, received.payload
        whole, opened = Signal(), Signal()
        expected = Mux(self._writes, Cat(Const(0, 2), self._words_left), _AFTER_READ)
        m.d.comb += whole.eq(
            opened
            & self._crc.match_detected
            & (position == expected)
            & (self._command[2:] == 0)
            & (self._words_left < MAX_WORDS)
        )
        with m.State("Receive"):
            m.d.comb += [
                self._crc_byte.eq(symbol.data),
                self._crc_take.eq(received.valid & ~symbol.flag),
                self._put.en.eq(self._crc_take & ~self._in_header),
            ]
            with m.If(self._crc_take):
                with m.If(position != _LAST_POSITION):  # there it stays, as what is as long as that is no request
                    m.d.sync += position.eq(position + 1)
                with m.If(self._in_header):
                    m.d.sync += self._header_bits.eq(Cat(self._header_bits[8:], symbol.data))
            with m.If(received.valid & symbol.flag):
                m.d.comb += self._crc_start.eq(1)
                m.d.sync += [opened.eq(1), position.eq(_START)]
                with m.If(whole):
                    m.d.sync += [opened.eq(0), position.eq(_PAYLOAD), self._last.eq(self._number)]
                    m.next = "Begin the answer"
                    with m.If(self._writes & (self._last != self._number)):
                        m.next = "Take a byte"
                    with m.If(~self._writes | (self._last != self._number)):
                        m.d.sync += self._status.eq(Status.OKAY)
            with m.If(self.i.valid & self.i.payload.error):
                m.d.sync += opened.eq(0)

    def _carry_out_writes(self, m: Module) -> None:
        with m.State("Take a byte"):
            m.d.sync += self._position.eq(self._position + 1)
            m.next = "Shift it in"
        with m.State("Shift it in"):
            m.d.sync += self._word.eq(Cat(self._word[8:], self._get.data))
            m.next = "Take a byte"
            with m.If(self._position[:2] == 0):
                m.d.comb += self._write_word.eq(1)
                m.next = "Wait for the write"
        with m.State("Wait for the write"):
            with m.If(self._answered):
                self._next_word(m)
                m.next = "Take a byte"
                with m.If(self._failed):
                    m.d.sync += self._status.eq(Status.REFUSED)
                with m.If(self._failed | (self._words_left == 0)):
                    m.next = "Begin the answer"
            with m.Elif(self._watchdog.expired):
                m.d.sync += self._status.eq(Status.TIMEOUT)
                m.next = "Begin the answer"

    def _send(self, m: Module, byte: object, following: str, *, flag: bool = False) -> None:
        """Offer a byte; go on when it is taken."""
        m.d.comb += [
            self._sent.valid.eq(~self._crc.valid),
            self._sent.payload.data.eq(byte),
            self._sent.payload.flag.eq(flag),
        ]
        with m.If(self._taken):
            if not flag:
                m.d.comb += [self._crc_take.eq(1), self._crc_byte.eq(byte)]
            m.next = following

    def _answer(self, m: Module) -> None:
        with m.State("Begin the answer"):
            m.d.comb += self._crc_start.eq(1)
            self._send(m, 0, "Say its number", flag=True)
        with m.State("Say its number"):
            m.d.sync += self._position.eq(_PAYLOAD)
            self._send(m, self._number, "Say its status")
            with m.If(self._taken & ~self._writes):
                m.next = "Read a word"
        with m.State("Read a word"):
            m.d.comb += self._read_word.eq(1)
            m.next = "Wait for the word"
        with m.State("Wait for the word"):
            m.d.sync += self._word.eq(self._read_data)
            with m.If(self._answered):
                m.next = "Say the word"
                with m.If(self._failed):
                    m.d.sync += self._status.eq(Status.REFUSED)
                    m.next = "Say its status"
            with m.Elif(self._watchdog.expired):
                m.d.sync += self._status.eq(Status.TIMEOUT)
                m.next = "Say its status"
        with m.State("Say the word"):
            self._send(m, self._word[:8], "Say the word")
            with m.If(self._taken):
                m.d.sync += [self._word.eq(Cat(self._word[8:], self._get.data)), self._position.eq(self._position + 1)]
                with m.If(self._position[:2] == WORD_BYTES - 1):
                    self._next_word(m)
                    m.next = "Read a word"
                    with m.If(self._words_left == 0):
                        m.next = "Say its status"
        with m.State("Say its status"):
            m.d.sync += self._position.eq(_PAYLOAD)
            self._send(m, self._status, "Say the CRC")
        with m.State("Say the CRC"):
            m.d.comb += self._crc_out.eq(1)
            self._send(m, self._crc.crc[:8], "Say the CRC")
            with m.If(self._taken):
                m.d.sync += self._position.eq(self._position + 1)
                with m.If(self._position[:2] == CRC_BYTES - 1):
                    m.next = "End the answer"
        with m.State("End the answer"):
            self._send(m, 0, "Settle", flag=True)
        with m.State("Settle"):
            with m.If(~self._owed):
                m.next = "Receive"
