# SPDX-License-Identifier: Apache-2.0
"""What goes in and out of the bank controller: requests, statuses, errors and counters."""

from amaranth.hdl import Value, unsigned
from amaranth.lib import data, enum

from respin.rtl.config import STRIPS
from respin.rtl.interfaces import ROW, ROW_ADDRESS_BITS

CHECKS = data.ArrayLayout(unsigned(8), 4)
"""Check bits of a row: those of codeword ``c`` are element ``c``."""


class ReadRow(data.Struct):
    """A decoded row; ``uncorrectable`` where one of its codewords was beyond correction, whose data is as read."""

    data: ROW
    uncorrectable: unsigned(1)


class WriteKind(enum.Enum, shape=unsigned(3)):
    """What a request on the write stream asks for."""

    WRITE = 0
    RAW_READ = 1
    RAW_WRITE = 2
    REPAIR = 3
    CHECK = 4


class WriteRequest(data.Struct):
    """One request on the write stream.

    WRITE stores ``data`` in row ``row``, differentially and verified; it uses no other field. RAW_READ shows the row's
    columns as they are. RAW_WRITE pulses the strips in ``mask`` once, with entry ``pulse`` of the macro's pulse table,
    towards ``data`` and the check bits ``check``; it neither compares nor verifies. REPAIR is a WRITE of what the row
    holds already, but for errors: it pulses only while all that differs lies on one strip, so that a power cut leaves
    a row that decodes. CHECK compares like a WRITE, and pulses nothing.
    """

    kind: WriteKind
    row: unsigned(ROW_ADDRESS_BITS)
    data: ROW
    check: CHECKS
    mask: unsigned(STRIPS)
    pulse: unsigned(4)


class Outcome(enum.Enum, shape=unsigned(3)):
    """How a request on the write stream ended; LOCKED is the answer of :class:`respin.rtl.mram.guard.Guard`."""

    OK = 0
    DEFECT = 1
    FAILED = 2
    REFUSED = 3
    TIMEOUT = 4
    UNSAFE = 5
    LOCKED = 6


def landed(outcome: Value) -> Value:
    """Whether a write ended with a row that reads back as it should."""
    return (outcome == Outcome.OK) | (outcome == Outcome.DEFECT)


class WriteStatus(data.Struct):
    """The end of a request. UNSAFE: a REPAIR left the row as it is, as more than one strip differs. ``defects``:
    columns (1..4) left wrong and accepted, with DEFECT; ``retries``: pulses after the first that each failed strip
    was given."""

    outcome: Outcome
    defects: unsigned(3)
    retries: unsigned(4)


class ErrorKind(enum.Enum, shape=unsigned(4)):
    """What went wrong last."""

    NONE = 0
    UNCORRECTABLE = 1
    DEFECT = 2
    WRITE_FAILED = 3
    REFUSED = 4
    TIMEOUT = 5
    REMAPPED = 6
    NO_SPARE = 7
    MAP_FAILED = 8


class ErrorRecord(data.Struct):
    """The last error of the read or of the write path, with the row it concerns."""

    kind: ErrorKind
    row: unsigned(ROW_ADDRESS_BITS)


class Counters(data.Struct):
    """Event counters of the controller; they wrap at 2^32.

    ``rows_read``: rows decoded. ``raw_reads``: READ commands of writes and raw accesses. ``words_corrected``,
    ``uncorrectable``: codewords of decoded rows. ``row_writes``: writes carried out, of which ``writes_skipped``
    found nothing to change, ``writes_failed`` left a row that SECDED cannot repair. ``pulses``: write commands,
    ``strips_pulsed``: strips in their masks. ``bits_flipped``: columns that differed from the target before a write
    less those that do after it. ``retries``: further attempts of writes. ``defects_accepted``: columns left wrong
    that SECDED repairs. ``refused``: requests out of range. ``timeouts``: requests that the watchdog ended.
    """

    rows_read: unsigned(32)
    raw_reads: unsigned(32)
    words_corrected: unsigned(32)
    uncorrectable: unsigned(32)
    row_writes: unsigned(32)
    writes_skipped: unsigned(32)
    strips_pulsed: unsigned(32)
    pulses: unsigned(32)
    bits_flipped: unsigned(32)
    retries: unsigned(32)
    defects_accepted: unsigned(32)
    writes_failed: unsigned(32)
    refused: unsigned(32)
    timeouts: unsigned(32)
