# SPDX-License-Identifier: Apache-2.0
"""Starts the units that a job needs, waits for them, and reports."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import Job, Pass
from respin.rtl.ports import Fault, Report

_ENGINE_PASSES = (Pass.CONVOLUTION, Pass.GRADIENT, Pass.GRADIENT_RAW)
_GRADIENT_PASSES = (Pass.GRADIENT, Pass.GRADIENT_RAW)
UNITS = {
    "window": (Pass.CONVOLUTION, Pass.DEPTHWISE, *_GRADIENT_PASSES),
    "read": (Pass.CONVOLUTION, Pass.DEPTHWISE),
    "engine": _ENGINE_PASSES,
    "feed": _GRADIENT_PASSES,
    "depthwise": (Pass.DEPTHWISE,),
    "vector": (Pass.CONVOLUTION, Pass.DEPTHWISE, Pass.GATHER, Pass.GRADIENT_RAW),
    "gather": (Pass.GATHER,),
    "loss": (Pass.LOSS,),
    "update": (Pass.GRADIENT,),
}
"""The units, by the name of their part of a job, and the passes in which they take part."""
LIGHT_PASSES = (Pass.DEPTHWISE, Pass.GATHER)
"""Passes that leave the engine and its feeder alone: with two slots they have units of their own."""


def slot_units(config: AcceleratorConfig) -> tuple[tuple[str, ...], ...]:
    """The units of each job slot, of :data:`UNITS`: of the one slot all; of two those of the dense passes, then those
    of :data:`LIGHT_PASSES`, with a window, a reader of rows and a vector path in both."""
    if config.job_slots == 1:
        return (tuple(UNITS),)
    light = {name for name, kinds in UNITS.items() if any(kind in kinds for kind in LIGHT_PASSES)}
    only_light = {name for name, kinds in UNITS.items() if all(kind in LIGHT_PASSES for kind in kinds)}
    return tuple(name for name in UNITS if name not in only_light), tuple(name for name in UNITS if name in light)


class JobControl(Component):
    """Takes one job at a time, for the units of a slot.

    A job is held at ``job.payload`` until its report is taken; units read their parts there. In a first cycle the
    delayed scale is looked up, then every unit that takes part is offered its job, until it takes it. When all have and
    all are idle, what was measured is settled, if the job says so, and the report goes out. Where nothing moves for
    ``watchdog_cycles`` the job ends with WATCHDOG, and so does every later one until reset: the units still wait.

    Overhead: 2 cycles a job, and the settling.

    Parameters
    ----------
    config : AcceleratorConfig
        ``watchdog_cycles`` is used.
    units : sequence of str
        The slot's, of :data:`UNITS`.

    Members
    -------
    job : In(stream(Job))
    report : Out(stream(Report))
    lookup : Out(1)
        Look the delayed scale of the job's tensor up.
    offer : Out(len(units))
        Units, in their order, to which their job is offered.
    taken : In(len(units))
        Units that take it in this cycle.
    busy : In(1)
        Some unit has not finished.
    progress : In(1)
        Something moved.
    settle : Out(1)
        Settle what the job measured.
    settled : In(1)
        Settling has been taken in hand; ``busy`` covers the rest.
    measured : In(Report)
        What the units say of the job; its ``fault`` is theirs, its ``cycles`` are of no meaning.
    start : Out(1)
        A job starts: counters of the job before are cleared.
    idle : Out(1)
        No job is under way.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig, units: Sequence[str] = tuple(UNITS)) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        self.units = tuple(units)
        super().__init__(
            {
                "job": In(stream.Signature(Job)),
                "report": Out(stream.Signature(Report)),
                "lookup": Out(1),
                "offer": Out(len(self.units)),
                "taken": In(len(self.units)),
                "busy": In(1),
                "progress": In(1),
                "settle": Out(1),
                "settled": In(1),
                "measured": In(Report),
                "start": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, report = self.job.payload, self.report.payload
        cycles, waited = Signal(32), Signal(range(self._config.watchdog_cycles + 1))
        stuck = Signal()
        needed = Cat(Cat(job.kind == kind for kind in kinds).any() for kinds in (UNITS[name] for name in self.units))
        m.d.comb += report.as_value().eq(self.measured.as_value())
        m.d.comb += report.cycles.eq(cycles)
        with m.If(stuck):
            m.d.comb += report.fault.eq(Fault.WATCHDOG)

        m.d.sync += cycles.eq(cycles + 1)
        m.d.sync += waited.eq(waited + 1)
        with m.If(self.progress):
            m.d.sync += waited.eq(0)

        with m.FSM():
            with m.State("Wait for a job"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.job.valid):
                    m.d.comb += [self.start.eq(1), self.lookup.eq(job.scaled)]
                    m.d.sync += [cycles.eq(1), waited.eq(0), self.offer.eq(needed)]
                    m.next = "Work"
                    with m.If(stuck):
                        m.d.sync += self.offer.eq(0)
                        m.next = "Report"
            with m.State("Work"):
                m.d.sync += self.offer.eq(self.offer & ~self.taken)
                with m.If((self.offer == 0) & ~self.busy):
                    m.next = "Report"
                    with m.If(job.settle):
                        m.next = "Settle"
                self._watch(m, waited, stuck)
            with m.State("Settle"):
                m.d.comb += self.settle.eq(1)
                with m.If(self.settled):
                    m.next = "Finish"
                self._watch(m, waited, stuck)
            with m.State("Finish"):
                with m.If(~self.busy):
                    m.next = "Report"
                self._watch(m, waited, stuck)
            with m.State("Report"):
                m.d.comb += [self.report.valid.eq(1), self.job.ready.eq(self.report.ready)]
                m.d.sync += cycles.eq(cycles)
                with m.If(self.report.ready):
                    m.next = "Wait for a job"
        return m

    def _watch(self, m: Module, waited: Signal, stuck: Signal) -> None:
        """End the job if nothing has moved for too long."""
        with m.If(waited == self._config.watchdog_cycles):
            m.d.sync += [stuck.eq(1), self.offer.eq(0)]
            m.next = "Report"
