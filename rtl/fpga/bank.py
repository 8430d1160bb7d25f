# SPDX-License-Identifier: Apache-2.0
"""A SAS-MRAM macro out of block RAM: the macro's pins and cycles, by option its errors, but not its persistence."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import ROW_COLUMNS, STRIPS
from respin.rtl.interfaces import BankCommand, BankPins

PULSES = 16
"""Entries of the macro's pulse table."""
_COLUMNS = ROW_COLUMNS // STRIPS
_CHANCE_BITS = 16
_TAPS = (31, 21, 1, 0)
"""Of a maximal sequence of 32 bits (x^32 + x^22 + x^2 + x + 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BankTiming:
    """How long a macro is busy, in cycles.

    Parameters
    ----------
    read:
        A READ.
    write:
        A write command, by command (WRITE_SAS, SOT_ONLY, STT_ONLY) and pulse.

    Raises
    ------
    ValueError
        If ``write`` is not 3 times 16 entries, or something takes less than a cycle or more than 65535.
    """

    read: int = 1
    write: tuple[tuple[int, ...], ...] = ((1,) * PULSES,) * 3

    def __post_init__(self) -> None:
        if [len(pulses) for pulses in self.write] != [PULSES] * 3:
            raise ValueError(f"write must have {PULSES} pulses of 3 commands, not {self.write!r}")
        for cycles in (self.read, *(cycles for pulses in self.write for cycles in pulses)):
            if not 1 <= cycles <= 65535:
                raise ValueError(f"a command must take 1..65535 cycles, not {cycles!r}")

    @property
    def longest(self) -> int:
        """Cycles of the command that takes longest."""
        return max(self.read, *(max(pulses) for pulses in self.write))


@dataclass(frozen=True, kw_only=True, slots=True)
class BankErrors:
    """Errors that a bank makes on purpose, as probabilities of a command.

    Parameters
    ----------
    read:
        That one column of the row read is wrong; the cell keeps its value.
    write:
        That one strip of the row written keeps its old value, if it is pulsed at all.

    Raises
    ------
    ValueError
        If one is not in 0..0.5.
    """

    read: float = 0.0
    write: float = 0.0

    def __post_init__(self) -> None:
        for name in ("read", "write"):
            value = getattr(self, name)
            if not 0 <= value <= 0.5:
                raise ValueError(f"{name} must be in 0..0.5, not {value!r}")


ONE_CYCLE = BankTiming()
"""Every command takes a cycle."""
NO_ERRORS = BankErrors()


class _Chance(Component):
    """With a probability, one of ``count`` lines is high in a cycle; a shift register of 32 bits draws."""

    def __init__(self, *, count: int, probability: float, seed: int) -> None:
        self._count, self._probability, self._seed = count, probability, seed
        super().__init__({"lines": Out(count)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        noise = Signal(32, init=self._seed)
        m.d.sync += noise.eq(Cat(noise[_TAPS[0]] ^ noise[_TAPS[1]] ^ noise[_TAPS[2]] ^ noise[_TAPS[3]], noise[:-1]))
        place_bits = (self._count - 1).bit_length()
        # A place past the last line is none: the others come the more often.
        threshold = round(self._probability * (1 << place_bits) / self._count * (1 << _CHANCE_BITS))
        place = noise[_CHANCE_BITS : _CHANCE_BITS + place_bits]
        m.d.comb += self.lines.eq(Mux(noise[:_CHANCE_BITS] < threshold, 1 << place, 0))
        return m


class BlockRamBank(Component):
    """A bank that meets the contract of the bank pins (docs/memory.md).

    A write command reads the row in its first cycle and puts it back, with the pulsed strips changed, in the second:
    block RAM has no write enable for four columns on every family. SOT_ONLY erases strips to 0, STT_ONLY sets the
    columns that the data has set, WRITE_SAS does both. Rows are 0 to begin with, which the code takes for right.

    Latency: ``timing.read`` cycles from READ to ``rvalid``.

    Parameters
    ----------
    rows : int
        Rows of the bank.
    timing : BankTiming
    errors : BankErrors
    number : int
        Which bank it is: banks draw different errors.

    Members
    -------
    pins : In(BankPins(rows))

    Raises
    ------
    TypeError, ValueError
        If ``rows`` is no integer of at least 2.
    """

    def __init__(
        self, *, rows: int, timing: BankTiming = ONE_CYCLE, errors: BankErrors = NO_ERRORS, number: int = 0
    ) -> None:
        if not isinstance(rows, int) or isinstance(rows, bool):
            raise TypeError(f"rows must be an integer, not {rows!r}")
        if rows < 2:
            raise ValueError(f"rows must be at least 2, not {rows!r}")
        self._rows, self._timing, self._errors, self._number = rows, timing, errors, number
        self.latency = timing.read
        super().__init__({"pins": In(BankPins(rows))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pins = self.pins
        m.submodules.rows = rows = memory.Memory(shape=ROW_COLUMNS, depth=self._rows, init=[])
        load, store = rows.read_port(), rows.write_port()
        left = Signal(range(self._timing.longest + 1))
        taken, reading = Signal(), Signal()
        m.d.comb += [
            pins.busy.eq(left != 0),
            pins.power_good.eq(1),
            pins.rvalid.eq(reading & (left == 1)),
            taken.eq((pins.cmd != BankCommand.IDLE) & ~pins.busy),
            load.addr.eq(pins.row),
            load.en.eq(taken),
        ]
        with m.If(taken):
            m.d.sync += [reading.eq(pins.cmd == BankCommand.READ), left.eq(self._cycles())]
        with m.Elif(pins.busy):
            m.d.sync += left.eq(left - 1)

        wdata, strips = Signal(ROW_COLUMNS), Signal(STRIPS)
        erases, programs, writes = Signal(), Signal(), Signal()
        m.d.sync += writes.eq(taken & (pins.cmd != BankCommand.READ))
        with m.If(taken):
            m.d.sync += [
                wdata.eq(pins.wdata),
                strips.eq(pins.strip_mask),
                store.addr.eq(pins.row),
                erases.eq(pins.cmd != BankCommand.STT_ONLY),
                programs.eq(pins.cmd != BankCommand.SOT_ONLY),
            ]
        pulsed, flipped_columns = self._draw(m, strips, taken)
        driven = Cat(strip.replicate(_COLUMNS) for strip in pulsed)
        kept = load.data & ~(driven & erases.replicate(ROW_COLUMNS))
        m.d.comb += [
            store.en.eq(writes),
            store.data.eq(kept | (driven & wdata & programs.replicate(ROW_COLUMNS))),
            pins.rdata.eq(load.data ^ flipped_columns),
        ]
        return m

    def _cycles(self) -> Signal:
        """Cycles of the command on the pins."""
        kind = self.pins.cmd.as_value()
        written = [Array(pulses)[self.pins.pulse] for pulses in self._timing.write]
        return Array([0, self._timing.read, *written])[kind]

    def _draw(self, m: Module, strips: Signal, taken: Signal) -> tuple[Signal, Signal]:
        """Strips that a write changes, and columns that a read shows wrong."""
        pulsed, wrong = Signal(STRIPS), Signal(ROW_COLUMNS)
        m.d.comb += pulsed.eq(strips)
        if self._errors.write:
            seed = 0x2545F491 + 2 * self._number
            m.submodules.write_errors = missed = _Chance(count=STRIPS, probability=self._errors.write, seed=seed)
            m.d.comb += pulsed.eq(strips & ~missed.lines)
        if self._errors.read:
            seed = 0x1B56C4E9 + 2 * self._number
            m.submodules.read_errors = chance = _Chance(count=ROW_COLUMNS, probability=self._errors.read, seed=seed)
            with m.If(taken):
                m.d.sync += wrong.eq(chance.lines)
        return pulsed, wrong
