# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of the DMA engines."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from respin.rtl.host.axi import require_data_bits

ADDRESS_BITS = 32
BYTES_BITS = 24
MINIMUM_WATCHDOG = 8
"""An engine itself takes a few cycles to begin."""
MAXIMUM_WATCHDOG = (1 << 24) - 1


class DmaCommand(data.Struct):
    """What to move: ``bytes`` bytes from ``address`` on, both multiples of a beat and ``bytes`` above 0."""

    address: unsigned(ADDRESS_BITS)
    bytes: unsigned(BYTES_BITS)


class DmaError(enum.Enum, shape=unsigned(3)):
    """How a command ended."""

    NONE = 0
    REFUSED = 1
    """Address or length is no multiple of a beat (or of what else is asked for), nothing is to be moved, or the range
    reaches past the last address."""
    SLVERR = 2
    """The memory answered a burst with an error; the first one of the command counts."""
    DECERR = 3
    """Nothing answers at an address."""
    TIMEOUT = 4
    """Nothing moved for as long as the watchdog allows; or something of such a command is still on its way."""


class DmaStatus(data.Struct):
    """The end of a command."""

    error: DmaError


def beat_layout(data_bits: int) -> data.StructLayout:
    """One beat of data that was read; ``last`` on the last one of a command."""
    require_data_bits(data_bits)
    return data.StructLayout({"data": data_bits, "last": 1})
