# SPDX-License-Identifier: Apache-2.0
"""What the machine knows of the tensors of errors: which may be used in this step, and with what exponents."""

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, PureInterface, connect, flipped

from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import EXPONENT, GATHER_SOURCES, TENSOR_ID
from respin.rtl.learn.table import TablePort, TensorTable
from respin.rtl.sequencer.descriptor import SourceId

REBASE = signed(8)
MAX_ALIGN = 39
"""Largest distance by which an operand is shifted where errors meet (docs/arithmetic.md, Errors)."""


class ErrorState(data.Struct):
    """Of this program: the tensor's scale is valid, it is not all 0, and its exponent."""

    usable: unsigned(1)
    alive: unsigned(1)
    exponent: EXPONENT


class Measured(data.Struct):
    """Of the last step in which the tensor was not all 0: the exponent with which its errors came in."""

    exponent: EXPONENT


class EdgeState(Component):
    """Decides whether an edge runs, and how: docs/arithmetic.md, Errors.

    ``incoming`` is the largest exponent among the sources that are alive, among all if none is; ``rebase`` what it has
    fallen by since the tensor's scale was measured; ``align[j] = clamp(incoming - E_j, 0, 39)``. An operand whose
    exponent is above ``incoming`` is all 0, so that its alignment is of no account and it need not be left out.

    Latency: ``tensor_ids + 1`` cycles from reset or ``clear`` to ``ready``; ``latency`` cycles from ``resolve`` to
    ``resolved``. A commit takes one.

    Parameters
    ----------
    config : AcceleratorConfig
        ``tensor_ids`` counts.

    Members
    -------
    clear : In(1)
        A program starts: no tensor is usable. What was measured stays.
    ready : Out(1)
        Neither of the tables is being cleared.
    resolve : In(1)
        Look up ``sources`` for ``tensor``; both hold until ``resolved``.
    tensor : In(TENSOR_ID)
    sources : In(ArrayLayout(SourceId, 4))
    resolved : Out(1)
        What follows holds, until the next ``resolve``.
    usable : Out(1)
        Every source may be used.
    incoming, rebase : Out
    align : Out(ArrayLayout(6, 4))
    commit : In(1)
        Set ``tensor``'s state to ``state``; with ``measured`` note ``incoming`` as well.
    state : In(ErrorState)
    measured : In(1)
    host : In(TablePort(Measured))
        Saves and restores what was measured.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    latency = GATHER_SOURCES + 4

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._ids = config.tensor_ids
        super().__init__({
            "clear": In(1),
            "ready": Out(1),
            "resolve": In(1),
            "tensor": In(TENSOR_ID),
            "sources": In(data.ArrayLayout(SourceId, GATHER_SOURCES)),
            "resolved": Out(1),
            "usable": Out(1),
            "incoming": Out(EXPONENT),
            "rebase": Out(REBASE),
            "align": Out(data.ArrayLayout(unsigned(6), GATHER_SOURCES)),
            "commit": In(1),
            "state": In(ErrorState),
            "measured": In(1),
            "host": In(TablePort(Measured)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.states = states = Memory(shape=ErrorState, depth=self._ids, init=[])
        m.submodules.measures = measures = TensorTable(shape=Measured, ids=self._ids)
        connect(m, flipped(self.host), measures.host)
        self._write(m, states.write_port(), measures.owner)
        self._resolve(m, states.read_port(), measures.owner)
        return m

    def _write(self, m: Module, state: Value, measure: PureInterface) -> None:
        """Clear one by one, a memory has no reset; else take what is committed."""
        clearing = Signal(range(self._ids + 1))
        cleared = clearing == self._ids
        m.d.comb += [
            self.ready.eq(cleared & measure.ready),
            state.addr.eq(Mux(cleared, self.tensor, clearing)),
            state.en.eq(~cleared | self.commit),
            measure.write.eq(self.commit),
            measure.entry_valid.eq(1),
            measure.entry.exponent.eq(self.incoming),
        ]
        with m.If(cleared):
            m.d.comb += state.data.eq(self.state)
            with m.If(self.clear):
                m.d.sync += clearing.eq(0)
        with m.Else():
            m.d.sync += clearing.eq(clearing + 1)

    def _resolve(self, m: Module, state: Value, measure: PureInterface) -> None:
        index = Signal(range(GATHER_SOURCES + 1))
        exponents = Signal(data.ArrayLayout(EXPONENT, GATHER_SOURCES))
        best = Signal(data.ArrayLayout(EXPONENT, 2))  # among all, among those alive
        found = Signal(2)
        valid = Signal()
        moved = Signal(signed(EXPONENT.width + 1))
        m.d.comb += [
            measure.id.eq(self.tensor),
            measure.valid.eq(self.resolve | self.commit & self.measured),
            moved.eq(Mux(measure.read_valid, measure.read_entry.exponent - self.incoming, 0)),
        ]
        for number, source in enumerate(self.sources):
            with m.If(index == number):
                m.d.comb += state.addr.eq(source.id)
            with m.If(index == number + 1):
                # What a source that is not there reads as is of no account.
                m.d.comb += valid.eq(source.valid)

        with m.FSM():
            with m.State("Hold"):
                with m.If(self.resolve):
                    m.d.sync += [index.eq(0), found.eq(0), self.usable.eq(1), self.resolved.eq(0)]
                    m.next = "Look up"
            with m.State("Look up"):
                m.d.sync += index.eq(index + 1)
                with m.If(valid):
                    m.d.sync += self.usable.eq(self.usable & state.data.usable)
                    for place, counts in enumerate((1, state.data.alive)):
                        with m.If(counts & (~found[place] | (state.data.exponent > best[place]))):
                            m.d.sync += [best[place].eq(state.data.exponent), found[place].eq(1)]
                with m.Switch(index):
                    for number in range(GATHER_SOURCES):
                        with m.Case(number + 1):
                            m.d.sync += exponents[number].eq(state.data.exponent)
                with m.If(index == GATHER_SOURCES):
                    m.next = "Choose"
            with m.State("Choose"):
                m.d.sync += self.incoming.eq(Mux(found[1], best[1], Mux(found[0], best[0], 0)))
                m.next = "Compare"
            with m.State("Compare"):
                m.d.sync += self.rebase.eq(_clamp(moved, -(1 << (REBASE.width - 1)), (1 << (REBASE.width - 1)) - 1))
                for align, exponent in zip(self.align, exponents, strict=True):
                    m.d.sync += align.eq(_clamp(self.incoming - exponent, 0, MAX_ALIGN))
                m.d.sync += self.resolved.eq(1)
                m.next = "Hold"


def _clamp(value: Value, low: int, high: int) -> Value:
    return Mux(value < low, low, Mux(value > high, high, value))
