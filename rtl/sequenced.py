# SPDX-License-Identifier: Apache-2.0
"""The accelerator with its sequencer: everything between external memory, registers and banks."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import BankPins
from respin.rtl.job_control import UNITS
from respin.rtl.mram.keeper import Keeper
from respin.rtl.mram.keeper_ports import MemoryControl, Procedure
from respin.rtl.mram.ports import Counters
from respin.rtl.mram.upkeep import Upkeep
from respin.rtl.ports import Report
from respin.rtl.sequencer.ports import Control, EdgeNote, MemoryRead, MemoryWrite
from respin.rtl.sequencer.sequencer import Sequencer
from respin.rtl.streams import join
from respin.rtl.top import Accelerator

_PORTS = (
    "job", "report", "store_write", "store_read", "store_data", "table_write", "error_scales", "largest_gradients",
)  # fmt: skip
_LIGHT_PORTS = ("light_job", "light_report")
_REQUESTS, _ANSWERS = ("row_write", "row_read"), ("row_written", "row_data")
"""Streams to and from the memory."""
_SHOWN = ("ended", "error", "error_row", "committed", "version", "whole")
_SHOWN_OF_REGIONS = ("formatted", "training", "slot")


class SequencedAccelerator(Component):
    """An :class:`Accelerator` whose host is a :class:`Sequencer`, and a :class:`Keeper` of its memory.

    The keeper has the memory's rows while it is not idle; a program waits until then, and for the end of a march test.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    control : Out(Control()), fetch, load : Out(MemoryRead()), store : Out(MemoryWrite())
        As the sequencer's.
    memory : Out(MemoryControl())
        The keeper's registers; always ready, and unformatted, with ``regions`` 0.
    banks : Out(BankPins(mram_rows)).array(B)
    counters : Out(Counters), clear_counters : In(1), upkeep : Out(Upkeep()), units_busy : Out(9)
        As the accelerator's.
    reported : Out(1), report : Out(Report)
        A job ends in this cycle, and with this report.
    note : Out(EdgeNote)
        As the sequencer's.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "control": Out(Control()),
            "fetch": Out(MemoryRead()),
            "load": Out(MemoryRead()),
            "store": Out(MemoryWrite()),
            "memory": Out(MemoryControl()),
            "banks": Out(BankPins(config.mram_rows)).array(config.banks),
            "counters": Out(Counters),
            "clear_counters": In(1),
            "upkeep": Out(Upkeep()),
            "units_busy": Out(len(UNITS)),
            "reported": Out(1),
            "report": Out(Report),
            "note": Out(EdgeNote),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(config=self.config)
        m.submodules.accelerator = accelerator = Accelerator(config=self.config)
        for name in ("control", "fetch", "load", "store"):
            connect(m, getattr(sequencer, name), flipped(getattr(self, name)))
        reports = [accelerator.report]
        if self.config.job_slots == 2:
            reports.append(accelerator.light_report)
        for name in _PORTS if len(reports) == 1 else (*_PORTS, *_LIGHT_PORTS):
            connect(m, getattr(sequencer, name), getattr(accelerator, name))
        if self.config.regions:
            m.submodules.keeper = keeper = Keeper(config=self.config)
            self._keep(m, keeper, sequencer, accelerator)
        else:
            for name in (*_REQUESTS, *_ANSWERS):
                connect(m, getattr(sequencer, name), getattr(accelerator, name))
            m.d.comb += [
                self.memory.ready.eq(1),
                accelerator.clear_counters.eq(self.clear_counters),
                sequencer.memory_ready.eq(~accelerator.upkeep.state.marching),
                sequencer.memory_works.eq(accelerator.upkeep.state.marching),
            ]
        for inner, outer in zip(accelerator.banks, self.banks, strict=True):
            connect(m, inner, flipped(outer))
        connect(m, accelerator.upkeep, flipped(self.upkeep))
        m.d.comb += [
            self.counters.eq(accelerator.counters),
            self.units_busy.eq(accelerator.units_busy),
            self.note.eq(sequencer.note),
        ]
        for report in reports:
            with m.If(report.valid & report.ready):
                m.d.comb += [self.reported.eq(1), self.report.eq(report.payload)]
        return m

    def _keep(self, m: Module, keeper: Keeper, sequencer: Sequencer, accelerator: Accelerator) -> None:
        """Connect the keeper to the memory's rows, the registers and the sequencer."""
        memory, upkeep = self.memory, accelerator.upkeep.state
        with m.If(keeper.idle):
            self._give_rows(m, sequencer, accelerator)
        with m.Else():
            self._give_rows(m, keeper, accelerator)
        m.d.comb += [getattr(memory, name).eq(getattr(keeper, name)) for name in _SHOWN]
        m.d.comb += [getattr(memory, name).eq(keeper.regions[name]) for name in _SHOWN_OF_REGIONS]
        m.d.comb += [
            keeper.power_good.eq(Cat(bank.power_good for bank in self.banks).all()),
            # A march test keeps the memory for long, so procedures and programs wait here for its end.
            keeper.memory_ready.eq(upkeep.ready & ~upkeep.marching),
            keeper.start.eq(memory.start | sequencer.commit),
            keeper.procedure.eq(Mux(sequencer.control.running, Procedure.COMMIT, memory.procedure)),
            keeper.region.eq(memory.region),
            keeper.unlocked.eq(memory.unlocked),
            memory.ready.eq(keeper.idle),
            memory.writes_locked.eq(accelerator.writes_locked),
            accelerator.regions.eq(keeper.regions),
            # What start-up did is nobody's work.
            accelerator.clear_counters.eq(self.clear_counters | keeper.started),
            sequencer.memory_ready.eq(keeper.idle & ~upkeep.marching),
            sequencer.memory_works.eq(keeper.works | upkeep.marching),
            sequencer.memory_error.eq(keeper.error),
        ]

    @staticmethod
    def _give_rows(m: Module, user: Sequencer | Keeper, accelerator: Accelerator) -> None:
        pairs = [(getattr(user, name), getattr(accelerator, name)) for name in _REQUESTS]
        pairs += [(getattr(accelerator, name), getattr(user, name)) for name in _ANSWERS]
        for source, sink in pairs:
            join(m, source, sink)
