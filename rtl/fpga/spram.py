# SPDX-License-Identifier: Apache-2.0
"""External memory out of the single-port RAM of an iCE40 UP5K."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib.wiring import Component, In

from respin.rtl.link.memory import RamPort, ram_address_bits

CELLS = 4
"""What an UP5K has."""
_CELL_WORDS, _CELL_BITS = 1 << 14, 16
CELL_BYTES = _CELL_WORDS * _CELL_BITS // 8
WIDEST = CELLS * _CELL_BITS
"""Bits of a word at most."""


class Spram(Component):
    """A RAM with byte enables out of ``SB_SPRAM256KA`` cells of 16,384 words of 16 bits; not initialised.

    As many cells as a word needs stand side by side; where there are more, they follow one another in the addresses.

    Parameters
    ----------
    data_bits : int
        Bits of a word: 32 or 64.
    size : int
        Bytes: ``CELL_BYTES * data_bits / 16``, or twice that; no more than ``CELLS`` hold.

    Members
    -------
    port : In(RamPort(data_bits, address_bits))

    Raises
    ------
    TypeError, ValueError
        For a parameter out of its range.
    """

    def __init__(self, *, data_bits: int, size: int) -> None:
        bits = ram_address_bits(data_bits, size)
        smallest = CELL_BYTES * data_bits // _CELL_BITS
        if not smallest <= size <= CELLS * CELL_BYTES:
            raise ValueError(
                f"size must be in {smallest}..{CELLS * CELL_BYTES} for words of {data_bits} bits, not {size!r}"
            )
        super().__init__({"port": In(RamPort(data_bits, bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self.port
        depth_bits = _CELL_WORDS.bit_length() - 1
        cell_address, place = port.address[:depth_bits], port.address[depth_bits:]
        answers = Signal.like(place)
        m.d.sync += answers.eq(place)
        for row in range(1 << len(place)):
            words = []
            for column in range(len(port.write_data) // _CELL_BITS):
                word = Signal(_CELL_BITS, name=f"word_{row}_{column}")
                words.append(word)
                strobe = port.strobe.word_select(column, 2)
                m.submodules[f"cell_{row}_{column}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(),
                    i_ADDRESS=cell_address,
                    i_DATAIN=port.write_data.word_select(column, _CELL_BITS),
                    i_MASKWREN=Cat(strobe[0].replicate(2), strobe[1].replicate(2)),
                    i_WREN=port.strobe.any(),
                    i_CHIPSELECT=place == row,
                    i_STANDBY=Const(0),
                    i_SLEEP=Const(0),
                    i_POWEROFF=Const(1),  # active low
                    o_DATAOUT=word,
                )
            with m.If(answers == row):
                m.d.comb += port.read_data.eq(Cat(words))
        return m
