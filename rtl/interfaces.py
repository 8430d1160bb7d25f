# SPDX-License-Identifier: Apache-2.0
"""The words, rows, pins and ports that more than one folder of ``rtl`` speaks."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out, Signature

from respin.rtl.config import BLOCK, PLANES, ROW_COLUMNS, ROW_WEIGHTS, STRIPS, AcceleratorConfig

STORE_ADDRESS_BITS = 20
"""Bits of a store word address in a job; a configuration uses the low ones it needs."""
ROW_ADDRESS_BITS = 24
"""Bits of a global row address in a job: bank ``row mod B``, row ``row div B`` of that bank."""

WORD = data.ArrayLayout(unsigned(BLOCK), PLANES)
"""A word of the store: ``word[b]`` is bit-plane ``b``; its bit ``i`` is bit ``b`` of channel (or pixel) ``i``."""
ROW = data.ArrayLayout(signed(8), ROW_WEIGHTS)
"""The decoded content of one MRAM row: ``row[i]`` is weight ``i``."""


class BankCommand(enum.Enum, shape=unsigned(3)):
    """What a macro is asked to do in one cycle."""

    IDLE = 0
    READ = 1
    WRITE_SAS = 2
    SOT_ONLY = 3
    STT_ONLY = 4


class BankPins(Signature):
    """The pins of one SAS-MRAM macro, seen from the controller. ``clk`` and ``rst`` are the clock domain's.

    A command is taken in a cycle with ``cmd`` other than IDLE and ``busy`` low; ``busy`` rises in the next cycle.
    ``rvalid`` follows a read after a fixed latency, for one cycle. Only strips set in ``strip_mask`` are pulsed.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(
            {
                "cmd": Out(BankCommand),
                "row": Out(range(rows)),
                "strip_mask": Out(STRIPS),
                "wdata": Out(ROW_COLUMNS),
                "pulse": Out(4),
                "test_mode": Out(1),
                "busy": In(1),
                "rdata": In(ROW_COLUMNS),
                "rvalid": In(1),
                "power_good": In(1),
            }
        )


class StoreRead(Signature):
    """A reader's side of the store. ``data`` is the word of ``addr`` in the cycle after ``valid & ready``."""

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(STORE_ADDRESS_BITS),
                "data": In(WORD),
            }
        )


class StoreWrite(Signature):
    """A writer's side of the store: planes in ``planes`` and lane groups of M channels in ``groups`` are written."""

    def __init__(self, config: AcceleratorConfig) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(STORE_ADDRESS_BITS),
                "data": Out(WORD),
                "planes": Out(PLANES),
                "groups": Out(BLOCK // config.slices),
            }
        )


def result_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """What the engine puts out for one entry: ``result[p][m]`` is the int32 sum of stream ``p``, slice ``m``."""
    return data.ArrayLayout(data.ArrayLayout(Shape(32, signed=True), config.slices), config.pixels)


def row_stream() -> stream.Signature:
    """A stream of decoded rows."""
    return stream.Signature(ROW)


def word_stream() -> stream.Signature:
    """A stream of store words."""
    return stream.Signature(WORD)
