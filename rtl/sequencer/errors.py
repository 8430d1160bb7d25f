# SPDX-License-Identifier: Apache-2.0
"""Why a program ended."""

from amaranth.hdl import unsigned
from amaranth.lib import enum


class ErrorCode(enum.Enum, shape=unsigned(8)):
    """What ended a program. With each comes the number of the descriptor and 32 bits of information."""

    NONE = 0
    """It ended well."""
    HEADER = 1
    """The program's header is not one for this machine; information: :class:`HeaderProblem`."""
    CRC = 2
    """A descriptor is damaged."""
    OPCODE = 3
    """A descriptor's magic, version or opcode is none that runs; information: the opcode."""
    FIELD = 4
    """A descriptor asks for what cannot be done; information: :class:`Problem`."""
    DMA = 5
    """External memory answered with an error, or not at all; information:
    :class:`respin.rtl.host.dma_ports.DmaError`."""
    JOB = 6
    """A job ended with a fault; information: :class:`respin.rtl.ports.Fault`."""
    ROW = 7
    """A row could not be written or read; information: :class:`respin.rtl.mram.ports.Outcome`, or 255 for a row beyond
    correction."""
    WATCHDOG = 8
    """The sequencer waited too long; a soft reset is needed."""
    ABORTED = 9
    """The host asked for it."""
    RESET_NEEDED = 10
    """The program was not started: something of an earlier one still waits, and a soft reset is needed."""

    MEMORY = 11
    """The working slot could not be committed; information: :class:`respin.rtl.mram.keeper_ports.KeeperError`."""


UNCORRECTABLE_ROW = 255
"""Information that comes with ROW for a row that was read beyond correction."""


class HeaderProblem(enum.Enum, shape=unsigned(4)):
    """What is wrong with a program's header."""

    NONE = 0
    CRC = 1
    """It is damaged."""
    MAGIC = 2
    """It is no header of a program."""
    VERSION = 3
    """It is of another version of the format."""
    COUNT = 4
    """It names another number of descriptors than the register, or none, or they reach past the last address."""
    CONFIGURATION = 5
    """It was compiled for another configuration."""
    ROWS = 6
    """The rows that it may write are not all there."""
    CHECKSUM = 7
    """Its descriptors are not those that it was made for."""


class Problem(enum.Enum, shape=unsigned(4)):
    """What is wrong with a descriptor's fields; where several are, the first of these."""

    NONE = 0
    FLAGS = 1
    """Flags that its opcode or pass does not have."""
    ORDER = 2
    """END before the end or not there, an edge that is not begun or not ended."""
    TENSOR = 3
    """A tensor id has no entry in the tables, or a source is missing."""
    KIND = 4
    """A pass, source or mode that does not exist, or that do not go together."""
    COUNT = 5
    """A count or extent is 0."""
    LIMIT = 6
    """A value is past what its unit can do."""
    AGREEMENT = 7
    """Units would wait for each other: their counts do not agree."""
    STORE = 8
    """It reaches past the store."""
    ROWS = 9
    """It reads past the last row, or writes outside the program's rows."""
    TABLE = 10
    """It reaches past the vector path's table, or does not begin at a multiple of the vector width."""
    EXTERNAL = 11
    """An external address is no multiple of 32, or past the last one."""
