# SPDX-License-Identifier: Apache-2.0
"""The write path: differential write by strip, verify, bounded retry; and raw access."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import ROW_COLUMNS, STRIPS, AcceleratorConfig
from respin.rtl.interfaces import ROW, BankCommand
from respin.rtl.mram.compare import RowCompare
from respin.rtl.mram.events import WriteEvents
from respin.rtl.mram.gray import to_gray
from respin.rtl.mram.ports import CHECKS, Outcome, WriteKind, WriteRequest, WriteStatus
from respin.rtl.mram.pulses import PulseGroups
from respin.rtl.mram.row_codec import CODEWORDS, interleave
from respin.rtl.mram.secded import DATA_BITS
from respin.rtl.mram.watchdog import Watchdog

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
    then is accepted as a defect if no codeword has more than one wrong column. REPAIR goes the same way, as long as all
    that differs lies on one strip; CHECK ends after the first comparison.

    With reads of R cycles and write commands of W cycles, an unchanged row takes ``R + 8`` cycles from request to
    status, and each attempt of ``G`` write commands ``G(W + 1) + R + 7`` more.

    Parameters
    ----------
    config : AcceleratorConfig
        ``write_scheme``, ``write_retries``, ``gray_code`` and ``watchdog_cycles`` are used.

    Members
    -------
    requests : In(stream.Signature(WriteRequest))
        A request is taken together with its status.
    status : Out(stream.Signature(WriteStatus))
        One for each request, in order.
    in_range : In(1)
        The request's row exists.
    claim : Out(1)
        The request waits for its bank, or is about to be refused.
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

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.compare = compare = RowCompare()
        m.submodules.groups = groups = PulseGroups()
        m.submodules.watchdog = watchdog = Watchdog(cycles=self._config.watchdog_cycles)
        request, events = self.requests.payload, self.events
        raw_read = request.kind == WriteKind.RAW_READ
        raw_write = request.kind == WriteKind.RAW_WRITE
        verify = Signal()
        first_differing = Signal.like(compare.differing)
        checks = Signal(CHECKS)
        content = Signal(ROW)
        words = [Cat(content.as_value().word_select(c, DATA_BITS), checks[c]) for c in range(CODEWORDS)]
        m.d.comb += [
            content.eq(request.data),
            checks.eq(Mux(raw_write, request.check.as_value(), compare.checks.as_value())),
            groups.strips.eq(Mux(raw_write, request.mask, compare.strips)),
            compare.data.eq(content),
            compare.columns.eq(self.columns),
            self.strip_mask.eq(groups.mask),
            self.wdata.eq(interleave(words)),
        ]
        if self._config.gray_code:
            with m.If(~raw_write):
                m.d.comb += content.as_value().eq(to_gray(request.data.as_value()))

        with m.FSM():
            with m.State("wait for a request"):
                # Also of one that is refused, which harms nobody: in_range takes long to find out.
                m.d.comb += self.claim.eq(self.requests.valid)
                m.d.sync += [verify.eq(0), first_differing.eq(0), self.pulse.eq(Mux(raw_write, request.pulse, 0))]
                with m.If(self.requests.valid & ~self.in_range):
                    m.d.comb += events.refused.eq(1)
                    self._end(m, Outcome.REFUSED)
                with m.Elif(self.granted):
                    m.d.sync += self.owned.eq(1)
                    m.next = "read"
                    with m.If(raw_write):
                        self._start_pulses(m, groups)
                with m.Elif(self.claim):
                    self._wait(m, watchdog)

            with m.State("read"):
                with m.If(self.ready):
                    m.d.comb += [self.cmd.eq(BankCommand.READ), events.raw_reads.eq(1)]
                    m.next = "wait for the row"
                with m.Else():
                    self._wait(m, watchdog)

            with m.State("wait for the row"):
                with m.If(~self.rvalid):
                    self._wait(m, watchdog)
                with m.Elif(raw_read):
                    self._end(m, Outcome.OK)
                with m.Else():
                    m.next = "compare"

            with m.State("compare"):
                m.d.comb += [compare.run.eq(1), self.viewing.eq(compare.viewing)]
                with m.If(compare.done):
                    self._judge(m, compare, groups, verify, first_differing)

            self._pulse_states(m, groups, watchdog)

            with m.State("answer"):
                m.d.comb += [
                    self.status.valid.eq(1),
                    self.viewing.eq(self.owned),
                    self.requests.ready.eq(self.status.ready),
                ]
                with m.If(self.status.ready):
                    m.d.sync += self.owned.eq(0)
                    m.next = "wait for a request"
        return m

    def _end(self, m: Module, outcome: Value | Outcome, *, defects: Value | int = 0, retries: Value | int = 0) -> None:
        """End the request. A raw read keeps its bank while its status waits: the columns are on show."""
        m.d.sync += [
            self.status.payload.outcome.eq(outcome),
            self.status.payload.defects.eq(defects),
            self.status.payload.retries.eq(retries),
            self.owned.eq(self.owned & (self.requests.payload.kind == WriteKind.RAW_READ)),
        ]
        m.next = "answer"

    def _wait(self, m: Module, watchdog: Watchdog) -> None:
        """Stay in this state, but not for ever."""
        m.d.comb += watchdog.waiting.eq(1)
        with m.If(watchdog.expired):
            m.d.comb += self.events.timeouts.eq(1)
            self._end(m, Outcome.TIMEOUT)

    def _start_pulses(self, m: Module, groups: PulseGroups) -> None:
        m.d.comb += groups.start.eq(1)
        m.next = "pulse 0"

    def _judge(
        self, m: Module, compare: RowCompare, groups: PulseGroups, verify: Value, first_differing: Value
    ) -> None:
        """Pulse what differs, unless nothing does or the last retry has been made."""
        kind = self.requests.payload.kind
        repair, check = kind == WriteKind.REPAIR, kind == WriteKind.CHECK
        differs = compare.differing != 0
        last = verify & (self.pulse == self._config.write_retries)
        with m.If(differs & ~last & ~check & (~repair | compare.one_strip)):
            m.d.comb += self.events.retries.eq(verify)
            m.d.sync += [verify.eq(1), self.pulse.eq(self.pulse + verify)]
            with m.If(~verify):
                m.d.sync += first_differing.eq(compare.differing)
            self._start_pulses(m, groups)
        with m.Else():
            unsafe = repair & ~compare.one_strip
            accepted = Mux(differs & compare.repairable & ~unsafe, compare.differing, 0)
            m.d.comb += [
                self.events.row_writes.eq(~check),
                self.events.writes_skipped.eq(~verify & ~check),
                self.events.bits_flipped.eq(Mux(verify, first_differing - compare.differing, 0)),
                self.events.defects_accepted.eq(Mux(check, 0, accepted)),
                self.events.writes_failed.eq(~compare.repairable & ~check & ~repair),
            ]
            flawed = Mux(unsafe, Outcome.UNSAFE, Mux(compare.repairable, Outcome.DEFECT, Outcome.FAILED))
            self._end(m, Mux(differs, flawed, Outcome.OK), defects=accepted, retries=self.pulse)

    def _pulse_states(self, m: Module, groups: PulseGroups, watchdog: Watchdog) -> None:
        """One state for each command that a group of strips is given; after the last group the row is verified."""
        commands = PULSE_COMMANDS[self._config.write_scheme]
        for number, command in enumerate(commands):
            last = number == len(commands) - 1
            with m.State(f"pulse {number}"):
                with m.If(~groups.left):
                    m.next = "read"
                    with m.If(self.requests.payload.kind == WriteKind.RAW_WRITE):
                        self._end(m, Outcome.OK)
                with m.Elif(self.ready):
                    m.d.comb += [
                        self.cmd.eq(command),
                        groups.advance.eq(last),
                        self.events.pulses.eq(1),
                        self.events.strips_pulsed.eq(groups.count),
                    ]
                    m.next = "pulse 0" if last else f"pulse {number + 1}"
                with m.Else():
                    self._wait(m, watchdog)
