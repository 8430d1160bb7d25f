# SPDX-License-Identifier: Apache-2.0
"""What the top exchanges with its host, besides jobs."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from respin.rtl.config import BLOCK, PLANES
from respin.rtl.interfaces import ROW_ADDRESS_BITS, STORE_ADDRESS_BITS

WORD_BITS = BLOCK * PLANES


class Fault(enum.Enum, shape=unsigned(3)):
    """How a job ended."""

    NONE = 0
    WATCHDOG = 1
    """Nothing moved for ``watchdog_cycles``; only a reset helps."""
    UNCORRECTABLE = 2
    """A row that the job read was beyond correction."""
    WRITE_FAILED = 3
    """A row could not be written so that it reads back right."""
    ADDRESS = 4
    """A store or row address was out of range; nothing was written there."""
    LOCKED = 5
    """A row that the job would have written is locked."""


class HostWord(data.Struct):
    """One word for the store."""

    addr: unsigned(STORE_ADDRESS_BITS)
    data: unsigned(WORD_BITS)


class HostRange(data.Struct):
    """A range of store words."""

    base: unsigned(STORE_ADDRESS_BITS)
    count: unsigned(STORE_ADDRESS_BITS)


class HostRow(data.Struct):
    """One row of 32 weights."""

    row: unsigned(ROW_ADDRESS_BITS)
    data: unsigned(WORD_BITS)


class TableWrite(data.Struct):
    """One entry of the vector path's table."""

    index: unsigned(16)
    entry: unsigned(72)


class Report(data.Struct):
    """What a job did. Counts are of this job alone.

    ``busy``: cycles in which the engine's slices worked; ``starved_rows``, ``starved_words``, ``stalled``: in which
    they waited for rows, for words, or for room for results. ``alive``: something other than 0 was written to the
    store. ``magnitude``: as many bits as the largest magnitude of the errors before shifting. ``above``, ``below``:
    elements that were cut to their upper and lower limit. ``shift``, ``shift_valid``: the delayed scale that its
    errors were rounded with. ``moves``: steps of the update that were not 0; ``rows_written``, ``rows_skipped``:
    rows of the tile that changed, and that did not.
    """

    fault: Fault
    cycles: unsigned(32)
    busy: unsigned(32)
    starved_rows: unsigned(32)
    starved_words: unsigned(32)
    stalled: unsigned(32)
    alive: unsigned(1)
    magnitude: unsigned(48)
    above: unsigned(32)
    below: unsigned(32)
    shift: unsigned(6)
    shift_valid: unsigned(1)
    moves: unsigned(32)
    rows_written: unsigned(32)
    rows_skipped: unsigned(32)
