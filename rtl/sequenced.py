# SPDX-License-Identifier: Apache-2.0
"""The accelerator with its sequencer: everything between external memory, registers and banks."""

from amaranth.hdl import Module
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.interfaces import BankPins
from respin.rtl.job_control import UNITS
from respin.rtl.mram.ports import Counters
from respin.rtl.ports import Report
from respin.rtl.sequencer.ports import Control, EdgeNote, MemoryRead, MemoryWrite
from respin.rtl.sequencer.sequencer import Sequencer
from respin.rtl.top import Accelerator

_STREAMS = (
    "job", "report", "store_write", "store_read", "store_data", "table_write", "row_write", "row_written", "row_read",
    "row_data",
)  # fmt: skip


class SequencedAccelerator(Component):
    """An :class:`Accelerator` whose host is a :class:`Sequencer`.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    control : Out(Control()), fetch, load : Out(MemoryRead()), store : Out(MemoryWrite())
        As the sequencer's.
    banks : Out(BankPins(mram_rows)).array(B)
    counters : Out(Counters), clear_counters : In(1), units_busy : Out(9)
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
            "banks": Out(BankPins(config.mram_rows)).array(config.banks),
            "counters": Out(Counters),
            "clear_counters": In(1),
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
        for name in _STREAMS:
            connect(m, getattr(sequencer, name), getattr(accelerator, name))
        for inner, outer in zip(accelerator.banks, self.banks, strict=True):
            connect(m, inner, flipped(outer))
        m.d.comb += [
            self.counters.eq(accelerator.counters),
            accelerator.clear_counters.eq(self.clear_counters),
            self.units_busy.eq(accelerator.units_busy),
            self.reported.eq(accelerator.report.valid & accelerator.report.ready),
            self.report.eq(accelerator.report.payload),
            self.note.eq(sequencer.note),
        ]
        return m
