# SPDX-License-Identifier: Apache-2.0
"""The write path: differential write by strip, verify, bounded retry; and raw access."""

from itertools import zip_longest

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import ROW_COLUMNS, STRIPS, AcceleratorConfig
from respin.rtl.interfaces import BankCommand
from respin.rtl.mram.compare import RowCompare
from respin.rtl.mram.events import WriteEvents
from respin.rtl.mram.popcount import popcount
from respin.rtl.mram.ports import CHECKS, Outcome, WriteKind, WriteRequest, WriteStatus
from respin.rtl.mram.row_codec import CODEWORDS, interleave
from respin.rtl.mram.secded import DATA_BITS
from respin.rtl.mram.watchdog import Watchdog

PULSE_GROUPS: tuple[tuple[int, ...], ...] = (
    *(tuple(i for i in range(DATA_BITS) if i % 8 // 2 == pair) for pair in range(4)),
    tuple(range(DATA_BITS, STRIPS)),
)
"""Strips that share a pulse, at most 16, which bounds the macro's current: two bit significances of every weight
each, since a small step of a weight mostly changes its low bits; and the check bits."""

PULSE_COMMANDS: dict[str, tuple[BankCommand, ...]] = {
    "sas": (BankCommand.WRITE_SAS,),
    "erase_program": (BankCommand.SOT_ONLY, BankCommand.STT_ONLY),
}
"""The commands that write the strips of a group, by write scheme."""


class RowWriter(wiring.Component):
    """Carries out the requests of the write stream, one at a time.

    WRITE: the row is read raw and compared with the encoded data; where nothing differs it ends. Otherwise the strips
    that differ are pulsed, group by group (``PULSE_GROUPS``), the row is read raw and compared again, and the strips
    that still differ are pulsed with the next entry of the pulse table, up to ``write_retries`` times. What differs
    then is accepted as a defect if no codeword has more than one wrong column.

    With reads of R cycles and write commands of W cycles, an unchanged row takes ``R + 8`` cycles from request to
    status, and each attempt of ``G`` write commands ``G(W + 1) + R + 7`` more.

    Parameters
    ----------
    config : AcceleratorConfig
        ``write_scheme``, ``write_retries`` and ``watchdog_cycles`` are used.

    Members
    -------
    requests : In(stream.Signature(WriteRequest))
        A request is taken together with its status.
    status : Out(stream.Signature(WriteStatus))
        One for each request, in order.
    in_range : In(1)
        The request's row exists.
    claim : Out(1)
        The request waits for its bank.
    granted : In(1)
        From the next cycle on the bank is the writer's.
    owned : Out(1)
        It is.
    ready : In(1)
        The bank takes a command: powered and not busy.
    rvalid : In(1)
        The bank ends a READ.
    viewing : Out(1)
        ``columns`` must be the raw row in the bank's latch in this cycle.
    columns : In(288)
        A raw row.
    cmd, strip_mask, wdata, pulse : Out
        As the bank's pins; ``cmd`` is other than IDLE only with ``ready``.
    events : Out(WriteEvents)
        What happened in this cycle.

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__(
            {
                "requests": In(stream.Signature(WriteRequest)),
                "status": Out(stream.Signature(WriteStatus)),
                "in_range": In(1),
                "claim": Out(1),
                "granted": In(1),
                "owned": Out(1),
                "ready": In(1),
                "rvalid": In(1),
                "viewing": Out(1),
                "columns": In(ROW_COLUMNS),
                "cmd": Out(BankCommand),
                "strip_mask": Out(STRIPS),
                "wdata": Out(ROW_COLUMNS),
                "pulse": Out(4),
                "events": Out(WriteEvents),
            }
        )

    def _drive_pulse(self, m: Module, strips: Value, group: Value, checks: data.View) -> Value:
        """Drive the write pins for the strips of one group (one-hot); return how many strips that are."""
        request = self.requests.payload
        words = [Cat(request.data.as_value().word_select(c, DATA_BITS), checks[c]) for c in range(CODEWORDS)]
        m.d.comb += self.wdata.eq(interleave(words))
        for group_strips, chosen in zip(PULSE_GROUPS, group, strict=True):
            m.d.comb += [self.strip_mask[i].eq(strips[i] & chosen) for i in group_strips]
        # All but one group are masked out, so the groups may share the counter's inputs.
        lanes = zip_longest(*PULSE_GROUPS)
        return popcount(Cat(self.strip_mask[i] for i in lane if i is not None).any() for lane in lanes)

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.compare = compare = RowCompare()
        m.submodules.watchdog = watchdog = Watchdog(cycles=config.watchdog_cycles)
        request, status, events = self.requests.payload, self.status.payload, self.events
        raw_read = request.kind == WriteKind.RAW_READ
        raw_write = request.kind == WriteKind.RAW_WRITE

        verify = Signal()
        first_differing = Signal.like(compare.differing)
        groups_left = Signal(len(PULSE_GROUPS))
        group = Signal(len(PULSE_GROUPS))
        strips = Signal(STRIPS)
        checks = Signal(CHECKS)
        m.d.comb += [
            group.eq(groups_left & -groups_left),
            strips.eq(Mux(raw_write, request.mask, compare.strips)),
            checks.eq(Mux(raw_write, request.check.as_value(), compare.checks.as_value())),
            compare.data.eq(request.data),
            compare.columns.eq(self.columns),
        ]
        strips_in_pulse = self._drive_pulse(m, strips, group, checks)

        def end(outcome: Value | Outcome, *, defects: Value | int = 0, retries: Value | int = 0) -> None:
            m.d.sync += [
                status.outcome.eq(outcome),
                status.defects.eq(defects),
                status.retries.eq(retries),
                self.owned.eq(self.owned & raw_read),
            ]
            m.next = "answer"

        def wait() -> None:
            m.d.comb += watchdog.waiting.eq(1)
            with m.If(watchdog.expired):
                m.d.comb += events.timeouts.eq(1)
                end(Outcome.TIMEOUT)

        def start_pulses() -> None:
            m.d.sync += groups_left.eq(Cat(Cat(strips[i] for i in group_strips).any() for group_strips in PULSE_GROUPS))
            m.next = "pulse 0"

        with m.FSM():
            with m.State("wait for a request"):
                m.d.comb += self.claim.eq(self.requests.valid & self.in_range)
                m.d.sync += [verify.eq(0), first_differing.eq(0), self.pulse.eq(Mux(raw_write, request.pulse, 0))]
                with m.If(self.requests.valid & ~self.in_range):
                    m.d.comb += events.refused.eq(1)
                    end(Outcome.REFUSED)
                with m.Elif(self.granted):
                    m.d.sync += self.owned.eq(1)
                    m.next = "read"
                    with m.If(raw_write):
                        start_pulses()
                with m.Elif(self.claim):
                    wait()

            with m.State("read"):
                with m.If(self.ready):
                    m.d.comb += [self.cmd.eq(BankCommand.READ), events.raw_reads.eq(1)]
                    m.next = "wait for the row"
                with m.Else():
                    wait()

            with m.State("wait for the row"):
                with m.If(~self.rvalid):
                    wait()
                with m.Elif(raw_read):
                    end(Outcome.OK)
                with m.Else():
                    m.next = "compare"

            with m.State("compare"):
                differs = compare.differing != 0
                m.d.comb += [compare.run.eq(1), self.viewing.eq(compare.viewing)]
                with m.If(compare.done & differs & ~(verify & (self.pulse == config.write_retries))):
                    m.d.comb += events.retries.eq(verify)
                    m.d.sync += [verify.eq(1), self.pulse.eq(self.pulse + verify)]
                    with m.If(~verify):
                        m.d.sync += first_differing.eq(compare.differing)
                    start_pulses()
                with m.Elif(compare.done):
                    accepted = Mux(differs & compare.repairable, compare.differing, 0)
                    m.d.comb += [
                        events.row_writes.eq(1),
                        events.writes_skipped.eq(~verify),
                        events.bits_flipped.eq(first_differing - compare.differing),
                        events.defects_accepted.eq(accepted),
                        events.writes_failed.eq(~compare.repairable),
                    ]
                    repaired = Mux(compare.repairable, Outcome.DEFECT, Outcome.FAILED)
                    end(Mux(differs, repaired, Outcome.OK), defects=accepted, retries=self.pulse)

            commands = PULSE_COMMANDS[config.write_scheme]
            for number, command in enumerate(commands):
                last = number == len(commands) - 1
                with m.State(f"pulse {number}"):
                    with m.If(~groups_left.any()):
                        m.next = "read"
                        with m.If(raw_write):
                            end(Outcome.OK)
                    with m.Elif(self.ready):
                        m.d.comb += [
                            self.cmd.eq(command),
                            events.pulses.eq(1),
                            events.strips_pulsed.eq(strips_in_pulse),
                        ]
                        if last:
                            m.d.sync += groups_left.eq(groups_left & ~group)
                        m.next = "pulse 0" if last else f"pulse {number + 1}"
                    with m.Else():
                        wait()

            with m.State("answer"):
                m.d.comb += [
                    self.status.valid.eq(1),
                    self.viewing.eq(raw_read),
                    self.requests.ready.eq(self.status.ready),
                ]
                with m.If(self.status.ready):
                    m.d.sync += self.owned.eq(0)
                    m.next = "wait for a request"
        return m
